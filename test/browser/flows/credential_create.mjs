// A credential is created in the browser, and an app sends with it.
import assert from "node:assert/strict";
import { pairs } from "../browser.mjs";

const kinds = [
  { kind: "Bearer", sent: { name: "Authorization", value: (s) => `Bearer ${s}` }, shown: "Authorization: Bearer ••••" },
  { kind: "Basic", sent: { name: "Authorization", value: (s) => `Basic ${Buffer.from(`hook:${s}`).toString("base64")}` }, shown: "Authorization: Basic ••••" },
  { kind: "Other header", sent: { name: "X-Api-Key", value: (s) => `Token ${s}` }, shown: "X-Api-Key: Token ••••" },
];

export default async function (b) {
  const as = { as: b.arguments.token };
  let n = 0;
  for (const look of pairs) {
    const { kind, sent, shown } = kinds[n % kinds.length];
    const name = `made-${n++}`;
    const secret = `made-in-the-browser-${n}-${"x".repeat(8)}`;
    b.secrets.push(secret);
    const script = look.js !== false;

    await b.visit(look, async (page) => {
      const press = (text) => page.getByRole("button", { name: text, exact: true }).click();
      const redrawn = async (act) => (script ? act() : Promise.all([page.waitForNavigation(), act()]));
      const fill = async () => {
        await page.locator("#secret").fill(secret); // its label is that of the kind
        if (kind === "Basic") await page.locator("#username").fill("hook");
      };

      await b.check("only the fields of the chosen kind are there, and the header is shown as it is sent", async () => {
        await page.goto("/credentials/new?scope=docs");
        await page.getByLabel("Name", { exact: true }).first().fill(name);
        await page.getByRole("radio", { name: kind }).check();
        assert.equal(await page.locator("#username").isVisible(), kind === "Basic");
        assert.equal(await page.locator("#header").isVisible(), kind === "Other header");
        if (kind === "Other header") {
          await page.getByLabel("Header", { exact: true }).fill("x-api-key");
          await page.getByLabel("Prefix").fill("Token ");
        }
        if (script || kind !== "Other header") await page.locator(".preview", { hasText: shown }).waitFor();
      });

      await b.check("a pasted URL is made a rule before one's eyes, with what it admits", async () => {
        await page.getByLabel("Host or URL").fill("HTTPS://Hooks.Example.com:443/in");
        await page.getByText("Methods, private network").click();
        await page.getByLabel("Private network").check(); // it is on this machine
        await page.getByRole("checkbox", { name: "POST" }).check();
        if (!script) await redrawn(() => press("Check the rules"));
        const row = page.locator("#rule-0-preview");
        await row.getByText("https://hooks.example.com/in", { exact: true }).first().waitFor();
        await row.getByText("POST https://hooks.example.com/in", { exact: true }).waitFor();
        await row.getByText("it does not admit the method").waitFor();
        await row.getByText("it is for another host").first().waitFor();
        if (!script && kind === "Other header") await page.locator(".preview", { hasText: shown }).waitFor();
      });
      await b.scan(page, "the form with a rule");

      await b.check("rows come and go", async () => {
        await redrawn(() => press("Add another destination"));
        await page.getByLabel("Host or URL").nth(1).fill("*.com");
        await page.getByLabel("Name", { exact: true }).last().fill("billing");
        await redrawn(() => press("Add another"));
        await page.locator("#grants fieldset").nth(1).getByLabel("Who").selectOption("group");
        await page.locator("#grants fieldset").nth(1).getByLabel("Name").fill("sales");
        await page.locator("#grants fieldset").nth(1).getByLabel("May").selectOption("view");
      });

      if (script) {
        await b.check("a row that comes late takes nobody's typing", async () => {
          let answer;
          const held = new Promise((resolve) => (answer = resolve));
          await page.route("**/credentials/new", async (route) => (await held, route.continue()));
          await press("Add another destination");
          await page.locator("#secret").focus();
          answer();
          await page.getByLabel("Host or URL").nth(2).waitFor();
          await page.keyboard.type("s3");
          assert.equal(await page.locator("#secret").inputValue(), "s3");
          await page.unroute("**/credentials/new");
          await page.locator("#rules .row-card").nth(2).getByRole("button", { name: "Remove" }).click();
          await page.getByLabel("Host or URL").nth(2).waitFor({ state: "detached" });
        });
      }

      await b.check("what is wrong stands beside its field; all that was typed stays, but secrets", async () => {
        await fill();
        page.watch.expect(400);
        await press("Create credential");
        const problem = page.getByRole("alert");
        await problem.waitFor();
        assert.ok(await problem.evaluate((e) => e === document.activeElement), "the focus is not there");
        await problem.getByRole("link", { name: "public suffix" }).click();
        const rule = page.getByLabel("Host or URL").nth(1);
        assert.ok(await rule.evaluate((e) => e === document.activeElement), "the link does not lead to the field");
        assert.equal(await rule.inputValue(), "*.com");
        assert.match(await rule.evaluate((e) => document.getElementById(e.getAttribute("aria-describedby").split(" ")[0]).textContent), /public suffix/);
        assert.equal(await page.locator("#secret").inputValue(), "");
        assert.equal(await page.getByLabel("Name", { exact: true }).first().inputValue(), name);
        assert.equal(await page.locator("#grants fieldset").nth(1).getByLabel("Name").inputValue(), "sales");
      });
      await b.scan(page, "the form with an error");

      await b.check("it is created", async () => {
        await redrawn(() => page.locator("#rules .row-card").nth(1).getByRole("button", { name: "Remove" }).click());
        await page.locator("#rules .row-card").nth(1).waitFor({ state: "detached" });
        await fill();
        await press("Create credential");
        await page.waitForURL(`**/credentials/docs/${name}/created`);
        await page.getByRole("status").getByText(`Created docs/${name}.`).waitFor();
        await page.locator(".badge", { hasText: "ready" }).waitFor();
      });
      await b.scan(page, "the page of a credential that was just made");

      await b.check("the lines on the page say how to send with it", async () => {
        const line = await page.locator(".copy code").first().innerText();
        assert.match(line, new RegExp(`^curl -x http://[0-9.]+:[0-9]+ -H 'Keybearer-Credential: docs/${name}'`));
        assert.ok(line.includes("'http://hooks.example.com/in'"));
        const answer = await b.call("send", { credential: `docs/${name}`, url: "http://hooks.example.com/in/" + name });
        assert.equal(answer.status, 200, JSON.stringify(answer));
        await b.until("nginx has it", async () => {
          const got = (await b.call("arrived")).find((r) => r.target === "/in/" + name);
          return got && got.header[sent.name] === sent.value(secret);
        });
        assert.equal((await b.call("send", { credential: `docs/${name}`, url: "http://hooks.example.com/out" })).code, "destination_not_allowed");
      });
    }, as);
  }
}
