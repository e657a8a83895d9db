// The Big List of Naughty Strings, and some made for pages like these, in every field that takes text: nothing of them is run, and all of them are either
// taken or refused, and shown as what they are.
import assert from "node:assert/strict";
import { looks } from "../browser.mjs";

const ours = [
  `<img src=x onerror="window.pwned=1">`, `"><script>window.pwned=1</script>`, `' onfocus='window.pwned=1' autofocus='`, `</textarea><script>window.pwned=1</script>`,
  `</title><script>window.pwned=1</script>`, `javascript:window.pwned=1`, `{{.Person}}`, `<div hx-get="/sign-in" hx-trigger="load">x</div>`,
  `<b hx-on:click="window.pwned=1" data-key="c">x</b>`, `"></svg><svg onload=window.pwned=1>`, `]]><script>window.pwned=1</script>`, `<base href="//127.0.0.9/">`,
  `--><script>window.pwned=1</script>`, `<meta http-equiv="refresh" content="0;url=/sign-in">`, `<form action="/sign-out" method="post"><button>x`, "\u202eevil\u202c", "a\u0000b",
];

// Forms, what has to be chosen in them, and which part of the strings goes through them: one in so many.
const forms = [
  { path: "/credentials/new?scope=docs", every: 4, choose: (page) => page.getByRole("radio", { name: "Bearer" }).check() },
  { path: "/credentials/docs/crm/edit", every: 16 },
  { path: "/credentials/docs/crm/permissions", every: 16 },
  { path: "/scopes/+new", every: 16 },
  { path: "/scopes/docs/edit", every: 16 },
  { path: "/callers/+new", every: 16 },
  { path: "/callers/billing/edit", every: 16 },
  { path: "/operators/+new", every: 16 },
  { path: "/operators/eve/edit", every: 16 },
];

// Lists, and the form that makes what they list. A description is the only text there that may hold anything.
const lists = [
  { of: "credentials", form: "/credentials/new", every: 1, fields: { scope: "docs", kind: "bearer", secret: "typed-secret" } },
  { of: "scopes", form: "/scopes/+new", every: 10, fields: {} },
  { of: "callers", form: "/callers/+new", every: 10, fields: { proof: "other", scopes: "docs" } },
  { of: "operators", form: "/operators/+new", every: 10, fields: { proof: "other" } },
];

export default async function (b) {
  const strings = [...ours, ...b.arguments.strings];
  const [look] = looks({ scheme: ["light"], js: [true], width: [1280] });
  b.secrets.push("typed-secret");
  await b.visit(look, async (page) => {
    page.watch.expect(400, 403, 409, 422);
    for (const { path, every, choose } of forms) {
      await b.check(`whatever is typed into ${path} is taken, or is there again with what is wrong`, async () => {
        const part = strings.filter((_, i) => i % every === 0);
        for (let done = 0; done < part.length;) {
          await page.goto(path);
          const form = page.locator("main form").last();
          const texts = await form.locator("input:is([type=text], :not([type])), textarea").filter({ visible: true }).all();
          assert.ok(texts.length > 0, "no field takes text");
          const typed = [];
          for (const field of texts) {
            await field.fill(part[done++ % part.length]);
            typed.push([await field.getAttribute("name"), await field.inputValue()]);
          }
          for (const secret of await form.locator("input[type=password]").all()) await secret.fill("typed-secret");
          await choose?.(page);
          await form.evaluate((f) => { f.noValidate = true; });
          const [answer] = await Promise.all([
            page.waitForResponse((r) => r.request().isNavigationRequest() && r.request().method() === "POST"), form.locator("button.primary").click(),
          ]);
          await page.waitForLoadState();
          await harmless(page);
          if (answer.status() < 400) continue;
          assert.ok(await page.locator("[aria-invalid=true], [role=alert]").count() > 0, "nothing says what is wrong");
          for (const [name, value] of typed) {
            if (name !== "username") assert.equal(await page.locator(`main [name="${name}"]`).last().inputValue(), shown(value), `${name} is there again`);
          }
        }
      });
      await b.scan(page, `${path} with such strings`);
    }

    for (const { of, form, every, fields } of lists) {
      const taken = [];
      await b.check(`descriptions of ${of} are taken or refused`, async () => {
        await page.goto(form);
        const action = await page.locator("main form").last().getAttribute("action");
        for (const [i, description] of strings.entries()) {
          if (i % every) continue;
          const answer = await page.request.post(action, { form: { ...fields, name: `n-${i}`, description, nonce: `form_${of}_${i}` }, headers: { Origin: b.url }, maxRedirects: 0 });
          assert.ok([303, 400, 422].includes(answer.status()), `${JSON.stringify(description)}: ${answer.status()}`);
          if (answer.status() === 303) taken.push([`n-${i}`, description]);
        }
        assert.ok(taken.length > strings.length / every * 0.6, `only ${taken.length} were taken`);
      });
      await b.check(`the list of ${of} shows them as they are`, async () => {
        const seen = new Map();
        await page.goto(`/${of}?q=n-`);
        for (;;) {
          await harmless(page);
          for (const [name, text] of await page.locator("tbody th").evaluateAll((all) => all.map((th) => [
            th.querySelector("a").textContent.trim().split("/").pop(), th.querySelector("small")?.textContent ?? "",
          ]))) seen.set(name, text);
          const next = page.getByRole("link", { name: "Next page" });
          if (!await next.count()) break;
          await next.click();
        }
        for (const [name, description] of taken) {
          assert.equal(seen.get(name)?.trim(), shown(description).trim(), `the description of ${name}`);
        }
      });
      await b.scan(page, `the list of ${of} with such descriptions`);
    }

    await b.check("whatever is searched for stands in the field, and finds nothing or something", async () => {
      for (const s of strings.filter((_, i) => i % 20 === 0)) {
        const answer = await page.goto(`/credentials?q=${encodeURIComponent(s)}`);
        assert.ok([200, 400].includes(answer.status()), `${JSON.stringify(s)}: ${answer.status()}`);
        await harmless(page);
      }
    });

    await b.check("paths that apps ask for stand in the audit log, live too, as what they are", async () => {
      await page.goto("/audit");
      const live = page.waitForResponse((r) => r.url().includes("/audit/live"));
      await page.getByRole("button", { name: "Go live" }).click();
      await live;
      const paths = strings.filter((s) => s && !/[\s\u0000-\u001f\u007f-\uffff?#]/.test(s)).map((s) => `/${s}`);
      await b.call("ask", paths);
      await page.locator("#events").getByText(paths[0], { exact: false }).first().waitFor();
      await b.call("ask", ["/the-last-one"]);
      await page.locator("#events").getByText("/the-last-one").first().waitFor();
      await harmless(page);
      await page.goto("/audit");
      await harmless(page);
      const shown = await page.locator("#events").innerText();
      assert.ok(paths.filter((p) => shown.includes(p)).length > Math.min(20, paths.length / 2), "the log shows few of them");
    });
    await b.scan(page, "the audit log with such paths");
  }, { as: b.arguments.token });
}

/** What HTML can hold of a string. */
const shown = (s) => s.replaceAll("\u0000", "\ufffd");

/** Fails when something was run, or stands in the page as more than text. */
async function harmless(page) {
  const { pwned, alien } = await page.evaluate(() => ({
    pwned: window.pwned,
    alien: [...document.querySelectorAll(
      "main :is(script, iframe, object, embed, style, link, base, meta, img, marquee, video, audio, [hx-on\\:click], [onerror], [onload], [onclick], [onfocus], [style])",
    )].map((e) => e.outerHTML.slice(0, 200)),
  }));
  assert.equal(pwned, undefined, "a string was run");
  assert.deepEqual(alien, [], "a string became an element");
  const problems = page.watch.take();
  assert.deepEqual(problems, [], "something went wrong");
}
