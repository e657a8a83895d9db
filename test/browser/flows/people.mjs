// Every page of scopes, callers and operators, in every look that the flows of them are not played in.
import { looks } from "../browser.mjs";

const pages = {
  "/scopes": "the list of scopes",
  "/scopes/+new": "the form of a new scope",
  "/scopes/docs": "the page of a scope",
  "/scopes/global": "the page of global",
  "/scopes/docs/edit": "the form of a scope",
  "/scopes/docs/regenerate": "what a regenerate would destroy",
  "/scopes/docs/delete": "the form that deletes a scope which holds credentials",
  "/scopes/bare": "the page of a scope without a key",
  "/scopes/bare/delete": "the form that deletes a scope",
  "/callers": "the list of callers",
  "/callers?q=nobody": "a search that finds no caller",
  "/callers/+new": "the form of a new caller",
  "/callers/billing": "the page of a caller",
  "/callers/billing/edit": "the form of a caller",
  "/callers/billing/token": "the form of a new token",
  "/callers/billing/revoke": "the form that revokes all tokens",
  "/callers/billing/delete": "the form that deletes a caller",
  "/callers/silent": "the page of a caller without a token",
  "/operators": "the list of operators",
  "/operators/+new": "the form of a new operator",
  "/operators/ada": "the page of the last instance admin",
  "/operators/ada/edit": "the form of the last instance admin",
  "/operators/ada/delete": "the form that deletes the last instance admin",
};

export default async function (b) {
  await b.cli("", "scope", "create", "bare", "--description", "naughty <script>alert(1)</script> \u202e text");
  await b.cli("", "caller", "create", "silent", "--no-token", "--description", "x".repeat(300));
  for (const look of looks()) {
    if (look.js ? look.scheme === "light" && look.width === 1280 : look.scheme === "dark" && look.width === 320) continue;
    await b.visit(look, async (page) => {
      for (const [path, name] of Object.entries(pages)) {
        await page.goto(path);
        await b.scan(page, name);
      }
    }, { as: b.arguments.token });
  }
}
