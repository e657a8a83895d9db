package vaultkv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/records"
)

// Commit applies the batch. Beyond the errors that [keybearer.Store] lists it returns [keybearer.Conflict] when the records or events do
// not fit: nothing has been written then. An empty batch changes nothing and returns the number of the last commit.
func (s *Store) Commit(ctx context.Context, b keybearer.Batch) (uint64, error) {
	const op = "commit"
	if len(b.Writes) == 0 && len(b.Events) == 0 {
		return s.Sequence(ctx)
	}
	writes := make([]*write, len(b.Writes))
	for i := range b.Writes {
		var err error
		if writes[i], err = newWrite(&b.Writes[i]); err != nil {
			return 0, fail(op, err)
		}
	}
	events := make([]keybearer.Event, len(b.Events))
	for i := range b.Events {
		var err error
		if events[i], err = stripped(b.Events[i]); err != nil {
			return 0, fail(op, err)
		}
	}
	var seq uint64
	err := s.change(ctx, func(d *draft) error {
		changes := make([]keybearer.Change, len(writes))
		for i, w := range writes {
			if err := d.apply(w); err != nil {
				return err
			}
			changes[i] = keybearer.Change{Seq: d.seq, Kind: w.kind, ID: w.id, ScopeID: w.scopeID}
		}
		d.index.Seq = d.seq
		d.index.tell(changes)
		for _, e := range events {
			d.index.Event++
			d.index.Outbox = append(d.index.Outbox, pending{d.index.Event, s.node, e})
		}
		d.changes, seq = changes, d.seq
		return nil
	})
	if err != nil {
		return 0, fail(op, err)
	}
	return seq, nil
}

// stripped returns an event as it is stored.
func stripped(e keybearer.Event) (keybearer.Event, error) {
	records.Trim(&e.Time)
	text, err := json.Marshal(&e)
	var out keybearer.Event
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		return out, keybearer.NewError(keybearer.Invalid, "an event holds a value that cannot be stored").Wrap(err)
	}
	return out, nil
}

// errNothing is returned by an edit that has nothing to change.
var errNothing = errors.New("nothing to change")

// change waits for its turn, lets edit make a draft of what is stored, and stores it, all or nothing: as often as somebody else was faster,
// edit is given a new draft. Once begun it is not cut short by ctx. It returns edit's error only if the draft was made of the latest state.
func (s *Store) change(ctx context.Context, edit func(*draft) error) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	s.pace.wait(ctx)
	defer s.pace.done(time.Now())
	var waste []string // secrets that were written in vain
	defer func() { s.discard(ctx, waste) }()
	latest := s.doubt.Load() || time.Since(s.Current()) >= maxUnconfirmed
	if latest {
		if err := s.refresh(ctx); err != nil {
			return err
		}
	}
	for {
		d := s.state.Load().draft()
		err := edit(d)
		if err == nil {
			var written []string
			if written, err = s.store(ctx, d); !errors.Is(err, errConflict) {
				return err
			}
			waste = append(waste, written...)
		} else if latest {
			return err
		}
		// Somebody was faster, or edit refuses what has changed since.
		if err := s.refresh(ctx); err != nil {
			return err
		}
		latest = true
	}
}

// store writes a draft and makes it the state. written are the secrets that it wrote; after errConflict nothing names them. The caller has
// the turn.
func (s *Store) store(ctx context.Context, d *draft) (written []string, err error) {
	old := s.state.Load()
	texts := map[string][]byte{} // by the name of the secret
	var stale []string
	for slot := range d.changed {
		if secret, ok := old.index.Buckets[slot]; ok {
			stale = append(stale, secret)
		}
		delete(d.index.Buckets, slot)
		if len(d.buckets[slot]) == 0 {
			delete(d.buckets, slot)
			continue
		}
		text, err := d.buckets[slot].encode()
		if err != nil {
			return nil, err
		}
		if err := fits(text, "the records of one bucket ("+slot+")"); err != nil {
			return nil, err
		}
		secret := newBucketName(slot)
		d.index.Buckets[slot] = secret
		texts[secret] = text
		written = append(written, secret)
	}
	text, err := d.index.encode()
	if err != nil {
		return nil, err
	}
	err = parallel(written, func(secret string) error {
		_, err := s.engine.write(ctx, secret, texts[secret], 0)
		return err
	})
	if err != nil {
		s.discard(ctx, written)
		return nil, err
	}
	start := time.Now()
	at, err := s.engine.write(ctx, indexName, text, old.at.number)
	if err != nil && !errors.Is(err, errExpires) {
		if !errors.Is(err, errConflict) {
			s.doubt.Store(true) // it may arrive yet
		}
		return written, err
	}
	next := &d.state
	next.at = at
	next.finish(old)
	s.replace(next, d.changes, start)
	s.discard(ctx, stale)
	return nil, nil
}

// discard deletes secrets that the index does not name. What cannot be deleted now is left to the sweep.
func (s *Store) discard(ctx context.Context, secrets []string) {
	if len(secrets) == 0 {
		return
	}
	if err := s.engine.destroy(ctx, secrets); err != nil {
		s.logger.Warn("what is stored no more could not be deleted from Vault, and will be later", "error", err)
	}
}

// maxText bounds the text of a secret as Vault stores it. Vault on raft takes 1 MiB, on Consul half of that.
const maxText = 480 << 10

// fits returns [keybearer.Conflict] for a text that is too large for a secret.
func fits(text []byte, what string) error {
	escaped, err := json.Marshal(content{string(text)})
	if err != nil {
		return err
	}
	if len(escaped) <= maxText {
		return nil
	}
	return keybearer.NewError(keybearer.Conflict, fmt.Sprintf("%s would take %d KiB, and a secret in Vault holds %d KiB", what, len(escaped)>>10, maxText>>10)).
		WithHint("delete what is not needed, or move to the store postgres, which has no such limit")
}
