import assert from "node:assert/strict";
import { looks } from "../browser.mjs";

export default async function (b) {
  await b.check("the command line answers", async () => {
    assert.match(await b.cli("", "credential", "list"), /docs\/crm/);
  });
  await b.check("a request through the proxy arrives with its credential", async () => {
    assert.equal((await b.call("send", { credential: "docs/crm", url: "http://hooks.example.com/reach" })).status, 200);
    const arrived = await b.until("nginx has logged it", async () => (await b.call("arrived")).find((a) => a.target === "/reach"));
    assert.match(arrived.header.Authorization, /^Bearer canary-/);
  });
  await b.check("a request that is refused says so by its code", async () => {
    assert.equal((await b.call("send", { credential: "docs/crm", url: "http://elsewhere.example.org/" })).code, "destination_not_allowed");
  });
  await b.visit(looks()[0], async (page) => {
    page.watch.expect(401);
    await b.check("the admin API refuses a browser that shows no token", async () => {
      const response = await page.goto("/api/v1/whoami");
      assert.equal(response.status(), 401);
      assert.match(await page.content(), /unauthenticated/);
    });
  });
}
