package caddymodule

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/health"
)

// checkHealth makes what tells whether the engine can do its work. Requests are served without the store and without the keyring for as long as the
// configuration says.
func (e *engine) checkHealth(a *App) {
	c := e.core
	checks := []health.Check{
		{Part: "store", Grace: a.storeGrace, Ask: c.askStore},
		{Part: "keyring", Grace: a.keyringGrace, Ask: c.askKeyring},
		{Part: "audit", Ask: func(context.Context) error { return c.auditor.Ready() }},
	}
	if c.anchor != nil {
		checks = append(checks, health.Check{Part: "anchor", Ask: func(context.Context) error { return c.anchor.Holds() }})
	}
	e.health = health.New(checks...)
}

// effective is what a part makes of a setting.
func effective(d *caddy.Duration, usual time.Duration) time.Duration {
	return max(0, cmp.Or(setting(d), usual))
}

func (a *App) storeGrace(error) time.Duration { return effective(a.StoreMaxStale, time.Minute) }

// keyringGrace is how long opened secrets serve: within their own time always, and longer as long as the keyring says nothing. One that answers and opens
// nothing has said that they are void.
func (a *App) keyringGrace(err error) time.Duration {
	own := effective(a.SecretTTL, 5*time.Minute)
	if errors.Is(err, keybearer.ErrUnopenable) {
		return own
	}
	return max(own, effective(a.KeyringMaxStale, 15*time.Minute))
}

// working returns whether each part works.
func (e *engine) working(context.Context) map[string]bool {
	parts := map[string]bool{}
	for _, p := range e.health.Report().Parts {
		parts[p.Name] = p.Status == health.Ready
	}
	return parts
}

// behind is how long ago the changes of the store may have been known to be complete: a multiple of what following them ever takes.
const behind = 5 * time.Second

// askStore returns nil when the store answers and its changes are followed. Records whose changes are not followed are not relied on for long, even
// while the store answers everything else.
func (c *core) askStore(ctx context.Context) error {
	if _, err := c.store.Sequence(ctx); err != nil {
		return err
	}
	if f, ok := c.store.(keybearer.Follower); ok && time.Since(f.Current()) >= behind {
		return keybearer.NewError(keybearer.StoreUnavailable, "the store answers, and what others change in it is not heard of").
			WithHint("look in the log for why its changes cannot be followed, and at keybearer doctor")
	}
	return nil
}

// noSecret is what no keyring opens, and none that works fails to answer.
var noSecret = []byte("vault:v1:" + base64.StdEncoding.EncodeToString(make([]byte, 64)))

// askKeyring returns nil when the keyring opens secrets, which is all that requests need of it; its other rights are for the doctor. It goes around the
// meter: what it asks for must fail.
func (c *core) askKeyring(ctx context.Context) error {
	_, err := c.bare.Open(ctx, "keybearer-probe", keybearer.SealContext{}, noSecret)
	if errors.Is(err, keybearer.ErrUnopenable) && !errors.Is(err, keybearer.ErrRefused) {
		return nil
	}
	return err
}
