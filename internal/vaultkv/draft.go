package vaultkv

import (
	"maps"

	"github.com/keybearer/keybearer"
)

// draft is the state that a commit makes of another one.
type draft struct {
	state
	seq      uint64             // of the commit
	changes  []keybearer.Change // to be told when it is stored
	changed  map[string]bool    // slots whose bucket is no longer that of the state before
	unshared bool               // names and tokens are the draft's own
}

// draft returns one that is still equal to the state.
func (s *state) draft() *draft {
	d := &draft{state: state{index: s.index.clone(), at: s.at, buckets: maps.Clone(s.buckets), names: s.names, tokens: s.tokens}}
	d.seq, d.changed = s.index.Seq+1, map[string]bool{}
	return d
}

// apply makes a write after comparing its revision. It returns the errors that [keybearer.Store] lists for Commit.
func (d *draft) apply(w *write) error {
	slot := slotOf(w.kind, w.id)
	old := d.buckets[slot][w.id]
	switch {
	case old == nil && (w.revision != 0 || w.remove):
		return keybearer.NewError(keybearer.NotFound, "the record to change is gone")
	case old != nil && w.revision == 0 && !w.remove:
		return keybearer.NewError(keybearer.AlreadyExists, "the id is taken")
	case old != nil && w.revision != old.revision:
		return keybearer.NewError(keybearer.Stale, "")
	}
	b := d.open(slot)
	if old != nil {
		delete(b, old.id)
		delete(d.names, old.named())
		for i := range old.tokens {
			delete(d.tokens, old.tokens[i].Hash)
		}
	}
	if w.remove {
		if w.kind == keybearer.ScopeRecord {
			if all, _ := d.count(w.id); all > 0 {
				return keybearer.NewError(keybearer.ScopeNotEmpty, "")
			}
		}
		return nil
	}
	if w.kind == keybearer.CredentialRecord && d.get(keybearer.ScopeRecord, w.scopeID) == nil {
		return keybearer.NewError(keybearer.NotFound, "the scope of the credential is not there")
	}
	if d.names[w.named()] != nil {
		return keybearer.NewError(keybearer.AlreadyExists, "")
	}
	e, err := w.stored(d.seq)
	if err != nil {
		return err
	}
	b[e.id] = e
	d.names[e.named()] = e
	for i := range e.tokens {
		hash := e.tokens[i].Hash
		if d.tokens[hash] != nil {
			return keybearer.NewError(keybearer.AlreadyExists, "the token is taken")
		}
		d.tokens[hash] = e
	}
	return nil
}

// open returns a slot's bucket to write to.
func (d *draft) open(slot string) bucket {
	if !d.unshared {
		d.names, d.tokens, d.unshared = maps.Clone(d.names), maps.Clone(d.tokens), true
	}
	if !d.changed[slot] {
		b := maps.Clone(d.buckets[slot])
		if b == nil {
			b = bucket{}
		}
		d.buckets[slot], d.changed[slot] = b, true
	}
	return d.buckets[slot]
}
