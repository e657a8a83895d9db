package vaultkv

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// Events returns up to limit events that are not marked as delivered, in order of commit: those of this node, and those of others that
// this process has seen wait for a minute.
func (s *Store) Events(ctx context.Context, limit int) ([]keybearer.PendingEvent, error) {
	st, err := s.view(ctx)
	if err != nil {
		return nil, fail("read the outbox", err)
	}
	var events []keybearer.PendingEvent
	for _, p := range st.index.Outbox {
		if len(events) >= limit {
			break
		}
		if p.Node == s.node || time.Since(st.since[p.Number]) >= s.adopt {
			events = append(events, keybearer.PendingEvent{Seq: p.Number, Event: p.Event})
		}
	}
	return events, nil
}

// Delivered takes events out of the outbox. Numbers that are not there are passed over.
func (s *Store) Delivered(ctx context.Context, seqs ...uint64) error {
	if len(seqs) == 0 {
		return nil
	}
	err := s.change(ctx, func(d *draft) error {
		n := len(d.index.Outbox)
		d.index.Outbox = slices.DeleteFunc(d.index.Outbox, func(p pending) bool { return slices.Contains(seqs, p.Number) })
		if len(d.index.Outbox) == n {
			return errNothing
		}
		return nil
	})
	if err != nil && !errors.Is(err, errNothing) {
		return fail("empty the outbox", err)
	}
	return nil
}
