package custody_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// begun has a scope with some credentials, whose rotation another server has begun and left.
func begun(t *testing.T, l *lab) *keybearer.Scope {
	t.Helper()
	l.scope("docs")
	for i := range 5 {
		l.create("docs", fmt.Sprintf("c%d", i))
	}
	s, err := l.store.Scope(t.Context(), "docs")
	if err != nil {
		t.Fatal(err)
	}
	s = s.Clone()
	s.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRotate, Total: 5, By: root.Subject}
	l.put(s)
	return s
}

func (l *lab) create(scope, name string) {
	l.t.Helper()
	_, err := l.CreateCredential(l.t.Context(), by(root), scope, custody.NewCredential{
		Name: name, Kind: keybearer.Bearer, Secret: custody.Secret{Value: keybearer.NewSecret("s3cret")}, Rules: []custody.Destination{{Rule: "api.example.com"}},
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// put commits the scope past custody, as another server does, and notes its new revision.
func (l *lab) put(s *keybearer.Scope) {
	l.t.Helper()
	seq, err := l.store.Commit(l.t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: s}}})
	if err != nil {
		l.t.Fatal(err)
	}
	s.Revision = seq
}

func (l *lab) work(name string) *keybearer.ScopeWork {
	l.t.Helper()
	s, err := l.store.Scope(l.t.Context(), name)
	if err != nil {
		l.t.Fatal(err)
	}
	return s.Work
}

func TestALongOperationThatStandsStillIsTakenOver(t *testing.T) {
	l := newLab(t)
	s := begun(t, l)
	other := l.another()
	defer other.Close()
	tend := func() {
		t.Helper()
		if err := other.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := other.Settled(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // it moves: somebody has it in hand
		tend()
		if l.work("docs") == nil {
			t.Fatal("taken away from a server that was at it")
		}
		s.Work.Done++
		l.put(s)
	}
	tend()
	tend()
	if w := l.work("docs"); w != nil {
		t.Fatalf("still under way: %+v", w)
	}
	after, err := l.Scope(t.Context(), by(root), "docs")
	if err != nil || after.Key.Version != 2 {
		t.Errorf("key %+v, %v, want version 2", after.Key, err)
	}
}

// openOnly is the real keyring in a process that may only open.
type openOnly struct{ keybearer.Keyring }

func (openOnly) OpenOnly() bool { return true }

func TestAServerThatOnlyOpensLeavesLongOperationsToOthers(t *testing.T) {
	l := newLab(t)
	begun(t, l)
	l.cfg.Keyring = openOnly{l.cfg.Keyring}
	other := l.another()
	defer other.Close()
	if err := other.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := other.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.work("docs") == nil {
		t.Error("it did what it has no right to")
	}
	parts, err := other.Status(t.Context(), by(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if p.Err != nil {
			t.Errorf("%s: %v", p.Name, p.Err)
		}
	}
}

func TestAnEventThatWasNotDeliveredIsDeliveredLater(t *testing.T) {
	l := newLab(t)
	e := keybearer.Event{ID: "req_left", Phase: keybearer.Outcome, Kind: keybearer.ChangeEvent, Action: "scope.edit"}
	if _, err := l.store.Commit(t.Context(), keybearer.Batch{Events: []keybearer.Event{e}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Tend(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.lines(func(e *keybearer.Event) bool { return e.ID == "req_left" }); len(got) != 1 {
		t.Errorf("%d lines, want one", len(got))
	}
}

// diagnosed is the real keyring that looked at itself.
type diagnosed struct{ keybearer.Keyring }

func (diagnosed) Diagnose(context.Context) []keybearer.Finding {
	return []keybearer.Finding{
		{Check: "mount", Detail: "is there"},
		{Check: "clock", Err: keybearer.NewError(keybearer.Conflict, "a minute ahead").WithHint("set it"), Warn: true},
	}
}

func TestStatusTellsWhatThePartsFoundInThemselves(t *testing.T) {
	l := newLab(t)
	l.cfg.Keyring = diagnosed{l.cfg.Keyring}
	other := l.another()
	defer other.Close()
	parts, err := other.Status(t.Context(), by(root))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]custody.Part{}
	for _, p := range parts {
		found[p.Name] = p
	}
	if p := found["keyring: mount"]; p.Err != nil || p.Detail != "is there" {
		t.Errorf("mount: %+v", p)
	}
	if p := found["keyring: clock"]; p.Err == nil || !p.Warn || p.Err.Hint != "set it" {
		t.Errorf("clock: %+v", p)
	}
}
