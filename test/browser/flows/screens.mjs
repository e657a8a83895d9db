// Every screen of the console in every state that it has: looked at for what is wrong with it, and drawn for docs/screens.
import assert from "node:assert/strict";
import { join } from "node:path";
import { looks } from "../browser.mjs";

// A screen: its name, which is that of its pictures; what it shows, for people; the path; text that is there once it is; and what is done to come to
// the state. nobody: who sees it is not signed in. empty: on a server that has nothing. js: needs JavaScript. status: of answers that are not 200.
const screens = [
  { name: "sign-in", shows: "Sign in", path: "/sign-in", text: "Sign in to Keybearer", nobody: true },
  {
    name: "sign-in-wrong", shows: "A token that is not one", path: "/sign-in", text: "Sign in to Keybearer", nobody: true, status: 401,
    async come(page) {
      await page.getByLabel("Operator token").fill("kbo_not-a-token");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.locator("#token-error").waitFor();
    },
  },
  { name: "overview-first", shows: "The overview of a server that is new", path: "/overview", text: "Start here", empty: true },
  { name: "overview", shows: "The overview", path: "/overview", text: "Refusals by reason" },
  { name: "overview-week", shows: "The overview of a week", path: "/overview?span=7d", text: "Refusals by reason" },
  { name: "credentials-none", shows: "No credential yet", path: "/credentials", text: "Credentials", empty: true },
  { name: "credentials", shows: "The credentials", path: "/credentials", text: "payroll" },
  { name: "credentials-search", shows: "A search", path: "/credentials?q=pay", text: "payroll" },
  { name: "credentials-nothing", shows: "A search that finds nothing", path: "/credentials?q=nothing-like-that", text: "Credentials" },
  { name: "credential-new", shows: "A new credential", path: "/credentials/new", text: "New credential" },
  {
    name: "credential-new-wrong", shows: "A new credential that is wrong", path: "/credentials/new", text: "New credential", status: 400,
    async come(page) {
      await page.getByRole("textbox", { name: "Name", exact: true }).fill("Not a name!");
      await page.getByRole("radio", { name: "Bearer" }).check();
      await page.getByLabel("Secret", { exact: true }).fill("typed-secret");
      await page.getByRole("button", { name: "Create" }).click();
      await page.locator("[aria-invalid=true]").first().waitFor();
    },
  },
  { name: "credential", shows: "A credential", path: "/credentials/orders/crm", text: "crm" },
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
  { name: "not-found", shows: "A page that is not there", path: "/nowhere", text: "no such page", status: 404 },
];

const pictures = { "1280 px, light": "", "1280 px, dark": ".dark", "320 px, light": ".narrow" };

export default async function (b) {
  const { token, directory, empty } = b.arguments;
  b.secrets.push("typed-secret");
  const here = screens.filter((s) => Boolean(s.empty) === empty);
  for (const look of looks()) {
    const suffix = pictures[`${look.width} px, ${look.scheme}`];
    for (const nobody of [true, false]) {
      const seen = here.filter((s) => Boolean(s.nobody) === nobody && (look.js || !s.js));
      if (!seen.length) continue;
      await b.visit(look, async (page) => {
        for (const screen of seen) {
          await b.attempt(`${screen.name} is reached`, async () => {
            if (screen.status) page.watch.expect(screen.status);
            await page.goto(screen.path);
            await page.getByText(screen.text).filter({ visible: true }).first().waitFor();
            await screen.come?.(page, b);
            await b.scan(page, screen.name);
            if (!directory || !look.js || suffix === undefined) return;
            await page.evaluate(() => document.activeElement?.blur());
            const height = await page.evaluate(() => document.documentElement.scrollHeight);
            await page.setViewportSize({ width: look.width, height: Math.min(Math.max(height, look.width < 600 ? 640 : 800), 1600) });
            await page.screenshot({ path: join(directory, `${screen.name}${suffix}.png`) });
            await page.setViewportSize({ width: look.width, height: look.width < 600 ? 640 : 800 });
          });
        }
      }, { as: nobody ? undefined : token });
    }
  }
  if (empty) return;
  await b.check("docs/screens has a picture of every screen (make screens draws them)", async () => {
    await b.call("gallery", screens.map(({ name, shows }) => ({ name, shows })));
  });
}
