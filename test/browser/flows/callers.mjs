// Callers and operators: make them, use the token that is shown this once, rotate it with an overlap, take it back, and who may not see any of it.
import assert from "node:assert/strict";
import { looks } from "../browser.mjs";

export default async function (b) {
  const as = { as: b.arguments.token };
  for (const look of [...looks({ js: [true], scheme: ["light"], width: [1280] }), ...looks({ js: [false], scheme: ["dark"], width: [320] })]) {
    const name = `a${look.width}-${look.scheme}-${look.js ? "js" : "plain"}`;
    const to = `http://hooks.example.com/${name}`;
    await b.visit(look, async (page) => {
      /** The line of the page that begins so. */
      const line = async (start) => (await page.locator(".copy code").allInnerTexts()).find((text) => text.startsWith(start));
      const lines = [];

      await b.check("what is wrong in the form is told at its field, and what was typed stays", async () => {
        await page.goto("/callers/+new");
        await page.getByLabel("Name").fill(name);
        await page.getByLabel("Rate").fill("fast");
        page.watch.expect(400);
        await page.getByRole("button", { name: "Create caller" }).click();
        await page.locator("#rate-error").waitFor();
        assert.equal(await page.getByLabel("Name").inputValue(), name);
      });
      await b.scan(page, "the form of a caller, with what is wrong");

      await b.check("a caller is made, and its token shown", async () => {
        await page.getByLabel("Rate").fill("1000/s");
        await page.getByText("docs", { exact: true }).click();
        await page.getByRole("button", { name: "Create caller" }).click();
        await page.getByText("It is shown this once.").waitFor();
        lines.push(await line("HTTP_PROXY=http://_:"));
        assert.match(lines[0], /^HTTP_PROXY=http:\/\/_:kb_[a-z2-7]{52}@127(\.\d+){3}:\d+$/);
      });
      await b.scan(page, "the page that shows a token");
      await b.check("with its line an app sends, once it has been given a permission", async () => {
        assert.equal(await b.call("through", lines[0], "docs/crm", to), 403);
        await b.cli("", "grant", "add", "docs/crm", `app:${name}`, "use");
        assert.equal(await b.call("through", lines[0], "docs/crm", to), 200);
      });
      await b.check("reloaded, the page makes no second token and shows none", async () => {
        page.watch.expect(409);
        await page.reload();
        await page.getByText("This form was sent already").waitFor();
        b.secrets.push(lines[0].match(/kb_[a-z2-7]+/)[0]);
      });
      await b.scan(page, "the form that was sent twice");

      await b.check("its page tells of the use", async () => {
        await b.until("the ledger has heard of it", async () => {
          await page.goto(`/callers/${name}`);
          return /Last used\s+just now/.test(await page.locator(".facts").first().innerText());
        });
        await page.getByRole("link", { name: "docs/crm" }).waitFor();
        assert.equal(await page.locator("tbody tr").filter({ hasText: "tok_" }).count(), 1);
      });
      await b.scan(page, "the page of a caller");

      await b.check("a second token is made, and the older one stays good for a day", async () => {
        await page.getByRole("link", { name: "New token" }).click();
        assert.ok(await page.getByLabel("24 hours").isChecked());
      });
      await b.scan(page, "the form of a new token");
      await b.check("the lines are for the credential that it may use", async () => {
        await page.getByRole("button", { name: "Make token" }).click();
        await page.getByText("It is shown this once.").waitFor();
        lines.push(await line("HTTP_PROXY=http://docs%2Fcrm:"));
        assert.equal(await b.call("through", lines[1], "", to), 200);
        assert.equal(await b.call("through", lines[0], "docs/crm", to), 200);
        b.secrets.push(lines[1].match(/kb_[a-z2-7]+/)[0]);
        await page.getByRole("link", { name: "I have copied it" }).click();
      });
      await b.check("the page tells that the older one is still in use, and then that it is not", async () => {
        await b.until("the use of the older one is told", async () => {
          await page.goto(`/callers/${name}`);
          return page.getByText("An older token is still in use").isVisible();
        });
      });
      await b.scan(page, "the page of a caller with two tokens");

      await b.check("the older one is revoked", async () => {
        const older = page.locator("tbody tr", { hasText: "ending" });
        await older.getByRole("link", { name: "Revoke…" }).click();
        await page.getByRole("heading", { name: `Revoke a token of ${name}` }).waitFor();
      });
      await b.scan(page, "the form that revokes a token");
      await b.check("and refused, while the newer one is good", async () => {
        await page.getByRole("button", { name: "Revoke it" }).click();
        await page.getByText(`Revoked a token of ${name}.`).waitFor();
        assert.equal(await b.call("through", lines[0], "docs/crm", to), 407);
        assert.equal(await b.call("through", lines[1], "", to), 200);
      });

      await b.check("two who edit at once: the second is told, and nothing is lost", async () => {
        await page.getByRole("link", { name: "Edit" }).click();
        await page.getByLabel("Description").fill("mine");
        await b.visit(look, async (other) => {
          await other.goto(`/callers/${name}/edit`);
          await other.getByLabel("Description").fill("theirs");
          await other.getByRole("button", { name: "Save" }).click();
          await other.getByText(`Changed caller ${name}.`).waitFor();
        }, as);
        page.watch.expect(412);
        await page.getByRole("button", { name: "Save" }).click();
        await page.getByText("There is now: theirs").first().waitFor();
        assert.equal(await page.getByLabel("Description").inputValue(), "mine");
      });
      await b.scan(page, "the form of a caller that another changed");

      await b.check("disabled, it is refused; enabled, it is not", async () => {
        await page.goto(`/callers/${name}`);
        await page.getByRole("button", { name: "Disable" }).click();
        await page.getByText(`Disabled ${name}.`).waitFor();
        assert.equal(await b.call("through", lines[1], "", to), 407);
        await page.getByRole("button", { name: "Enable" }).click();
        await page.getByText(`Enabled ${name}.`).waitFor();
        assert.equal(await b.call("through", lines[1], "", to), 200);
      });
      await b.check("it is found by a part of its name", async () => {
        await page.goto("/callers");
        await page.getByPlaceholder("Name or description").fill(name.slice(0, -1));
        if (!look.js) await page.getByRole("button", { name: "Search" }).click();
        await page.getByRole("link", { name: "billing" }).waitFor({ state: "detached" });
        await page.getByRole("link", { name }).waitFor();
      });
      await b.scan(page, "the list of callers");
      await b.check("it is deleted by its name", async () => {
        await page.getByRole("link", { name }).click();
        await page.getByRole("link", { name: "Delete…" }).click();
        await page.getByLabel("Type its name").fill("other");
        page.watch.expect(400);
        await page.getByRole("button", { name: "Delete the caller" }).click();
        await page.locator("#confirm-error").waitFor();
      });
      await b.scan(page, "the form that deletes a caller, with what is wrong");
      await b.check("and refused from then on", async () => {
        await page.getByLabel("Type its name").fill(name);
        await page.getByRole("button", { name: "Delete the caller" }).click();
        await page.getByText(`Deleted caller ${name}.`).waitFor();
        assert.equal(await b.call("through", lines[1], "", to), 407);
      });

      let token;
      await b.check("an operator is made with roles and groups", async () => {
        await page.goto("/operators/+new");
        await page.getByLabel("Name").fill(name);
        await page.getByText("docs", { exact: true }).click();
        await page.getByLabel("Groups").fill("sales\nsupport");
      });
      await b.scan(page, "the form of an operator");
      await b.check("whose token is shown", async () => {
        await page.getByRole("button", { name: "Create operator" }).click();
        await page.getByText("It is shown this once.").waitFor();
        token = (await page.locator(".copy code").first().innerText()).trim();
        assert.match(token, /^kbo_[a-z2-7]{52}$/);
        b.secrets.push(token);
        await page.getByRole("link", { name: "I have copied it" }).click();
        await page.getByText("scope admin of").waitFor();
      });
      await b.scan(page, "the page of an operator");
      await b.check("who is let in, sees that scope, and no callers and operators", async () => {
        await b.visit(look, async (other) => {
          await other.goto("/scopes");
          await other.getByRole("link", { name: "docs", exact: true }).waitFor();
          assert.equal(await other.getByRole("link", { name: "Global" }).count(), 0);
          assert.equal(await other.locator(".menu").getByText("Callers").count(), 0);
          other.watch.expect(403);
          await other.waitForLoadState("networkidle");
          await other.goto("/callers");
          await other.getByText("This needs the role instance-admin.").waitFor();
          await b.scan(other, "a page that one may not see");
          other.watch.expect(403);
          await page.goto(`/operators/${name}`);
          await page.getByRole("button", { name: "Disable" }).click();
          await page.getByText(`Disabled ${name}`).first().waitFor();
          await other.goto("/scopes");
          await other.getByLabel("Operator token").waitFor();
        }, { as: token });
      });
      await b.check("and is deleted", async () => {
        await page.getByRole("link", { name: "Delete…" }).click();
        await page.getByLabel("Type the name").fill(name);
        await page.getByRole("button", { name: "Delete the operator" }).click();
        await page.getByText(`Deleted operator ${name}.`).waitFor();
      });
      await b.scan(page, "the list of operators");
    }, as);
  }
}
