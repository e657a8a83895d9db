package vaultkv

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/keybearer/keybearer"
)

const (
	format      = 1
	keepChanges = 512 // how many changes a follower may be behind before it is told that some were missed
)

// index is the one secret that says what is stored: whatever it does not name is not there. It holds no ciphertext and no share of
// a key. It is immutable; change a clone.
type index struct {
	Format  int               `json:"format"`
	Seq     uint64            `json:"seq"`              // number of the last commit
	Stamp   string            `json:"stamp,omitempty"`  // random; of the last commit that changed records
	Buckets map[string]string `json:"buckets"`          // slot → name of the secret that holds the bucket; none: it is empty
	Floor   uint64            `json:"floor,omitempty"`  // Feed holds all changes with a higher number
	Feed    []change          `json:"feed,omitempty"`   // in order
	Event   uint64            `json:"event,omitempty"`  // number of the last event
	Outbox  []pending         `json:"outbox,omitempty"` // events that wait for the audit log, in order
}

// change is a [keybearer.Change] as the index holds it. Its stamp, which those of one commit share, tells this history from that of a backup
// that was restored.
type change struct {
	Seq     uint64               `json:"n"`
	Kind    keybearer.RecordKind `json:"k"`
	ID      string               `json:"i"`
	ScopeID string               `json:"s,omitempty"`
	Stamp   string               `json:"t"`
}

// pending is an event in the outbox.
type pending struct {
	Number uint64          `json:"n"`
	Node   string          `json:"node"` // that committed it
	Event  keybearer.Event `json:"event"`
}

func (x *index) clone() *index {
	c := *x
	c.Buckets = maps.Clone(x.Buckets)
	if c.Buckets == nil {
		c.Buckets = map[string]string{}
	}
	c.Feed = slices.Clone(x.Feed)
	c.Outbox = slices.Clone(x.Outbox)
	return &c
}

// encode returns the text of the index's secret, or [keybearer.Conflict] when it does not fit.
func (x *index) encode() ([]byte, error) {
	text, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	return text, fits(text, "the index, with the events that wait for the audit log,")
}

// decodeIndex reads what encode wrote.
func decodeIndex(text []byte) (*index, error) {
	x := new(index)
	if err := json.Unmarshal(text, x); err != nil {
		return nil, fmt.Errorf("the index: %w", err)
	}
	if x.Format != format {
		return nil, fmt.Errorf("the index has format %d, not %d", x.Format, format)
	}
	return x, nil
}

// tell adds the changes of a commit to the feed and drops the oldest, by whole commits.
func (x *index) tell(changes []keybearer.Change) {
	if len(changes) == 0 {
		return
	}
	x.Stamp = rand.Text()[:8]
	for _, c := range changes {
		x.Feed = append(x.Feed, change{c.Seq, c.Kind, c.ID, c.ScopeID, x.Stamp})
	}
	if over := len(x.Feed) - keepChanges; over > 0 {
		x.Floor = x.Feed[over-1].Seq
		for over < len(x.Feed) && x.Feed[over].Seq == x.Floor {
			over++
		}
		x.Feed = slices.Clone(x.Feed[over:])
	}
}

// changes returns the changes of commits above after: those of one whole commit after the other until limit is reached. ok says whether
// the feed reaches back so far.
func (x *index) changes(after uint64, limit int) (changes []keybearer.Change, ok bool) {
	if after < x.Floor || after > x.Seq {
		return nil, false
	}
	for _, c := range x.Feed {
		if c.Seq <= after {
			continue
		}
		if n := len(changes); n >= max(limit, 1) && changes[n-1].Seq != c.Seq {
			break
		}
		changes = append(changes, keybearer.Change{Seq: c.Seq, Kind: c.Kind, ID: c.ID, ScopeID: c.ScopeID})
	}
	return changes, true
}

// since returns the changes that came after an index. ok says whether they are known: they are not if it belongs to another history, or is
// too old.
func (x *index) since(old *index) (changes []keybearer.Change, ok bool) {
	switch {
	case x.Stamp == old.Stamp:
		return nil, true
	case old.Stamp == "":
		return x.changes(0, keepChanges)
	}
	i := slices.IndexFunc(x.Feed, func(c change) bool { return c.Stamp == old.Stamp })
	if i < 0 {
		return nil, false
	}
	return x.changes(x.Feed[i].Seq, keepChanges)
}
