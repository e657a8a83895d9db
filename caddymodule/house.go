package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/handover"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// house is what custody needs to move from former parts to the current ones. The zero value moves nothing.
type house struct {
	current func(context.Context, string) (bool, error)
	quiet   func() bool
	mover   custody.Mover
	arrived bool // records move into the store, or have: its audit log may still feed the ledger of the former one
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
func (c *core) openKeyring(ctx context.Context, a *App, logger *slog.Logger) (err error) {
	open := func(b *bundle, guest KeyringModule) (keybearer.Keyring, error) {
		return take(b, guestKey(guest), func() (keybearer.Keyring, error) { return guest.OpenKeyring(ctx, logger) })
	}
	if a.formerKeyring == nil {
		if c.keyring, err = open(&c.bundle, a.keyring); err != nil {
			return fmt.Errorf("keyring: %w", err)
		}
		return nil
	}
	kind := func(guest KeyringModule) string { return ciphertexts[guest.CaddyModule().ID.Name()] }
	both, err := take(&c.bundle, a.keyringKey(), func() (_ *keyrings, err error) {
		k := new(keyrings)
		defer func() {
			if err != nil {
				err = errors.Join(err, k.bundle.Close())
			}
		}()
		current, err := open(&k.bundle, a.keyring)
		if err != nil {
			return nil, fmt.Errorf("keyring: %w", err)
		}
		former, err := open(&k.bundle, a.formerKeyring)
		if err != nil {
			return nil, fmt.Errorf("former_keyring: %w", err)
		}
		k.Keyring = handover.NewKeyring(handover.Part{Keyring: current, Kind: kind(a.keyring)}, handover.Part{Keyring: former, Kind: kind(a.formerKeyring)})
		return k, nil
	})
	if err != nil {
		return err
	}
	c.keyring, c.house.current, c.house.quiet = both.Keyring, both.Current, alone(a.formerKeyring)
	return nil
}

// keyrings is a keyring over two, and what holds the two open.
type keyrings struct {
	*handover.Keyring
	bundle bundle
}

// Close implements [io.Closer].
func (k *keyrings) Close() error { return k.bundle.Close() }

// alone returns what tells whether a former part is used only together with its successor, and by no older configuration any more.
func alone(former caddy.Module) func() bool {
	key := guestKey(former)
	return func() bool { return shared.users(key) <= 1 }
}

// openStore opens the store, and over a former one both as one. A store whose records have moved, or not all arrived, is not opened alone.
func (c *core) openStore(ctx context.Context, a *App, logger *slog.Logger) (err error) {
	open := func(b *bundle, guest StoreModule) (keybearer.Store, error) {
		return take(b, guestKey(guest), func() (keybearer.Store, error) { return guest.OpenStore(ctx, logger) })
	}
	if a.formerStore == nil {
		if c.store, err = open(&c.bundle, a.store); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		if s := sqlstore.Of(c.store); s != nil {
			if err := s.Alone(ctx); err != nil {
				return fmt.Errorf("store: %w", err)
			}
			mark, err := s.Mark(ctx)
			if err != nil {
				return fmt.Errorf("store: %w", err)
			}
			c.house.arrived = mark.State == sqlstore.Arrived
		}
		return nil
	}
	// What they have in common is shared, too: only one may move records.
	both, err := take(&c.bundle, a.storeKey(), func() (_ *stores, err error) {
		p := new(stores)
		defer func() {
			if err != nil {
				err = errors.Join(err, p.bundle.Close())
			}
		}()
		current, err := open(&p.bundle, a.store)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		former, err := open(&p.bundle, a.formerStore)
		if err != nil {
			return nil, fmt.Errorf("former_store: %w", err)
		}
		p.Store, err = handover.OpenStore(ctx, handover.Config{
			Current: current, Former: former, Logger: logger,
			Quiet: alone(a.formerStore),
		})
		if err != nil {
			return nil, fmt.Errorf("former_store: %w", err)
		}
		p.bundle.add(p.Store.Close)
		return p, nil
	})
	if err != nil {
		return err
	}
	c.store, c.house.mover, c.house.arrived = both.Store, mover{both.Store}, true
	return nil
}

// stores is a store over two, and what holds the two open.
type stores struct {
	*handover.Store
	bundle bundle
}

// Close implements [io.Closer].
func (p *stores) Close() error { return p.bundle.Close() }

// mover lets custody move the records.
type mover struct{ store *handover.Store }

// Move implements [custody.Mover].
func (m mover) Move() <-chan struct{} { return m.store.Move() }

// Progress implements [custody.Mover].
func (m mover) Progress() (phase custody.Phase, done, total int, err error) {
	p, done, total, err := m.store.Progress()
	return custody.Phase(p), done, total, err
}
