import assert from "node:assert/strict";
import { looks } from "../browser.mjs";

export default async function (b) {
  const { token, elsewhere } = b.arguments;
  for (const look of looks({ scheme: ["light"] })) {
    await b.visit(look, async (page) => {
      await b.check("who is not signed in is asked to, whatever page they want", async () => {
        await page.goto("/credentials?q=crm&kind=bearer");
        assert.equal(new URL(page.url()).pathname, "/sign-in");
        await b.until("the field has the focus", () => page.getByLabel("Operator token").evaluate((e) => e === document.activeElement));
      });
      await b.scan(page, "sign-in");

      page.watch.expect(401);
      await b.check("a wrong token is told of at its field, and not repeated", async () => {
        await page.getByLabel("Operator token").fill("kbo_wrong-token-of-nobody");
        await page.getByRole("button", { name: "Sign in" }).click();
        const field = page.getByLabel("Operator token");
        await page.locator("#token-error").waitFor();
        assert.equal(await field.getAttribute("aria-invalid"), "true");
        assert.match(await field.getAttribute("aria-describedby"), /token-error/);
        assert.equal(await field.inputValue(), "");
        assert.doesNotMatch(await page.content(), /kbo_wrong-token/);
      });
      await b.scan(page, "sign-in with a wrong token");

      await b.check("after it the page is there that was wanted", async () => {
        await page.getByLabel("Operator token").fill(token);
        await page.keyboard.press("Enter");
        await page.getByRole("heading", { name: "Credentials" }).waitFor();
        assert.equal(new URL(page.url()).search, "?q=crm&kind=bearer");
      });
      await b.check("the cookie is one that no script reads, no other site sends and no other host sets", async () => {
        const [cookie, ...more] = await page.context().cookies();
        assert.deepEqual(more, []);
        const { name, secure, httpOnly, sameSite, path, expires } = cookie;
        assert.deepEqual({ secure, httpOnly, sameSite, path, expires }, { secure: true, httpOnly: true, sameSite: "Strict", path: "/", expires: -1 });
        assert.match(name, /^__Host-/);
      });
      await b.check("who follows a link on another site's page is still signed in", async () => {
        await page.goto(elsewhere);
        await page.getByRole("link").click();
        await page.getByRole("heading", { name: "Credentials" }).waitFor();
        page.watch.take(); // the other site's page is a foreign request
      });
      await b.check("another site's page cannot send a form of ours", async () => {
        page.watch.expect(403);
        await page.goto(elsewhere);
        await page.getByRole("button").click();
        await page.getByText("asked for by another site").waitFor();
        page.watch.take();
        await page.goto("/credentials");
        await page.getByRole("heading", { name: "Credentials" }).waitFor();
      });
      await b.check("who signs out is out, also when going back", async () => {
        await b.signOut(page);
        await page.getByLabel("Operator token").waitFor();
        await page.goBack();
        await page.getByLabel("Operator token").waitFor();
        assert.equal(await page.getByRole("heading", { name: "Credentials" }).count(), 0);
      });
      for (const to of ["//127.0.0.9/", "https://127.0.0.9/", "/\\127.0.0.9/", "javascript:alert(1)", "/%09/127.0.0.9"]) {
        await b.check(`a link to sign-in leads nowhere else: ${to}`, async () => {
          await page.goto(`/sign-in?next=${encodeURIComponent(to)}`);
          await page.getByLabel("Operator token").fill(token);
          page.watch.expect(404);
          await page.getByRole("button", { name: "Sign in" }).click();
          await b.signOut(page);
          await page.getByLabel("Operator token").waitFor();
          assert.equal(new URL(page.url()).origin, b.url);
        });
      }
    });
  }

  // A session that ends in the middle of a visit.
  for (const look of looks({ scheme: ["light"], width: [1280] })) {
    await b.visit(look, async (page) => {
      await b.signIn(page);
      await page.goto("/credentials?kind=bearer");
      await b.call("restart");
      await b.check("a session that ended leads to sign-in, and from there back to the page", async () => {
        await page.getByLabel("Search").fill("cr");
        if (!look.js) await page.keyboard.press("Enter");
        await page.getByLabel("Operator token").fill(token);
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.getByRole("heading", { name: "Credentials" }).waitFor();
        const at = new URL(page.url());
        assert.equal(at.pathname, "/credentials");
        assert.equal(at.searchParams.get("kind"), "bearer");
      });
      await page.goto("/credentials/new");
      await b.call("restart");
      await b.check("a form that is sent after the session ended leads back to the form", async () => {
        await page.getByRole("textbox", { name: "Name", exact: true }).fill("late");
        await page.getByRole("radio", { name: "Bearer" }).check();
        await page.locator("#secret").fill("late-secret");
        await page.getByRole("button", { name: "Create credential" }).click();
        await page.getByLabel("Operator token").fill(token);
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.getByRole("heading", { name: "New credential" }).waitFor();
      });
      await b.check("an operator who is disabled is out at the next click", async () => {
        const other = (await b.cli("", "operator", "create", `eve-${look.js}`, "--role", "instance-admin")).trim();
        await page.context().clearCookies();
        await b.signIn(page, other);
        await b.cli("", "operator", "disable", `eve-${look.js}`);
        await page.getByRole("link", { name: "Credentials", exact: true }).click();
        await page.getByLabel("Operator token").waitFor();
      });
    });
  }
}
