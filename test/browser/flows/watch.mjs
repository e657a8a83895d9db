// The overview and the audit log: what happened is told, as it happens, with the reason in words and the way to mend it.
import assert from "node:assert/strict";
import { looks, pairs } from "../browser.mjs";

export default async function (b) {
  const as = { as: b.arguments.token };
  const [wide] = looks({ js: [true], scheme: ["light"], width: [1280] });
  const good = { credential: "docs/crm", url: "http://hooks.example.com/hook" };
  const wrong = { credential: "docs/crm", url: "http://elsewhere.example.net/hook?card=4111" };

  await b.visit(wide, async (page) => {
    await b.check("a server that nobody used shows no use", async () => {
      await page.goto("/");
      await page.getByText("No use in this time.").waitFor();
    });
    await b.scan(page, "the overview without use");
  }, as);

  assert.equal((await b.call("send", good)).status, 200);
  assert.equal((await b.call("send", wrong)).code, "destination_not_allowed");

  for (const look of pairs) {
    await b.visit(look, async (page) => {
      await b.check("the overview counts uses and refusals", async () => {
        await b.until("the ledger has heard of both", async () => {
          await page.goto("/overview");
          return /[1-9]\d* uses?, [1-9]\d* refused/.test(await page.locator("figcaption").innerText());
        });
        await page.getByRole("link", { name: "No rule of the credential admits this destination." }).waitFor();
      });
      await b.scan(page, "the overview");

      await b.check("a refusal is told in words, and its link fills in the fix", async () => {
        await page.getByRole("link", { name: "No rule of the credential admits this destination." }).click();
        await page.waitForURL("**/audit?code=destination_not_allowed**");
        const row = page.locator("tr", { hasText: "elsewhere.example.net" }).first();
        assert.match(await row.innerText(), /refused/);
        assert.ok(!(await row.innerText()).includes("4111"), "a query string is in the audit log");
        const to = await row.getByRole("link", { name: "Add elsewhere.example.net to the domains" }).getAttribute("href");
        assert.equal(to, "/credentials/docs/crm/domains?rule=https%3A%2F%2Felsewhere.example.net");
      });
      await b.scan(page, "the audit log of one reason");

      await b.check("the log can be searched, and a use has one row", async () => {
        await page.goto("/audit?credential=docs/crm");
        await page.getByPlaceholder("Host, path").fill("hooks.example.com");
        if (look.js === false) await page.getByRole("button", { name: "Filter" }).click();
        await page.locator("#rows").getByText("elsewhere.example.net").first().waitFor({ state: "detached" });
        const ids = await page.locator("#events tr").evaluateAll((rows) => rows.map((r) => r.id.split(".")[0]));
        assert.ok(ids.length > 0);
        assert.equal(new Set(ids).size, ids.length);
      });
      await b.scan(page, "the audit log");

      await b.check("nonsense in the address is told, not thrown", async () => {
        page.watch.expect(400);
        await page.goto("/audit?event=nonsense");
        await page.getByText("An event is use, refusal or change.").first().waitFor();
      });
    }, as);
  }

  await b.visit(wide, async (page) => {
    await b.check("rows come live, until they are paused", async () => {
      await page.goto("/audit");
      const live = page.waitForResponse((r) => r.url().includes("/audit/live"));
      await page.getByRole("button", { name: "Go live" }).click();
      await live;
      await b.call("send", { ...good, url: "http://hooks.example.com/live-one" });
      await page.locator("#events").getByText("/live-one").first().waitFor();
      await page.getByRole("button", { name: "Pause" }).click();
      await b.call("send", { ...good, url: "http://hooks.example.com/live-two" });
      await b.until("the log has it", async () => (await b.cli("", "audit", "list")).includes("/live-two"));
      assert.equal(await page.locator("#events").getByText("/live-two").count(), 0);
    });

    await b.check("the log is exported, harmless to a spreadsheet", async () => {
      await page.getByText("Export").click();
      const [csv] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "CSV" }).click()]);
      const text = await read(csv);
      assert.match(text, /^time,id,phase,event,scope,credential,/);
      assert.ok(text.includes("elsewhere.example.net"));
      const [lines] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "JSON lines" }).click()]);
      const events = (await read(lines)).trim().split("\n").map(JSON.parse);
      assert.ok(events.some((e) => e.code === "destination_not_allowed" && e.host === "elsewhere.example.net"));
    });
  }, as);
}

async function read(download) {
  let text = "";
  for await (const chunk of await download.createReadStream()) text += chunk;
  return text;
}
