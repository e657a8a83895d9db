import assert from "node:assert/strict";
import { looks, pairs } from "../browser.mjs";

const focused = (page) => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.name || document.activeElement.tagName);

export default async function (b) {
  for (const look of looks({ scheme: ["light"], js: [true] })) {
    await b.visit(look, async (page) => {
      await page.goto("/credentials");
      await b.check("/ goes to the search field, and is not typed into it", async () => {
        await page.keyboard.press("/");
        assert.equal(await focused(page), "q");
        assert.equal(await page.getByLabel("Search").inputValue(), "");
      });
      await b.check("what is typed into a field is no key", async () => {
        await page.keyboard.type("cgl?/");
        assert.equal(await page.getByLabel("Search").inputValue(), "cgl?/");
        assert.equal(await page.getByRole("dialog").count(), 0);
      });
      await b.check("? shows the keys", async () => {
        await page.goto("/credentials");
        const link = page.getByRole("link", { name: "docs/crm" });
        await link.focus();
        await page.keyboard.press("?");
        await page.getByRole("dialog", { name: "Keys" }).waitFor();
      });
      await b.scan(page, "the list with the keys shown");
      await b.check("Escape closes them and gives the focus back", async () => {
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "hidden" });
        assert.equal(await focused(page), "docs/crm");
      });
      if (look.width === 1280) {
        await b.check("the link to the keys shows them too, and is where the focus is afterwards", async () => {
          await page.getByRole("link", { name: "Keys" }).click();
          await page.getByRole("button", { name: "Close" }).click();
          await page.getByRole("dialog").waitFor({ state: "hidden" });
          assert.equal(await focused(page), "? Keys");
        });
      }
      await b.check("c creates", async () => {
        await page.keyboard.press("c");
        await page.getByRole("heading", { name: "New credential" }).waitFor();
      });
      await b.check("g l goes to the list", async () => {
        await page.keyboard.press("g");
        await page.keyboard.press("l");
        await page.getByRole("heading", { name: "Credentials", exact: true }).waitFor();
      });
      await b.check("a key between ends a sequence, and Ctrl and the like make others of them", async () => {
        await page.goto("/credentials/new");
        for (const key of ["g", "x", "l", "Control+g", "l", "Alt+c", "l"]) await page.keyboard.press(key);
        assert.equal(new URL(page.url()).pathname, "/credentials/new");
      });
      await b.check("who has no use for the keys switches them off, for the next page too", async () => {
        await page.keyboard.press("?");
        await page.getByRole("dialog").getByRole("checkbox", { name: "Keys do these things" }).uncheck();
        await page.keyboard.press("Escape");
        await page.goto("/credentials");
        await page.keyboard.press("c");
        await page.keyboard.press("/");
        assert.equal(await page.evaluate(() => document.activeElement.tagName), "BODY");
        await page.goto("/help/keys");
        await page.locator("main").getByRole("checkbox", { name: "Keys do these things" }).check();
        await page.keyboard.press("?");
        await page.getByRole("dialog", { name: "Keys" }).waitFor();
      });
    }, { as: b.arguments.token });
  }
  for (const look of pairs) {
    await b.visit(look, async (page) => {
      await page.goto("/credentials");
      await b.check("the first stop of Tab leads to the content", async () => {
        await page.keyboard.press("Tab");
        assert.equal(await focused(page), "Skip to the content");
        assert.ok(await page.getByRole("link", { name: "Skip to the content" }).isVisible());
        await page.keyboard.press("Enter");
        await page.keyboard.press("Tab");
        assert.equal(await focused(page), "New credential");
      });
      await b.check("Tab stops at everything, in the order of the page, and shows where it is", async () => {
        await page.goto("/credentials/new");
        const stops = await tabThrough(page);
        const unseen = stops.filter((s) => !s.seen);
        assert.deepEqual(unseen, [], "no outline shows the focus");
        assert.deepEqual(stops.map((s) => s.index), stops.map((s) => s.index).toSorted((x, y) => x - y), "the order is another one");
        assert.ok(stops.length > 12, `only ${stops.length} stops`);
      });
      await b.check("a form is sent by keys alone, and the focus is on what went wrong, which leads to the field", async () => {
        page.watch.expect(400);
        await page.getByRole("textbox", { name: "Name", exact: true }).fill("Not a name!");
        await page.getByRole("radio", { name: "Bearer" }).focus();
        await page.keyboard.press("Space");
        await page.locator("#secret").fill("a-secret");
        await page.keyboard.press("Enter");
        await b.until("the problem has the focus", () => page.getByRole("alert").evaluate((e) => e === document.activeElement));
        await page.keyboard.press("Tab");
        await page.keyboard.press("Enter");
        await page.keyboard.press("Tab");
        await page.keyboard.press("Shift+Tab");
        assert.equal(await focused(page), "name");
      });
    }, { as: b.arguments.token });
  }
}

/** Presses Tab until the focus is back where it began, and gives the stops: their place in the document, and whether something shows the focus. */
async function tabThrough(page) {
  const stops = [];
  for (;;) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const e = document.activeElement;
      const outlined = (x) => getComputedStyle(x).outlineStyle !== "none" && parseFloat(getComputedStyle(x).outlineWidth) >= 2;
      return {
        name: e.name || e.textContent.trim(), index: [...document.querySelectorAll("*")].indexOf(e), end: e === document.body,
        seen: (outlined(e) || e.closest("label") !== null && outlined(e.closest("label"))) && e.getClientRects().length > 0,
      };
    });
    if (stop.end || stops.some((s) => s.index === stop.index)) return stops;
    stops.push(stop);
  }
}
