package custody

import (
	"context"
	"time"

	"github.com/keybearer/keybearer"
)

// Place says where a scope's key is while there are two keyrings.
type Place string

// The places.
const (
	Moved   Place = "moved"   // in the current keyring, and no key in the former one is needed or left
	Moving  Place = "moving"  // secrets are under way, or the old key is still to be destroyed
	Waiting Place = "waiting" // in the former keyring
	Unknown Place = "unknown" // in neither, or the keyrings cannot tell now
)

// KeyMigration is how far the scopes have moved from the former keyring to the current one.
type KeyMigration struct {
	Former bool // there is a former keyring
	Scopes []ScopePlace
}

// ScopePlace is where one scope is.
type ScopePlace struct {
	Scope
	Place Place
}

// Done reports whether nothing needs the former keyring any more.
func (m *KeyMigration) Done() bool {
	for i := range m.Scopes {
		if m.Scopes[i].Place != Moved {
			return false
		}
	}
	return true
}

// KeyMigration shows how far the scopes have moved, in order of name. Scopes that have no key are left out, and without a former keyring there is
// nothing to show.
func (c *Custody) KeyMigration(ctx context.Context, ask Ask) (KeyMigration, error) {
	m := KeyMigration{Former: c.current != nil, Scopes: []ScopePlace{}}
	if _, err := c.authorise(ask, MigrationShow, target{}); err != nil || !m.Former {
		return m, err
	}
	q := keybearer.Query{Deleted: true, Limit: 1000}
	for {
		page, err := c.store.Scopes(ctx, q)
		if err != nil {
			return m, keybearer.AsError(err)
		}
		for _, s := range page.Items {
			if s.Key != nil || len(s.DoomedKeys) > 0 {
				m.Scopes = append(m.Scopes, ScopePlace{c.viewScope(s), c.place(ctx, s)})
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return m, nil
		}
	}
}

func (c *Custody) place(ctx context.Context, s *keybearer.Scope) Place {
	if s.Former != nil || len(s.DoomedKeys) > 0 {
		return Moving
	}
	current, err := c.current(ctx, s.Key.Name)
	switch {
	case err != nil:
		return Unknown
	case current:
		return Moved
	}
	return Waiting
}

// Phase says how far the records have moved from the former store.
type Phase string

// The phases. Until done the former store is the one that is read and written.
const (
	Ready       Phase = "ready"        // not begun, or interrupted
	Copying     Phase = "copying"      // records are copied while use and changes go on
	HandingOver Phase = "handing over" // changes wait while the last ones are copied and all are compared
	Done        Phase = "done"         // the current store is the one that is read and written
)

// Mover moves the records from the former store to the current one. It is safe for concurrent use.
type Mover interface {
	// Move begins it in the background, or goes on with it. The channel is closed when it has ended, well or not.
	Move() <-chan struct{}
	// Progress tells the phase, how many records of how many have been copied, and why it does not get on or did not; nil: it does.
	Progress() (phase Phase, done, total int, err error)
}

// StoreMigration is how far the records have moved.
type StoreMigration struct {
	Former      bool // there is a former store
	Phase       Phase
	Done, Total int
	Err         *keybearer.Error // why it does not get on; nil: it does
}

// StoreMigration shows how far the records have moved from the former store. Without one there is nothing to show.
func (c *Custody) StoreMigration(_ context.Context, ask Ask) (StoreMigration, error) {
	if _, err := c.authorise(ask, MigrationShow, target{}); err != nil {
		return StoreMigration{}, err
	}
	return c.storeMigration(), nil
}

func (c *Custody) storeMigration() StoreMigration {
	if c.mover == nil {
		return StoreMigration{}
	}
	m := StoreMigration{Former: true}
	var err error
	if m.Phase, m.Done, m.Total, err = c.mover.Progress(); err != nil {
		m.Err = keybearer.AsError(err)
	}
	return m
}

// MoveStore has the records move from the former store to the current one, or goes on with that after an interruption. Use never stops, and
// changes wait for a moment at the end. When it takes long, the answer tells how far it is. It returns [keybearer.Conflict] when there is no former
// store.
func (c *Custody) MoveStore(ctx context.Context, ask Ask) (StoreMigration, error) {
	p, err := c.authorise(ask, StoreMove, target{})
	if err != nil {
		return StoreMigration{}, err
	}
	if c.mover == nil {
		return StoreMigration{}, keybearer.NewError(keybearer.Conflict, "there is no former store to move records from").
			WithHint("in the Caddyfile, name the new store in store and the old one in former_store, and reload")
	}
	if c.storeMigration().Phase == Ready {
		if _, err := p.commit(ctx, []string{"store"}); err != nil {
			return StoreMigration{}, err
		}
	}
	timer := time.NewTimer(c.wait)
	defer timer.Stop()
	select {
	case <-c.mover.Move():
	case <-ctx.Done():
	case <-timer.C:
	}
	return c.storeMigration(), nil
}
