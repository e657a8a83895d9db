package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/handover"
)

// house is what custody needs to move from former parts to the current ones. The zero value moves nothing.
type house struct {
	current func(context.Context, string) (bool, error)
	mover   custody.Mover
}

// pairKey tells pairs of a current and a former guest apart.
func pairKey(current, former caddy.Module) string {
	key, _ := json.Marshal([]string{"handover", guestKey(current), guestKey(former)})
	return string(key)
}

func (a *App) keyringKey() string {
	if a.formerKeyring == nil {
		return guestKey(a.keyring)
	}
	return pairKey(a.keyring, a.formerKeyring)
}

func (a *App) storeKey() string {
	if a.formerStore == nil {
		return guestKey(a.store)
	}
	return pairKey(a.store, a.formerStore)
}

// ciphertexts are the kinds of ciphertext that our keyrings make, by module.
var ciphertexts = map[string]string{"local": "local", "vault_transit": "vault"}

// openKeyring opens the keyring, and over a former one both as one.
func (c *core) openKeyring(ctx context.Context, a *App, logger *slog.Logger) error {
	open := func(guest KeyringModule) (handover.Part, error) {
		k, err := take(&c.bundle, guestKey(guest), func() (keybearer.Keyring, error) { return guest.OpenKeyring(ctx, logger) })
		return handover.Part{Keyring: k, Kind: ciphertexts[guest.CaddyModule().ID.Name()]}, err
	}
	current, err := open(a.keyring)
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	c.keyring = current.Keyring
	if a.formerKeyring == nil {
		return nil
	}
	former, err := open(a.formerKeyring)
	if err != nil {
		return fmt.Errorf("former_keyring: %w", err)
	}
	both := handover.NewKeyring(current, former)
	c.keyring, c.house.current = both, both.Current
	return nil
}

// openStore opens the store.
func (c *core) openStore(ctx context.Context, a *App, logger *slog.Logger) (err error) {
	c.store, err = take(&c.bundle, guestKey(a.store), func() (keybearer.Store, error) { return a.store.OpenStore(ctx, logger) })
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
