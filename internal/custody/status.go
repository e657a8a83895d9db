package custody

import (
	"context"
	"time"

	"github.com/keybearer/keybearer"
)

// Part is one of the parts that everything rests on.
type Part struct {
	Name string           // "store", "keyring", "audit", or "key of scope <name>"
	Err  *keybearer.Error // nil: it works
}

// How long one part may take to answer, and how many scopes are looked at.
const (
	probeTime   = 3 * time.Second
	probeScopes = 1000
)

// Status asks each part whether it works: the store for its last commit, the audit log whether it can be written, the keyring for the key
// of every scope. Only what is wrong with a scope's key gets a Part of its own. It is for instance admins.
func (c *Custody) Status(ctx context.Context, ask Ask) ([]Part, error) {
	if _, err := c.authorise(ask, StatusShow, target{}); err != nil {
		return nil, err
	}
	within := func(f func(context.Context) error) *keybearer.Error {
		ctx, cancel := context.WithTimeout(ctx, probeTime)
		defer cancel()
		return keybearer.AsError(f(ctx))
	}
	var scopes keybearer.Page[*keybearer.Scope]
	parts := []Part{
		{"store", within(func(ctx context.Context) error {
			if _, err := c.store.Sequence(ctx); err != nil {
				return err
			}
			var err error
			scopes, err = c.store.Scopes(ctx, keybearer.Query{Limit: probeScopes})
			return err
		})},
		{"audit", keybearer.AsError(c.auditor.Ready())},
		{"keyring", within(func(ctx context.Context) error {
			if _, err := c.keyring.KeyVersion(ctx, "keybearer-probe"); keybearer.CodeOf(err) != keybearer.NotFound {
				return err
			}
			return nil
		})},
	}
	if parts[2].Err != nil {
		return parts, nil
	}
	for _, s := range scopes.Items {
		if s.Key == nil {
			continue
		}
		err := within(func(ctx context.Context) error { _, err := c.keyring.KeyVersion(ctx, s.Key.Name); return err })
		if err != nil {
			parts = append(parts, Part{"key of scope " + s.Name, keybearer.NewError(keybearer.KeyringUnavailable, "the keyring does not have the scope's key").
				WithHint("restore the keyring that belongs to this store, or regenerate the scope's key").Wrap(err)})
		}
	}
	return parts, nil
}
