// Pages are Markdown as a forge shows it, and nothing of the generator's own.
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { problems, repository } from "./docs.mjs";

export const forge = "https://github.com/keybearer/keybearer";

/** The id of a heading, as forges make it: links to parts of a page are right in both places. */
export function slugify(heading) {
  return heading.trim().toLowerCase().replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, "").replaceAll(" ", "-");
}

/** What stands in a page is text: VitePress would take {{ }} for an expression, {#a} for an attribute and :x: for a picture. */
export function plain(md) {
  for (const kind of ["text", "code_inline", "code_block"]) {
    const render = md.renderer.rules[kind];
    md.renderer.rules[kind] = (...args) => render(...args).replaceAll("{{", "&#123;&#123;");
  }
  md.disable(["emoji"], true);
}

const elements = ["a", "br", "dd", "details", "dl", "dt", "img", "kbd", "p", "picture", "source", "sub", "summary", "sup"];

/** HTML in a page is what forges show, too: a few elements and comments. A <name> that is meant as text vanishes there, and is a problem here. */
export function html(md) {
  md.core.ruler.push("html", ({ tokens, env }) => {
    for (const token of tokens.flatMap((t) => [t, ...(t.children ?? [])]).filter((t) => /^html_/.test(t.type))) {
      const tags = token.content.replace(/<!--.*?-->/gs, "").matchAll(/<\/?([a-z][^\s\/>]*)/gi);
      for (const [tag, name] of tags) {
        if (!elements.includes(name)) {
          problems.add(`${env.path} has ${tag}…, which a forge does not show: write \\< where it is text`);
          token.content = ""; // it would be taken for a component
        }
      }
      token.content = token.content
        .replace(/ (src|srcset)="(?![a-z]+:|[./])/g, ' $1="./')
        .replace(/<img src="([^"]+\.png)"([^>]*) width="(\d+)">/g, (_, src, rest, width) =>
          `<img src="${src}"${rest} width="${width}" height="${height(join(dirname(env.path), src), width)}" loading="lazy">`)
        .replace(/^<img[^]*/, '<p class="pictures">$&</p>');
    }
  });
}

/** The height of a picture that is shown in this width, so that its place is kept while it is loaded. */
function height(png, width) {
  const head = readFileSync(png);
  return Math.round((width * head.readUInt32BE(20)) / head.readUInt32BE(16));
}

/** Links lead to the page of what they name, and out of docs/ to the forge. A link to nothing is a problem. */
export function links(md) {
  md.core.ruler.push("links", ({ tokens, env }) => {
    const page = posix.join("docs", env.path.slice(join(repository, "docs").length));
    for (const token of tokens.flatMap((t) => t.children ?? [])) {
      const href = token.type === "link_open" && token.attrGet("href");
      if (!href || /^([a-z][a-z0-9+.-]*:|#|\/\/)/i.test(href)) continue;
      token.attrSet("href", where(page, href));
    }
  });
}

function where(page, href) {
  const [, path, fragment] = /^([^#]*)(.*)$/s.exec(href);
  const target = posix.join(posix.dirname(page), decodeURI(path));
  if (path.startsWith("/") || target.startsWith("../") || !existsSync(join(repository, target))) {
    problems.add(`${page} links to ${href}, which is not there`);
    return "#";
  }
  const folder = statSync(join(repository, target)).isDirectory();
  const file = folder ? posix.join(target, "README.md") : target;
  if (file.startsWith("docs/") && file.endsWith(".md")) return "/" + file.slice("docs/".length).replace(/(^|\/)README\.md$/, "$1index.md") + fragment;
  return `${forge}/${folder ? "tree" : "blob"}/main/${target.replace(/\/$/, "")}${fragment}`;
}

/** Columns of figures are aligned by a class instead of a style, see strict.mjs. */
export function columns(md) {
  md.core.ruler.push("columns", ({ tokens }) => {
    for (const token of tokens.filter((t) => /^t[hd]_open$/.test(t.type) && t.attrGet("style"))) {
      token.attrJoin("class", token.attrGet("style").replace("text-align:", ""));
      token.attrs = token.attrs.filter(([name]) => name !== "style");
    }
  });
}

/** A drawing by itself is rolled where there is little room, also by keyboard, as tables are. */
export function drawings(md) {
  md.core.ruler.push("drawings", ({ tokens }) => {
    tokens.forEach((token, i) => {
      const [picture, ...more] = token.children ?? [];
      if (picture?.type === "image" && !more.length && picture.attrGet("src").endsWith(".svg")) {
        tokens[i - 1].attrJoin("class", "drawing");
        tokens[i - 1].attrSet("tabindex", "0");
      }
    });
  });
}
