package console

import (
	"html"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// owned is a town with docs/crm, whose owner is signed in and administers the scope, too, so that history can be read.
func owned(t *testing.T) (*town, *person, keybearer.Ref) {
	w := newTown(t)
	w.operator("owner", keybearer.RoleScopeAdmin+"docs")
	ref := w.credential("crm", "user:owner administer", "app:billing use")
	return w, w.signIn("owner"), ref
}

func TestTwoWhoEditDifferentFieldsAreInNobodysWay(t *testing.T) {
	w, owner, ref := owned(t)
	w.operator("second")
	w.grant(ref, "user:second edit")
	edit := pageOf(ref) + "/edit"
	mine := owner.get(edit).need(edit, "description", "mine\r\non two lines")
	theirs := w.signIn("second").get(edit).need(edit, "scrub_body", "on")
	if a := w.signIn("second").post(edit, theirs); a.status != 303 {
		t.Fatalf("the first to save: %d", a.status)
	}
	a := owner.post(edit, mine)
	if a.status != 412 {
		t.Fatalf("the second to save: %d", a.status)
	}
	a.wants("Nothing that you typed is lost", "second edited it (scrub answers)", "Scrub answers is yes now")
	if a.has("You both changed") {
		t.Error("what only one of them changed is called a conflict")
	}
	again := a.need(edit)
	if again.Get("description") != "mine\non two lines" || again.Get("scrub_body") != "on" {
		t.Errorf("the form holds %v", again)
	}
	if a := owner.post(edit, again); a.status != 303 {
		t.Fatalf("saving again: %d", a.status)
	}
	if c := w.now(ref); c.Description != "mine\non two lines" || !c.ScrubBody {
		t.Errorf("now: %q, scrub %v", c.Description, c.ScrubBody)
	}
}

func TestWhoSavesLastIsShownWhatBothChanged(t *testing.T) {
	w, owner, ref := owned(t)
	edit := pageOf(ref) + "/edit"
	mine := owner.get(edit).need(edit, "description", "mine", "expires_at", "2099-01-02T03:04", "pass_trace", "on")
	get[custody.Credential](t)(w.custody.EditCredential(t.Context(), w.by(custody.Actor{Subject: "user:root"}), ref, custody.Patch{
		Description: new("theirs"), ExpiresAt: new(time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)),
	}))
	a := owner.post(edit, mine).wants("You both changed", "theirs", "mine", "2050-01-01T00:00", "2099-01-02T03:04", "root edited it")
	if c := w.now(ref); c.Description != "theirs" {
		t.Fatalf("it was overwritten unasked: %q", c.Description)
	}
	// Between the two another change comes: it is told again.
	get[custody.Credential](t)(w.custody.EditCredential(t.Context(), w.by(custody.Actor{Subject: "user:root"}), ref, custody.Patch{PassCookies: new(true)}))
	a = owner.post(edit, a.need(edit)).wants("Cookies is yes now")
	if a.status != 412 || a.need(edit).Get("description") != "mine" {
		t.Fatalf("the second time: %d, %v", a.status, a.need(edit))
	}
	if a = owner.post(edit, a.need(edit)); a.status != 303 {
		t.Fatalf("saving at last: %d", a.status)
	}
	c := w.now(ref)
	if c.Description != "mine" || c.ExpiresAt.Year() != 2099 || !c.PassTrace || !c.PassCookies {
		t.Errorf("now: %+v", c)
	}
}

func TestAnEditThatWidensAsksForTheSecretInTheSameForm(t *testing.T) {
	w, owner, ref := owned(t)
	edit := pageOf(ref) + "/edit"
	form := owner.get(edit).need(edit, "kind", "header", "header", "x-api-key", "prefix", "Key ", "websocket", "on", "description", "typed")
	if owner.get(edit).form(edit).Has("secret") {
		t.Error("the form asks for the secret before anything needs it")
	}
	a := owner.post(edit, form)
	if a.status != 409 {
		t.Fatalf("without the secret: %d", a.status)
	}
	a.wants("The secret was not given for this", "it would be sent as x-api-key: Key •••• instead of Authorization: Bearer ••••", "It is needed for this change.", "it could open WebSockets")
	form = a.need(edit)
	if !form.Has("secret") || form.Get("description") != "typed" || form.Get("kind") != "header" || form.Get("prefix") != "Key " {
		t.Fatalf("the form holds %v", form)
	}
	form.Set("secret", " "+canary) // a blank too much
	if a = owner.post(edit, form).wants("blank"); a.status != 400 {
		t.Fatalf("with a wrong one: %d", a.status)
	}
	form = a.need(edit, "secret", canary)
	if a = owner.post(edit, form); a.status != 303 {
		t.Fatalf("with the secret: %d", a.status)
	}
	c := w.now(ref)
	if c.Terms.Header != "X-Api-Key" || c.Terms.Prefix != "Key " || !c.Terms.WebSocket || c.Description != "typed" || c.Version != 2 {
		t.Errorf("now: %+v", c)
	}
	owner.get(pageOf(ref)).wants("Saved.", "X-Api-Key: Key ••••", "WebSockets allowed",
		"It goes out as Authorization: Bearer •••• again.", "WebSockets are not allowed.")
}

func TestWhatIsWrongStandsAtItsField(t *testing.T) {
	_, owner, ref := owned(t)
	base := pageOf(ref)
	for _, c := range []struct {
		path, field string
		typed       []string
	}{
		{"/edit", "expires_at", []string{"expires_at", "2001-01-01T00:00"}},
		{"/edit", "expires_at", []string{"expires_at", "soon"}},
		{"/edit", "description", []string{"description", strings.Repeat("x", 1001)}},
		{"/secret", "secret", []string{"secret", ""}},
		{"/permissions", "subject", []string{"subject", "nobody-knows", "level", "use"}},
		{"/danger", "name", []string{"name", "CRM"}},
	} {
		action := base + c.path
		if c.path == "/danger" {
			action = base + "/delete"
		}
		a := owner.post(action, owner.get(base+c.path).need(action, c.typed...))
		if a.status != 400 || !strings.Contains(a.body, `id="`+c.field+`-error"`) || !strings.Contains(a.body, `href="#`+c.field+`"`) {
			t.Errorf("%s with %v: %d, without an error at its field", c.path, c.typed[1], a.status)
		}
		if c.field != "secret" && a.need(action).Get(c.field) != c.typed[1] {
			t.Errorf("%s: %s is lost", c.path, c.field)
		}
	}
}

func TestDeletingTakesTheTypedNameAndForceForWhatIsInUse(t *testing.T) {
	w, owner, ref := owned(t)
	if err := w.store.RecordUses(t.Context(), []keybearer.UseRecord{{
		CredentialID: w.now(ref).ID, Caller: "billing", Host: "api.example.com:443", Status: 200, At: time.Now().UTC(),
	}}, keybearer.Checkpoint{File: "f", Offset: 1}); err != nil {
		t.Fatal(err)
	}
	danger, del := pageOf(ref)+"/danger", pageOf(ref)+"/delete"
	page := owner.get(danger).wants("It was used in the last 30 days", "app:billing", "api.example.com:443")
	if a := owner.post(del, page.need(del, "name", "docs/crm", "force", "on")); a.status != 400 || w.now(ref).State == keybearer.Deleted {
		t.Fatalf("with another name: %d", a.status)
	}
	if a := owner.post(del, page.need(del, "name", "crm")); a.status != 409 || w.now(ref).State == keybearer.Deleted {
		t.Fatalf("without force: %d", a.status)
	}
	if a := owner.post(del, page.need(del, "name", "crm", "force", "on")); a.status != 303 {
		t.Fatalf("with both: %d", a.status)
	}
	page = owner.get(pageOf(ref)).wants("deleted", "Every use is refused. It can be restored until")
	for _, tab := range []string{"/edit", "/secret", "/domains", "/permissions"} {
		if a := owner.get(pageOf(ref) + tab).wants("The credential is deleted. Restore it first"); a.form(pageOf(ref)+tab) != nil {
			t.Errorf("%s of a deleted credential has its form", tab)
		}
	}
	if a := owner.post(pageOf(ref)+"/restore", page.need(pageOf(ref)+"/restore")); a.status != 303 || w.now(ref).State != keybearer.Active {
		t.Fatalf("restoring: %d", a.status)
	}
}

func TestTakingOnesOwnAdministerIsAskedTwice(t *testing.T) {
	w := newTown(t)
	w.operator("owner")
	ref := w.credential("crm", "user:owner administer")
	get[custody.Credential](t)(w.custody.RemoveGrant(t.Context(), w.by(custody.Actor{Subject: "user:root"}), ref, "user:root"))
	owner, path := w.signIn("owner"), pageOf(ref)+"/permissions"
	form := url.Values{"of": {"user:owner"}, "revision": {owner.get(path).need(path).Get("revision")}}
	a := owner.post(path+"/remove", form).wants("This takes administer from yourself", "Nobody would hold administer on it any more", "You could not give it back to yourself")
	lower := owner.post(path, url.Values{"subject": {"user:owner"}, "level": {"view"}}).wants("This takes administer from yourself", "Change it to view")
	if w.now(ref).Grants == nil || len(w.now(ref).Grants) != 1 || w.now(ref).Grants[0].Level != keybearer.Administer {
		t.Fatalf("it was done unasked: %v", w.now(ref).Grants)
	}
	if form := lower.need(path); form.Get("sure") != "yes" || form.Get("level") != "view" {
		t.Errorf("the form that asks holds %v", form)
	}
	if a := owner.post(path+"/remove", a.need(path+"/remove")); a.status != 303 || a.to != "/credentials" || len(w.now(ref).Grants) != 0 {
		t.Errorf("sure: %d, to %s, and it holds %v", a.status, a.to, w.now(ref).Grants)
	}

	// What a group of theirs still gives is not taken.
	other := w.credential("other", "user:owner administer", "group:g-owner administer")
	path = pageOf(other) + "/permissions"
	if a := owner.post(path+"/remove", url.Values{"of": {"user:owner"}}); a.status != 303 {
		t.Errorf("with administer by a group: %d", a.status)
	}
}

func TestDomainsAreShownInTheirCanonicalFormBeforeTheyCount(t *testing.T) {
	w, owner, ref := owned(t)
	add := pageOf(ref) + "/domains/add"
	page := owner.get(add + "?" + url.Values{"destinations": {"HTTPS://API.Example.org/Hooks post,get private\n"}}.Encode())
	page.wants("https://api.example.org/Hooks", "You typed HTTPS://API.Example.org/Hooks post,get private", "It was not given for this domain")
	rule := get[[]shownRule](t)(func() ([]shownRule, error) {
		_, shown, err := parseLines("api.example.org/Hooks GET POST private")
		return shown, err
	}())[0]
	for _, e := range slices.Concat(rule.Matches, rule.Misses) {
		page.wants(e.String())
	}
	if len(rule.Matches) != 3 || len(rule.Misses) != 3 {
		t.Errorf("%d examples that match and %d that do not", len(rule.Matches), len(rule.Misses))
	}
	if a := owner.post(add, page.need(add)); a.status != 409 {
		t.Errorf("without the secret: %d", a.status)
	}
	if a := owner.post(add, page.need(add, "secret", canary)); a.status != 303 {
		t.Fatalf("with the secret: %d", a.status)
	}
	var lines []string
	for _, r := range w.now(ref).Terms.Rules {
		lines = append(lines, ruleLine(r))
	}
	want := []string{"https://*.crm.example.com GET POST", "https://api.example.com/v1", "https://api.example.org/Hooks GET POST private"}
	if diff := gocmp.Diff(want, lines); diff != "" {
		t.Errorf("rules: %s", diff)
	}
	// What the form of all domains begins with means the same, and narrowing needs no secret.
	replace := pageOf(ref) + "/domains/replace"
	begin := owner.get(replace)
	var text string
	begin.walk(func(n *htmlNode) {
		if name, _ := attribute(n, "name"); name == "destinations" {
			text = strings.TrimPrefix(n.FirstChild.Data, "\n")
		}
	})
	if text != strings.Join(want, "\n") {
		t.Errorf("the form begins with %q", text)
	}
	page = owner.get(replace+"?"+url.Values{"destinations": {want[1]}}.Encode()).wants("Not admitted any more: "+want[0], "the secret is not needed")
	if page.need(replace).Has("secret") {
		t.Error("the form asks for a secret that it does not need")
	}
	if a := owner.post(replace, page.need(replace)); a.status != 303 || len(w.now(ref).Terms.Rules) != 1 {
		t.Errorf("replacing: %d", a.status)
	}
	if a := owner.get(add + "?destinations=https://*.com"); a.status != 400 || !strings.Contains(a.body, `id="destinations-error"`) {
		t.Errorf("a rule that is none: %d", a.status)
	}
	if a := owner.get(pageOf(ref) + "/domains?rule=https://x.example.com&method=PUT&private=on"); !strings.HasSuffix(a.to, "/domains/add?destinations=https%3A%2F%2Fx.example.com+PUT+private") {
		t.Errorf("a rule that another page suggests goes to %s", a.to)
	}
}

func TestATrialIsTriedReportedAndEnforced(t *testing.T) {
	w, owner, ref := owned(t)
	try, domains := pageOf(ref)+"/domains/try", pageOf(ref)+"/domains"
	page := owner.get(try + "?destinations=api.example.com/v1/items")
	if a := owner.post(try, page.need(try)); a.status != 303 {
		t.Fatalf("trying: %d", a.status)
	}
	trial := w.now(ref).Trial
	if err := w.store.RecordUses(t.Context(), []keybearer.UseRecord{{
		CredentialID: w.now(ref).ID, Caller: "billing", Host: "eu.crm.example.com:443", Status: 200, At: time.Now().UTC(),
		WouldRefuse: keybearer.DestinationNotAllowed, Trial: trial.ID,
	}}, keybearer.Checkpoint{File: "f", Offset: 1}); err != nil {
		t.Fatal(err)
	}
	owner.get(domains).wants("On trial", "https://api.example.com/v1/items", "eu.crm.example.com:443", "destination_not_allowed")
	owner.get(pageOf(ref)).wants("1 request would have been refused")
	page = owner.get(domains)
	if a := owner.post(domains+"/enforce", page.need(domains+"/enforce")); a.status != 303 || len(w.now(ref).Terms.Rules) != 1 || w.now(ref).Trial != nil {
		t.Errorf("enforcing: %d, %v", a.status, w.now(ref).Terms.Rules)
	}
	if a := owner.post(domains+"/discard", url.Values{}); a.status != 409 {
		t.Errorf("discarding what is not there: %d", a.status)
	}
}

func TestACheckTellsTheStepsAndTheFix(t *testing.T) {
	w, owner, ref := owned(t)
	base := pageOf(ref)
	ask := func(pairs ...string) *answer {
		v := url.Values{"caller": {"billing"}, "method": {"GET"}, "url": {"https://api.example.com/v1"}}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return owner.get(base + "/check?" + v.Encode())
	}
	ask().wants("Allowed", "app:billing holds use", "The rule https://api.example.com/v1 admits it.")
	for _, c := range []struct {
		typed     []string
		code, fix string
	}{
		{[]string{"url", "api.example.net/x?key=1"}, "destination_not_allowed", base + "/domains/add?destinations=https%3A%2F%2Fapi.example.net"},
		{[]string{"url", "https://eu.crm.example.com/", "method", "DELETE"}, "method_not_allowed", base + "/domains/add?destinations=https%3A%2F%2F%2A.crm.example.com+DELETE"},
		{[]string{"caller", "app:sync"}, "credential_forbidden", base + "/permissions?level=use&subject=app%3Async#add"},
		{[]string{"user", "ann", "groups", "a, b"}, "credential_forbidden", base + "/permissions?level=use&subject=user%3Aann#add"},
	} {
		a := ask(c.typed...).wants("The app gets " + c.code)
		if !strings.Contains(html.UnescapeString(a.body), `href="`+c.fix+`"`) {
			t.Errorf("%v: no link to %s", c.typed, c.fix)
		}
		if a.has("key=1") && !strings.Contains(a.body, `value="api.example.net/x?key=1"`) {
			t.Errorf("the query is shown elsewhere than in its field")
		}
	}
	fixed := owner.get(base + "/permissions?level=use&subject=app%3Async").need(base + "/permissions")
	if fixed.Get("subject") != "sync" || fixed.Get("subject_kind") != "app" || fixed.Get("level") != "use" {
		t.Errorf("the fix fills in %v", fixed)
	}
	for field, typed := range map[string][]string{"caller": {"caller", "nobody"}, "url": {"url", "ftp://x"}} {
		if a := ask(typed...); a.status != 400 || !strings.Contains(a.body, `id="`+field+`-error"`) {
			t.Errorf("%v: %d, without an error at its field", typed, a.status)
		}
	}
	page := ask()
	if len(w.sent) > 0 {
		t.Fatal("a check sent something")
	}
	if a := owner.post(base+"/check", page.need(base+"/check")).wants("The destination answered 204"); a.status != 200 {
		t.Errorf("sending: %d", a.status)
	}
	want := []custody.Probe{{Operator: "owner", Caller: "billing", Credential: ref, Method: "GET", URL: "https://api.example.com/v1"}}
	if diff := gocmp.Diff(want, w.sent); diff != "" {
		t.Errorf("sent: %s", diff)
	}
	if a := owner.post(base+"/check", url.Values{"caller": {"billing"}, "method": {"DELETE"}, "url": {"https://api.example.com/v1"}}); a.status != 400 || len(w.sent) != 1 {
		t.Errorf("a DELETE: %d", a.status)
	}
}

func TestNamesAndNotesAreShownAsTheyAre(t *testing.T) {
	w, owner, ref := owned(t)
	edit := pageOf(ref) + "/edit"
	for _, odd := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "a\nb", "{{.}}", "'; DROP TABLE", "\u202eabc", "\u0000"[:0] + "&lt;"} {
		if a := owner.post(edit, owner.get(edit).need(edit, "description", odd)); a.status != 303 {
			t.Fatalf("%q: %d", odd, a.status)
		}
		if got := w.now(ref).Description; got != odd {
			t.Errorf("%q became %q", odd, got)
		}
		page := owner.get(pageOf(ref))
		if !strings.Contains(page.text(), odd) || strings.Contains(page.body, "<script>alert") || strings.Contains(page.body, "<img") {
			t.Errorf("%q is not shown as it is", odd)
		}
	}
}

func TestAnAddressFillsInNoSecret(t *testing.T) {
	_, p, ref := owned(t)
	for _, way := range []string{"add", "replace"} {
		a := p.get(pageOf(ref) + "/domains/" + way + "?destinations=evil.example&secret=planted&username=planted").wants("evil.example")
		if strings.Contains(a.body, "planted") {
			t.Errorf("%s: %s", way, a.body)
		}
	}
}

func TestARevisionThatIsNoneMatchesNothing(t *testing.T) {
	w, p, ref := owned(t)
	for _, revision := range []string{"0", "-1", "x", " 1", "99999999999999999999"} {
		p.post(pageOf(ref)+"/disable", url.Values{"revision": {revision}})
		if w.now(ref).State != keybearer.Active {
			t.Fatalf("disabled at revision %q", revision)
		}
	}
}
