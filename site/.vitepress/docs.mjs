// What there is in docs/, and what it is called: by its heading, so that a page has one name everywhere.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

export const repository = resolve(import.meta.dirname, "../..");
export const docs = join(repository, "docs");

/** What is wrong with pages, all of it, so that it can be mended at once. */
export const problems = new Set();

/** The four sections with their pages, as the sidebar shows them. A folder is a page with those that it holds behind it. */
export function sidebar() {
  const sections = JSON.parse(readFileSync(join(repository, "site/navigation.json"), "utf8"));
  return sections.map(({ section, pages }) => ({ text: section, items: pages.map((page) => (page.endsWith("/") ? folder(page) : entry(`${page}.md`))) }));
}

function folder(path) {
  const pages = readdirSync(join(docs, path)).filter((name) => name.endsWith(".md") && name !== "README.md").sort();
  const { text } = entry(`${path}README.md`);
  return { text, link: `/${path}`, ...(pages.length && { collapsed: true, items: pages.map((name) => entry(path + name)) }) };
}

function entry(file) {
  const path = join(docs, file);
  const heading = existsSync(path) && /^# (.+)$/m.exec(readFileSync(path, "utf8"));
  if (!heading) problems.add(`site/navigation.json names docs/${file}, which is not there or has no heading`);
  if (file === "index.md") return { text: "Overview", link: "/" };
  return { text: heading ? heading[1].replaceAll("`", "") : file, link: `/${file.replace(/\.md$/, "")}` };
}
