package custody

import (
	"context"
	"sync"

	"github.com/keybearer/keybearer"
)

// looks remembers where the journals of long operations stood at the last look.
type looks struct {
	mu   sync.Mutex
	seen map[string]uint64 // revision of each scope that had work, by id
}

// Tend takes over what another server left: a long operation whose journal has not moved since the last call, and audit events that were
// committed and not delivered. Call it now and then, less often than a step of an operation takes. It returns
// [keybearer.StoreUnavailable], and then is done again at the next call.
func (c *Custody) Tend(ctx context.Context) error {
	if err := c.deliver(ctx, nil); err != nil {
		return keybearer.AsError(err)
	}
	if c.openOnly {
		return nil
	}
	c.looks.mu.Lock()
	defer c.looks.mu.Unlock()
	seen := map[string]uint64{}
	err := c.eachJournal(ctx, func(s *keybearer.Scope) {
		seen[s.ID] = s.Revision
		if at, before := c.looks.seen[s.ID]; before && at == s.Revision && !c.works.has(s.ID) {
			c.log.Info("taking over a long operation", "scope", s.ID)
			c.kick(s.ID)
		}
	})
	if err == nil {
		c.looks.seen = seen
	}
	return err
}

// eachJournal calls fn for every scope that has something left to do.
func (c *Custody) eachJournal(ctx context.Context, fn func(*keybearer.Scope)) error {
	q := keybearer.Query{Deleted: true, Limit: 1000}
	for {
		page, err := c.store.Scopes(ctx, q)
		if err != nil {
			return keybearer.AsError(err)
		}
		for _, s := range page.Items {
			if c.busy(s) {
				fn(s)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return nil
		}
	}
}
