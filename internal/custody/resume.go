package custody

import (
	"context"
	"errors"

	"github.com/keybearer/keybearer"
)

// Resume is called once at the start. It delivers the audit events that a crash left, makes the global scope if there is none, and has whatever
// long operations are journalled go on in the background. It returns what kept it from the first two; the rest is tried
// again by itself.
func (c *Custody) Resume(ctx context.Context) error {
	err := c.recoverOutbox(ctx)
	if err == nil {
		err = c.makeGlobal(ctx)
	}
	return errors.Join(err, c.eachJournal(ctx, func(s *keybearer.Scope) { c.kick(s.ID) }))
}

func (c *Custody) makeGlobal(ctx context.Context) error {
	s, err := missing(c.store.Scope(ctx, keybearer.GlobalScope))
	if err != nil || s != nil {
		return err
	}
	s = c.newScope(keybearer.GlobalScope, "")
	_, err = c.system(ScopeCreate, target{scope: s}).commit(ctx, nil, keybearer.Write{Scope: s})
	if keybearer.CodeOf(err) == keybearer.AlreadyExists {
		return nil // another server was first
	}
	return err
}

// Settled waits until no long operation is under way in this process, or ctx is done, and then returns its error.
func (c *Custody) Settled(ctx context.Context) error {
	for {
		var done <-chan struct{}
		c.works.mu.Lock()
		for _, r := range c.works.running {
			done = r.done
			break
		}
		c.works.mu.Unlock()
		if done == nil {
			return nil
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
