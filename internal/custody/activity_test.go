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

// used records uses and refusals of a credential so many hours ago.
func (l *lab) used(c custody.Credential, hoursAgo, uses int, refused ...keybearer.Code) {
	l.t.Helper()
	var list []keybearer.UseRecord
	one := keybearer.UseRecord{CredentialID: c.ID, Scope: c.Scope, Caller: "app", At: l.clock.Now().Add(-time.Duration(hoursAgo) * time.Hour)}
	for range uses {
		one.Status = 200
		list = append(list, one)
	}
	for _, code := range refused {
		one.Refused, one.Code, one.Status = true, code, 0
		list = append(list, one)
	}
	if err := l.store.RecordUses(l.t.Context(), list, keybearer.Checkpoint{}); err != nil {
		l.t.Fatal(err)
	}
}

// Everybody is told of what they may see, and of nothing else: not by sums, not by codes, not by asking for an id.
func TestActivityIsOfWhatMayBeSeen(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	docs, ops := l.scope("docs"), l.scope("ops")
	const no, method, address = keybearer.DestinationNotAllowed, keybearer.MethodNotAllowed, keybearer.AddressDenied
	a, b, c := l.credential("docs", "a", "s3cret", "h.example"), l.credential("docs", "b", "s3cret", "h.example"), l.credential("ops", "c", "s3cret", "h.example")
	never := l.credential("ops", "never", "s3cret", "h.example")
	l.used(a, 1, 3, no)
	l.used(b, 2, 5, method, method)
	l.used(c, 2, 7, address)
	l.used(c, 60, 100, no)
	for _, cred := range []custody.Credential{a, c, never} {
		if _, err := l.SetGrant(ctx, by(root), ref(cred.Scope, cred.Name), "user:ada", keybearer.View); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.SetGrant(ctx, by(root), ref("docs", "b"), "user:ada", keybearer.Use); err != nil { // not enough
		t.Fatal(err)
	}
	if _, err := l.SetGrant(ctx, by(root), ref("docs", "a"), "group:sales", keybearer.View); err != nil { // once more
		t.Fatal(err)
	}
	ada := custody.Actor{Subject: "user:ada", Groups: []string{"sales"}}
	docsAdmin, opsAdmin := custody.Actor{Subject: "user:eve", Roles: []string{keybearer.RoleScopeAdmin + docs.ID}}, ada
	opsAdmin.Roles = []string{keybearer.RoleScopeAdmin + ops.ID}
	ids := []string{a.ID, b.ID, c.ID, never.ID, "", "docs", "ops", "crd_", "x", keybearer.NewID(keybearer.IDCredential)}
	type counts struct {
		Uses, Refused uint64
		Scopes        []string
		Credentials   []string
		Refusals      string
	}
	for _, tc := range []struct {
		name  string
		actor custody.Actor
		scope string
		want  counts
	}{
		{"root", root, "", counts{15, 4, []string{"docs 8", "ops 7"}, []string{a.ID, b.ID, c.ID}, "[{method_not_allowed 2} {address_denied 1} {destination_not_allowed 1}]"}},
		{"root of docs", root, "docs", counts{8, 3, nil, []string{a.ID, b.ID, c.ID}, "[{method_not_allowed 2} {destination_not_allowed 1}]"}},
		{"root of docs by id", root, docs.ID, counts{8, 3, nil, []string{a.ID, b.ID, c.ID}, "[{method_not_allowed 2} {destination_not_allowed 1}]"}},
		{"admin of docs", docsAdmin, "", counts{8, 3, []string{"docs 8"}, []string{a.ID, b.ID}, "[{method_not_allowed 2} {destination_not_allowed 1}]"}},
		{"admin of docs in ops", docsAdmin, "ops", counts{0, 0, nil, []string{a.ID, b.ID}, "[]"}},
		{"ada", ada, "", counts{10, 2, nil, []string{a.ID, c.ID}, "[{address_denied 1} {destination_not_allowed 1}]"}},
		{"ada in docs", ada, "docs", counts{3, 1, nil, []string{a.ID, c.ID}, "[{destination_not_allowed 1}]"}},
		{"ada in nothing", ada, "nothing", counts{0, 0, nil, []string{a.ID, c.ID}, "[]"}},
		{"ada as admin of ops", opsAdmin, "", counts{10, 2, []string{"ops 7"}, []string{a.ID, c.ID}, "[{address_denied 1} {destination_not_allowed 1}]"}},
		{"bob", custody.Actor{Subject: "user:bob"}, "", counts{0, 0, nil, nil, "[]"}},
	} {
		got, err := l.Activity(ctx, by(tc.actor), custody.ActivityQuery{Scope: tc.scope, Credentials: ids, Since: l.clock.Now().Add(-24 * time.Hour)})
		if err != nil || !got.Whole || !got.Counted {
			t.Fatal(tc.name, got, err)
		}
		have := counts{Refusals: fmt.Sprint(got.Refusals)}
		if !slices.IsSortedFunc(got.Hours, func(a, b keybearer.UsageHour) int { return a.Hour.Compare(b.Hour) }) {
			t.Errorf("%s: %v", tc.name, got.Hours)
		}
		for _, h := range got.Hours {
			have.Uses, have.Refused = have.Uses+h.Uses, have.Refused+h.Refused
		}
		for _, s := range got.Scopes {
			have.Scopes = append(have.Scopes, fmt.Sprint(s.Scope, " ", s.Uses))
		}
		for _, id := range ids {
			if len(got.Credentials[id]) > 0 {
				have.Credentials = append(have.Credentials, id)
			}
		}
		if diff := cmp.Diff(tc.want, have); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
	_, err := l.Activity(ctx, by(custody.Actor{}), custody.ActivityQuery{})
	wantCode(t, err, keybearer.Unauthenticated)
	_, err = l.Activity(ctx, by(root), custody.ActivityQuery{Scope: "nothing"})
	wantCode(t, err, keybearer.NotFound)
	_, err = l.Activity(ctx, by(root), custody.ActivityQuery{Credentials: make([]string, 1001)})
	wantCode(t, err, keybearer.Invalid)
}

// What somebody should look at is in one list, is what the actor may see, and comes in a useful order.
func TestAttention(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	docs := l.scope("docs")
	l.scope("ops")
	now := l.clock.Now()
	edit := func(name string, p custody.Patch) {
		t.Helper()
		if _, err := l.EditCredential(ctx, by(root), ref("docs", name), p); err != nil {
			t.Fatal(err)
		}
	}
	day := 24 * time.Hour
	for name, in := range map[string]time.Duration{"later": 29 * day, "soon": day, "far": 31 * day} {
		l.credential("docs", name, "s3cret", "h.example")
		edit(name, custody.Patch{ExpiresAt: new(now.Add(in))})
	}
	l.used(l.credential("docs", "busy", "s3cret", "h.example"), 24*29, 1)
	l.used(l.credential("docs", "idle", "s3cret", "h.example"), 24*31, 1)
	l.used(l.credential("docs", "refused", "s3cret", "h.example"), 1, 0, keybearer.MethodNotAllowed)
	l.credential("docs", "off", "s3cret", "h.example")
	if _, err := l.DisableCredential(ctx, by(root), ref("docs", "off")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.CreateCredential(ctx, by(root), "docs", custody.NewCredential{Name: "empty", Kind: keybearer.Bearer, NoSecret: true}); err != nil {
		t.Fatal(err)
	}
	l.credential("docs", "gone", "s3cret", "h.example")
	if _, err := l.DeleteCredential(ctx, by(root), ref("docs", "gone"), true); err != nil {
		t.Fatal(err)
	}
	for i := range 25 {
		l.clock.Add(time.Second)
		l.credential("ops", fmt.Sprintf("n%02d", 24-i), "s3cret", "h.example")
	}
	if _, err := l.SetGrant(ctx, by(root), ref("ops", "n07"), "user:ada", keybearer.View); err != nil {
		t.Fatal(err)
	}
	names := func(n custody.Noted) (out []string) {
		for _, c := range n.Credentials {
			out = append(out, c.Name)
		}
		return append(out, fmt.Sprint(n.Total))
	}
	ada := custody.Actor{Subject: "user:ada", Roles: []string{keybearer.RoleScopeAdmin + docs.ID}}
	got, err := l.Attention(ctx, by(ada))
	if err != nil || !got.Counted {
		t.Fatal(got, err)
	}
	for _, tc := range []struct {
		list custody.Noted
		want []string
	}{
		{got.Disabled, []string{"off", "1"}},
		{got.NeedsSecret, []string{"empty", "1"}},
		{got.Expiring, []string{"soon", "later", "2"}},
		{got.Unused, []string{"far", "idle", "refused", "n07", "4"}},
	} {
		if diff := cmp.Diff(tc.want, names(tc.list)); diff != "" {
			t.Error(diff)
		}
	}
	l.clock.Add(2 * day)
	if got, err = l.Attention(ctx, by(root)); err != nil {
		t.Fatal(err)
	}
	// Those made first come first, twenty of them.
	if n := names(got.Unused); got.Unused.Total != 28 || len(n) != 21 || n[3] != "n24" || n[4] != "n23" {
		t.Errorf("%v", n)
	}
	if n := names(got.Expiring); fmt.Sprint(n) != "[soon later far 3]" || got.Expiring.Credentials[0].State != keybearer.Expired {
		t.Errorf("%v", n)
	}
	// Changes by this server and by another are known to the next question.
	other := l.another()
	t.Cleanup(func() { _ = other.Close() })
	for _, do := range []func() error{
		func() error { _, err := l.EnableCredential(ctx, by(root), ref("docs", "off")); return err },
		func() error {
			_, err := other.SetSecret(ctx, by(root), ref("docs", "empty"), text("s3cret"))
			return err
		},
		func() error { _, err := l.DisableCredential(ctx, by(root), ref("docs", "busy")); return err },
		func() error { _, err := other.DeleteCredential(ctx, by(root), ref("docs", "soon"), true); return err },
		func() error { _, err := l.RestoreCredential(ctx, by(root), ref("docs", "gone")); return err },
		func() error {
			_, err := l.CreateCredential(ctx, by(root), "docs", custody.NewCredential{Name: "void", Kind: keybearer.Bearer, NoSecret: true})
			return err
		},
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = l.Attention(ctx, by(ada)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		list custody.Noted
		want []string
	}{
		{got.Disabled, []string{"busy", "1"}},
		{got.NeedsSecret, []string{"void", "1"}},
		{got.Expiring, []string{"later", "far", "2"}},
		{got.Unused, []string{"empty", "gone", "idle", "off", "refused", "n07", "6"}},
	} {
		if diff := cmp.Diff(tc.want, names(tc.list)); diff != "" {
			t.Error(diff)
		}
	}
	_, err = l.Attention(ctx, by(custody.Actor{}))
	wantCode(t, err, keybearer.Unauthenticated)
	if got, err = l.Attention(ctx, by(custody.Actor{Subject: "user:bob"})); err != nil || got.Unused.Total+got.Disabled.Total+got.Expiring.Total+got.NeedsSecret.Total != 0 {
		t.Fatal(got, err)
	}
}
