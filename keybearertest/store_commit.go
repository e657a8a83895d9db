package keybearertest

import (
	"fmt"
	"testing"

	"github.com/keybearer/keybearer"
)

// records returns one new record of each kind: a scope, a credential in it, a caller and an operator.
func records() []any {
	scope := newScope("docs")
	return []any{scope, newCredential(scope, "crm"), newCaller("billing"), newOperator("ann")}
}

func revision(record any) *uint64 {
	switch r := record.(type) {
	case *keybearer.Scope:
		return &r.Revision
	case *keybearer.Credential:
		return &r.Revision
	case *keybearer.Caller:
		return &r.Revision
	case *keybearer.Operator:
		return &r.Revision
	}
	panic(fmt.Sprintf("keybearertest: no record: %T", record))
}

// renewed returns a copy of a record with a new id.
func renewed(record any) any {
	switch r := record.(type) {
	case *keybearer.Scope:
		c := r.Clone()
		c.ID, c.Revision = keybearer.NewID(keybearer.IDScope), 0
		return c
	case *keybearer.Credential:
		c := r.Clone()
		c.ID, c.Revision = keybearer.NewID(keybearer.IDCredential), 0
		return c
	case *keybearer.Caller:
		c := r.Clone()
		c.ID, c.Revision = keybearer.NewID(keybearer.IDCaller), 0
		return c
	case *keybearer.Operator:
		c := r.Clone()
		c.ID, c.Revision = keybearer.NewID(keybearer.IDOperator), 0
		return c
	}
	panic(fmt.Sprintf("keybearertest: no record: %T", record))
}

// bury makes a record a tombstone.
func bury(record any) {
	switch r := record.(type) {
	case *keybearer.Scope:
		r.DeletedAt = epoch
	case *keybearer.Credential:
		r.DeletedAt = epoch
	case *keybearer.Caller:
		r.DeletedAt = epoch
	case *keybearer.Operator:
		r.DeletedAt = epoch
	}
}

// testTombstones: they are records like any other, and their names stay reserved.
func testTombstones(t *testing.T, s keybearer.Store) {
	all := records()
	seq := commit(t, s, puts(all...))
	for _, r := range all {
		bury(r)
		*revision(r) = seq
	}
	commit(t, s, puts(all...))
	if got := must(s.Scope(t.Context(), "docs"))(t); got.DeletedAt.IsZero() {
		t.Error("the scope's tombstone is not one")
	}
	if got := must(s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"}))(t); got.DeletedAt.IsZero() {
		t.Error("the credential's tombstone is not one")
	}
	if got := must(s.Caller(t.Context(), "billing"))(t); got.DeletedAt.IsZero() {
		t.Error("the caller's tombstone is not one")
	}
	if got := must(s.Operator(t.Context(), "ann"))(t); got.DeletedAt.IsZero() {
		t.Error("the operator's tombstone is not one")
	}
	for _, r := range all {
		refuses(t, s, puts(renewed(r)), keybearer.AlreadyExists)
	}
	var q keybearer.Query
	n := len(must(s.Scopes(t.Context(), q))(t).Items) + len(must(s.Credentials(t.Context(), q))(t).Items) +
		len(must(s.Callers(t.Context(), q))(t).Items) + len(must(s.Operators(t.Context(), q))(t).Items)
	if n != 0 {
		t.Errorf("listings show %d tombstones that were not asked for", n)
	}
	q.Deleted = true
	n = len(must(s.Scopes(t.Context(), q))(t).Items) + len(must(s.Credentials(t.Context(), q))(t).Items) +
		len(must(s.Callers(t.Context(), q))(t).Items) + len(must(s.Operators(t.Context(), q))(t).Items)
	if n != len(all) {
		t.Errorf("listings show %d tombstones, want %d", n, len(all))
	}
}

// testRename: a name belongs to one record, and is free again when that takes another.
func testRename(t *testing.T, s keybearer.Store) {
	a, z := newScope("a"), newScope("z")
	inA, inZ := newCredential(a, "one"), newCredential(z, "two")
	seq := commit(t, s, puts(a, z, inA, inZ))
	a.Revision, inA.Revision = seq, seq

	a.Name = "z"
	refuses(t, s, puts(a), keybearer.AlreadyExists)
	a.Name = "zz"
	commit(t, s, puts(a))
	_, err := s.Credential(t.Context(), keybearer.Ref{Scope: "a", Name: "one"})
	wantCode(t, "the old scope name", err, keybearer.NotFound)
	if got := must(s.Credential(t.Context(), keybearer.Ref{Scope: "zz", Name: "one"}))(t); got.ID != inA.ID || got.Revision != seq {
		t.Errorf("under the new scope name: got %+v", got)
	}
	listed := must(s.Credentials(t.Context(), keybearer.Query{}))(t).Items
	if len(listed) != 2 || listed[0].ID != inZ.ID || listed[1].ID != inA.ID {
		t.Error("a listing does not follow a scope's new name")
	}
	inA.Name = "three"
	commit(t, s, puts(inA))
	commit(t, s, puts(newCredential(a, "one")))
	if got := must(s.Credential(t.Context(), keybearer.Ref{Scope: "zz", Name: "three"}))(t); got.ID != inA.ID {
		t.Errorf("under the new name: got %s", got.ID)
	}
}

// testRevisions: a write must carry the stored revision, and gives the record the commit's sequence number.
func testRevisions(t *testing.T, s keybearer.Store) {
	all := records()
	first := commit(t, s, puts(all...))
	for _, r := range all {
		*revision(r) = first
	}
	last := first
	for _, r := range all {
		seq := commit(t, s, puts(r))
		if seq <= last {
			t.Errorf("%T: sequence %d after %d", r, seq, last)
		}
		last = seq
		if *revision(r) != first {
			t.Errorf("%T: commit modified the record's revision", r)
		}
		for _, wrong := range []uint64{first, seq + 1, seq - 1, 1 << 62} {
			*revision(r) = wrong
			refuses(t, s, puts(r), keybearer.Stale)
			refuses(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(r)}}, keybearer.Stale)
		}
		*revision(r) = 0
		refuses(t, s, puts(r), keybearer.AlreadyExists)
		refuses(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(r)}}, keybearer.Stale)
		*revision(r) = seq
	}
	if got := must(s.Sequence(t.Context()))(t); got != last {
		t.Errorf("sequence: got %d, want %d", got, last)
	}
	scope := must(s.Scope(t.Context(), "docs"))(t)
	credential := must(s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"}))(t)
	caller := must(s.Caller(t.Context(), "billing"))(t)
	operator := must(s.Operator(t.Context(), "ann"))(t)
	for i, got := range []uint64{scope.Revision, credential.Revision, caller.Revision, operator.Revision} {
		if want := *revision(all[i]); got != want {
			t.Errorf("%T: revision %d, want %d", all[i], got, want)
		}
	}
}

// testCreate: ids and names are taken once; credentials' names once in each scope.
func testCreate(t *testing.T, s keybearer.Store) {
	all := records()
	commit(t, s, puts(all...))
	for _, r := range all {
		refuses(t, s, puts(renewed(r)), keybearer.AlreadyExists)
	}
	other := newScope("other")
	elsewhere := newCredential(other, "crm")
	commit(t, s, puts(other, elsewhere))
	if got := must(s.Credential(t.Context(), keybearer.Ref{Scope: "other", Name: "crm"}))(t); got.ID != elsewhere.ID {
		t.Errorf("got %s, want %s", got.ID, elsewhere.ID)
	}
	// Callers and operators are different kinds: one name may be both.
	commit(t, s, puts(newCaller("ann"), newOperator("billing")))
	orphan := newCredential(newScope("nowhere"), "crm")
	refuses(t, s, puts(orphan), keybearer.NotFound)
	// Twice in one batch is once too often.
	twin := newCaller("twin")
	refuses(t, s, puts(twin, twin), keybearer.AlreadyExists)
	refuses(t, s, puts(twin, renewed(twin)), keybearer.AlreadyExists)
}

// testDelete: a row deleted for good is gone, with its name.
func testDelete(t *testing.T, s keybearer.Store) {
	all := records()
	seq := commit(t, s, puts(all...))
	for _, r := range all {
		refuses(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(renewed(r))}}, keybearer.NotFound)
		changed := renewed(r)
		*revision(changed) = seq
		refuses(t, s, puts(changed), keybearer.NotFound)
		*revision(r) = seq
	}
	refuses(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(all[0])}}, keybearer.ScopeNotEmpty)
	var b keybearer.Batch
	for _, i := range []int{1, 0, 2, 3} { // the credential before its scope
		b.Writes = append(b.Writes, remove(all[i]))
	}
	commit(t, s, b)
	missing(t, s, "docs", "billing", "ann", all[0].(*keybearer.Scope).ID, all[2].(*keybearer.Caller).ID, all[3].(*keybearer.Operator).ID)
	got := everything(t, s)
	if n := len(got.Scopes) + len(got.Credentials) + len(got.Callers) + len(got.Operators); n != 0 {
		t.Errorf("%d records are still listed", n)
	}
	for _, r := range all {
		refuses(t, s, puts(r), keybearer.NotFound)
	}
	again := renewed(all[0]).(*keybearer.Scope)
	commit(t, s, puts(again, newCredential(again, "crm"), renewed(all[2]), renewed(all[3])))
}

// testMalformed: a write holds exactly one record.
func testMalformed(t *testing.T, s keybearer.Store) {
	scope := newScope("docs")
	refuses(t, s, keybearer.Batch{Writes: []keybearer.Write{{}}}, keybearer.Invalid)
	refuses(t, s, keybearer.Batch{Writes: []keybearer.Write{write(scope), {Delete: true}}}, keybearer.Invalid)
	refuses(t, s, keybearer.Batch{Writes: []keybearer.Write{{Scope: scope, Caller: newCaller("billing")}}}, keybearer.Invalid)
}

// testAllOrNothing: one bad write anywhere in a batch, and nothing of it happens.
func testAllOrNothing(t *testing.T, s keybearer.Store) {
	token, _ := newToken(keybearer.CallerTokenPrefix)
	all := records()
	all[2].(*keybearer.Caller).Tokens = []keybearer.Token{token}
	seq := commit(t, s, puts(all...))
	scope, credential := all[0].(*keybearer.Scope), all[1].(*keybearer.Credential)
	scope.Revision, credential.Revision = seq, seq

	stale := credential.Clone()
	stale.Revision++
	taken := newCaller("other")
	taken.Tokens = []keybearer.Token{token}
	gone := renewed(credential)
	*revision(gone) = seq
	for _, bad := range []struct {
		write keybearer.Write
		code  keybearer.Code
	}{
		{write(stale), keybearer.Stale},
		{write(renewed(credential)), keybearer.AlreadyExists},
		{write(taken), keybearer.AlreadyExists},
		{write(gone), keybearer.NotFound},
		{remove(gone), keybearer.NotFound},
		{keybearer.Write{}, keybearer.Invalid},
	} {
		edited := scope.Clone()
		edited.Description = "edited"
		fresh := newScope("fresh")
		good := []keybearer.Write{write(edited), write(fresh), write(newCredential(fresh, "new")), remove(credential), write(newOperator("bob"))}
		for at := range len(good) + 1 {
			var b keybearer.Batch
			b.Writes = append(b.Writes, good[:at]...)
			b.Writes = append(b.Writes, bad.write)
			b.Writes = append(b.Writes, good[at:]...)
			b.Events = []keybearer.Event{{ID: "req_x", Kind: keybearer.ChangeEvent, Phase: keybearer.Outcome}}
			if at > 3 && bad.write.Credential != nil {
				// The credential that the bad write collides with is deleted before it.
				continue
			}
			refuses(t, s, b, bad.code)
		}
	}
}

// testWritesInOrder: a write sees those before it in its batch.
func testWritesInOrder(t *testing.T, s keybearer.Store) {
	scope := newScope("docs")
	c := newCredential(scope, "crm")
	refuses(t, s, puts(c, scope), keybearer.NotFound)
	seq := commit(t, s, puts(scope, c))
	scope.Revision, c.Revision = seq, seq
	successor := newCredential(scope, "crm")
	refuses(t, s, keybearer.Batch{Writes: []keybearer.Write{write(successor), remove(c)}}, keybearer.AlreadyExists)
	successor.Revision = commit(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(c), write(successor)}})
	refuses(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(scope), remove(successor)}}, keybearer.ScopeNotEmpty)
	commit(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(successor), remove(scope)}})
}

// testLargeBatch: 500 records in one commit.
func testLargeBatch(t *testing.T, s keybearer.Store) {
	const n = 500
	scope := newScope("docs")
	b := puts(scope)
	var all []*keybearer.Credential
	for i := range n {
		c := newCredential(scope, fmt.Sprintf("c%03d", i))
		all = append(all, c)
		b.Writes = append(b.Writes, write(c))
	}
	seq := commit(t, s, b)
	b = keybearer.Batch{}
	for _, c := range all {
		c.Revision = seq
		c.Current.Sealed = []byte("sealed again")
		b.Writes = append(b.Writes, write(c))
	}
	seq = commit(t, s, b)
	for i, c := range pages(t, 200, keybearer.Query{}, s.Credentials) {
		if c.ID != all[i].ID || c.Revision != seq || string(c.Current.Sealed) != "sealed again" {
			t.Fatalf("record %d: got %+v", i, c)
		}
	}
	if got := must(s.Changes(t.Context(), seq-1, 10_000))(t); len(got) != n {
		t.Errorf("%d changes, want %d", len(got), n)
	}
}
