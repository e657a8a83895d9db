// Every screen of the console in every state that it has: looked at for what is wrong with it, or drawn for docs/screens.
import { join } from "node:path";
import { looks } from "../browser.mjs";

// A screen: its name, which is that of its pictures; what it shows, for people; the path; text that is there once it is; and what is done to come to
// the state. nobody: who sees it is not signed in; as: who sees it, unless it is ada. on: "first": on a server that nobody has set
// up, whose set-up link is the path "link"; "new": on one that has nothing but ada; otherwise on the sample. js: needs JavaScript.
// narrow: is there only in a narrow window. status: of an answer that is not 200.
const crm = "/credentials/orders/crm";
const screens = [
  { name: "set-up", shows: "The first operator", path: "link", text: "Set up Keybearer", nobody: true, on: "first" },
  { name: "set-up-over", shows: "A set-up link that is none any more", path: "/set-up/none", text: "Keybearer", nobody: true, on: "first", status: 404 },
  { name: "sign-in", shows: "Sign in", path: "/sign-in", text: "Sign in to Keybearer", nobody: true },
  {
    name: "sign-in-wrong", shows: "A token that is not one", path: "/sign-in", text: "Sign in to Keybearer", nobody: true, status: 401,
    async come(page) {
      await page.getByLabel("Operator token").fill("kbo_not-a-token");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.locator("#token-error").waitFor();
    },
  },
  { name: "account", shows: "Who one is here", path: "/account", text: "Sessions on this server" },
  { name: "confirm", shows: "Proof of presence, before what cannot be undone", path: "/confirm", text: "Prove that it is you" },

  { name: "overview-first", shows: "The overview of a server that is new", path: "/overview", text: "Start here", on: "new" },
  { name: "overview", shows: "The overview", path: "/overview", text: "Refusals by reason" },
  { name: "overview-week", shows: "The overview of a week", path: "/overview?span=7d", text: "Refusals by reason" },

  { name: "credentials-none", shows: "No credential yet", path: "/credentials", text: "Credentials", on: "new" },
  { name: "credentials", shows: "The credentials", path: "/credentials", text: "payroll" },
  { name: "credentials-space", shows: "The credentials of a space, and the global ones for it", path: "/credentials?scope=orders", text: "Global, for use from orders" },
  { name: "credentials-search", shows: "A search", path: "/credentials?q=pay", text: "payroll" },
  { name: "credentials-nothing", shows: "A search that finds nothing", path: "/credentials?q=nothing-like-that", text: "Nothing matches" },
  { name: "credentials-deleted", shows: "Credentials that can be restored", path: "/credentials?state=deleted", text: "summer-sale" },

  { name: "credential-new-keyless", shows: "A new credential, before there is a key", path: "/credentials/new", text: "Generate a scope’s key first", on: "new" },
  { name: "credential-new", shows: "A new credential", path: "/credentials/new", text: "New credential" },
  {
    name: "credential-new-typed", shows: "A new credential that is being typed", path: "/credentials/new?scope=orders", text: "New credential", js: true,
    async come(page) {
      await page.locator("#name").fill("invoices");
      await page.getByRole("radio", { name: /header/ }).check();
      await page.locator("#header").fill("X-Api-Key");
      await page.locator("#prefix").fill("Token ");
      await page.locator("#secret").fill("typed-secret");
      await page.getByLabel("Host or URL").first().fill("https://*.invoices.example.com/v1");
      await page.getByText("Does not admit").first().waitFor();
    },
  },
  {
    name: "credential-new-wrong", shows: "A new credential that is wrong", path: "/credentials/new?scope=orders", text: "New credential", status: 400,
    async come(page) {
      await page.locator("#name").fill("Not a name!");
      await page.getByRole("radio", { name: "Bearer" }).check();
      await page.locator("#secret").fill("typed-secret");
      await page.getByRole("button", { name: "Create credential" }).click();
      await page.locator("[aria-invalid=true]").first().waitFor();
    },
  },

  { name: "credential", shows: "A credential", path: crm, text: "Customers and their orders" },
  { name: "credential-created", shows: "A credential that was just created", path: `${crm}/created`, text: "Who can use it" },
  { name: "credential-needs-secret", shows: "A credential without a secret", path: "/credentials/orders/labels", text: "Prints what goes onto parcels" },
  { name: "credential-disabled", shows: "A credential that is disabled", path: "/credentials/orders/old-shop", text: "The shop before this one" },
  { name: "credential-deleted", shows: "A credential that was deleted", path: "/credentials/orders/summer-sale", text: "summer-sale" },
  { name: "credential-seen", shows: "A credential seen by one of its users", path: "/credentials/global/slack", text: "slack", as: "cleo" },
  { name: "credential-edit", shows: "Editing a credential", path: `${crm}/edit`, text: "How the secret is sent" },
  {
    name: "credential-edit-meanwhile", shows: "Editing what somebody else has changed meanwhile", path: "/credentials/people/payroll/edit", text: "How the secret is sent", status: 412,
    async come(page, b) {
      await b.cli("", "credential", "edit", "people/payroll", "--description", "Pays everybody on the 27th");
      await page.getByLabel("Description").fill("Pays everybody, and the taxes");
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByText("Nothing that you typed is lost").waitFor();
      await b.cli("", "credential", "edit", "people/payroll", "--description", "Pays everybody on the 25th");
    },
  },
  { name: "credential-secret", shows: "A new secret for a credential", path: `${crm}/secret`, text: "crm" },
  { name: "credential-permissions", shows: "Who may do what with a credential", path: `${crm}/permissions`, text: "app:shop" },
  { name: "credential-domains", shows: "Where a credential may go", path: `${crm}/domains`, text: "Add a domain" },
  { name: "credential-domains-trial", shows: "Narrower domains on trial", path: "/credentials/orders/payments/domains", text: "On trial" },
  { name: "credential-domain-add", shows: "Adding a domain", path: `${crm}/domains/add`, text: "Add a domain" },
  {
    name: "credential-domain-shown", shows: "What was pasted, as it is understood",
    path: `${crm}/domains/add?destinations=${encodeURIComponent("HTTPS://Billing.Example.COM:443/v2/\n*.invoices.example.com")}`, text: "You typed",
  },
  { name: "credential-check", shows: "Why can an app use this?", path: `${crm}/check?caller=shop&method=GET&url=https://crm.example.com/v2/customers`, text: "Allowed" },
  { name: "credential-check-refused", shows: "Why can’t an app use this?", path: `${crm}/check?caller=shop&method=GET&url=https://elsewhere.example.com/v2`, text: "Refused" },
  {
    name: "credential-test", shows: "A test request", path: `${crm}/check?caller=shop&method=GET&url=https://crm.example.com/v2/customers`, text: "Allowed",
    async come(page) {
      await page.getByRole("button", { name: "Send" }).click();
      await page.getByText("The destination answered 200").waitFor();
    },
  },
  { name: "credential-usage", shows: "Who used a credential", path: `${crm}/usage`, text: "shop" },
  { name: "credential-history", shows: "What happened to a credential", path: `${crm}/history`, text: "ada" },
  { name: "credential-danger", shows: "Disabling and deleting a credential", path: `${crm}/danger`, text: "Type crm to delete it" },

  { name: "scopes", shows: "The scopes", path: "/scopes", text: "people" },
  { name: "scope", shows: "A scope", path: "/scopes/orders", text: "orders" },
  { name: "scope-keyless", shows: "A scope without a key", path: "/scopes/lab", text: "lab" },
  { name: "scope-new", shows: "A new scope", path: "/scopes/+new", text: "New scope" },
  { name: "scope-edit", shows: "Editing a scope", path: "/scopes/orders/edit", text: "Edit orders" },
  { name: "scope-regenerate", shows: "What regenerating a key would destroy", path: "/scopes/orders/regenerate", text: "orders" },
  {
    name: "scope-regenerate-confirm", shows: "Regenerating a key", path: "/scopes/orders/regenerate", text: "What would be destroyed",
    async come(page) {
      await page.getByRole("button", { name: "Go on" }).click();
      await page.locator("#confirm").waitFor();
    },
  },
  { name: "scope-delete", shows: "Deleting a scope", path: "/scopes/lab/delete", text: "Delete the scope" },

  { name: "callers-none", shows: "No caller yet", path: "/callers", text: "Callers", on: "new" },
  { name: "callers", shows: "The callers", path: "/callers", text: "nightly-sync" },
  { name: "caller", shows: "A caller, in the middle of a change of tokens", path: "/callers/shop", text: "Tokens" },
  { name: "caller-disabled", shows: "A caller that is disabled", path: "/callers/old-importer", text: "Danger zone" },
  { name: "caller-new", shows: "A new caller", path: "/callers/+new", text: "New caller" },
  { name: "caller-edit", shows: "Editing a caller", path: "/callers/shop/edit", text: "shop" },
  { name: "caller-token", shows: "A new token", path: "/callers/shop/token", text: "New token for shop" },
  {
    name: "caller-token-made", shows: "A token, shown this once", path: "/callers/docs-bot/token", text: "New token for docs-bot",
    async come(page) {
      const radios = page.getByRole("radio");
      if (await radios.count()) await radios.first().check();
      await page.getByRole("button", { name: "Make token" }).click();
      await page.getByText("Copy it now").waitFor();
    },
  },
  { name: "caller-revoke", shows: "Revoking tokens", path: "/callers/shop/revoke", text: "Revoke every token of shop" },
  { name: "caller-delete", shows: "Deleting a caller", path: "/callers/shop/delete", text: "Delete the caller" },

  { name: "operators", shows: "The operators", path: "/operators", text: "cleo" },
  { name: "operator", shows: "An operator", path: "/operators/ben", text: "Danger zone" },
  { name: "operator-new", shows: "A new operator", path: "/operators/+new", text: "New operator" },
  { name: "operator-edit", shows: "Editing an operator", path: "/operators/ben/edit", text: "ben" },

  { name: "audit", shows: "The audit log", path: "/audit", text: "customers/4711" },
  { name: "audit-refusals", shows: "Refusals, and what mends them", path: "/audit?event=refusal", text: "customers/4711" },
  { name: "audit-nothing", shows: "No event", path: "/audit?q=nothing-like-that", text: "No event here" },

  { name: "keys", shows: "The keys", path: "/help/keys", text: "Search on this page" },
  {
    name: "keys-over", shows: "The keys over a page", path: "/credentials", text: "payroll", js: true,
    async come(page) {
      await page.keyboard.press("?");
      await page.getByRole("dialog", { name: "Keys" }).waitFor();
    },
  },
  {
    name: "menu", shows: "The menu where there is little room", path: "/credentials", text: "payroll", narrow: true,
    async come(page) {
      await page.getByRole("button", { name: "Menu" }).click();
      await page.getByRole("link", { name: "Operators" }).waitFor();
    },
  },
  { name: "not-found", shows: "A page that is not there", path: "/nowhere", text: "no such page", status: 404 },
];

// A dark page without JavaScript is the dark one with it, but for what the light ones differ in.
const swept = looks().filter((l) => l.js || l.scheme === "light");
const pictures = { "1280 px, light": "", "1280 px, dark": ".dark", "320 px, light": ".narrow" };

export default async function (b) {
  const { tokens, directory, on, only, link } = b.arguments;
  b.secrets.push("typed-secret");
  const here = screens.filter((s) => (s.on ?? "sample") === on && (!only.length || only.includes(s.name)));
  for (const look of swept) {
    const suffix = look.js ? pictures[`${look.width} px, ${look.scheme}`] : undefined;
    if (directory && suffix === undefined) continue;
    for (const who of [undefined, ...Object.keys(tokens)]) {
      const seen = here.filter((s) => (s.nobody ? undefined : s.as ?? "ada") === who && (look.js || !s.js) && (look.width === 320 || !s.narrow));
      if (!seen.length) continue;
      await b.visit(look, async (page) => {
        for (const screen of seen) {
          await b.attempt(`${screen.name} is reached`, async () => {
            if (screen.status) page.watch.expect(screen.status);
            await page.goto(screen.path === "link" ? link : screen.path);
            await page.getByText(screen.text).filter({ visible: true }).first().waitFor();
            await screen.come?.(page, b);
            if (directory) await draw(page, join(directory, `${screen.name}${suffix}.png`));
            else await b.scan(page, screen.name);
          });
        }
      }, { as: tokens[who] });
    }
  }
  if (directory) await b.check(`the screens of the server "${on}" are drawn`, () => {});
  if (only.length) return b.check("only some screens were looked at", () => {});
  if (on !== "sample") return;
  await b.check("docs/screens has a picture of every screen (make screens draws them)", async () => {
    await b.call("gallery", screens.map(({ name, shows, narrow }) => ({ name, shows, narrow: Boolean(narrow) })));
  });
}

/** Draws the page from its top, as far as a person would look. */
async function draw(page, path) {
  const { width, height } = page.viewportSize();
  const content = await page.evaluate(() => {
    document.activeElement?.blur();
    window.scrollTo(0, 0);
    return document.documentElement.scrollHeight;
  });
  await page.setViewportSize({ width, height: Math.min(Math.max(content, height), 1600) });
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.screenshot({ path });
  await page.setViewportSize({ width, height });
}
