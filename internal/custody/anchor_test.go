package custody_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/anchor"
	"github.com/keybearer/keybearer/internal/custody"
)

// anchored is an anchor that may be told to refuse.
type anchored struct {
	*anchor.Anchor
	old, full error
}

func (a *anchored) Holds() error {
	if a.old != nil {
		return a.old
	}
	return a.Anchor.Holds()
}

func (a *anchored) Ready() error {
	if err := a.Holds(); err != nil {
		return err
	}
	return a.Anchor.Ready()
}

func (a *anchored) Advance(seq uint64) error {
	if a.full != nil {
		return a.full
	}
	return a.Anchor.Advance(seq)
}

// No operation is acknowledged before the anchor has its number, none is begun on a store that is refused, and no token is believed there; who comes
// over the socket still sees what there is.
func TestEveryChangeIsAnchored(t *testing.T) {
	a := &anchored{}
	var path string
	l := newLab(t, func(c *custody.Config) {
		path = filepath.Join(t.TempDir(), "anchor")
		var err error
		if a.Anchor, err = anchor.Open(t.Context(), anchor.Config{Path: path, Place: "here", Kind: "sqlite", Store: c.Store}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		c.Anchor = a
		c.Others = []custody.Other{{Name: "anchor", Diagnoser: a}}
	})
	ctx := t.Context()
	check := func(what string) uint64 {
		t.Helper()
		seq, err := l.store.Sequence(ctx)
		entries, err2 := anchor.Read(path)
		if err != nil || err2 != nil || len(entries) != 1 || entries[0].Sequence != seq {
			t.Errorf("%s: the store ends with %d, %v; the anchor is %+v, %v", what, seq, err, entries, err2)
		}
		return seq
	}
	check("the global scope")
	if _, err := l.CreateScope(ctx, by(root), "docs", ""); err != nil {
		t.Fatal(err)
	}
	check("a scope")
	if _, err := l.GenerateKey(ctx, by(root), "docs"); err != nil {
		t.Fatal(err)
	}
	check("a key")
	_, token, err := l.CreateOperator(ctx, by(root), custody.NewOperator{Name: "ada", Roles: []string{keybearer.RoleInstanceAdmin}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.RotateKey(ctx, by(root), "docs"); err != nil {
		t.Fatal(err)
	}
	if err := l.Settled(ctx); err != nil {
		t.Fatal(err)
	}
	seq := check("the steps of a rotation")

	a.old = keybearer.NewError(keybearer.StoreUnavailable, "it is older")
	if _, err := l.CreateScope(ctx, by(root), "crm", ""); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("a change of a store that is refused: %v", err)
	}
	if now := check("nothing"); now != seq {
		t.Errorf("the store was written, %d to %d", seq, now)
	}
	if actor, err := l.ActorByToken(ctx, token); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("a token is believed: %+v, %v", actor, err)
	}
	if _, err := l.Scopes(ctx, by(root), keybearer.Query{}); err != nil {
		t.Errorf("over the socket: %v", err)
	}
	parts, err := l.Status(ctx, by(root))
	if err != nil || !slices.ContainsFunc(parts, func(p custody.Part) bool { return p.Name == "anchor: file" }) {
		t.Errorf("the status says nothing of the anchor: %+v, %v", parts, err)
	}
	a.old = nil
	if _, err := l.ActorByToken(ctx, token); err != nil {
		t.Error(err)
	}
	a.full = keybearer.NewError(keybearer.StoreUnavailable, "the disk is full")
	if _, err := l.CreateScope(ctx, by(root), "lost", ""); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("a change that was not anchored is acknowledged: %v", err)
	} else if said := keybearer.AsError(err).Message(); !strings.Contains(said, "the change was made") || !strings.Contains(said, "the disk is full") {
		t.Errorf("nobody is told that it was made: %s", said)
	}
	if _, err := l.Scope(ctx, by(root), "lost"); err != nil {
		t.Error(err)
	}
}
