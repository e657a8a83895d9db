package console_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

// filled is the form with everything right in it.
func filled(change ...string) url.Values {
	form := url.Values{
		"scope": {"docs"}, "name": {"crm"}, "description": {"For sales"}, "kind": {"bearer"}, "secret": {"s3cret"},
		"rule-0": {"api.example.com"}, "subject-0": {"app"}, "grant-0": {"billing"}, "level-0": {"use"},
	}
	for i := 0; i+1 < len(change); i += 2 {
		form.Set(change[i], change[i+1])
	}
	return form
}

func newShop(t *testing.T) (*office, *visitor) {
	t.Helper()
	o := newOffice(t)
	o.scope("docs")
	o.caller("billing", "docs")
	o.caller("other")
	return o, o.signedIn("ann", keybearer.RoleInstanceAdmin)
}

func TestACredentialIsCreatedWithAllThatTheFormHolds(t *testing.T) {
	o, ann := newShop(t)
	r := ann.form("/credentials", filled("kind", "header", "header", "x-api-key", "prefix", "Token ", "username", "left over from basic",
		"rule-0", "HTTPS://API.example.com:443/hooks", "methods-0", "POST", "rule-3", "http://10.0.0.5:8080", "private-3", "on", "rule-7", " ",
		"subject-4", "group", "grant-4", "sales", "level-4", "view", "expires_at", "2999-12-31", "require_user", "on", "scrub_body", "on"))
	r.wants(t, http.StatusSeeOther)
	if to := r.Header().Get("Location"); to != "/credentials/docs/crm/created" {
		t.Fatalf("it goes on to %s", to)
	}
	c, err := o.Credential(t.Context(), everything, keybearer.Ref{Scope: "docs", Name: "crm"})
	if err != nil {
		t.Fatal(err)
	}
	want := keybearer.Terms{Kind: keybearer.Header, Header: "X-Api-Key", Prefix: "Token ", RequireUser: true, Rules: []keybearer.Rule{
		{Scheme: "http", Host: "10.0.0.5", Port: 8080, Private: true},
		{Scheme: "https", Host: "api.example.com", Port: 443, Path: "/hooks", Methods: []string{"POST"}},
	}}
	if diff := cmp.Diff(want, c.Terms); diff != "" {
		t.Error(diff)
	}
	grants := []keybearer.Grant{
		{Subject: "app:billing", Level: keybearer.Use}, {Subject: "group:sales", Level: keybearer.View}, {Subject: "user:ann", Level: keybearer.Administer},
	}
	if diff := cmp.Diff(grants, c.Grants); diff != "" {
		t.Error(diff)
	}
	if !c.ExpiresAt.Equal(time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)) || !c.ScrubBody || c.PassCookies || c.Version != 1 {
		t.Errorf("%+v", c)
	}
	ann.get("/credentials/docs/crm/created").wants(t, http.StatusOK, "Created docs/crm.", "curl -x http://127.0.0.1:9080 -H 'Keybearer-Credential: docs/crm'",
		"http_proxy=\"http://docs%2Fcrm:$TOKEN@127.0.0.1:9080\"", "billing", "!s3cret")
}

// The page after it says of each caller whether its request would go through, and if not, why.
func TestThePageAfterItSaysWhoCanUseTheCredential(t *testing.T) {
	_, ann := newShop(t)
	ann.form("/credentials", filled("subject-1", "app", "grant-1", "other", "level-1", "use")).wants(t, http.StatusSeeOther)
	ann.get("/credentials/docs/crm/created").wants(t, http.StatusOK, "ready billing may send GET https://api.example.com/", "not yet other", `href="/callers/other"`)
	ann.form("/credentials", filled("name", "mute", "rule-0", "", "grant-0", "")).wants(t, http.StatusSeeOther)
	ann.get("/credentials/docs/mute/created").wants(t, http.StatusOK, "It refuses everything", "No caller may use it yet")
}

// Every error stands beside its field, tied to it, and is linked from the top, where the focus goes; what was typed stays.
func TestErrorsOfTheFormStandBesideTheirFields(t *testing.T) {
	o, ann := newShop(t)
	o.make("docs", "taken")
	for _, tc := range []struct {
		field, value string
		id           string // of the field that is marked; "": field
		text         string
	}{
		{"name", "Bad Name", "", "A name is 1 to 63 lower-case letters"},
		{"name", "taken", "", "The name is taken."},
		{"name", "", "", "A name is 1 to 63 lower-case letters"},
		{"scope", "", "", "Choose the scope that holds it."},
		{"kind", "digest", "", "A kind is one of basic, bearer, header."},
		{"description", "a\x01b", "", "without control characters"},
		{"secret", "", "", "The secret is empty."},
		{"secret", "Bearer abc", "", "Give what follows the prefix alone."},
		{"rule-0", "*.com", "", "public suffix"},
		{"rule-0", "https://api.example.com/?q=1", "", "If you meant it, write https://api.example.com."},
		{"rule-5", "a b", "", ""},
		{"methods-0", "TRACE", "rule-0", "A method is one of"},
		{"grant-0", "nobody", "", "There is no caller of that name."},
		{"grant-0", "not a name", "", "A subject is app:"},
		{"level-0", "own", "", "A level is one of"},
		{"expires_at", "2001-01-01", "", "The expiry lies in the past."},
		{"expires_at", "tomorrow", "", "A day is written as"},
	} {
		t.Run(tc.field+" "+tc.value, func(t *testing.T) {
			id := tc.field
			if tc.id != "" {
				id = tc.id
			}
			r := ann.form("/credentials", filled("pass_trace", "on", tc.field, tc.value))
			if r.Code != http.StatusBadRequest && r.Code != http.StatusConflict {
				t.Fatalf("%d: %s", r.Code, r.text)
			}
			r.wants(t, r.Code, tc.text, `<a href="#`+id+`">`, `role="alert" tabindex="-1" autofocus`, `id="`+id+`-error"`, `name="pass_trace" value="on" checked`)
			if id != "kind" {
				field := regexp.MustCompile(`<(input|select|textarea) id="` + regexp.QuoteMeta(id) + `"[^>]*>`).FindString(r.html)
				if !strings.Contains(field, `aria-invalid="true"`) || !strings.Contains(field, `aria-describedby="`+id+`-error`) {
					t.Errorf("the field is %s", field)
				}
			}
			if v := tc.value; v != "" && tc.field != "secret" && tc.field != "kind" && !strings.Contains(tc.field, "-") && id != "scope" && !strings.Contains(r.html, `value="`+v+`"`) {
				t.Errorf("what was typed is gone: %s", r.text)
			}
		})
	}
	// What custody is not asked about is told all at once.
	ann.form("/credentials", filled("name", "X", "rule-0", "*.com", "rule-1", "b.example.com", "grant-0", "a b", "expires_at", "x", "scope", "")).wants(t, http.StatusBadRequest,
		`<a href="#name">`, `<a href="#rule-0">`, `<a href="#grant-0">`, `<a href="#expires_at">`, `<a href="#scope">`, `!<a href="#rule-1">`, "Becomes https://b.example.com")
	ann.form("/credentials", filled("kind", "basic", "username", "a:b")).wants(t, http.StatusBadRequest, "A username cannot hold ':'", `<a href="#username">`)
	ann.form("/credentials", filled("kind", "header", "header", "Host")).wants(t, http.StatusBadRequest, "cannot hold a secret", `<a href="#header">`, `value="Host"`)
	ann.form("/credentials", filled("scope", "global")).wants(t, http.StatusConflict, "The scope has no key.", `<a href="#scope">`)
	ann.form("/credentials", filled("scope", "nowhere")).wants(t, http.StatusNotFound, "There is no such scope")
}

// A canary in every field, wrong in every way, never comes back from those that hold secrets.
func TestNoPageShowsWhatWasTypedAsASecret(t *testing.T) {
	_, ann := newShop(t)
	const canary = "CANARY-7f3a9"
	forms := []string{
		canary, "Bearer " + canary, canary + "\n", " " + canary, canary + "\t", "\x00" + canary, "“" + canary + "”", canary + "\xff", strings.Repeat(canary, 4000), canary + "\"><script>",
	}
	for i, secret := range forms {
		for j, kind := range []string{"bearer", "basic", "header", "", "digest"} {
			changes := [][]string{{"name", "X"}, {"rule-0", "*.com"}, {"header", "Host"}, {"scope", ""}, {"scope", "global"}, {"grant-0", "nobody"}, {"expires_at", "x"}}
			for k := range 2 {
				change := changes[(i+3*j+k)%len(changes)]
				form := filled(append(change, "kind", kind, "secret", secret, "username", secret, "token", secret)...)
				for path, do := range map[string]string{
					"/credentials": "", "/credentials/new": "add-rule", "/credentials/new?x=1": "check-rules", "/credentials/new?x=2": "preview-0", "/credentials/new?x=3": "remove-grant-0",
				} {
					form.Set("do", do)
					for _, htmx := range []string{"", "true"} {
						r := ann.form(path, form, "HX-Request", htmx)
						if r.Code >= 500 {
							t.Fatalf("%s: %d", path, r.Code)
						}
						for name, text := range map[string]string{"as it is": canary, "Basic": base64.StdEncoding.EncodeToString([]byte(canary))[:12]} {
							if strings.Contains(r.html, text) || strings.Contains(url.QueryEscape(strings.Join(slices.Collect(maps.Keys(r.Header())), "")), text) {
								t.Fatalf("%s shows what was typed, %s: %s", path, name, r.text)
							}
						}
					}
				}
			}
		}
	}
	// Nor when it stands in the address, where it should not.
	ann.get("/credentials/new?secret="+canary+"&username="+canary+"&token="+canary).wants(t, http.StatusOK, "!"+canary)
}

// Without JavaScript the buttons of the rows send the whole form, and get it back.
func TestRowsComeAndGoWithoutJavaScript(t *testing.T) {
	_, ann := newShop(t)
	press := func(form url.Values, do string, want ...string) {
		t.Helper()
		form.Set("do", do)
		ann.form("/credentials/new", form).wants(t, http.StatusOK, append(want, `value="For sales"`, "Type it again", "!s3cret", "!role=\"alert\"")...)
	}
	press(filled(), "add-rule", `name="rule-0" value="api.example.com"`, `name="rule-1" value=""`, `!name="rule-2"`)
	press(filled("rule-4", "b.example.com"), "add-rule", `name="rule-5" value=""`)
	press(filled("rule-4", "b.example.com", "methods-4", "GET", "private-4", "on"), "remove-rule-0", `!name="rule-0"`, `name="rule-4" value="b.example.com"`, `name="methods-4" value="GET" checked`, `name="private-4" value="on" checked`)
	press(filled(), "remove-rule-0", `name="rule-0" value=""`)
	press(filled(), "add-grant", `name="grant-0" value="billing"`, `name="grant-1" value=""`)
	press(filled("grant-1", "sales", "subject-1", "group", "level-1", "edit"), "remove-grant-0", `!name="grant-0"`, `<option value="group" selected>`, `<option value="edit" selected>`, `name="rule-0" value="api.example.com"`)
	press(filled("rule-0", "HTTP://*.Example.com./x"), "check-rules", "Becomes http://*.example.com/x", "sent in clear", "Admits", "GET http://www.example.com/x",
		"Does not admit", "GET http://example.com/x", "it is for another host")
	press(filled("rule-0", "*.com"), "check-rules", "The wildcard is over a public suffix")
	press(filled("rule-0", ""), "no-such", `name="rule-0" value=""`)
}

func TestHTMXGetsThePartsThatItAsksFor(t *testing.T) {
	_, ann := newShop(t)
	ask := func(do string, want ...string) {
		t.Helper()
		ann.form("/credentials/new", filled("do", do, "rule-0", "https://10.1.2.3/x", "private-0", "on"), "HX-Request", "true").wants(t, http.StatusOK, append(want, "!<html", "!name=\"secret\"")...)
	}
	ask("preview-0", "Is https://10.1.2.3/x private", "Admits", `!name="rule-0"`)
	ask("preview-9", `!Admits`)
	ask("add-rule", `<div id="rules">`, `name="rule-1" value="" class="mono"`, "data-focus", "!autofocus")
	ask("remove-rule-0", `<div id="rules">`, `name="rule-0" value=""`)
	ask("add-grant", `<div id="grants">`, `name="grant-1"`, `<option value="billing">bound to docs</option>`, `<option value="other">global alone</option>`)
}

func TestWhoAdministersNoScopeCreatesNothing(t *testing.T) {
	o, _ := newShop(t)
	ops := o.scope("ops")
	for name, roles := range map[string][]string{"vera": nil, "olga": {scopeAdminOf(ops)}} {
		v := o.signedIn(name, roles...)
		v.form("/credentials", filled()).wants(t, http.StatusForbidden, "This needs the role scope-admin of the scope.", "!s3cret")
		if page, err := o.Credentials(t.Context(), everything, "docs", keybearer.Query{}); err != nil || len(page.Items) != 0 {
			t.Fatalf("%s made one: %v", name, err)
		}
	}
	olga := o.signedIn("olga2", scopeAdminOf(ops))
	olga.get("/credentials/new").wants(t, http.StatusOK, `<option value="ops">`, `!<option value="docs">`, "!<datalist id=\"caller-names\"")
	olga.form("/credentials", filled("scope", "ops")).wants(t, http.StatusSeeOther)
	if c, err := o.Credential(t.Context(), everything, keybearer.Ref{Scope: "ops", Name: "crm"}); err != nil || c.Grants[1] != (keybearer.Grant{Subject: "user:olga2", Level: keybearer.Administer}) {
		t.Errorf("%+v, %v", c.Grants, err)
	}
}

// Another site's page cannot have a credential made, nor a program that sends no sign of where its form comes from.
func TestAFormOfAnotherSiteMakesNothing(t *testing.T) {
	o, ann := newShop(t)
	for name, header := range map[string][2]string{"cross-site": {"Sec-Fetch-Site", "cross-site"}, "origin": {"Origin", "https://evil.example"}, "neither": {"", ""}} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:9081/credentials", strings.NewReader(filled().Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if header[0] != "" {
			r.Header.Set(header[0], header[1])
		}
		for _, c := range ann.cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		o.pages.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if page, err := o.Credentials(t.Context(), everything, "docs", keybearer.Query{}); err != nil || len(page.Items) != 0 {
		t.Errorf("%d were made, %v", len(page.Items), err)
	}
}

// Enter in a field presses the first button of a form: that is the one that creates, and none that adds a row.
func TestEnterCreatesTheCredential(t *testing.T) {
	_, ann := newShop(t)
	_, inside, _ := strings.Cut(ann.get("/credentials/new").Body.String(), `id="new-credential"`)
	_, first, found := strings.Cut(inside, "<button")
	first, _, _ = strings.Cut(first, ">")
	if !found || strings.Contains(first, "formaction") || strings.Contains(first, "name=") {
		t.Errorf("Enter presses <button%s>", first)
	}
}
