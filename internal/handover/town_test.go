package handover_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// town is a store's records as someone edits them at random, and what was acknowledged of it. Each resident edits what is theirs alone.
type town struct {
	store keybearer.Store
	ack   func(id, text string) // called for each acknowledged record; optional

	mu      sync.Mutex
	records map[string]any // as acknowledged, by id
}

func newTown(store keybearer.Store) *town { return &town{store: store, records: map[string]any{}} }

var built = time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)

// resident is one who edits.
type resident struct {
	*town
	name   string
	random *rand.Rand
	scope  *keybearer.Scope
	creds  []*keybearer.Credential
	caller *keybearer.Caller
	count  int
}

// resident moves in: with a scope, a caller and an operator of their own.
func (o *town) resident(ctx context.Context, n int) (*resident, error) {
	r := &resident{town: o, name: fmt.Sprintf("r%d", n), random: rand.New(rand.NewPCG(uint64(n), 7))}
	r.scope = &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: r.name, CreatedAt: built, UpdatedAt: built}
	_, token := keybearer.NewToken(keybearer.CallerTokenPrefix, built)
	r.caller = &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: r.name, Tokens: []keybearer.Token{token}, CreatedAt: built}
	operator := &keybearer.Operator{ID: keybearer.NewID(keybearer.IDOperator), Name: r.name, CreatedAt: built}
	return r, r.commit(ctx, keybearer.Write{Scope: r.scope}, keybearer.Write{Caller: r.caller}, keybearer.Write{Operator: operator})
}

// commit commits with an audit event, delivers that, and notes what was acknowledged.
func (r *resident) commit(ctx context.Context, writes ...keybearer.Write) error {
	event := keybearer.Event{Time: built, ID: keybearer.NewID(keybearer.IDRequest), Kind: keybearer.ChangeEvent}
	seq, err := r.store.Commit(ctx, keybearer.Batch{Writes: writes, Events: []keybearer.Event{event}})
	if err != nil {
		return err
	}
	r.mu.Lock()
	for _, w := range writes {
		id, record := "", any(nil)
		switch {
		case w.Scope != nil:
			w.Scope.Revision = seq
			id, record = w.Scope.ID, w.Scope.Clone()
		case w.Credential != nil:
			w.Credential.Revision = seq
			id, record = w.Credential.ID, w.Credential.Clone()
		case w.Caller != nil:
			w.Caller.Revision = seq
			id, record = w.Caller.ID, w.Caller.Clone()
		case w.Operator != nil:
			w.Operator.Revision = seq
			id, record = w.Operator.ID, w.Operator.Clone()
		}
		if r.records[id] = record; w.Delete {
			delete(r.records, id)
		}
		if r.ack != nil {
			r.ack(id, fmt.Sprint(seq, " ", w.Delete))
		}
	}
	r.mu.Unlock()
	pending, err := r.store.Events(ctx, 100)
	var seqs []uint64
	for _, p := range pending {
		seqs = append(seqs, p.Seq)
	}
	if err != nil || len(seqs) == 0 {
		return err
	}
	return r.store.Delivered(ctx, seqs...)
}

// edit makes one change.
func (r *resident) edit(ctx context.Context) error {
	r.count++
	free := func() string { // names are few, so that they are taken again
		for {
			name := fmt.Sprintf("c%d", r.random.IntN(12))
			taken := false
			for _, c := range r.creds {
				taken = taken || c.Name == name
			}
			if !taken {
				return name
			}
		}
	}
	switch n := r.random.IntN(10); {
	case len(r.creds) < 3 || n < 2 && len(r.creds) < 10:
		c := &keybearer.Credential{
			ID: keybearer.NewID(keybearer.IDCredential), ScopeID: r.scope.ID, Name: free(), CreatedAt: built, UpdatedAt: built,
			Grants:  []keybearer.Grant{{Subject: "user:ada", Level: keybearer.Use}},
			Current: keybearer.Version{Number: 1, Generation: 1, Sealed: []byte(r.name), Terms: keybearer.Terms{Kind: keybearer.Bearer}},
		}
		err := r.commit(ctx, keybearer.Write{Credential: c})
		if err == nil {
			r.creds = append(r.creds, c)
		}
		return err
	case n < 4: // for good
		i := r.random.IntN(len(r.creds))
		err := r.commit(ctx, keybearer.Write{Credential: r.creds[i], Delete: true})
		if err == nil {
			r.creds = append(r.creds[:i], r.creds[i+1:]...)
		}
		return err
	case n == 4: // the caller goes, and a new one comes with the name and, which would be odd, the token
		next := r.caller.Clone()
		next.ID, next.Revision = keybearer.NewID(keybearer.IDCaller), 0
		err := r.commit(ctx, keybearer.Write{Caller: r.caller, Delete: true}, keybearer.Write{Caller: next})
		if err == nil {
			r.caller = next
		}
		return err
	case n == 5: // two swap their names
		if len(r.creds) < 2 {
			return nil
		}
		a, b := r.creds[0].Clone(), r.creds[1].Clone()
		name := a.Name
		a.Name = free()
		if err := r.commit(ctx, keybearer.Write{Credential: a}); err != nil {
			return err
		}
		r.creds[0] = a
		b.Name = name
		err := r.commit(ctx, keybearer.Write{Credential: b})
		if err == nil {
			r.creds[1] = b
		}
		return err
	case n == 6:
		next := r.scope.Clone()
		next.Name = fmt.Sprintf("%s-%d", r.name, r.count)
		err := r.commit(ctx, keybearer.Write{Scope: next})
		if err == nil {
			r.scope = next
		}
		return err
	default:
		i := r.random.IntN(len(r.creds))
		c := r.creds[i].Clone()
		c.Description = fmt.Sprintf("%s edit %d", r.name, r.count)
		if r.random.IntN(3) == 0 {
			c.DeletedAt = built
		}
		err := r.commit(ctx, keybearer.Write{Credential: c})
		if err == nil {
			r.creds[i] = c
		}
		return err
	}
}

// contents reads every record, with its revision, by id.
func contents(t *testing.T, s keybearer.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	note := func(id string, revision uint64, record any) { all[id] = text(t, revision, record) }
	q := keybearer.Query{Deleted: true, Limit: 1000}
	scopes, err := s.Scopes(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range scopes.Items {
		note(r.ID, r.Revision, r)
		found, err := s.Credentials(t.Context(), keybearer.Query{ScopeID: r.ID, Deleted: true, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range found.Items {
			note(c.ID, c.Revision, c)
			if byName, err := s.Credential(t.Context(), keybearer.Ref{Scope: r.Name, Name: c.Name}); err != nil || byName.ID != c.ID {
				t.Errorf("%s/%s is not found by its name: %v", r.Name, c.Name, err)
			}
		}
	}
	callers, err := s.Callers(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range callers.Items {
		note(r.ID, r.Revision, r)
		for _, token := range r.Tokens {
			if found, err := s.CallerByToken(t.Context(), token.Hash); err != nil || found.ID != r.ID {
				t.Errorf("caller %s is not found by its token: %v", r.Name, err)
			}
		}
	}
	operators, err := s.Operators(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range operators.Items {
		note(r.ID, r.Revision, r)
	}
	return all
}

func text(t *testing.T, revision uint64, record any) string {
	t.Helper()
	b, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(revision, " ", string(b))
}

// acknowledged is what contents must be.
func (o *town) acknowledged(t *testing.T) map[string]string {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	all := map[string]string{}
	for id, record := range o.records {
		switch r := record.(type) {
		case *keybearer.Scope:
			all[id] = text(t, r.Revision, r)
		case *keybearer.Credential:
			all[id] = text(t, r.Revision, r)
		case *keybearer.Caller:
			all[id] = text(t, r.Revision, r)
		case *keybearer.Operator:
			all[id] = text(t, r.Revision, r)
		}
	}
	return all
}
