package custody_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer/internal/custody"
)

func TestCredentialsAreCountedByScopeAndState(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	l.scope("sales")
	l.scope("empty")
	day := 24 * time.Hour
	expires := func(name string, in time.Duration) {
		t.Helper()
		if _, err := l.EditCredential(ctx, by(root), ref("docs", name), custody.Patch{ExpiresAt: new(l.clock.Now().Add(in))}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b", "c", "off", "ends", "over", "gone"} {
		l.credential("docs", name, "s3cret", "api.example.com")
	}
	l.credential("sales", "crm", "s3cret", "api.example.com")
	if _, err := l.DisableCredential(ctx, by(root), ref("docs", "off")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteCredential(ctx, by(root), ref("docs", "gone"), true); err != nil {
		t.Fatal(err)
	}
	expires("ends", 14*day)
	expires("c", 20*day)
	expires("over", day)
	counts := func(want ...custody.Count) {
		t.Helper()
		got, err := l.Count(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
	counts(custody.Count{Scope: "docs", Active: 5, Disabled: 1, Expiring: 1}, custody.Count{Scope: "sales", Active: 1})
	l.clock.Add(2 * day)
	counts(custody.Count{Scope: "docs", Active: 4, Disabled: 1, Expired: 1, Expiring: 1}, custody.Count{Scope: "sales", Active: 1})
	if _, err := l.EnableCredential(ctx, by(root), ref("docs", "off")); err != nil {
		t.Fatal(err)
	}
	counts(custody.Count{Scope: "docs", Active: 5, Expired: 1, Expiring: 1}, custody.Count{Scope: "sales", Active: 1})
}
