package custody

import (
	"context"

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
