package caddymodule

import (
	"context"
	"fmt"
	"iter"
	"os"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
)

// openFeed keeps the store's ledger of uses equal to the audit log, where both can be had.
func (c *core) openFeed(a *App) error {
	log, ok := c.auditor.(*audit.Log)
	if !ok || c.ledger == nil {
		return nil
	}
	if info, err := os.Stat(log.Path()); err != nil || !info.Mode().IsRegular() {
		return err
	}
	key := "feed " + guestKey(a.audit) + a.storeKey()
	open := func(b *bundle) error {
		_, err := take(b, key, func() (*audit.Feed, error) { return audit.Follow(context.Background(), log, c.ledger) })
		return err
	}
	err := open(&c.bundle)
	if keybearer.CodeOf(err) == keybearer.Conflict && c.house.arrived {
		c.feedLater(open)
		return nil
	}
	if keybearer.CodeOf(err) == keybearer.Conflict {
		return fmt.Errorf("audit: %s still feeds the ledger of another store: give the new store another audit file, or stop and start", log.Path())
	}
	return err
}

// feedLater keeps trying to feed the ledger until the configuration before this one, whose records move to the same place, has let go of the audit log.
// What is in the log by then is read from it.
func (c *core) feedLater(open func(*bundle) error) {
	var feed bundle
	opened := false
	c.add(func() error { return feed.Close() })
	c.every(feedAgain, func(context.Context) {
		if opened {
			return
		}
		err := open(&feed)
		opened = err == nil
		if err != nil && keybearer.CodeOf(err) != keybearer.Conflict {
			logs.logger().Warn("the ledger of uses is not kept for now", "error", err)
		}
	})
}

// readable is an audit log as the admin API reads it. Whoever follows it is let go when the configuration is leaving.
type readable struct {
	log  *audit.Log
	left <-chan struct{}
}

// readAudit returns the app's audit log, or nil when it cannot be read back.
func (a *App) readAudit(c *core) *readable {
	if log, ok := c.auditor.(*audit.Log); ok {
		return &readable{log, a.lease.left}
	}
	return nil
}

// Tail returns the last n events for which keep is true, oldest first; keep is asked from the newest event on.
func (r readable) Tail(ctx context.Context, n int, keep func(*keybearer.Event) bool) ([]keybearer.Event, error) {
	return audit.Tail(ctx, r.log.Path(), n, keep)
}

// Backwards implements [audit.Reader].
func (r readable) Backwards(ctx context.Context, visit func(*keybearer.Event) bool) error {
	return audit.Backwards(ctx, r.log.Path(), visit)
}

// Subscribe implements [audit.Reader].
func (r readable) Subscribe(ctx context.Context, keep func(*keybearer.Event) bool) iter.Seq[keybearer.Event] {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-r.left:
			cancel()
		case <-ctx.Done():
		}
	}()
	entries := r.log.Subscribe(ctx, 0, keep)
	return func(yield func(keybearer.Event) bool) {
		defer cancel()
		for e := range entries {
			if !yield(e.Event) {
				return
			}
		}
	}
}

// Interface guard.
var _ audit.Reader = readable{}
