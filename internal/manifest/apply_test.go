package manifest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/manifest"
)

var crm = keybearer.Ref{Scope: "docs", Name: "crm"}

// me is the subject of whoever runs the tests and comes through the socket.
var me = fmt.Sprintf("user:uid-%d", os.Geteuid())

// world is what most tests begin with.
var world = `apiVersion: keybearer/v1
scopes:
  docs: {description: handbooks, key: true}
credentials:
  docs/crm:
    kind: bearer
    secret: "{env.TOKEN}"
    destinations:
      - rule: https://api.example.com
        methods: [POST]
    grants: {app:billing: use, ` + me + `: administer}
callers:
  billing: {scopes: [docs]}
operators:
  ada: {groups: [sales], roles: ["scope-admin:docs"]}
`

// edited returns the text with some of it replaced; what is to be replaced must be there.
func edited(t *testing.T, text string, oldnew ...string) string {
	t.Helper()
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(text, oldnew[i]) {
			t.Fatalf("there is no %q in\n%s", oldnew[i], text)
		}
		text = strings.ReplaceAll(text, oldnew[i], oldnew[i+1])
	}
	return text
}

// The steps come in an order in which each finds what it needs, and a second time there is nothing to do and nothing is asked for.
func TestApplyTwice(t *testing.T) {
	l := newLab(t)
	want := []string{
		"created scope docs", "generated the key of scope docs", "created caller billing", "created operator ada",
		"created credential docs/crm", "granted use on docs/crm to app:billing",
	}
	if diff := cmp.Diff(want, apply(t, l.Client, world, options())); diff != "" {
		t.Fatal(diff)
	}
	before := l.changes.Load()
	p, err := plan(l.Client, read(t, world), options())
	if err != nil || len(p.Changes) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := p.Apply(t.Context(), l.Client, func(s string) { t.Error(s) }); err != nil || l.changes.Load() != before {
		t.Fatalf("%v, %d requests", err, l.changes.Load()-before)
	}
}

// What is exported, applied to an empty server and exported there is the same, byte for byte.
func TestExportAppliesToAnEmptyServer(t *testing.T) {
	a, b := newLab(t), newLab(t)
	apply(t, a.Client, edited(t, world, "methods: [POST]", "private: true\n      - rule: http://old.example.com:8080/v1\n        methods: [PUT, GET]",
		"callers:", `  docs/legacy:
    kind: basic
    description: "two\nlines: # no comment, 'quotes' \"and\" ü"
    username: "{env.USER_}"
    password: "{env.PASSWORD}"
    disabled: true
    require_user: true
    websocket: true
    pass_cookies: true
    pass_trace: true
    expires_at: 2037-01-31T18:00:00.123456789+02:00
    grants: {"group:a:b": view, "user:spiffe://corp//x?y#z": edit}
  global/key:
    kind: header
    header: x-api-key
    prefix: "Token "
    grants: {}
callers:
  "123": {description: "yes", disabled: true}`,
		"docs: {desc", "global: {key: true}\n  docs: {desc"), options())
	exported := export(t, a.Client)
	apply(t, b.Client, exported, options())
	if diff := cmp.Diff(exported, export(t, b.Client)); diff != "" {
		t.Fatal(diff)
	}
	for _, l := range []*lab{a, b} {
		p, err := plan(l.Client, read(t, exported), options())
		if err != nil || len(p.Changes) != 0 {
			t.Fatalf("%+v, %v", p.Changes, err)
		}
	}
	// Without their secrets, the credentials wait for them.
	c, err := b.Credential(t.Context(), crm)
	if err != nil || c.State != keybearer.NeedsSecret || c.Version != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	if strings.Contains(exported, canary) {
		t.Fatal("the export holds a secret")
	}
}

// Deleted records are not exported; listing one again is refused before anything is changed.
func TestDeletedRecords(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	apply(t, l.Client, edited(t, world, "docs: {desc", "old: {}\n  docs: {desc"), options())
	if _, err := l.DeleteCredential(ctx, crm, false); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteCaller(ctx, "billing"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteOperator(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteScope(ctx, "old", admin.Confirmation{Confirm: "old"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"crm", "billing", "ada", "old"} {
		if strings.Contains(export(t, l.Client), name) {
			t.Errorf("%s is exported", name)
		}
	}
	before := l.changes.Load()
	_, err := plan(l.Client, read(t, edited(t, world, "handbooks", "papers", "docs: {desc", "old: {}\n  docs: {desc")), options())
	wantCode(t, err, keybearer.AlreadyExists)
	want := `stdin:3: the name old belongs to a deleted scope and stays reserved; choose another name
stdin:14: the name billing belongs to a deleted caller and stays reserved; choose another name
stdin:16: the name ada belongs to a deleted operator and stays reserved; choose another name
stdin:6: docs/crm was deleted; keybearer credential restore docs/crm, or leave it out until it is purged`
	if diff := cmp.Diff(want, keybearer.AsError(err).Detail); diff != "" || l.changes.Load() != before {
		t.Fatal(diff)
	}
}

// A difference is shown in the words of the manifest, and what is applied is what was shown.
func TestDifferences(t *testing.T) {
	l := newLab(t)
	apply(t, l.Client, world, options())
	type F = manifest.Field
	for _, x := range []struct {
		name   string
		text   string
		fields []F
		steps  []string
	}{
		{
			"description", edited(t, world, "kind: bearer", "kind: bearer\n    description: the CRM"),
			[]F{{"description", "", "the CRM"}},
			[]string{"changed credential docs/crm"},
		},
		{
			"a wider rule", edited(t, world, "methods: [POST]", "methods: [POST, PUT]"),
			[]F{{"description", "the CRM", ""}, {"destination", "https://api.example.com POST", ""}, {"destination", "", "https://api.example.com POST,PUT"}, {"secret", "the one there is", "{env.TOKEN}"}},
			[]string{"changed credential docs/crm"},
		},
		{
			"a narrower rule, which needs no secret", edited(t, world, `    secret: "{env.TOKEN}"`+"\n", "", "https://api.example.com", "https://api.example.com/v1"),
			[]F{{"destination", "https://api.example.com POST,PUT", ""}, {"destination", "", "https://api.example.com/v1 POST"}},
			[]string{"changed credential docs/crm"},
		},
		{
			"grants", edited(t, world, "https://api.example.com", "https://api.example.com/v1", "app:billing: use", "app:billing: view, group:sales: use"),
			[]F{{"grant app:billing", "use", "view"}, {"grant group:sales", "", "use"}},
			[]string{"granted view on docs/crm to app:billing", "granted use on docs/crm to group:sales"},
		},
		{
			"disabled comes first, and grants that go", edited(t, world, "https://api.example.com", "https://api.example.com/v1/x", "app:billing: use, ", "", "kind: bearer", "kind: bearer\n    disabled: true"),
			[]F{
				{"destination", "https://api.example.com/v1 POST", ""},
				{"destination", "", "https://api.example.com/v1/x POST"},
				{"disabled", "false", "true"},
				{"grant app:billing", "view", ""},
				{"grant group:sales", "use", ""},
			},
			[]string{"disabled credential docs/crm", "changed credential docs/crm", "removed the grant of app:billing on docs/crm", "removed the grant of group:sales on docs/crm"},
		},
		{
			"another kind, enabled after", edited(t, world, "    kind: bearer\n", "    kind: basic\n    username: '{env.USER_}'\n", "secret:", "password:"),
			[]F{
				{"kind", "bearer", "basic"},
				{"destination", "https://api.example.com/v1/x POST", ""},
				{"destination", "", "https://api.example.com POST"},
				{"disabled", "true", "false"},
				{"grant app:billing", "", "use"},
				{"secret", "the one there is", "username {env.USER_}, password {env.TOKEN}"},
			},
			[]string{"changed credential docs/crm", "enabled credential docs/crm", "granted use on docs/crm to app:billing"},
		},
		{
			"and back to where it began", edited(t, world, "kind: bearer", "kind: header\n    header: x-key\n    expires_at: 2037-01-01T00:00:00Z"),
			[]F{{"kind", "basic", "header"}, {"header", "", "X-Key"}, {"expires_at", "", "2037-01-01T00:00:00Z"}, {"secret", "the one there is", "{env.TOKEN}"}},
			[]string{"changed credential docs/crm"},
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			p, err := plan(l.Client, read(t, x.text), options())
			if err != nil || len(p.Changes) != 1 {
				t.Fatalf("%+v, %v", p, err)
			}
			if diff := cmp.Diff(x.fields, p.Changes[0].Fields); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(x.steps, apply(t, l.Client, x.text, options())); diff != "" {
				t.Error(diff)
			}
			if p, err = plan(l.Client, read(t, x.text), options()); err != nil || len(p.Changes) != 0 {
				t.Errorf("then %+v, %v", p.Changes, err)
			}
		})
	}
}

// Callers and operators are changed in the same way. What is disabled is so before anything else, and nobody gets a token.
func TestIdentities(t *testing.T) {
	l := newLab(t)
	apply(t, l.Client, world, options())
	for _, x := range []struct {
		text  string
		steps []string
	}{
		{
			edited(t, world, "billing: {scopes: [docs]}", "billing: {disabled: true, description: shop}\n  new: {disabled: true}", "groups: [sales]", "disabled: true, groups: [a, sales]"),
			[]string{"disabled caller billing", "changed caller billing", "created caller new", "disabled caller new", "disabled operator ada", "changed operator ada"},
		},
		{
			edited(t, world, "billing: {scopes: [docs]}", "billing: {scopes: [global, docs]}\n  new: {}", `, roles: ["scope-admin:docs"]`, ""),
			[]string{"changed caller billing", "enabled caller billing", "enabled caller new", "changed operator ada", "enabled operator ada"},
		},
	} {
		if diff := cmp.Diff(x.steps, apply(t, l.Client, x.text, options())); diff != "" {
			t.Error(diff)
		}
		if p, err := plan(l.Client, read(t, x.text), options()); err != nil || len(p.Changes) != 0 {
			t.Errorf("then %+v, %v", p.Changes, err)
		}
	}
	billing, err := l.Caller(t.Context(), "billing")
	if err != nil || billing.Disabled || billing.Description != "" || !slices.Equal(billing.Scopes, []string{"docs", "global"}) || len(billing.Tokens) != 0 {
		t.Errorf("%+v, %v", billing, err)
	}
	ada, err := l.Operator(t.Context(), "ada")
	if err != nil || ada.Disabled || !slices.Equal(ada.Groups, []string{"sales"}) || len(ada.Roles) != 0 || len(ada.Tokens) != 0 {
		t.Errorf("%+v, %v", ada, err)
	}
}

// A reference is read when the server needs the secret, and not otherwise.
func TestSecretsAreSentWhenNeeded(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	version := func(want uint64) {
		t.Helper()
		if c, err := l.Credential(ctx, crm); err != nil || c.Version != want {
			t.Fatalf("version %d, %v; want %d", c.Version, err, want)
		}
	}
	reads := 0
	o := options()
	o.Getenv = func(name string) string { reads++; return environment[name] }
	without := edited(t, world, `    secret: "{env.TOKEN}"`+"\n", "")
	p, err := plan(l.Client, read(t, without), o)
	if err != nil || !slices.Contains(p.Notes, "credential docs/crm has no secret yet: keybearer credential set-secret docs/crm") {
		t.Fatalf("%+v, %v", p, err)
	}
	apply(t, l.Client, without, o)
	version(0)
	if done := apply(t, l.Client, world, o); !slices.Equal(done, []string{"set the secret of credential docs/crm"}) {
		t.Fatal(done)
	}
	version(1)
	reads = 0
	apply(t, l.Client, world, o)
	apply(t, l.Client, edited(t, world, "app:billing: use", "app:billing: view", "methods: [POST]", "methods: [POST]\n    require_user: true"), o)
	if version(1); reads != 0 {
		t.Fatalf("%d references were read for nothing", reads)
	}
	_, err = plan(l.Client, read(t, edited(t, without, "methods: [POST]", "methods: [POST, PUT]")), o)
	wantCode(t, err, keybearer.SecretRequired)
	if e := keybearer.AsError(err); e.Detail != "stdin:5: docs/crm changes what its secret may be used for (rules, require_user) and needs the secret again" || !strings.Contains(e.Hint, "{env.CRM_TOKEN}") {
		t.Fatalf("%q %q", e.Detail, e.Hint)
	}
	apply(t, l.Client, edited(t, world, "methods: [POST]", "methods: [POST, PUT]"), o)
	version(2) // one request, one version
	o.Secrets = true
	if done := apply(t, l.Client, edited(t, world, "methods: [POST]", "methods: [POST, PUT]"), o); !slices.Equal(done, []string{"set the secret of credential docs/crm"}) {
		t.Fatal(done)
	}
	version(3)
}

// References that cannot be read stop everything but a dry run.
func TestUnreadableReferences(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "\n", "lines": "a\nb\n", "binary": "\xff", "large": strings.Repeat("x", 65<<10), "good": canary + "\r\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for reference, want := range map[string]string{
		"{env.NONE}":                "is not set",
		"{file." + dir + "/none}":   "is not there",
		"{file." + dir + "}":        "cannot be read",
		"{file." + dir + "/empty}":  "is empty",
		"{file." + dir + "/lines}":  "has a line break or another control character, or is not UTF-8 text",
		"{file." + dir + "/binary}": "has a line break or another control character, or is not UTF-8 text",
		"{file." + dir + "/large}":  "exceeds 64 KiB",
	} {
		m := read(t, edited(t, world, "{env.TOKEN}", reference))
		_, err := plan(l.Client, m, options())
		wantCode(t, err, keybearer.SecretInvalid)
		if got := keybearer.AsError(err).Detail; got != "stdin:7: "+reference+" "+want {
			t.Errorf("got %q", got)
		}
		o := options()
		o.DryRun = true
		p, err := plan(l.Client, m, o)
		if err != nil || !slices.Contains(p.Warnings, "stdin:7: "+reference+" "+want) {
			t.Errorf("%+v, %v", p, err)
		}
	}
	if n := l.changes.Load(); n != 0 {
		t.Fatalf("%d changes", n)
	}
	apply(t, l.Client, edited(t, world, "{env.TOKEN}", "{file."+dir+"/good}"), options())
}

// What a client can know is found before the first change.
func TestEverythingIsCheckedFirst(t *testing.T) {
	l := newLab(t)
	apply(t, l.Client, world, options())
	before := l.changes.Load()
	for name, x := range map[string]struct {
		text string
		code keybearer.Code
		want string
	}{
		"no scope":           {edited(t, world, "  docs/crm:", "  new/crm:"), keybearer.NotFound, "stdin:5: there is no scope new, or you are not its admin"},
		"no key":             {edited(t, world, "  docs/crm:", "  global/crm:"), keybearer.ScopeKeyMissing, "stdin:5: scope global has no key"},
		"no caller":          {edited(t, world, "app:billing", "app:shop"), keybearer.NotFound, "stdin:5: docs/crm has a grant for app:shop, and there is no such caller"},
		"scope of a caller":  {edited(t, world, "scopes: [docs]", "scopes: [docs, new]"), keybearer.NotFound, "stdin:13: there is no scope new"},
		"scope of a role":    {edited(t, world, "scope-admin:docs", "scope-admin:new"), keybearer.NotFound, "stdin:15: there is no scope new"},
		"expired":            {edited(t, world, "  docs/crm:\n", "  docs/new:\n    expires_at: 2020-01-01T00:00:00Z\n"), keybearer.Invalid, "stdin:5: docs/new has expired already and cannot be made"},
		"expiry in the past": {edited(t, world, "  docs/crm:\n", "  docs/crm:\n    expires_at: 2020-01-01T00:00:00Z\n"), keybearer.Invalid, "stdin:5: docs/crm: the new expires_at lies in the past"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := plan(l.Client, read(t, edited(t, x.text, "handbooks", "papers")), options())
			wantCode(t, err, x.code)
			if e := keybearer.AsError(err); e.Detail != x.want || e.Hint == "" {
				t.Errorf("%q, %q", e.Detail, e.Hint)
			}
		})
	}
	if n := l.changes.Load() - before; n != 0 {
		t.Fatalf("%d changes", n)
	}
}

// What someone else changes between the comparison and the step ends the run; what was done and what was not is told, and applying again
// finishes it.
func TestConflict(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	apply(t, l.Client, world, options())
	text := edited(t, world, "handbooks", "papers", "kind: bearer", "kind: bearer\n    description: mine", "app:billing: use", "app:billing: edit, group:sales: use")
	p, err := plan(l.Client, read(t, text), options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.EditCredential(ctx, crm, admin.CredentialPatch{Description: new("theirs")}); err != nil {
		t.Fatal(err)
	}
	var done []string
	err = p.Apply(ctx, l.Client, func(s string) { done = append(done, s) })
	wantCode(t, err, keybearer.Stale)
	u, ok := errors.AsType[*manifest.Unfinished](err)
	if !ok || u.Failed != "change credential docs/crm" || u.Done != 1 ||
		!slices.Equal(u.Left, []string{"grant edit on docs/crm to app:billing", "grant use on docs/crm to group:sales"}) || !slices.Equal(done, []string{"changed scope docs"}) {
		t.Fatalf("%+v, %q", u, done)
	}
	if e := keybearer.AsError(err); e.Detail != "change credential docs/crm: it was changed since you read it" || !strings.Contains(e.Hint, "--dry-run") {
		t.Fatalf("%q %q", e.Detail, e.Hint)
	}
	if c, err := l.Credential(ctx, crm); err != nil || c.Description != "theirs" || len(c.Grants) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if done := apply(t, l.Client, text, options()); len(done) != 3 {
		t.Fatal(done)
	}
}

// A dry run, and every plan, changes nothing: not a revision, not a line of the audit log.
func TestPlansChangeNothing(t *testing.T) {
	l := newLab(t)
	apply(t, l.Client, world, options())
	look := func() string {
		t.Helper()
		state, err := manifest.Load(t.Context(), l.Client, manifest.Selection{All: true, Callers: true, Operators: true})
		if err != nil {
			t.Fatal(err)
		}
		events, err := audit.Tail(t.Context(), l.log.Path(), 1000, func(*keybearer.Event) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal([]any{state.Scopes, state.Callers, state.Operators, events, fmt.Sprintf("%+v", state.Credentials)})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before, asked := look(), l.changes.Load()
	o := options()
	o.Prune, o.DryRun, o.Secrets = true, true, true
	p, err := plan(l.Client, read(t, edited(t, world, "handbooks", "papers", "docs/crm", "docs/other", "  billing:", "  billing: {}\n  shop:")), o)
	if err != nil || len(p.Changes) < 4 {
		t.Fatalf("%+v, %v", p, err)
	}
	if after := look(); after != before || l.changes.Load() != asked {
		t.Fatal(cmp.Diff(before, after))
	}
	if strings.Contains(fmt.Sprintf("%+v %#v", p, p), canary) {
		t.Fatal("a plan shows a secret")
	}
}

// A server that cannot be reached is said to be so, and an apply that is interrupted says where.
func TestInterrupted(t *testing.T) {
	l := newLab(t)
	p, err := plan(l.Client, read(t, world), options())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = p.Apply(ctx, l.Client, func(s string) {
		if s == "created caller billing" {
			cancel()
		}
	})
	u, ok := errors.AsType[*manifest.Unfinished](err)
	if !ok || u.Done != 3 || u.Failed != "create operator ada" || len(u.Left) != 2 {
		t.Fatalf("%+v", u)
	}
	apply(t, l.Client, world, options())
	l.close()
	_, err = plan(l.Client, read(t, world), options())
	wantCode(t, err, keybearer.ServerUnreachable)
}
