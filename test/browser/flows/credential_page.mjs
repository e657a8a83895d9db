// One credential, from its first grant to its end: what is done on its pages holds for the next request through the proxy.
import assert from "node:assert/strict";
import { looks } from "../browser.mjs";

export default async function (b) {
  const hook = "http://hooks.example.com/hook";
  const [wide] = looks({ js: [true], scheme: ["light"], width: [1280] });
  const secrets = { first: "first-secret-1", second: "second-secret-2" };
  b.secrets.push(...Object.values(secrets));

  let round = 0;
  for (const look of looks().filter((l) => l.js === (l.scheme === "light") && l.js === (l.width === 1280))) { // wide and light with, narrow and dark without JavaScript
    const name = `page-${++round}`;
    const credential = `docs/${name}`;
    const base = `/credentials/docs/${name}`;
    await b.cli(secrets.first, "credential", "create", credential, "--kind", "bearer", "--domain", "hooks.example.com/hook", "--private");
    const send = (more) => b.call("send", { credential, url: hook, ...more });
    const arrived = async () => (await b.call("arrived")).filter((a) => a.target.endsWith(name));

    await b.visit(look, async (page) => {
      const button = (text) => page.getByRole("button", { name: text, exact: true });
      const said = (text) => page.getByText(text, { exact: false }).first().waitFor();
      const tab = (text) => page.getByRole("navigation", { name: credential }).getByRole("link", { name: text }).click();

      await b.check("an admin of the scope is told what is lacking, and grants it to themselves", async () => {
        await page.goto(base);
        await said("No app may use it yet");
        await tab("Permissions");
        await said("You hold nothing on this credential. It takes administer");
        await button("Grant administer to yourself").click();
        await said("user:ada holds administer now.");
      });
      await b.scan(page, "the page of permissions");

      await b.check("a check says what is missing, and its fix is one click away", async () => {
        assert.equal((await send()).code, "credential_forbidden");
        await tab("Check");
        await page.getByLabel("App").fill("billing");
        await page.getByLabel("Method").selectOption("POST");
        await page.getByLabel("URL").fill("https://hooks.example.com/hook");
        await button("Check").click();
        await said("Refused: the caller has no grant");
        await b.scan(page, "the answer of a check");
        await page.getByRole("link", { name: "Grant use to app:billing" }).click();
        assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "billing");
        await button("Grant").click();
        await said("app:billing holds use now.");
        assert.equal((await send()).status, 200);
      });

      await b.check("a test request is sent with the secret, as the app", async () => {
        await page.goto(`${base}/check?caller=billing&method=POST&url=${encodeURIComponent(`https://hooks.example.com/hook?${name}`)}`);
        await said("Allowed");
        await page.getByRole("button", { name: "Send POST once" }).click();
        await said("The destination answered 200");
        const [got] = await b.until("nginx has it", async () => { const all = await arrived(); return all.length && all; });
        assert.equal(got.header.Authorization, `Bearer ${secrets.first}`);
        assert.equal(got.method, "POST");
      });
      await b.scan(page, "the answer to a test request");

      await b.check("an edit that widens asks for the secret, and keeps what was typed", async () => {
        await page.goto(`${base}/edit`);
        await page.getByLabel("Description").fill(`of ${name}`);
        await page.getByRole("radio", { name: "Another header" }).check();
        await page.getByLabel("Header", { exact: false }).last().fill("x-api-key");
        page.watch.expect(409);
        await button("Save").click();
        await said("The secret was not given for this");
        assert.equal(await page.getByLabel("Description").inputValue(), `of ${name}`);
      });
      await b.scan(page, "the form that asks for the secret");
      await b.check("with the secret it holds for the next request", async () => {
        await page.getByLabel("Secret", { exact: true }).fill(secrets.first);
        await button("Save").click();
        await said("X-Api-Key: ••••");
        assert.equal((await send({ url: `${hook}?edit-${name}` })).status, 200);
        const all = await b.until("nginx has it", async () => { const all = await arrived(); return all.length === 2 && all; });
        assert.equal(all[1].header["X-Api-Key"], secrets.first);
      });
      await b.scan(page, "the page of the credential");

      await b.check("the secret is replaced, and rolled back", async () => {
        await page.getByRole("link", { name: "Replace the secret" }).click();
        await page.getByLabel("Secret", { exact: true }).fill(secrets.second);
        await button("Replace the secret").click();
        await said("Version 2 is kept for a rollback.");
        await send({ url: `${hook}?new-${name}` });
        await button("Roll back to version 2").click();
        await said("Rolled back to version 2.");
        await send({ url: `${hook}?old-${name}` });
        const all = await b.until("nginx has them", async () => { const all = await arrived(); return all.length === 4 && all; });
        assert.deepEqual(all.slice(2).map((a) => a.header["X-Api-Key"]), [secrets.second, secrets.first]);
      });

      await b.check("a domain is shown with examples before it is added, with the secret", async () => {
        assert.equal((await send({ url: "http://hooks.example.com/other" })).code, "destination_not_allowed");
        await tab("Domains");
        await page.getByRole("link", { name: "Add a domain" }).click();
        await page.getByLabel("Domains to add").fill("HTTPS://Hooks.example.com/other private");
        await button("Continue").click();
        await said("You typed");
        await b.scan(page, "the domains to add");
        await page.getByLabel("Secret", { exact: true }).fill(secrets.first);
        await button("Add").click();
        await said("https://hooks.example.com/other");
        assert.equal((await send({ url: "http://hooks.example.com/other" })).status, 200);
      });
      await b.scan(page, "the page of domains");

      await b.check("two who edit: the second is told, and nothing is lost", async () => {
        await page.goto(`${base}/edit`);
        await page.getByLabel("Description").fill("ada's words");
        await page.getByLabel("Let cookies through").check();
        await b.cli("", "grant", "add", credential, "user:bo", "edit");
        await b.visit(wide, async (other) => {
          await other.goto(`${base}/edit`);
          await other.getByLabel("Description").fill("bo's words");
          await other.getByLabel("Scrub answers").check();
          await other.getByRole("button", { name: "Save" }).click();
          await other.getByText("Saved.").waitFor();
        }, { as: b.arguments.bo });
        page.watch.expect(412);
        await button("Save").click();
        await said("Nothing that you typed is lost");
        await said("bo edited it");
        await page.getByRole("row", { name: "Description bo's words ada's words" }).waitFor();
        assert.equal(await page.getByLabel("Description").inputValue(), "ada's words");
        assert.ok(await page.getByLabel("Let cookies through").isChecked());
        assert.ok(await page.getByLabel("Scrub answers").isChecked());
      });
      await b.scan(page, "the form that tells of another's change");
      await b.check("and saving again keeps both", async () => {
        await button("Save again").click();
        await said("Saved.");
        await said("ada's words");
        await said("answers come back without the secret");
        await said("cookies reach the destination");
      });

      await b.check("a trial of narrower domains refuses nothing, and is ended", async () => {
        await page.goto(`${base}/domains/try`);
        await page.getByLabel("Domains to try").fill("https://hooks.example.com/other private");
        await button("Continue").click();
        await button("Begin the trial").click();
        await said("nothing is refused by it");
        assert.equal((await send()).status, 200);
        await b.until("the trial has counted it", async () => { await page.reload(); return page.getByText("destination_not_allowed").first().isVisible(); });
      });
      await b.scan(page, "a trial");
      await b.check("the trial is ended", async () => {
        await button("End the trial").click();
        await said("The trial is over");
      });

      await b.check("usage and history tell of it", async () => {
        await tab("Usage");
        await said("app:");
        await b.scan(page, "the page of usage");
        await tab("History");
        await said("rolled the secret back");
      });
      await b.scan(page, "the page of history");

      await b.check("disabling refuses the next request, and enabling takes it back", async () => {
        await tab("Danger zone");
        await b.scan(page, "the danger zone");
        await button("Disable it").click();
        await said("Disabled: every use is refused from now on.");
        assert.equal((await send()).code, "credential_disabled");
        await page.goto(base);
        await b.scan(page, "the page of a disabled credential");
        await button("Enable it").click();
        await said("Enabled: it can be used again.");
        assert.equal((await send()).status, 200);
      });

      await b.check("it is deleted by its name, and restored", async () => {
        await page.goto(`${base}/danger`);
        await page.getByLabel(`Type ${name} to delete it`).fill("wrong");
        page.watch.expect(400);
        await page.getByRole("button", { name: `Delete ${credential}` }).click();
        await said("This is not the credential's name");
      });
      await b.check("with its name and a second word it goes", async () => {
        await page.getByLabel(`Type ${name} to delete it`).fill(name);
        const force = page.getByLabel("Delete it although it was used in the last 30 days");
        await force.check();
        await page.getByRole("button", { name: `Delete ${credential}` }).click();
        await said("It can be restored until");
        assert.notEqual((await send()).status, 200);
      });
      await b.scan(page, "the page of a deleted credential");
      await b.check("and comes back as it was", async () => {
        await button("Restore it").click();
        await said("Restored, as it was.");
        assert.equal((await send()).status, 200);
      });
    }, { as: b.arguments.token });
  }
}
