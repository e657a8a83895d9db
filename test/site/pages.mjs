// The documentation's site: every page loads clean and fits a phone; six of them are looked at closely in each scheme; and what a reader does on
// the way works.
import assert from "node:assert/strict";
import { looks } from "../browser/browser.mjs";

const closely = ["/", "/quickstart.html", "/vault.html", "/errors.html", "/decisions/", "/screens/"];

/** Opens a page, and waits until its scripts have taken it over. */
async function open(page, path) {
  await page.goto(path);
  await page.waitForFunction(() => document.querySelector("#app").__vue_app__);
}

export default async function (b) {
  const { pages, version } = b.arguments;
  const [narrow] = looks({ js: [true], scheme: ["light"], width: [320] });
  const [wide] = looks({ js: [true], scheme: ["light"], width: [1280] });

  await b.visit(narrow, async (page) => {
    for (const name of pages.filter((p) => p !== "404.html")) {
      await b.attempt(`${name} loads clean and fits`, async () => {
        await page.goto(`/${name}`, { waitUntil: "load" });
        await page.locator(".vp-doc h1").waitFor();
        const { content, window } = await page.evaluate(() => ({ content: document.scrollingElement.scrollWidth, window: innerWidth }));
        assert.ok(content <= window, `${content} px of content in a window of ${window} px`);
        const problems = [...new Set(page.watch.take())];
        assert.equal(problems.length, 0, problems.slice(0, 5).join("\n"));
      });
    }
    await b.check("every page was opened", () => assert.equal(page.url(), `${b.url}/${pages.at(-1)}`));
  });

  for (const look of looks({ js: [true] }).filter((l) => l.scheme === "light" || l.width === 1280)) {
    await b.visit(look, async (page) => {
      for (const path of closely) {
        await page.goto(path);
        await b.scan(page, path);
      }
    });
  }

  await b.visit(wide, async (page) => {
    await b.check("the head says the version", async () => {
      await open(page, "/");
      assert.equal(await page.locator(".version").innerText(), version);
    });
    await b.check("the search finds what is written about regenerating", async () => {
      await page.keyboard.press("/");
      await page.locator("#localsearch-input").fill("regenerate");
      await page.locator("#localsearch-list a", { hasText: /regenerate/i }).first().waitFor();
    });
    await b.check("what was found is opened", async () => {
      await page.locator("#localsearch-list a", { hasText: /regenerate/i }).first().click();
      await page.locator(".vp-doc").getByText(/regenerat/i).first().waitFor();
    });
    await b.check("a code of an error is found as it stands", async () => {
      await page.keyboard.press("/");
      await page.locator("#localsearch-input").fill("credential_needs_secret");
      await page.locator("#localsearch-list a", { hasText: /errors/i }).first().waitFor();
      await page.keyboard.press("Escape");
    });
    await b.check("a block of code is copied", async () => {
      await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
      await open(page, "/quickstart.html");
      const block = page.locator("div.language-sh").first();
      await block.hover();
      await block.getByRole("button", { name: "Copy" }).click();
      await block.locator("button.copied").waitFor();
      assert.equal((await page.evaluate(() => navigator.clipboard.readText())).trim(), (await block.locator("code").innerText()).trim());
    });
    await b.check("a Caddyfile has colours", async () => {
      await open(page, "/caddyfile.html");
      await page.locator(".language-caddyfile .keyword", { hasText: "keybearer" }).first().waitFor();
    });
    await b.check("the other scheme is a click away, and stays", async () => {
      const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const light = await ground();
      await page.locator(".VPSwitchAppearance").first().click();
      await b.until("it is dark", async () => (await ground()) !== light);
      await open(page, "/vault.html");
      assert.notEqual(await ground(), light);
    });
    await b.check("the list of pages shows where one is", async () => {
      await open(page, "/soak.html");
      await b.until("it is rolled there", () => page.locator(".VPSidebarItem.is-active > .item").evaluate((e) => {
        const { top, bottom } = e.getBoundingClientRect();
        return top > 0 && bottom < innerHeight;
      }));
    });
    await b.check("a page that is not there is told, with a way on", async () => {
      page.watch.expect(404);
      await open(page, "/none/at/all.html");
      await page.getByText("Page not found").waitFor();
      await page.getByRole("link", { name: "To the first page" }).click();
      await page.locator(".vp-doc h1").waitFor();
    });
  });

  await b.visit(narrow, async (page) => {
    await b.check("on a phone the list of pages opens, and leads on", async () => {
      await open(page, "/");
      await page.getByRole("button", { name: "Menu" }).click();
      await page.locator(".VPSidebar").getByRole("link", { name: "Quickstart" }).click();
      await page.locator(".vp-doc h1", { hasText: "Quickstart" }).waitFor();
    });
  });

  const [still] = looks({ js: [false], scheme: ["light"], width: [1280] });
  await b.visit(still, async (page) => {
    await b.check("without JavaScript the pages are there, and lead to each other", async () => {
      await page.goto("/");
      await page.locator(".VPSidebar").getByRole("link", { name: "Quickstart" }).click();
      await page.locator(".vp-doc h1", { hasText: "Quickstart" }).waitFor();
      // Scripts that a page names ahead count as failed where none is run.
      assert.deepEqual(page.watch.take().filter((problem) => !/^failed request: GET .*\.js: csp$/.test(problem)), []);
    });
  });
}
