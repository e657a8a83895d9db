// Scopes: make one, generate its key, rotate it and watch, regenerate it and see that nothing it sealed is used again, delete it.
import assert from "node:assert/strict";
import { looks } from "../browser.mjs";

export default async function (b) {
  const as = { as: b.arguments.token };
  for (const look of [...looks({ js: [true], scheme: ["light"], width: [1280] }), ...looks({ js: [false], scheme: ["dark"], width: [320] })]) {
    const scope = `s${look.width}-${look.scheme}-${look.js ? "js" : "plain"}`;
    await b.visit(look, async (page) => {
      await b.check("a scope is made, and its key generated", async () => {
        await page.goto("/scopes");
        await page.getByRole("link", { name: "New scope" }).click();
        await page.getByLabel("Name").fill(scope);
        await page.getByLabel("Description").fill("Of <i>one</i> team");
        await page.getByLabel("Generate its key at once").uncheck();
        await page.getByRole("button", { name: "Create scope" }).click();
        await page.getByText("Without a key the scope can hold no credential.").waitFor();
      });
      await b.scan(page, "the page of a scope without a key");
      await b.check("its key is generated", async () => {
        await page.getByRole("button", { name: "Generate key" }).click();
        await page.getByText(`Generated the key of ${scope}.`).waitFor();
        await page.getByText("ready").waitFor();
      });

      await b.cli("s3cret", "credential", "create", `${scope}/crm`, "--kind", "bearer", "--domain", "*.example.com", "--private");
      await b.cli("", "caller", "bind", "billing", scope);
      await b.cli("", "grant", "add", `${scope}/crm`, "app:billing", "use");
      const use = { credential: `${scope}/crm`, url: `http://hooks.example.com/${scope}` };
      assert.equal((await b.call("send", use)).status, 200);

      await b.check("its key is rotated, and what it sealed is used as before", async () => {
        await page.getByRole("button", { name: "Rotate" }).click();
        await page.getByText(`Rotated the key of ${scope}.`).waitFor();
        assert.match(await page.locator("#key").innerText(), /Version\s+2/);
        assert.equal((await b.call("send", use)).status, 200);
      });
      await b.scan(page, "the page of a scope");

      await b.check("a rotation that takes long shows how far it is, and use goes on", async () => {
        await b.call("stall");
        await page.getByRole("button", { name: "Rotate" }).click();
        await page.getByText(`Rotating the key of ${scope}.`).waitFor();
        await page.locator("progress").waitFor();
        await b.until("it waits", async () => {
          if (!look.js) await page.getByRole("link", { name: "Refresh" }).click();
          return page.getByText("It waits.").isVisible();
        });
        assert.equal((await b.call("send", use)).status, 200);
      });
      await b.scan(page, "the page of a scope whose key is being rotated");
      await b.check("and tells when it is done", async () => {
        await b.call("resume");
        await b.until("it is done", async () => {
          if (!look.js && await page.locator("progress").isVisible()) await page.getByRole("link", { name: "Refresh" }).click();
          return !(await page.locator("progress").isVisible()) && /Version\s+3/.test(await page.locator("#key").innerText());
        });
      });

      await b.check("regenerating tells first what dies", async () => {
        await page.getByRole("link", { name: "Regenerate…" }).click();
        await page.getByText("This destroys 1 credential for good").waitFor();
        await page.getByRole("rowheader", { name: "crm" }).waitFor();
      });
      await b.scan(page, "what a regenerate would destroy");
      await b.check("it takes the name and the count, and nothing is lost without", async () => {
        await page.getByRole("button", { name: "Go on…" }).click();
        await page.getByLabel("Type the scope’s name").fill("other");
        await page.getByLabel("Type how many").fill("1");
        page.watch.expect(400, 409);
        await page.getByRole("button", { name: "Destroy and regenerate" }).click();
        await page.getByText("This is not the name of the scope.").waitFor();
        await page.getByLabel("Type the scope’s name").fill(scope);
        await page.getByLabel("Type how many").fill("7");
        await page.getByRole("button", { name: "Destroy and regenerate" }).click();
        await page.getByText("This is not how many there are").waitFor();
        assert.equal((await b.call("send", use)).status, 200);
      });
      await b.scan(page, "the confirmation of a regenerate, with what is wrong");
      await b.check("confirmed, it is done, and the use is refused", async () => {
        await page.getByLabel("Type how many").fill("1");
        await page.getByRole("button", { name: "Destroy and regenerate" }).click();
        await page.getByText(`Regenerated the key of ${scope}. 1 credential destroyed.`).waitFor();
        await b.until("it is done", async () => {
          if (!look.js && await page.locator("progress").isVisible()) await page.getByRole("link", { name: "Refresh" }).click();
          return /Generation\s+2/.test(await page.locator("#key").innerText());
        });
        assert.equal((await b.call("send", use)).code, "credential_forbidden");
      });

      await b.check("a description that another changed meanwhile is kept beside theirs", async () => {
        await page.getByRole("link", { name: "Edit" }).click();
        await page.getByLabel("Description").fill("mine");
        await b.cli("", "scope", "edit", scope, "--description", "theirs");
        page.watch.expect(412);
        await page.getByRole("button", { name: "Save" }).click();
        await page.getByText("There is now: theirs").first().waitFor();
        assert.equal(await page.getByLabel("Description").inputValue(), "mine");
      });
      await b.scan(page, "the form of a scope that another changed");
      await b.check("saved again, it is mine", async () => {
        await page.getByRole("button", { name: "Save" }).click();
        await page.getByText(`Changed scope ${scope}.`).waitFor();
        await page.getByText("mine").waitFor();
      });

      await b.check("the scope is deleted", async () => {
        await page.getByRole("link", { name: "Delete…" }).click();
        await page.getByLabel("Type the scope’s name").fill(scope);
        await page.getByLabel("Type how many").fill("0");
      });
      await b.scan(page, "the form that deletes a scope");
      await b.check("and its name is gone from the list", async () => {
        await page.getByRole("button", { name: "Delete the scope" }).click();
        await page.getByText(`Deleted scope ${scope}.`).waitFor();
        assert.equal(await page.getByRole("link", { name: scope, exact: true }).count(), 0);
      });
      await b.scan(page, "the list of scopes");
    }, as);
  }
}
