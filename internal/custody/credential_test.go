package custody_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

var crm = ref("docs", "crm")

func rules(list ...string) []custody.Destination {
	out := []custody.Destination{}
	for _, r := range list {
		out = append(out, custody.Destination{Rule: r})
	}
	return out
}

func texts(terms keybearer.Terms) string {
	var out []string
	for _, r := range terms.Rules {
		out = append(out, r.String())
	}
	return strings.Join(out, " ")
}

func TestCreateCredential(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	s := l.scope("docs")
	n := bearer("crm", "s3cret", "API.example.com", "https://*.example.com:8443/hooks", "api.example.com")
	n.Description, n.RequireUser, n.PassTrace, n.ScrubBody, n.ExpiresAt = "the CRM", true, true, true, l.clock.Now().Add(time.Hour)
	c, err := l.CreateCredential(ctx, by(root), "docs", n)
	if err != nil {
		t.Fatal(err)
	}
	if c.Scope != "docs" || c.ScopeID != s.ID || c.Name != "crm" || c.State != keybearer.Active || c.Version != 1 || c.Previous != nil ||
		c.Level != keybearer.Administer || !c.Terms.RequireUser || !c.PassTrace || !c.ScrubBody || c.PassCookies || !c.ExpiresAt.Equal(n.ExpiresAt) {
		t.Fatalf("%+v", c)
	}
	if got, want := texts(c.Terms), "https://*.example.com:8443/hooks https://api.example.com"; got != want {
		t.Fatalf("rules %q, want %q", got, want)
	}
	if diff := cmp.Diff([]keybearer.Grant{{Subject: root.Subject, Level: keybearer.Administer}}, c.Grants); diff != "" {
		t.Fatal(diff)
	}
	for _, r := range []keybearer.Ref{crm, ref(s.ID, "crm"), ref("docs", c.ID)} { // ids wherever names are
		got, err := l.Credential(ctx, by(root), r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Fatalf("%s: %s", r, diff)
		}
	}
	if got := l.secretOf(crm); got != "s3cret" {
		t.Fatalf("sealed %q", got)
	}
	_, err = l.CreateCredential(ctx, by(root), "docs", n)
	wantCode(t, err, keybearer.AlreadyExists)
	_, err = l.CreateCredential(ctx, by(root), "docs", bearer("b", "s3cret", "*.com"))
	wantCode(t, err, keybearer.RuleInvalid)
	n.Name, n.ExpiresAt = "late", l.clock.Now()
	_, err = l.CreateCredential(ctx, by(root), "docs", n)
	wantCode(t, err, keybearer.Invalid)

	l.clock.Add(2 * time.Hour)
	if c, err = l.Credential(ctx, by(root), crm); err != nil || c.State != keybearer.Expired {
		t.Fatalf("%s, %v", c.State, err)
	}
}

// A credential that is made without a secret refuses until it gets its first, and widens freely: there is nothing that could go anywhere.
func TestCreateCredentialWithoutSecret(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	n := bearer("crm", "s3cret", "api.example.com")
	n.NoSecret = true
	_, err := l.CreateCredential(ctx, by(root), "docs", n)
	wantCode(t, err, keybearer.Invalid)
	n.Secret = custody.Secret{}
	c, err := l.CreateCredential(ctx, by(root), "docs", n)
	if err != nil || c.State != keybearer.NeedsSecret || c.Version != 0 || c.VersionAt.IsZero() || c.Level != keybearer.Administer {
		t.Fatalf("%+v, %v", c, err)
	}
	rules := []custody.Destination{{Rule: "b.example.com"}, {Rule: "http://a.example.com"}}
	if c, err = l.EditCredential(ctx, by(root), crm, custody.Patch{Rules: &rules, WebSocket: new(true)}); err != nil || c.State != keybearer.NeedsSecret {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := l.RotateKey(ctx, by(root), "docs"); err != nil {
		t.Fatal(err)
	}
	if c, err = l.SetSecret(ctx, by(root), crm, text("f1rst")); err != nil || c.State != keybearer.Active || c.Version != 1 || c.Previous != nil {
		t.Fatalf("%+v, %v", c, err)
	}
	if got := l.secretOf(crm); got != "f1rst" {
		t.Fatalf("sealed %q", got)
	}
	if got, want := texts(c.Terms), "http://a.example.com https://b.example.com"; got != want {
		t.Fatalf("rules %q, want %q", got, want)
	}
	n.Name = "none"
	n.NoSecret = false
	_, err = l.CreateCredential(ctx, by(root), "docs", n) // without saying so it is a mistake
	wantCode(t, err, keybearer.SecretInvalid)
}

// Rules and other terms that change together make one version.
func TestEditRulesAndTermsTogether(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	n := bearer("crm", "s3cret", "api.example.com")
	n.RequireUser = true
	if _, err := l.CreateCredential(ctx, by(root), "docs", n); err != nil {
		t.Fatal(err)
	}
	p := custody.Patch{Rules: &[]custody.Destination{{Rule: "b.example.com"}}, RequireUser: new(false)}
	_, err := l.EditCredential(ctx, by(root), crm, p)
	wantCode(t, err, keybearer.SecretRequired)
	p.Secret = text("n3w")
	c, err := l.EditCredential(ctx, by(root), crm, p)
	if err != nil || c.Version != 2 || c.Previous == nil || c.Previous.Version != 1 || texts(c.Terms) != "https://b.example.com" || c.Terms.RequireUser {
		t.Fatalf("%+v, %v", c, err)
	}
	c, err = l.EditCredential(ctx, by(root), crm, custody.Patch{Rules: &[]custody.Destination{}})
	if err != nil || c.Version != 2 || len(c.Terms.Rules) != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	_, err = l.EditCredential(ctx, by(root), crm, custody.Patch{Rules: &[]custody.Destination{{Rule: "*.com"}}})
	wantCode(t, err, keybearer.RuleInvalid)
}

// Each row widens in one way: refused without the secret, and with it a new version that is sealed with the new terms.
func TestWideningNeedsTheSecret(t *testing.T) {
	type op func(*lab, custody.Secret) (custody.Credential, error)
	edit := func(p custody.Patch) op {
		return func(l *lab, s custody.Secret) (custody.Credential, error) {
			p.Secret = s
			return l.EditCredential(l.t.Context(), by(root), crm, p)
		}
	}
	replace := func(d ...custody.Destination) op {
		return func(l *lab, s custody.Secret) (custody.Credential, error) {
			return l.ReplaceDestinations(l.t.Context(), by(root), crm, d, s)
		}
	}
	add := func(d ...custody.Destination) op {
		return func(l *lab, s custody.Secret) (custody.Credential, error) {
			return l.AddDestinations(l.t.Context(), by(root), crm, d, s)
		}
	}
	base := custody.Destination{Rule: "api.example.com/v1", Methods: []string{"GET", "POST"}}
	for name, tc := range map[string]struct {
		do     op
		widens bool
	}{
		"another host":      {add(custody.Destination{Rule: "b.example.com"}), true},
		"shorter path":      {replace(custody.Destination{Rule: "api.example.com", Methods: []string{"GET"}}), true},
		"more methods":      {replace(custody.Destination{Rule: "api.example.com/v1"}), true},
		"another port":      {add(custody.Destination{Rule: "api.example.com:8443"}), true},
		"http":              {add(custody.Destination{Rule: "http://api.example.com/v1", Methods: []string{"GET"}}), true},
		"private":           {replace(custody.Destination{Rule: base.Rule, Methods: base.Methods, Private: true}), true},
		"wildcard":          {replace(custody.Destination{Rule: "*.example.com/v1", Methods: []string{"GET"}}), true},
		"no user required":  {edit(custody.Patch{RequireUser: new(false)}), true},
		"websocket":         {edit(custody.Patch{WebSocket: new(true)}), true},
		"header":            {edit(custody.Patch{Header: new("X-Other")}), true},
		"prefix":            {edit(custody.Patch{Prefix: new("Token ")}), true},
		"kind":              {edit(custody.Patch{Kind: new(keybearer.Bearer)}), true},
		"longer path":       {replace(custody.Destination{Rule: "api.example.com/v1/hooks", Methods: []string{"GET"}}), false},
		"fewer methods":     {replace(custody.Destination{Rule: "api.example.com/v1", Methods: []string{"GET"}}), false},
		"what is there":     {add(base), false},
		"covered":           {add(custody.Destination{Rule: "api.example.com/v1/hooks", Methods: []string{"POST"}}), false},
		"nothing left":      {replace(), false},
		"description":       {edit(custody.Patch{Description: new("words")}), false},
		"cookies":           {edit(custody.Patch{PassCookies: new(true)}), false},
		"expiry":            {edit(custody.Patch{ExpiresAt: new(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))}), false},
		"the same kind":     {edit(custody.Patch{Kind: new(keybearer.Header)}), false},
		"the same header":   {edit(custody.Patch{Header: new("x-key")}), false},
		"still user needed": {edit(custody.Patch{RequireUser: new(true)}), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.scope("docs")
			n := custody.NewCredential{
				Name: "crm", Kind: keybearer.Header, Header: "X-Key", Secret: text("0ld"), RequireUser: true, Rules: []custody.Destination{base},
			}
			if _, err := l.CreateCredential(t.Context(), by(root), "docs", n); err != nil {
				t.Fatal(err)
			}
			before := l.record(crm)
			_, err := tc.do(l, custody.Secret{})
			if !tc.widens {
				if err != nil {
					t.Fatal(err)
				}
				if after := l.record(crm); after.Current.Number != 1 || string(after.Current.Sealed) != string(before.Current.Sealed) {
					t.Fatal("a narrowing sealed anew")
				}
				return
			}
			wantCode(t, err, keybearer.SecretRequired)
			if diff := cmp.Diff(before, l.record(crm)); diff != "" {
				t.Fatalf("the refused change was made: %s", diff)
			}
			c, err := tc.do(l, text("n3w"))
			if err != nil {
				t.Fatal(err)
			}
			after := l.record(crm)
			b, err := l.opened(l.scopeRecord("docs"), after.ID, &after.Current)
			if err != nil || b.Secret.Reveal() != "n3w" || c.Version != 2 || after.Previous == nil {
				t.Fatalf("%+v, %v", c, err)
			}
			if diff := cmp.Diff(after.Current.Terms, b.Terms); diff != "" {
				t.Fatalf("sealed with other terms than those in force: %s", diff)
			}
			if diff := cmp.Diff(before.Current.Terms, after.Previous.Terms); diff != "" {
				t.Fatalf("the version before lost its terms: %s", diff)
			}
		})
	}
}

func TestRollback(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	l.credential("docs", "crm", "one", "a.example.com", "b.example.com")
	_, err := l.RollbackCredential(ctx, by(root), crm)
	wantCode(t, err, keybearer.NoPreviousVersion)

	if _, err := l.ReplaceDestinations(ctx, by(root), crm, rules("b.example.com", "c.example.com"), text("two")); err != nil {
		t.Fatal(err)
	}
	// What is taken away from the current rules does not come back by a rollback.
	if _, err := l.RemoveDestination(ctx, by(root), crm, "b.example.com"); err != nil {
		t.Fatal(err)
	}
	c, err := l.RollbackCredential(ctx, by(root), crm)
	if err != nil || c.Version != 1 || texts(c.Terms) != "https://a.example.com" || l.secretOf(crm) != "one" {
		t.Fatalf("%+v, %v", c, err)
	}
	if c.Previous == nil || c.Previous.Version != 2 || texts(c.Previous.Terms) != "https://c.example.com" {
		t.Fatalf("%+v", c.Previous)
	}
	// There and back.
	if c, err = l.RollbackCredential(ctx, by(root), crm); err != nil || c.Version != 2 || l.secretOf(crm) != "two" {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = l.RollbackCredential(ctx, by(root), crm); err != nil || c.Version != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	// A number is never given twice, even when the highest is not there any more.
	l.clock.Add(25 * time.Hour)
	if err := l.Sweep(ctx, l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if r := l.record(crm); r.Previous != nil || r.Current.Number != 1 {
		t.Fatalf("%+v", r)
	}
	if c, err = l.SetSecret(ctx, by(root), crm, text("three")); err != nil || c.Version != 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	// The time is over also before a sweep says so.
	l.clock.Add(24 * time.Hour)
	if c, err = l.Credential(ctx, by(root), crm); err != nil || c.Previous != nil {
		t.Fatalf("%+v, %v", c, err)
	}
	_, err = l.RollbackCredential(ctx, by(root), crm)
	wantCode(t, err, keybearer.NoPreviousVersion)
}

func TestKeepNoPrevious(t *testing.T) {
	l := newLab(t, func(c *custody.Config) { c.KeepPrevious = -1 })
	ctx := t.Context()
	l.scope("docs")
	l.credential("docs", "crm", "one")
	if _, err := l.SetSecret(ctx, by(root), crm, text("two")); err != nil {
		t.Fatal(err)
	}
	if r := l.record(crm); r.Previous != nil {
		t.Fatal("the previous secret is kept")
	}
	_, err := l.RollbackCredential(ctx, by(root), crm)
	wantCode(t, err, keybearer.NoPreviousVersion)
}

func TestChangeOfKind(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	l.credential("docs", "crm", "one", "a.example.com")
	_, err := l.EditCredential(ctx, by(root), crm, custody.Patch{Kind: new(keybearer.Header), Secret: text("k")})
	wantCode(t, err, keybearer.Invalid) // no header's name
	c, err := l.EditCredential(ctx, by(root), crm, custody.Patch{Kind: new(keybearer.Header), Header: new("X-Key"), Prefix: new("v1 "), Secret: text("k")})
	if err != nil || c.Terms.Header != "X-Key" || c.Terms.Prefix != "v1 " {
		t.Fatalf("%+v, %v", c, err)
	}
	// The old kind's header does not linger.
	if c, err = l.EditCredential(ctx, by(root), crm, custody.Patch{Kind: new(keybearer.Bearer), Secret: text("k2")}); err != nil || c.Terms.Header+c.Terms.Prefix != "" {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = l.RollbackCredential(ctx, by(root), crm); err != nil || c.Terms.Kind != keybearer.Header || c.Terms.Header != "X-Key" {
		t.Fatalf("%+v, %v", c, err)
	}
}

func TestDisableDeleteRestore(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	l.credential("docs", "crm", "one", "a.example.com")
	c, err := l.DisableCredential(ctx, by(root), crm)
	if err != nil || c.State != keybearer.Disabled {
		t.Fatalf("%+v, %v", c, err)
	}
	again, err := l.DisableCredential(ctx, by(root), crm)
	if err != nil || again.Revision != c.Revision || len(l.action(custody.CredentialDisable)) != 1 {
		t.Fatalf("what is disabled already was changed: %+v, %v", again, err)
	}
	if c, err = l.EnableCredential(ctx, by(root), crm); err != nil || c.State != keybearer.Active {
		t.Fatalf("%+v, %v", c, err)
	}
	_, err = l.RestoreCredential(ctx, by(root), crm)
	wantCode(t, err, keybearer.Conflict)

	use := keybearer.UseRecord{CredentialID: c.ID, Caller: "app", Host: "a.example.com:443", Status: 200, At: l.clock.Now()}
	if err := l.store.RecordUses(ctx, []keybearer.UseRecord{use}, keybearer.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	l.clock.Add(29 * 24 * time.Hour)
	_, err = l.DeleteCredential(ctx, by(root), crm, false)
	wantCode(t, err, keybearer.RecentlyUsed)
	l.clock.Add(24 * time.Hour)
	if c, err = l.DeleteCredential(ctx, by(root), crm, false); err != nil || c.State != keybearer.Deleted || !c.RestorableTo.Equal(c.DeletedAt.Add(7*24*time.Hour)) {
		t.Fatalf("%+v, %v", c, err)
	}
	_, err = l.SetSecret(ctx, by(root), crm, text("two"))
	wantCode(t, err, keybearer.CredentialDeleted)
	_, err = l.DeleteCredential(ctx, by(root), crm, true)
	wantCode(t, err, keybearer.CredentialDeleted)
	_, err = l.CreateCredential(ctx, by(root), "docs", bearer("crm", "x"))
	wantCode(t, err, keybearer.AlreadyExists) // a tombstone's name is reserved
	page, err := l.Credentials(ctx, by(root), "docs", keybearer.Query{})
	if err != nil || len(page.Items) != 0 {
		t.Fatalf("%+v, %v", page, err)
	}
	if page, err = l.Credentials(ctx, by(root), "docs", keybearer.Query{Deleted: true}); err != nil || len(page.Items) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if c, err = l.RestoreCredential(ctx, by(root), crm); err != nil || c.State != keybearer.Active || l.secretOf(crm) != "one" {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err = l.DeleteCredential(ctx, by(root), crm, false); err != nil {
		t.Fatal(err)
	}
	l.clock.Add(7 * 24 * time.Hour)
	_, err = l.RestoreCredential(ctx, by(root), crm)
	wantCode(t, err, keybearer.NotFound)
	if err := l.Sweep(ctx, l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	_, err = l.store.Credential(ctx, crm)
	wantCode(t, err, keybearer.NotFound)
	l.credential("docs", "crm", "two") // the name is free again
}

func TestGrants(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	l.credential("docs", "crm", "one")
	_, err := l.SetGrant(ctx, by(root), crm, "app:billing", keybearer.Use)
	wantCode(t, err, keybearer.Invalid) // there is no such caller, and must not be one with a grant that waits for it
	if _, _, err := l.CreateCaller(ctx, by(root), custody.NewCaller{Name: "billing"}); err != nil {
		t.Fatal(err)
	}
	for _, g := range []keybearer.Grant{{Subject: "user:zoe", Level: keybearer.View}, {Subject: "app:billing", Level: keybearer.Use}, {Subject: "group:sales", Level: keybearer.Edit}} {
		if _, err := l.SetGrant(ctx, by(root), crm, g.Subject, g.Level); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = l.SetGrant(ctx, by(root), crm, "user:zoe", keybearer.Use); err != nil { // lowers it
		t.Fatal(err)
	}
	want := []keybearer.Grant{
		{Subject: "app:billing", Level: keybearer.Use},
		{Subject: "group:sales", Level: keybearer.Edit},
		{Subject: "user:uid-0", Level: keybearer.Administer},
		{Subject: "user:zoe", Level: keybearer.Use},
	}
	got, revision, err := l.Grants(ctx, by(root), crm)
	if err != nil || revision != l.record(crm).Revision {
		t.Fatal(revision, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	for _, bad := range []keybearer.Subject{"", "billing", "app:", "robot:x", "user:a b", "app:Billing"} {
		_, err := l.SetGrant(ctx, by(root), crm, bad, keybearer.Use)
		wantCode(t, err, keybearer.Invalid)
	}
	_, err = l.SetGrant(ctx, by(root), crm, "user:zoe", keybearer.NoLevel)
	wantCode(t, err, keybearer.Invalid)
	_, err = l.RemoveGrant(ctx, by(root), crm, "user:eve")
	wantCode(t, err, keybearer.NotFound)
	c, err := l.RemoveGrant(ctx, by(root), crm, "group:sales")
	if err != nil || len(c.Grants) != 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	lines := l.action(custody.GrantRemove)
	if len(lines) != 1 || len(lines[0].Changed) != 1 || lines[0].Changed[0] != "grants[group:sales]" {
		t.Fatalf("%+v", lines)
	}
}
