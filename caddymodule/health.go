package caddymodule

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/health"
)

// checkHealth makes what tells whether the engine can do its work. Requests are served without the store and without the keyring for as long as the
// configuration says.
func (e *engine) checkHealth(a *App) {
	c := e.core
	grace := func(setting time.Duration, usual time.Duration) time.Duration { return max(0, cmp.Or(setting, usual)) }
	checks := []health.Check{
		{Part: "store", Grace: grace(setting(a.StoreMaxStale), time.Minute), Ask: func(ctx context.Context) error {
			_, err := c.store.Sequence(ctx)
			return err
		}},
		{Part: "keyring", Grace: grace(setting(a.KeyringMaxStale), 15*time.Minute), Ask: c.askKeyring},
		{Part: "audit", Ask: func(context.Context) error { return c.auditor.Ready() }},
	}
	if c.anchor != nil {
		checks = append(checks, health.Check{Part: "anchor", Ask: func(context.Context) error { return c.anchor.Holds() }})
	}
	e.health = health.New(checks...)
}

// working returns whether each part works.
func (e *engine) working(ctx context.Context) map[string]bool {
	parts := map[string]bool{}
	for _, p := range e.health.Report(ctx).Parts {
		parts[p.Name] = p.Status == health.Ready
	}
	return parts
}

// noSecret is what no keyring opens, and none that works fails to answer.
var noSecret = []byte("vault:v1:" + base64.StdEncoding.EncodeToString(make([]byte, 64)))

// askKeyring returns nil when the keyring answers. It goes around the meter: what it asks for must fail.
func (c *core) askKeyring(ctx context.Context) error {
	if k, ok := c.bare.(keybearer.OpenOnly); ok && k.OpenOnly() {
		_, err := c.bare.Open(ctx, "keybearer-probe", keybearer.SealContext{}, noSecret)
		if errors.Is(err, keybearer.ErrUnopenable) && !errors.Is(err, keybearer.ErrRefused) {
			return nil
		}
		return err
	}
	if _, err := c.bare.KeyVersion(ctx, "keybearer-probe"); keybearer.CodeOf(err) != keybearer.NotFound {
		return err
	}
	return nil
}
