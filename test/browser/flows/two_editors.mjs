// Two people change the same credential at the same time: whoever is second is told, and loses nothing of what they typed.
import assert from "node:assert/strict";
import { looks } from "../browser.mjs";

export default async function (b) {
  const { token, other } = b.arguments;
  const save = (page) => page.getByRole("button", { name: /^Save/ }).click();
  const told = (page) => page.getByRole("alert").filter({ hasText: /changed this credential while you were editing/ });
  for (const [i, look] of looks({ scheme: ["light"] }).entries()) {
    await b.cli("", "credential", "edit", "docs/crm", "--description", `before ${i}`, "--scrub-body=false");
    await b.visit(look, async (first) => {
      await b.visit(look, async (second) => {
        second.watch.expect(409, 412);
        for (const page of [first, second]) await page.goto("/credentials/docs/crm/edit");
        await first.getByLabel("Description").fill(`by ada ${i}`);
        await second.getByLabel("Description").fill(`by eve ${i}`);
        await second.getByRole("checkbox", { name: "Scrub answers" }).check();
        await b.check("the first of two editors saves", async () => {
          await save(first);
          await first.getByText(`by ada ${i}`).first().waitFor();
        });
        await b.check("the second one is told by whom and of what, and nothing is saved", async () => {
          await save(second);
          await told(second).waitFor();
          assert.match(await told(second).innerText(), new RegExp(`ada[^]*by ada ${i}[^]*by eve ${i}`));
          assert.equal((await show(b)).description, `by ada ${i}`);
        });
        await b.check("what the second one typed is still in the form", async () => {
          assert.equal(await second.getByLabel("Description").inputValue(), `by eve ${i}`);
          assert.ok(await second.getByRole("checkbox", { name: "Scrub answers" }).isChecked());
        });
        await b.scan(second, "the form of the second one");
        await b.check("a third change before the second one saves again is told of too", async () => {
          await b.cli("", "credential", "edit", "docs/crm", "--description", `by the command line ${i}`);
          await save(second);
          await second.getByText(`by the command line ${i}`).first().waitFor();
          assert.equal(await second.getByLabel("Description").inputValue(), `by eve ${i}`);
          assert.equal((await show(b)).description, `by the command line ${i}`);
        });
        await b.check("who has seen what is there saves again, and it holds", async () => {
          await save(second);
          await second.getByText(`by eve ${i}`).first().waitFor();
          await told(second).waitFor({ state: "detached" });
          const now = await show(b);
          assert.equal(now.description, `by eve ${i}`);
          assert.equal(now.scrub_body, true);
        });
      }, { as: other });
    }, { as: token });
  }
}

const show = async (b) => JSON.parse(await b.cli("", "credential", "show", "docs/crm", "-o", "json"));
