package vaultkv

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

// state is all that is stored, as one version of the index says it. It is immutable.
type state struct {
	index   *index
	at      version           // of the index's secret
	buckets map[string]bucket // by slot
	names   map[name]*entry
	tokens  map[keybearer.TokenHash]*entry
	since   map[uint64]time.Time // when this process first saw each event that waits

	ordered map[keybearer.RecordKind]func() []*entry // in the order of listings
	byID    func() []*entry                          // the credentials, in order of id
}

// newState makes the state of an index and its buckets. before is the state that it follows; nil: there is none.
func newState(x *index, at version, buckets map[string]bucket, before *state) *state {
	s := &state{index: x, at: at, buckets: buckets, names: map[name]*entry{}, tokens: map[keybearer.TokenHash]*entry{}}
	for _, b := range buckets {
		for _, e := range b {
			s.names[e.named()] = e
			for i := range e.tokens {
				s.tokens[e.tokens[i].Hash] = e
			}
		}
	}
	s.finish(before)
	return s
}

// finish sets what follows from the rest.
func (s *state) finish(before *state) {
	s.since = make(map[uint64]time.Time, len(s.index.Outbox))
	now := time.Now()
	for _, p := range s.index.Outbox {
		s.since[p.Number] = now
		if before != nil {
			if t, ok := before.since[p.Number]; ok {
				s.since[p.Number] = t
			}
		}
	}
	s.ordered = make(map[keybearer.RecordKind]func() []*entry, len(slots))
	for kind := range slots {
		s.ordered[kind] = sync.OnceValue(func() []*entry {
			return s.sorted(kind, func(a, b *entry) int { return slices.Compare(s.key(a), s.key(b)) })
		})
	}
	s.byID = sync.OnceValue(func() []*entry {
		return s.sorted(keybearer.CredentialRecord, func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
	})
}

func (s *state) sorted(kind keybearer.RecordKind, order func(a, b *entry) int) []*entry {
	var all []*entry
	for slot, b := range s.buckets {
		if kindOf(slot) == kind {
			for _, e := range b {
				all = append(all, e)
			}
		}
	}
	slices.SortFunc(all, order)
	return all
}

// key is what a record is ordered by in listings; it identifies the record.
func (s *state) key(e *entry) []string {
	if e.kind != keybearer.CredentialRecord {
		return []string{e.name}
	}
	return []string{s.scopeName(e.scopeID), e.name}
}

func (s *state) scopeName(id string) string {
	if scope := s.get(keybearer.ScopeRecord, id); scope != nil {
		return scope.name
	}
	return ""
}

// get returns the record with that id, or nil.
func (s *state) get(kind keybearer.RecordKind, id string) *entry {
	return s.buckets[slotOf(kind, id)][id]
}

// find returns the record with that id or name, or nil: no name begins like an id. scopeID is of a credential.
func (s *state) find(kind keybearer.RecordKind, prefix, scopeID, idOrName string) *entry {
	if !strings.HasPrefix(idOrName, prefix) {
		return s.names[name{kind, scopeID, idOrName}]
	}
	if e := s.get(kind, idOrName); e != nil && e.scopeID == scopeID {
		return e
	}
	return nil
}

// count returns how many credentials a scope has, and how many of them are tombstones.
func (s *state) count(scopeID string) (all, deleted int) {
	for slot, b := range s.buckets {
		if kindOf(slot) != keybearer.CredentialRecord {
			continue
		}
		for _, e := range b {
			if e.scopeID == scopeID {
				all++
				if e.deleted {
					deleted++
				}
			}
		}
	}
	return all, deleted
}
