// What is wrong with a page.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Sees what happens on a page that must not: script errors, errors on the console, dialogs, requests that fail or go elsewhere, and
 *  what the content security policy refused. It sees without JavaScript as much as with it. */
export class Watch {
  #problems = [];
  #expected = new Set();

  static async start(page, origin) {
    const watch = new Watch();
    const add = (problem) => watch.#problems.push(problem);
    page.on("console", (m) => {
      // The status of an answer is judged with the answer.
      if (m.type() === "error" && !m.text().startsWith("Failed to load resource: the server responded")) add(`console: ${m.text()}`);
    });
    page.on("pageerror", (error) => add(`script error: ${error.message}`));
    page.on("dialog", (dialog) => {
      add(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("request", (r) => {
      const to = new URL(r.url());
      if (to.origin !== origin && to.protocol !== "data:") add(`foreign request: ${r.url()}`);
    });
    page.on("requestfailed", (r) => {
      // A page that is left ends what it was loading, and what is saved as a file opens no page.
      if (r.failure().errorText !== "net::ERR_ABORTED") add(`failed request: ${r.method()} ${r.url()}: ${r.failure().errorText}`);
    });
    page.on("response", (r) => {
      if (r.status() >= 400 && !watch.#expected.has(r.status())) add(`status ${r.status()}: ${r.request().method()} ${r.url()}`);
    });
    page.protocol = await page.context().newCDPSession(page);
    page.protocol.on("Audits.issueAdded", ({ issue }) => {
      const csp = issue.details.contentSecurityPolicyIssueDetails;
      if (csp) add(`content security policy: ${csp.violatedDirective} refused ${csp.blockedURL || "what is inline"}`);
    });
    await page.protocol.send("Audits.enable");
    return watch;
  }

  /** From now on answers with these statuses are as they should be on this page. */
  expect(...statuses) { statuses.forEach((s) => this.#expected.add(s)); }

  /** What was seen since it was last taken. */
  take() { return this.#problems.splice(0); }
}

/** Switches scripts off or on. A page that was loaded without them stays as it is when they are switched on. */
export function withoutScripts(page, off) { return page.protocol.send("Emulation.setScriptExecutionDisabled", { value: off }); }

/** Returns what is wrong with a page: what its Watch saw, what axe finds, content wider than the window, and secrets in it. */
export async function inspect(page, secrets = []) {
  await page.waitForLoadState("load");
  const problems = [];
  if (!page.look.js) await withoutScripts(page, false); // axe is a script; those of the page are not run by this
  await page.evaluate(`if (!window.axe) { ${axe} }`);
  const { violations } = await page.evaluate((options) => window.axe.run(document, options), {
    preload: false, resultTypes: ["violations"],
    // A dark page is the light one in other colours.
    ...(page.look.scheme === "dark" ? { runOnly: ["color-contrast", "link-in-text-block"] } : { rules: { "target-size": { enabled: true } } }),
  });
  if (!page.look.js) await withoutScripts(page, true);
  for (const v of violations) {
    for (const node of v.nodes) problems.push(`axe: ${v.id}: ${v.help}: ${node.target.join(" ")}: ${node.html.slice(0, 300)}`);
  }
  const { content, window, widest } = await page.evaluate(() => {
    const root = document.scrollingElement;
    const right = (e) => e.getBoundingClientRect().right;
    const widest = [...document.querySelectorAll("body *")].reduce((a, b) => (right(b) > right(a) ? b : a), document.body);
    return { content: root.scrollWidth, window: root.clientWidth, widest: widest.outerHTML.slice(0, 300) };
  });
  if (content > window) problems.push(`overflow: ${content} px of content in a window of ${window} px: ${widest}`);
  const text = await page.content();
  secrets.forEach((secret, i) => {
    if (text.includes(secret)) problems.push(`secret: the page holds number ${i + 1} of the planted secrets`);
  });
  return [...page.watch.take(), ...problems];
}
