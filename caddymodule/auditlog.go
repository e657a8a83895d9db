package caddymodule

import (
	"context"
	"iter"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
)

// auditLog reads the audit file back for the admin API. It implements [admin.AuditLog].
type auditLog struct{ log *audit.Log }

// Tail returns the last n events that are wanted, oldest first.
func (a auditLog) Tail(ctx context.Context, n int, keep func(*keybearer.Event) bool) ([]keybearer.Event, error) {
	return audit.Tail(ctx, a.log.Path(), n, keep)
}

// Subscribe yields events from now on, until ctx ends.
func (a auditLog) Subscribe(ctx context.Context, keep func(*keybearer.Event) bool) iter.Seq[keybearer.Event] {
	entries := a.log.Subscribe(ctx, 0, keep)
	return func(yield func(keybearer.Event) bool) {
		for e := range entries {
			if !yield(e.Event) {
				return
			}
		}
	}
}
