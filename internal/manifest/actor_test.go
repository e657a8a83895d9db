package manifest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/manifest"
)

// What is not listed is left alone, and with prune deleted where the manifest speaks of it.
func TestPrune(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	more := edited(t, world, "docs: {desc", "other: {key: true}\n  docs: {desc", "callers:\n", "  docs/old: {kind: bearer}\n  other/crm: {kind: bearer}\ncallers:\n  shop: {}\n", "operators:\n", "operators:\n  eve: {}\n")
	apply(t, l.Client, more, options())
	if done := apply(t, l.Client, world, options()); len(done) != 0 {
		t.Fatal(done)
	}
	old, err := l.Credential(ctx, keybearer.Ref{Scope: "docs", Name: "old"})
	if err != nil {
		t.Fatal(err)
	}
	use := keybearer.UseRecord{CredentialID: old.ID, Caller: "billing", Host: "a.example.com:443", Status: 200, At: time.Now()}
	if err := l.store.RecordUses(ctx, []keybearer.UseRecord{use}, keybearer.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Prune = true
	_, err = plan(l.Client, read(t, edited(t, world, "handbooks", "papers")), o)
	wantCode(t, err, keybearer.RecentlyUsed)
	if e := keybearer.AsError(err); e.Detail != "docs/old: --prune would delete it, and it was used in the last 30 days" || !strings.Contains(e.Hint, "--force") {
		t.Fatalf("%q %q", e.Detail, e.Hint)
	}
	scopes, _, _ := strings.Cut(world, "callers:")
	o.Force = true
	section := edited(t, scopes, "scopes:\n  docs: {description: handbooks, key: true}\n", "")
	if done := apply(t, l.Client, section, o); len(done) != 0 { // it lists a credential of the scope, and not the scope
		t.Fatal(done)
	}
	if done := apply(t, l.Client, scopes, o); !slices.Equal(done, []string{"deleted credential docs/old"}) { // nothing is said of callers and operators, nor of scope other
		t.Fatal(done)
	}
	if done := apply(t, l.Client, world, o); !slices.Equal(done, []string{"deleted caller shop", "deleted operator eve"}) {
		t.Fatal(done)
	}
	if c, err := l.Credential(ctx, keybearer.Ref{Scope: "other", Name: "crm"}); err != nil || c.State == keybearer.Deleted {
		t.Fatalf("%+v, %v", c, err)
	}
	// A caller that a new grant is for is not deleted in the same breath; a grant that outlives its caller fits nobody, and is not exported.
	_, err = plan(l.Client, read(t, edited(t, world, "  billing: {scopes: [docs]}", "  {}", "app:billing: use", "app:billing: view")), o)
	if wantCode(t, err, keybearer.Conflict); keybearer.AsError(err).Detail != "stdin:5: docs/crm has a grant for app:billing, and --prune would delete that caller" {
		t.Fatal(err)
	}
	if _, err := l.DeleteCaller(ctx, "billing"); err != nil {
		t.Fatal(err)
	}
	for _, exported := range []string{export(t, l.Client), export(t, l.Client, "docs")} {
		if strings.Contains(exported, "billing") {
			t.Fatal(exported)
		}
		if done := apply(t, l.Client, exported, options()); len(done) != 0 {
			t.Fatal(done)
		}
	}
}

// An admin of one scope applies to it and to nothing else.
func TestScopeAdmin(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	apply(t, l.Client, world, options())
	issued, err := l.AddOperatorToken(ctx, "ada", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	ada := l.with(t, issued.Token)
	mine := `apiVersion: keybearer/v1
scopes:
  docs: {description: papers}
credentials:
  docs/new:
    kind: bearer
    secret: "{env.TOKEN}"
    grants: {app:billing: use, group:sales: view}
  docs/kept:
    kind: bearer
    grants: {user:ada: administer, user:bob: view}
  docs/less:
    kind: bearer
    grants: {user:ada: view, user:bob: administer}
`
	done := apply(t, ada, mine, options())
	want := []string{
		"changed scope docs",
		"created credential docs/kept", "granted view on docs/kept to user:bob",
		"created credential docs/less", "granted administer on docs/less to user:bob", "granted view on docs/less to user:ada",
		"created credential docs/new", "granted use on docs/new to app:billing", "granted view on docs/new to group:sales", "removed the grant of user:ada on docs/new",
	}
	if diff := cmp.Diff(want, done); diff != "" {
		t.Fatal(diff)
	}
	if p, err := plan(ada, read(t, mine), options()); err != nil || len(p.Changes) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	_, err = plan(ada, read(t, edited(t, mine, "group:sales: view", "group:sales: edit")), options())
	wantCode(t, err, keybearer.Forbidden)
	if e := keybearer.AsError(err); e.Detail != "stdin:5: changing docs/new needs administer on it" || !strings.Contains(e.Hint, "keybearer grant add docs/new") {
		t.Fatalf("%q %q", e.Detail, e.Hint)
	}
	apply(t, ada, edited(t, mine, "user:bob: view", "user:bob: edit"), options())
	// A group that they are in counts as they do, and is no reason for a warning.
	team := "apiVersion: keybearer/v1\ncredentials:\n  docs/team:\n    kind: bearer\n    grants: {group:sales: administer, user:bob: use}\n"
	p, err := plan(ada, read(t, team), options())
	if err != nil || len(p.Warnings) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	apply(t, ada, team, options())
	want = []string{"granted use on docs/team to app:billing", "removed the grant of user:bob on docs/team", "granted view on docs/team to group:sales"}
	if diff := cmp.Diff(want, apply(t, ada, edited(t, team, "group:sales: administer, user:bob: use", "group:sales: view, app:billing: use"), options())); diff != "" {
		t.Fatal(diff)
	}
	_, err = manifest.Export(ctx, ada, nil)
	if wantCode(t, err, keybearer.Forbidden); !strings.Contains(keybearer.AsError(err).Hint, "--scope") {
		t.Fatal(err)
	}
	if got := export(t, ada, "docs"); got != export(t, l.Client, "docs") || !strings.Contains(got, `"group:sales": "view"`) || strings.Contains(got, "callers") {
		t.Fatal(got)
	}
	_, err = manifest.Export(ctx, ada, []string{"global"})
	wantCode(t, err, keybearer.NotFound)
}

// Who lists themselves in the manifest may change what they did not create; who does not is told beforehand what that means.
func TestActor(t *testing.T) {
	l := newLab(t)
	apply(t, l.Client, world, options())
	other, err := l.CreateOperator(t.Context(), admin.NewOperator{Name: "deploy", Roles: []string{"instance-admin"}})
	if err != nil {
		t.Fatal(err)
	}
	deploy := l.with(t, other.Token)
	changed := edited(t, world, "methods: [POST]", "methods: [POST]\n    disabled: true")
	_, err = plan(deploy, read(t, changed), options())
	if wantCode(t, err, keybearer.Forbidden); !strings.Contains(keybearer.AsError(err).Hint, "lists user:deploy: administer in its grants") {
		t.Fatal(err)
	}
	listed := edited(t, changed, "app:billing: use", "app:billing: use, user:deploy: administer")
	if done := apply(t, deploy, listed, options()); !slices.Equal(done, []string{"granted administer on docs/crm to user:deploy", "disabled credential docs/crm"}) {
		t.Fatal(done)
	}
	// Their own grant is the last to go.
	gone := edited(t, world, "app:billing: use", "app:billing: view")
	p, err := plan(deploy, read(t, gone), options())
	if err != nil || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "user:deploy, who applies this, cannot change it afterwards") {
		t.Fatalf("%+v, %v", p, err)
	}
	if done := apply(t, deploy, gone, options()); !slices.Equal(done, []string{"enabled credential docs/crm", "granted view on docs/crm to app:billing", "removed the grant of user:deploy on docs/crm"}) {
		t.Fatal(done)
	}
	// Nor do they delete themselves, and what changes themselves is done last.
	o := options()
	o.Prune = true
	if done := apply(t, deploy, world[:strings.Index(world, "credentials:")]+"credentials: {docs/crm: {kind: bearer, grants: {app:billing: view, "+me+": administer}, destinations: [{rule: api.example.com, methods: [POST]}]}}\noperators: {}\n", o); !slices.Equal(done, []string{"deleted operator ada"}) {
		t.Fatal(done)
	}
	demoted := "apiVersion: keybearer/v1\noperators: {deploy: {}, zoe: {}}\n"
	if done := apply(t, deploy, demoted, options()); !slices.Equal(done, []string{"created operator zoe", "changed operator deploy"}) {
		t.Fatal(done)
	}
}
