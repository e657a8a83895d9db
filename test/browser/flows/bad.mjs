import assert from "node:assert/strict";
import { looks } from "../browser.mjs";

// What is found on each page, with JavaScript and without.
const found = {
  sound: [[], []],
  axe: [[/^axe: image-alt/], [/^axe: image-alt/]],
  contrast: [[/^axe: color-contrast/], [/^axe: color-contrast/]],
  overflow: [[/^overflow: 3\d\d\d px .*wide/], [/^overflow: 3\d\d\d px .*wide/]],
  inline: [[/^console: .*inline script/, /^content security policy: script-src-elem/], []],
  handler: [[/^console: .*inline event handler/, /^content security policy: script-src-attr/], []],
  foreign: [[/^foreign request: http:\/\/127/], [/^foreign request: http:\/\/127/]],
  missing: [[/^status 404: GET .*none.svg/], [/^status 404: GET .*none.svg/]],
  script: [[/^script error: undefinedFunction/], []],
  console: [[/^console: complaint/], []],
  dialog: [[/^dialog: look/], []],
  secret: [[/^secret: .*number 1/], [/^secret: .*number 1/]],
  "form-secret": [[/^secret: .*number 1/], [/^secret: .*number 1/]],
};

export default async function (b) {
  for (const look of looks({ scheme: ["light"], width: [320] })) {
    await b.visit(look, async (page) => {
      for (const [name, [scripted, plain]] of Object.entries(found)) {
        await page.goto(`/${name}`);
        await b.check(`what is wrong with the page "${name}" is found, and nothing else`, async () => {
          const expected = look.js ? scripted : plain;
          const problems = await b.inspect(page);
          assert.equal(problems.length, expected.length, `found: ${problems.join("\n")}`);
          for (const e of expected) assert.ok(problems.some((p) => e.test(p)), `${e} is not in: ${problems.join("\n")}`);
        });
        if (name !== "sound") continue;
        await b.check("the page has seen whether scripts are on, and axe saw what it shows then", async () => {
          assert.equal(await page.locator("noscript p").isVisible(), !look.js);
        });
      }
    });
  }
}
