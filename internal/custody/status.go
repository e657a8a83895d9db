package custody

import (
	"context"
	"time"

	"github.com/keybearer/keybearer"
)

// Part is one of the parts that everything rests on, or one thing that was looked at in it.
type Part struct {
	Name   string           // "store", "keyring", "audit", "key of scope <name>", or "store: <check>"
	Detail string           // what was found, if there is more to say than that it works
	Err    *keybearer.Error // nil: it works
	Warn   bool             // Err is a risk, and keeps nothing from working
}

// How long one part may take to answer, and how many scopes are looked at.
const (
	probeTime   = 3 * time.Second
	probeScopes = 1000

	diagnoseTime = 20 * time.Second
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
		{Name: "store", Err: within(func(ctx context.Context) error {
			if _, err := c.store.Sequence(ctx); err != nil {
				return err
			}
			var err error
			scopes, err = c.store.Scopes(ctx, keybearer.Query{Limit: probeScopes})
			return err
		})},
		{Name: "audit", Err: keybearer.AsError(c.auditor.Ready())},
		{Name: "keyring"},
	}
	if c.openOnly {
		parts[2].Detail = "opens secrets; another server seals them and manages the keys"
		return append(parts, c.diagnose(ctx)...), nil
	}
	parts[2].Err = within(func(ctx context.Context) error {
		if _, err := c.keyring.KeyVersion(ctx, "keybearer-probe"); keybearer.CodeOf(err) != keybearer.NotFound {
			return err
		}
		return nil
	})
	if parts[2].Err == nil {
		parts = append(parts, c.missingKeys(scopes.Items, within)...)
	}
	return append(parts, c.diagnose(ctx)...), nil
}

// missingKeys returns a part for every scope whose key the keyring does not have. One that cannot tell now gets no advice to replace the key.
func (c *Custody) missingKeys(scopes []*keybearer.Scope, within func(func(context.Context) error) *keybearer.Error) (parts []Part) {
	look := func(name, key, detail, hint string) {
		err := within(func(ctx context.Context) error { _, err := c.keyring.KeyVersion(ctx, key); return err })
		if err != nil && err.Code == keybearer.NotFound {
			err = keybearer.NewError(keybearer.KeyringUnavailable, detail).WithHint(hint).Wrap(err)
		}
		if err != nil {
			parts = append(parts, Part{Name: name, Err: err})
		}
	}
	for _, s := range scopes {
		if s.Key != nil {
			look("key of scope "+s.Name, s.Key.Name, "the keyring does not have the scope's key",
				"restore the keyring that belongs to this store, or regenerate the scope's key")
		}
		if s.Former != nil {
			look("former key of scope "+s.Name, s.Former.Name, "secrets are on the move, and the former keyring does not have their key",
				"put former_keyring back into the Caddyfile until keybearer migrate status says that all have moved")
		}
	}
	for _, s := range scopes {
		if len(c.elsewhere(s)) > 0 {
			parts = append(parts, Part{Name: "former key of scope " + s.Name, Warn: true, Err: notHere("it is to be destroyed, in a keyring that this server does not have")})
		}
	}
	return parts
}

// diagnose asks the parts that can to look at themselves.
func (c *Custody) diagnose(ctx context.Context) (parts []Part) {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTime)
	defer cancel()
	look := func(name string, part any) {
		if d, ok := part.(keybearer.Diagnoser); ok {
			for _, f := range d.Diagnose(ctx) {
				parts = append(parts, Part{Name: name + ": " + f.Check, Detail: f.Detail, Err: f.Err, Warn: f.Warn})
			}
		}
	}
	look("store", c.store)
	look("keyring", c.keyring)
	for _, o := range c.others {
		look(o.Name, o.Diagnoser)
	}
	return parts
}
