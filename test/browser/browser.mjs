// Plays one flow in Debian's Chromium for the Go test that started this process, and tells it what came of every check.
//
// Both sides write JSON, one object a line. The test says first what to play; then this process writes {check} for every check and {call} for
// what it asks of the test, which answers {id, result} or {id, error}. It ends with exit code 0 when the flow was played, whatever the checks say.
import { createInterface } from "node:readline";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Watch, inspect, withoutScripts } from "./inspect.mjs";

const lines = createInterface({ input: process.stdin });
const write = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const failed = Symbol("a check that failed, and was told of");

/** The looks of a page: with and without JavaScript, light and dark, narrow and wide; or those of them that a filter leaves. */
export function looks({ js = [true, false], scheme = ["light", "dark"], width = [1280, 320] } = {}) {
  return js.flatMap((j) => scheme.flatMap((s) => width.map((w) => ({
    js: j, scheme: s, width: w, name: `${w} px, ${s}, ${j ? "with" : "without"} JavaScript`,
  }))));
}

/** Four of the looks: every two of JavaScript, scheme and width come together in each way. For flows, which are long; the sweep takes more. */
export const pairs = looks().filter((l) => (l.scheme === "light") === (l.js === (l.width === 1280)));

/** What a flow is given. */
class Browser {
  #chromium;
  #calls = new Map();
  #visiting = []; // the pages that are open, the last one in front
  #sessions = new Map(); // what a browser keeps of a sign-in, by token
  #shots = 0;

  constructor(plan, chromium) {
    this.#chromium = chromium;
    this.url = plan.url; // of the console, without a slash at its end
    this.arguments = plan.arguments; // what the test gave the flow
    this.secrets = plan.secrets; // what no page may show; a flow that types a secret adds it
    this.artifacts = plan.artifacts;
    lines.on("line", (line) => {
      const { id, result, error } = JSON.parse(line);
      const { resolve, reject } = this.#calls.get(id);
      this.#calls.delete(id);
      error === undefined ? resolve(result) : reject(new Error(error));
    });
  }

  /** Asks the test for something that it offers to flows. */
  call(name, ...args) {
    const id = this.#calls.size ? Math.max(...this.#calls.keys()) + 1 : 1;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      write({ call: { id, name, args } });
    });
  }

  /** Runs a command of keybearer that must succeed, over the admin socket, and gives what it prints. */
  cli(stdin, ...args) { return this.call("cli", stdin, args); }

  /** Signs in on a page as who holds the token, the operator ada unless it says otherwise, and ends on the console's start. */
  async signIn(page, token = this.arguments.token) {
    await page.goto("/sign-in");
    await page.getByLabel("Operator token").fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator("form[action='/sign-out']").waitFor({ state: "attached" });
  }

  /** Signs out, by the menu where there is little room. */
  async signOut(page) {
    await page.locator("form[action='/sign-out']").waitFor({ state: "attached" });
    const menu = page.getByRole("button", { name: "Menu" });
    if (await menu.isVisible()) await menu.click();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL("**/sign-in");
  }

  /** Opens a page of this look in a browser of its own for as long as fn takes, signed in with the token as, if there is one. What fn throws fails a
   *  check, and the flow goes on. */
  async visit(look, fn, { url = this.url, as } = {}) {
    const state = as && await this.#session(as);
    const context = await this.#chromium.newContext({
      baseURL: url, colorScheme: look.scheme, viewport: { width: look.width, height: look.width < 600 ? 640 : 800 },
      reducedMotion: "reduce", locale: "en-GB", timezoneId: "UTC", storageState: state,
    });
    try {
      const page = await context.newPage();
      page.watch = await Watch.start(page, new URL(url).origin);
      page.look = look;
      if (!look.js) await withoutScripts(page, true);
      this.#visiting.push(page);
      await fn(page);
      const left = page.watch.take();
      if (left.length) await this.#tell(`${look.name}: nothing goes wrong on the way`, left.join("\n"));
    } catch (error) {
      if (error !== failed) await this.#tell(`${look.name}: the flow is played to its end`, error.stack);
    } finally {
      this.#visiting.pop();
      await context.close();
    }
  }

  /** One check, which becomes a test of this name. When fn throws, it has failed, and the rest of the visit is left out. */
  async check(sentence, fn) {
    const page = this.#visiting.at(-1);
    const name = page ? `${page.look.name}: ${sentence}` : sentence;
    try {
      await fn();
    } catch (error) {
      if (error === failed) throw error;
      await this.#tell(name, error.stack);
      throw failed;
    }
    await this.#tell(name);
  }

  /** A check that is told of only when it fails, and after which the visit goes on. */
  async attempt(sentence, fn) {
    try {
      await fn();
    } catch (error) {
      if (error !== failed) await this.#tell(`${this.#visiting.at(-1).look.name}: ${sentence}`, error.stack);
    }
  }

  /** A check that there is nothing wrong with the page as it is now: see inspect. The visit goes on when there is. */
  async scan(page, subject) {
    const problems = await inspect(page, this.secrets);
    await this.#tell(`${page.look.name}: ${subject} is sound`, problems.join("\n"));
  }

  /** All that is wrong with the page as it is now. */
  inspect(page) { return inspect(page, this.secrets); }

  /** Waits until fn gives something true, and gives that. For what Playwright's locators do not wait for by themselves. */
  async until(what, fn) {
    for (const end = Date.now() + 30_000; ;) {
      const got = await fn();
      if (got) return got;
      if (Date.now() > end) throw new Error(`not within 30 s: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** The cookies of a browser in which the token was signed in once. */
  async #session(token) {
    if (!this.#sessions.has(token)) {
      const context = await this.#chromium.newContext({ baseURL: this.url });
      await this.signIn(await context.newPage(), token);
      this.#sessions.set(token, await context.storageState());
      await context.close();
    }
    return this.#sessions.get(token);
  }

  async #tell(name, detail = "") {
    const page = this.#visiting.at(-1);
    let screenshot = "";
    if (detail && page && !page.isClosed()) {
      mkdirSync(this.artifacts, { recursive: true });
      screenshot = join(this.artifacts, `${++this.#shots}-${name.replace(/\W+/g, "-").slice(0, 100)}.png`);
      await page.screenshot({ path: screenshot, fullPage: true }).catch((error) => { screenshot = `no screenshot: ${error.message}`; });
    }
    write({ check: { name, detail, screenshot } });
  }
}

lines.once("line", async (line) => {
  const plan = JSON.parse(line);
  const browser = await chromium.launch({
    executablePath: plan.chromium,
    args: ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*"], // nothing leaves this machine
  });
  const { default: play } = await import(plan.flow);
  await play(new Browser(plan, browser)).catch((error) => {
    if (error !== failed) throw error;
  });
  await browser.close();
  lines.close();
});
