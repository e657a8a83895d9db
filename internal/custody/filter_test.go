package custody_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// listed walks the pages of a listing and returns the names in the order they came.
func listed(t *testing.T, limit int, page func(keybearer.Query) (keybearer.Page[custody.Credential], error)) []string {
	t.Helper()
	names := []string{}
	q := keybearer.Query{Limit: limit}
	for range 1000 {
		p, err := page(q)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Items) > limit {
			t.Fatalf("%d items on a page of %d", len(p.Items), limit)
		}
		for _, c := range p.Items {
			names = append(names, c.Name)
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			return names
		}
	}
	t.Fatal("the pages do not end")
	return nil
}

func TestFilterLeavesNothingOutAndTellsNothingTwice(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	day := 24 * time.Hour
	want := map[string][]string{}
	for i := range 60 {
		name := fmt.Sprintf("c%02d", i)
		c := l.credential("docs", name, "s3cret", "api.example.com")
		var err error
		kind := "unused"
		switch {
		case i%7 == 0:
			kind = "disabled"
			_, err = l.DisableCredential(ctx, by(root), ref("docs", name))
		case i%11 == 0:
			kind = "expiring"
			_, err = l.EditCredential(ctx, by(root), ref("docs", name), custody.Patch{ExpiresAt: new(l.clock.Now().Add(day))})
		case i%13 == 0:
			kind = "deleted"
			_, err = l.DeleteCredential(ctx, by(root), ref("docs", name), true)
		case i < 40:
			kind = "used"
			l.used(c, 1, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		want[kind] = append(want[kind], name)
	}
	want["active"] = slices.Sorted(slices.Values(slices.Concat(want["used"], want["unused"], want["expiring"])))
	for kind, f := range map[string]custody.Filter{
		"disabled": {State: keybearer.Disabled}, "active": {State: keybearer.Active}, "deleted": {State: keybearer.Deleted},
		"expiring": {Expiring: true}, "unused": {Unused: true},
	} {
		for _, limit := range []int{1, 2, 3, 5, 7, 50, 1000} {
			got := listed(t, limit, func(q keybearer.Query) (keybearer.Page[custody.Credential], error) {
				q.Deleted = f.State == keybearer.Deleted
				return l.FilterCredentials(ctx, by(root), "docs", q, f)
			})
			if diff := cmp.Diff(want[kind], got); diff != "" {
				t.Errorf("%s, %d a page (-want +got):\n%s", kind, limit, diff)
			}
		}
	}
}

// What a filter keeps is searched further as any list is.
func TestWhatAFilterKeepsCanBeSearched(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	docs := l.scope("docs")
	l.scope("ops")
	for _, name := range []string{"docs/crm", "docs/mail", "ops/crm", "ops/on"} {
		r, _ := keybearer.ParseRef(name)
		n := bearer(r.Name, "s3cret", r.Name+".example.com")
		n.Grants = []keybearer.Grant{{Subject: "group:" + keybearer.Subject(r.Name), Level: keybearer.View}}
		if _, err := l.CreateCredential(ctx, by(root), r.Scope, n); err != nil {
			t.Fatal(err)
		}
		if r.Name != "on" {
			if _, err := l.DisableCredential(ctx, by(root), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	off := custody.Filter{State: keybearer.Disabled}
	for _, tc := range []struct {
		actor custody.Actor
		scope string
		q     keybearer.Query
		want  []string
	}{
		{root, "", keybearer.Query{}, []string{"docs/crm", "docs/mail", "ops/crm"}},
		{root, "ops", keybearer.Query{}, []string{"ops/crm"}},
		{root, "", keybearer.Query{Text: "MAIL.example"}, []string{"docs/mail"}},
		{root, "", keybearer.Query{Subject: "group:crm"}, []string{"docs/crm", "ops/crm"}},
		{root, "", keybearer.Query{Kind: keybearer.Basic}, nil},
		{custody.Actor{Subject: "user:ada", Groups: []string{"crm"}}, "", keybearer.Query{}, []string{"docs/crm", "ops/crm"}},
		{custody.Actor{Subject: "user:ada", Groups: []string{"mail"}}, "", keybearer.Query{Subject: "group:crm"}, nil},
		{custody.Actor{Subject: "user:ada", Groups: []string{"crm"}, Roles: []string{keybearer.RoleScopeAdmin + docs.ID}}, "", keybearer.Query{}, []string{"docs/crm", "docs/mail", "ops/crm"}},
		{custody.Actor{Subject: "user:eve"}, "", keybearer.Query{}, nil},
	} {
		page, err := l.FilterCredentials(ctx, by(tc.actor), tc.scope, tc.q, off)
		var got []string
		for _, c := range page.Items {
			got = append(got, c.Scope+"/"+c.Name)
		}
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s %s %+v: %v, want %v, %v", tc.actor.Subject, tc.scope, tc.q, got, tc.want, err)
		}
	}
	for _, cursor := range []string{"x", "bm90ZWQ", "bm90ZWQvYQ"} {
		_, err := l.FilterCredentials(ctx, by(root), "", keybearer.Query{Cursor: cursor}, off)
		wantCode(t, err, keybearer.Invalid)
	}
}

// A global credential can be used from a space when a caller that is bound to it holds use; what people and groups hold does not count.
func TestGlobalCredentialsOfASpace(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	docs := l.scope("docs")
	l.scope("ops")
	if _, err := l.GenerateKey(ctx, by(root), "global"); err != nil {
		t.Fatal(err)
	}
	for name, scopes := range map[string][]string{"billing": {"docs"}, "off": {"docs"}, "roamer": {"docs", "ops"}, "other": {"ops"}} {
		if _, _, err := l.CreateCaller(ctx, by(root), custody.NewCaller{Name: name, Scopes: scopes}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.DisableCaller(ctx, by(root), "off"); err != nil {
		t.Fatal(err)
	}
	for i, subject := range []keybearer.Subject{"app:billing", "app:off", "app:roamer", "app:other", "user:ada", "group:docs"} {
		n := bearer(fmt.Sprintf("g%d", i), "s3cret", "api.example.com")
		n.Grants = []keybearer.Grant{{Subject: subject, Level: keybearer.Use}, {Subject: "group:readers", Level: keybearer.View}}
		if _, err := l.CreateCredential(ctx, by(root), "global", n); err != nil {
			t.Fatal(err)
		}
	}
	list := func(a custody.Actor, scope string) []string {
		return listed(t, 1, func(q keybearer.Query) (keybearer.Page[custody.Credential], error) {
			return l.GlobalFor(ctx, by(a), scope, q)
		})
	}
	admin := custody.Actor{Subject: "user:ada", Roles: []string{keybearer.RoleScopeAdmin + docs.ID}}
	reader := admin
	reader.Groups = []string{"readers"}
	for _, tc := range []struct {
		actor custody.Actor
		scope string
		want  []string
	}{
		{root, "docs", []string{"g0", "g2"}},
		{root, "ops", []string{"g2", "g3"}},
		{admin, "docs", []string{}}, // may not see them
		{reader, "docs", []string{"g0", "g2"}},
	} {
		if diff := cmp.Diff(tc.want, list(tc.actor, tc.scope)); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tc.actor.Subject, tc.scope, diff)
		}
	}
	_, err := l.GlobalFor(ctx, by(reader), "ops", keybearer.Query{})
	wantCode(t, err, keybearer.Forbidden)
}

func TestACredentialIsMadeWithItsGrantsInOneChange(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	docs := l.scope("docs")
	if _, _, err := l.CreateCaller(ctx, by(root), custody.NewCaller{Name: "billing", Scopes: []string{"docs"}}); err != nil {
		t.Fatal(err)
	}
	ada := custody.Actor{Subject: "user:ada", Roles: []string{keybearer.RoleScopeAdmin + docs.ID}}
	n := bearer("crm", "s3cret", "api.example.com")
	n.Grants = []keybearer.Grant{{Subject: "user:ada", Level: keybearer.Use}, {Subject: "group:sales", Level: keybearer.View}, {Subject: "app:billing", Level: keybearer.Use}}
	c, err := l.CreateCredential(ctx, by(ada), "docs", n)
	if err != nil {
		t.Fatal(err)
	}
	want := []keybearer.Grant{{Subject: "app:billing", Level: keybearer.Use}, {Subject: "group:sales", Level: keybearer.View}, {Subject: "user:ada", Level: keybearer.Administer}}
	if diff := cmp.Diff(want, c.Grants); diff != "" {
		t.Error(diff)
	}
	events := l.action(custody.CredentialCreate)
	if len(events) != 1 || !slices.Equal(events[0].Changed, []string{"grants[app:billing]", "grants[group:sales]"}) {
		t.Errorf("the audit log has %+v", events)
	}
	if set := l.action(custody.GrantSet); len(set) != 0 {
		t.Errorf("%d changes more", len(set))
	}
}

func TestErrorsOfANewCredentialNameTheirField(t *testing.T) {
	l := newLab(t)
	l.scope("docs")
	l.credential("docs", "taken", "s3cret", "api.example.com")
	for want, change := range map[string]func(*custody.NewCredential){
		"name":            func(n *custody.NewCredential) { n.Name = "taken" },
		"description":     func(n *custody.NewCredential) { n.Description = "a\x00" },
		"kind":            func(n *custody.NewCredential) { n.Kind = "digest" },
		"header":          func(n *custody.NewCredential) { n.Kind, n.Header = keybearer.Header, "Host" },
		"prefix":          func(n *custody.NewCredential) { n.Prefix = "Token " },
		"secret":          func(n *custody.NewCredential) { n.Secret = text("••••") },
		"username":        func(n *custody.NewCredential) { n.Secret.Username = keybearer.NewSecret("u") },
		"expires_at":      func(n *custody.NewCredential) { n.ExpiresAt = l.clock.Now() },
		"destinations[1]": func(n *custody.NewCredential) { n.Rules = append(n.Rules, custody.Destination{Rule: "*.com"}) },
		"grants[0].subject": func(n *custody.NewCredential) {
			n.Grants = []keybearer.Grant{{Subject: "app:nobody", Level: keybearer.Use}}
		},
		"grants[1].subject": func(n *custody.NewCredential) {
			n.Grants = []keybearer.Grant{{Subject: "user:eve", Level: keybearer.Use}, {Subject: "user:eve", Level: keybearer.View}}
		},
	} {
		n := bearer("crm", "s3cret", "api.example.com")
		change(&n)
		_, err := l.CreateCredential(t.Context(), by(root), "docs", n)
		if got := keybearer.AsError(err); got == nil || got.Field != want {
			t.Errorf("%s: the error %v is of the field %q", want, err, fieldOf(got))
		}
	}
}

func fieldOf(e *keybearer.Error) string {
	if e == nil {
		return ""
	}
	return e.Field
}
