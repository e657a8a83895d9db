// The list of credentials: searched as one types, filtered by its address, paged.
import assert from "node:assert/strict";
import { pairs } from "../browser.mjs";

export default async function (b) {
  const as = { as: b.arguments.token };
  await b.cli("", "credential", "disable", "docs/legacy");
  await b.cli("", "grant", "add", "global/pay-07", "app:billing", "use");
  for (const look of pairs) {
    const script = look.js !== false;
    await b.visit(look, async (page) => {
      const links = () => page.locator("#found table").first().locator("tbody th a").allInnerTexts();
      const choose = async (act) => {
        await act();
        if (!script) await page.getByRole("button", { name: "Filter" }).click();
      };

      await b.check("it is searched as one types, and keeps the focus", async () => {
        await page.goto("/credentials");
        await page.getByText("50 credentials on this page").waitFor();
        if (script) {
          await page.keyboard.press("/");
          await page.keyboard.type("pay-4");
          await page.getByRole("status").getByText("10 credentials").waitFor();
          assert.equal(await page.evaluate(() => document.activeElement.name), "q");
        } else {
          await page.getByLabel("Search").fill("pay-4");
          await page.getByRole("button", { name: "Filter" }).click();
          await page.getByText("10 credentials", { exact: true }).waitFor();
        }
        await page.waitForURL(/[?&]q=pay-4/);
        assert.equal((await links()).length, 10);
      });

      await b.check("filters are in the address, and come back with it", async () => {
        await page.goto("/credentials");
        await choose(() => page.getByLabel("Scope").selectOption("docs"));
        await page.waitForURL(/[?&]scope=docs/);
        await choose(() => page.getByLabel("Status").selectOption("disabled"));
        await page.waitForURL(/[?&]state=disabled/);
        await page.locator("#found").getByText("docs/legacy").waitFor();
        await page.locator("#found").getByText("docs/crm").waitFor({ state: "detached" });
        const address = page.url();
        await page.goto("/overview");
        await page.goto(address);
        assert.deepEqual(await links(), ["docs/legacy"]);
        assert.equal(await page.getByLabel("Status").inputValue(), "disabled");
      });
      await b.scan(page, "the list with filters");

      await b.check("a space shows the global ones that it may use", async () => {
        await page.goto("/credentials?scope=docs");
        const section = page.getByRole("region", { name: "Global, for use from docs" });
        await section.getByRole("link", { name: "global/pay-07" }).waitFor();
        assert.equal(await section.getByRole("link").count(), 1);
      });
      await b.scan(page, "the list of a space");

      await b.check("what matches nothing says so, and how to go on", async () => {
        await page.goto("/credentials?q=no-such-thing");
        await page.getByRole("link", { name: "Clear the filters" }).click();
        await page.getByText("50 credentials on this page").waitFor();
      });

      await b.check("pages follow each other", async () => {
        await page.getByRole("link", { name: "Next page" }).click();
        await page.getByText("on this last page").waitFor();
        await page.getByRole("link", { name: "First page" }).click();
        await page.getByRole("link", { name: "Next page" }).waitFor();
      });
      await b.scan(page, "the list");

      if (script) {
        await b.check("keys lead on", async () => {
          await page.keyboard.press("?");
          await page.getByRole("dialog", { name: "Keys" }).waitFor();
          await b.scan(page, "the keys");
          await page.keyboard.press("Escape");
          await page.keyboard.press("g");
          await page.keyboard.press("o");
          await page.waitForURL("**/overview");
          await page.keyboard.press("g");
          await page.keyboard.press("l");
          await page.waitForURL("**/credentials");
          await page.keyboard.press("c");
          await page.waitForURL("**/credentials/new");
        });
      }

      await b.check("the menu leads on where there is little room", async () => {
        const menu = page.getByRole("button", { name: "Menu" });
        if (await menu.isVisible()) await menu.click();
        await b.scan(page, "the menu");
        await page.getByRole("link", { name: "Audit" }).click();
        await page.waitForURL("**/audit");
      });
    }, as);
  }
}
