package custody_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// brokenLog is an audit log that cannot be written while it is broken. It may not know yet.
type brokenLog struct {
	keybearer.Auditor
	broken, knows atomic.Bool
}

func (b *brokenLog) Ready() error {
	if b.broken.Load() && b.knows.Load() {
		return keybearer.NewError(keybearer.AuditUnavailable, "no space")
	}
	return b.Auditor.Ready()
}

func (b *brokenLog) Record(ctx context.Context, e *keybearer.Event) error {
	if b.broken.Load() {
		b.knows.Store(true)
		return keybearer.NewError(keybearer.AuditUnavailable, "no space")
	}
	return b.Auditor.Record(ctx, e)
}

func TestNoChangeWithoutAudit(t *testing.T) {
	log := new(brokenLog)
	l := newLab(t, func(c *custody.Config) { log.Auditor, c.Auditor = c.Auditor, log })
	ctx := t.Context()
	f := l.fixture("docs")
	ask := by(f.actor("administer"))
	log.broken.Store(true)
	log.knows.Store(true)
	before := l.dump("docs")
	for _, row := range matrix {
		if custody.Reads(row.action) {
			continue
		}
		for _, a := range []custody.Ask{ask, by(root)} {
			if err := row.do(ctx, l.Custody, a, f); keybearer.CodeOf(err) != keybearer.AuditUnavailable && keybearer.CodeOf(err) != keybearer.Forbidden {
				t.Errorf("%s: %v", row.action, err)
			}
		}
	}
	if diff := cmp.Diff(before, l.dump("docs")); diff != "" {
		t.Fatal(diff)
	}
	log.broken.Store(false)
	if _, err := l.DisableCredential(ctx, ask, f.cred); err != nil {
		t.Fatal(err)
	}
}

// A change whose line cannot be written at once is acknowledged: its event is in the store. It gets its line, once, when the log can be written, and nothing
// else changes before.
func TestLinesThatWait(t *testing.T) {
	log := new(brokenLog)
	l := newLab(t, func(c *custody.Config) { log.Auditor, c.Auditor = c.Auditor, log })
	ctx := t.Context()
	l.scope("docs")
	l.credential("docs", "crm", "one")
	log.broken.Store(true) // and nobody knows
	if _, err := l.DisableCredential(ctx, custody.Ask{Actor: root, ID: "req_first"}, crm); err != nil {
		t.Fatal(err)
	}
	_, err := l.EnableCredential(ctx, by(root), crm)
	wantCode(t, err, keybearer.AuditUnavailable)
	if n := len(l.action(custody.CredentialDisable)); n != 0 {
		t.Fatalf("%d lines", n)
	}
	log.broken.Store(false)
	if _, err := l.EnableCredential(ctx, custody.Ask{Actor: root, ID: "req_second"}, crm); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range l.lines(func(e *keybearer.Event) bool {
		return e.Credential == "crm" && e.Action != string(custody.CredentialCreate)
	}) {
		ids = append(ids, e.ID)
	}
	if diff := cmp.Diff([]string{"req_first", "req_second"}, ids); diff != "" {
		t.Fatal(diff)
	}
}

func TestChangeEvents(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	f := l.fixture("docs")
	ask := custody.Ask{Actor: f.actor("administer"), ID: "req_x"}
	if _, err := l.ReplaceDestinations(ctx, ask, f.cred, rules("z.example.com"), text("n3w")); err != nil {
		t.Fatal(err)
	}
	got := l.lines(func(e *keybearer.Event) bool { return e.ID == "req_x" })
	want := []keybearer.Event{{
		Time: l.clock.Now(), ID: "req_x", Phase: keybearer.Outcome, Kind: keybearer.ChangeEvent, Scope: "docs", Credential: "crm",
		CredentialID: l.record(f.cred).ID, SecretVersion: 3, Operator: "ada", Decision: keybearer.Allow, Action: "destination.replace",
		Changed: []string{"rules", "secret"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if _, err := l.EditOperator(ctx, custody.Ask{Actor: root, ID: "req_y"}, f.operator, nil, &[]string{"sales"}, nil); err != nil {
		t.Fatal(err)
	}
	got = l.lines(func(e *keybearer.Event) bool { return e.ID == "req_y" })
	if len(got) != 1 || got[0].Operator != "uid-0" || !slices.Equal(got[0].Changed, []string{"operators[docs-op].groups"}) {
		t.Fatalf("%+v", got)
	}
}

func TestSweep(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	for _, name := range []string{"a", "b", "c"} {
		l.credential("docs", name, name)
	}
	sweep := func() {
		t.Helper()
		if err := l.Sweep(ctx, l.clock.Now()); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if _, err := l.DeleteCredential(ctx, by(root), ref("docs", "a"), true); err != nil {
		t.Fatal(err)
	}
	l.clock.Add(time.Hour)
	if _, err := l.SetSecret(ctx, by(root), ref("docs", "b"), text("b2")); err != nil {
		t.Fatal(err)
	}
	l.clock.Add(24*time.Hour - time.Second)
	sweep()
	if l.record(ref("docs", "b")).Previous == nil {
		t.Fatal("the previous secret went too early")
	}
	l.clock.Add(time.Second)
	sweep()
	if l.record(ref("docs", "b")).Previous != nil {
		t.Fatal("the previous secret is still there")
	}
	l.clock.Add(6*24*time.Hour - time.Hour - time.Second)
	sweep()
	l.record(ref("docs", "a"))
	l.clock.Add(time.Second)
	sweep()
	_, err := l.store.Credential(ctx, ref("docs", "a"))
	wantCode(t, err, keybearer.NotFound)
	purged := l.action(custody.CredentialPurge)
	if len(purged) != 2 || purged[0].Credential != "b" || purged[0].Changed[0] != "previous" || purged[1].Credential != "a" || purged[1].Changed[0] != "credential" ||
		purged[0].Operator != "" || purged[0].ID == purged[1].ID {
		t.Fatalf("%+v", purged)
	}
	if l.secretOf(ref("docs", "c")) != "c" || l.secretOf(ref("docs", "b")) != "b2" {
		t.Fatal("what was not due is gone")
	}
}
