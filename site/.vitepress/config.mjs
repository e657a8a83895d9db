// The static site of docs/. `make docs` builds it.
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import caddyfile from "./caddyfile.mjs";
import { docs, problems, repository, sidebar } from "./docs.mjs";
import { columns, drawings, forge, html, links, plain, slugify } from "./markdown.mjs";
import { colours, strict, theme } from "./strict.mjs";

const base = process.env.KEYBEARER_DOCS_BASE || "/"; // where the site will be, with a slash at both ends

export default {
  base,
  srcDir: docs,
  outDir: join(repository, "bin/site"),
  cacheDir: join(repository, "bin/.vitepress"),
  rewrites: { "decisions/README.md": "decisions/index.md", "screens/README.md": "screens/index.md" },

  lang: "en",
  title: "Keybearer",
  description: "An outbound proxy that carries the keys, so that apps need not.",
  head: [
    ["link", { rel: "icon", href: `${base}icon.svg`, type: "image/svg+xml" }],
    ["meta", { name: "color-scheme", content: "light dark" }],
  ],
  themeConfig: {
    version: process.env.KEYBEARER_VERSION || "unreleased",
    logo: "/icon.svg",
    nav: [
      { text: "Changelog", link: `${forge}/blob/main/CHANGELOG.md` },
      { text: "Source", link: forge },
    ],
    sidebar: sidebar(),
    outline: [2, 3],
    search: {
      provider: "local",
      options: {
        miniSearch: { searchOptions: { combineWith: "AND", prefix: true, fuzzy: 0.15, boost: { title: 4, titles: 2, text: 1 } } },
      },
    },
    notFound: { title: "Page not found", quote: "There is no page of this name. The search above finds what the documentation tells.", linkText: "To the first page", linkLabel: "To the first page" },
  },

  markdown: {
    theme,
    languages: [caddyfile],
    codeTransformers: [colours],
    codeCopyButtonTitle: "Copy",
    attrs: { disable: true },
    anchor: { slugify },
    config: (md) => [plain, html, links, columns, drawings].forEach((rule) => md.use(rule)),
  },

  vite: {
    // The pages are not beside node_modules, from where they would find these.
    resolve: { alias: [{ find: /^vue(\/server-renderer)?$/, replacement: join(import.meta.dirname, "../node_modules/vue$1") }] },
  },
  // So that nothing is inline: see strict.mjs.
  metaChunk: true,
  contentProps: {},
  appearance: { disableTransition: false },
  transformHtml: (page, _, context) => strict(page, context),
  buildEnd({ outDir }) {
    copyFileSync(join(repository, "internal/console/assets/icon.svg"), join(outDir, "icon.svg"));
    if (problems.size) throw new Error(["the pages must be mended:", ...problems].join("\n"));
  },
};
