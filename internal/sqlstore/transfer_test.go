package sqlstore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// filled is a store with a scope and so many credentials, each of a commit of its own.
func filled(t *testing.T, n int) (*sqlstore.Store, *keybearer.Scope, []*keybearer.Credential) {
	t.Helper()
	s := open(t)
	scope := &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: "docs"}
	scope.Revision = put(t, s, keybearer.Write{Scope: scope})
	var all []*keybearer.Credential
	for i := range n {
		c := &keybearer.Credential{ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: fmt.Sprintf("c%d", i)}
		c.Revision = put(t, s, keybearer.Write{Credential: c})
		all = append(all, c)
	}
	return s, scope, all
}

func put(t *testing.T, s keybearer.Store, writes ...keybearer.Write) uint64 {
	t.Helper()
	seq, err := s.Commit(t.Context(), keybearer.Batch{Writes: writes})
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func begin(t *testing.T, from, to *sqlstore.Store, tell func(int, int)) *sqlstore.Transfer {
	t.Helper()
	x, err := sqlstore.NewTransfer(from, to, tell)
	if err == nil {
		err = x.Begin(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// names are the credentials by name, with their revisions.
func names(t *testing.T, s keybearer.Store) map[string]uint64 {
	t.Helper()
	page, err := s.Credentials(t.Context(), keybearer.Query{Deleted: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]uint64{}
	for _, c := range page.Items {
		out[c.Name] = c.Revision
	}
	return out
}

func TestATransferGoesOnBehindWhatHasArrived(t *testing.T) {
	from, _, all := filled(t, 500)
	to := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	x := begin(t, from, to, func(int, int) { cancel() }) // after the first page
	first, err := x.Records(ctx)
	if err == nil || first == 0 || first > len(all)/2 {
		t.Fatal(first, err)
	}
	x = begin(t, from, to, nil)
	rest, err := x.Records(t.Context())
	if err != nil || rest == 0 || rest >= len(all) {
		t.Errorf("%d records, %v", rest, err)
	}
	if n, err := x.Records(t.Context()); n != 0 || err != nil {
		t.Error("there is more:", n, err)
	}
	if err := x.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(t, from), names(t, to)); diff != "" {
		t.Error(diff)
	}
	was, _ := from.Sequence(t.Context())
	if now, err := to.Sequence(t.Context()); now != was || err != nil {
		t.Errorf("sequence %d, it was %d; %v", now, was, err)
	}
	if active, err := x.Active(t.Context()); active != to || err != nil {
		t.Error("not in use:", err)
	}
}

// What was copied under a name makes room for the record that has it now, in whatever order they come.
func TestNamesThatWereTakenAgain(t *testing.T) {
	from, scope, all := filled(t, 3)
	to := open(t)
	x := begin(t, from, to, nil)
	if _, err := x.Records(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, from, keybearer.Write{Credential: all[0], Delete: true})
	put(t, from, keybearer.Write{Credential: &keybearer.Credential{ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: "c0"}})
	// c1 and c2 swap; then c1's record changes once more, so that it is copied last.
	moved := all[1].Clone()
	moved.Name = "elsewhere"
	moved.Revision = put(t, from, keybearer.Write{Credential: moved})
	other := all[2].Clone()
	other.Name = "c1"
	put(t, from, keybearer.Write{Credential: other})
	moved.Name = "c2"
	put(t, from, keybearer.Write{Credential: moved})
	if _, err := x.Records(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := x.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(t, from), names(t, to)); diff != "" {
		t.Error(diff)
	}
}

func TestStoresThatDifferAreNotHandedOver(t *testing.T) {
	from, _, all := filled(t, 3)
	to := open(t)
	x := begin(t, from, to, nil)
	if _, err := x.Records(t.Context()); err != nil {
		t.Fatal(err)
	}
	foreign := all[1].Clone()
	foreign.Description = "not from there"
	put(t, to, keybearer.Write{Credential: foreign})
	if err := x.Finish(t.Context()); keybearer.CodeOf(err) != keybearer.Conflict {
		t.Fatal("stores that differ:", err)
	}
	if active, err := x.Active(t.Context()); active != from || err != nil {
		t.Fatal("the former store is not in use any more:", err)
	}
	if err := x.Finish(t.Context()); err != nil { // copies it all again
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(t, from), names(t, to)); diff != "" {
		t.Error(diff)
	}
}

// A backup of the former store, from before the move began, is not taken for what was copied.
func TestAnOlderFormerStoreIsCopiedAnew(t *testing.T) {
	from, _, _ := filled(t, 3)
	to := open(t)
	x := begin(t, from, to, nil)
	if _, err := x.Records(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, _, _ := filled(t, 1)
	mark, err := from.Mark(t.Context())
	if err != nil || mark.State != sqlstore.Leaving {
		t.Fatal(mark, err)
	}
	if err := old.Remark(t.Context(), mark); err != nil {
		t.Fatal(err)
	}
	x = begin(t, old, to, nil)
	if err := x.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(t, old), names(t, to)); diff != "" {
		t.Error(diff)
	}
}
