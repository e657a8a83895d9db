// What a strict content security policy asks for: no script and no style inside a page. See site/Caddyfile.
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createCssVariablesTheme } from "shiki";

/** Colours by name; theme/style.css says what they are. */
export const theme = createCssVariablesTheme({ name: "keybearer", variablePrefix: "--code-" });

/** Gives what is coloured in a block of code a class for its colour. */
export const colours = {
  name: "colours",
  pre: (node) => { delete node.properties.style; },
  span: (node) => {
    const colour = /color:var\(--code-(?:token-)?([a-z-]+)\)/.exec(node.properties.style ?? "");
    delete node.properties.style;
    if (colour && colour[1] !== "foreground") node.properties.class = colour[1];
  },
};

/** Moves the scripts out of a page into files beside it, and drops the one style that the theme writes into pages; its script sets that again. */
export function strict(page, { siteConfig: { outDir, assetsDir, site } }) {
  return page.replaceAll(' style="--vp-vh:0px;"', "").replace(/<script([^>]*)>([^<]+)<\/script>/g, (_, attributes, code) => {
    const name = `${assetsDir}/${createHash("sha256").update(code).digest("hex").slice(0, 8)}.js`;
    mkdirSync(join(outDir, assetsDir), { recursive: true });
    writeFileSync(join(outDir, name), code);
    return `<script${attributes} src="${site.base}${name}"></script>`;
  });
}
