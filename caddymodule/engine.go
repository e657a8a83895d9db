package caddymodule

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/anchor"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/internal/health"
	"github.com/keybearer/keybearer/internal/identity"
	"github.com/keybearer/keybearer/internal/process"
	"github.com/keybearer/keybearer/internal/proxy"
	"github.com/keybearer/keybearer/internal/revocation"
)

// shared holds what is open and outlives configurations: stores, keyrings and audit logs by their guest's configuration, a core by
// those of its three guests, an engine by the app's. So a reload keeps the store when only the audit log moves, keeps the
// core when only a trusted root is added, and keeps everything, caches included, when nothing of the app has changed.
var shared pool

// logs is where all that is shared logs to: the logger of the newest configuration.
var logs = newHandoff(slog.Default())

// bundle closes what was taken, in reverse order.
type bundle []func() error

func (b *bundle) add(f func() error) { *b = append(*b, f) }

// Close implements [io.Closer].
func (b *bundle) Close() error {
	var errs []error
	for _, f := range slices.Backward(*b) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// every calls f now, and again and again until b is closed.
func (b *bundle) every(period time.Duration, f func(context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(period)
		defer tick.Stop()
		for {
			f(ctx)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	b.add(func() error {
		stop()
		running.Wait()
		return nil
	})
}

// take returns what is open under the key, or opens it. It is given back when b is closed.
func take[T io.Closer](b *bundle, key string, open func() (T, error)) (T, error) {
	v, err := shared.take(key, func() (io.Closer, error) { return open() })
	if err != nil {
		var none T
		return none, err
	}
	b.add(func() error { return shared.give(key) })
	return v.(T), nil
}

// guestKey tells guests apart, by module and provisioned configuration.
func guestKey(guest caddy.Module) string {
	return string(caddyconfig.JSONModuleObject(guest, "module", string(guest.CaddyModule().ID), nil))
}

// core is what is kept and what is done with it.
type core struct {
	bundle
	store   keybearer.Store
	keyring keybearer.Keyring
	bare    keybearer.Keyring // the keyring, behind the meter's back
	ledger  keybearer.Ledger  // nil: the store keeps none
	auditor keybearer.Auditor
	custody *custody.Custody
	anchor  *anchor.Anchor // nil: off
	house   house
}

func (a *App) coreKey() string {
	key, _ := json.Marshal([]any{"core", a.storeKey(), a.keyringKey(), guestKey(a.audit), a.KeepPrevious, a.Anchor})
	return string(key)
}

const (
	sweepEvery  = time.Minute      // how often what is past its time is let go
	tendEvery   = 10 * time.Second // how often to look whether another server left something undone
	feedAgain   = time.Second      // how often to look whether the audit log is free to feed another ledger
	callersIdle = 10 * time.Minute // how long a caller is remembered that calls no more
)

func openCore(a *App) (_ *core, err error) {
	c := new(core)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	ctx := context.Background()
	logger := logs.logger()
	if err := c.openStore(ctx, a, logger); err != nil {
		return nil, err
	}
	if err := c.openAnchor(ctx, a, logger); err != nil {
		return nil, err
	}
	c.ledger, _ = c.store.(keybearer.Ledger)
	if err := c.openKeyring(ctx, a, logger); err != nil {
		return nil, err
	}
	c.bare, c.keyring = c.keyring, meter().Keyring(c.keyring)
	c.auditor, err = take(&c.bundle, guestKey(a.audit), func() (keybearer.Auditor, error) { return a.audit.OpenAudit(ctx, logger) })
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := c.checkKeys(ctx, a.keyring); err != nil {
		return nil, err
	}
	if err := c.openFeed(a); err != nil {
		return nil, err
	}
	if err := c.openCustody(ctx, setting(a.KeepPrevious)); err != nil {
		return nil, err
	}
	return c, nil
}

// checkedKeys is how many scopes are looked at to tell whether this is the store's keyring.
const checkedKeys = 100

// checkKeys refuses a keyring that has none of the keys that the store's scopes have, or not the former one of a scope on the move. One that cannot
// tell now will be asked again by every use.
func (c *core) checkKeys(ctx context.Context, guest KeyringModule) error {
	scopes, err := c.store.Scopes(ctx, keybearer.Query{Limit: checkedKeys})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for _, s := range scopes.Items {
		if s.Former == nil {
			continue
		}
		if _, err := c.keyring.KeyVersion(ctx, s.Former.Name); keybearer.CodeOf(err) == keybearer.NotFound {
			return fmt.Errorf("keyring: secrets of the scope %s are on the move from another keyring, and it is not here: "+
				"put its line back as former_keyring until keybearer migrate status says that all have moved", s.Name)
		}
	}
	missing := 0
	for _, s := range scopes.Items {
		if s.Key == nil {
			continue
		}
		if _, err := c.keyring.KeyVersion(ctx, s.Key.Name); keybearer.CodeOf(err) != keybearer.NotFound {
			return nil
		}
		missing++
	}
	if missing == 0 {
		return nil
	}
	name := "the keyring " + guest.CaddyModule().ID.Name()
	if s, ok := guest.(fmt.Stringer); ok {
		name = s.String()
	}
	return fmt.Errorf("keyring: %s has no key of the store's scopes: it is missing, new or another store's; restore it from your backup", name)
}

// openCustody puts the operations over the three parts, finishes what a crash left, and sweeps from then on.
func (c *core) openCustody(ctx context.Context, keepPrevious time.Duration) (err error) {
	cfg := custody.Config{
		Store: c.store, Keyring: c.keyring, Auditor: c.auditor, Ledger: c.ledger, Logger: logs.logger(), KeepPrevious: keepPrevious,
		Current: c.house.current, Quiet: c.house.quiet, Mover: c.house.mover,
	}
	c.tellAnchor(&cfg)
	cfg.Others = append(cfg.Others, custody.Other{Name: "process", Diagnoser: process.Diagnoser{}})
	if log, ok := c.auditor.(*audit.Log); ok {
		cfg.Tail = readable{log: log}.Tail
	}
	c.custody, err = custody.New(cfg)
	if err != nil {
		return err
	}
	c.add(c.custody.Close)
	if err := c.custody.Resume(ctx); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	c.every(sweepEvery, func(ctx context.Context) {
		if err := c.custody.Sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			logs.logger().Warn("sweep failed, and will be tried again", "error", err)
		}
	})
	c.every(tendEvery, func(ctx context.Context) {
		if err := c.custody.Tend(ctx); err != nil && ctx.Err() == nil {
			logs.logger().Warn("what other servers left was not looked at, and will be", "error", err)
		}
	})
	return nil
}

// engine is a core and the request path over it.
type engine struct {
	bundle
	core   *core
	proxy  *proxy.Proxy
	health *health.Checker
}

func (a *App) engineKey() string {
	key := []any{
		"engine", a.coreKey(), a.rootsHash, a.revoked, a.revokedHash, a.private, a.AllowMetadata, a.Resolver,
		a.KeyringMaxStale, a.StoreMaxStale, a.SecretTTL, a.Timeouts, a.ActingUsers, a.Limits,
	}
	for _, identity := range a.identities {
		key = append(key, guestKey(identity))
		if f, ok := identity.(fingerprinted); ok {
			key = append(key, f.Fingerprint())
		}
	}
	text, _ := json.Marshal(key) // plain values
	return string(text)
}

func openEngine(a *App) (_ *engine, err error) {
	e := new(engine)
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	e.core, err = take(&e.bundle, a.coreKey(), func() (*core, error) { return openCore(a) })
	if err != nil {
		return nil, err
	}
	callers := identity.NewCallers(e.core.store, cmp.Or(setting(a.StoreMaxStale), time.Minute), time.Now)
	e.add(func() error { callers.Close(); return nil })
	e.every(sweepEvery, func(context.Context) { callers.Sweep(callersIdle) })
	var identities []keybearer.Identity
	for _, guest := range a.identities {
		if g, ok := guest.(interface{ trust(*x509.CertPool) }); ok {
			g.trust(a.roots)
		}
		i, err := guest.OpenIdentity(context.Background(), callers, logs.logger())
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		if i == nil {
			continue
		}
		if closer, ok := i.(io.Closer); ok {
			e.add(closer.Close)
		}
		identities = append(identities, i)
	}
	revoked, err := revocation.Open(logs.logger(), a.revoked...)
	if err != nil {
		return nil, fmt.Errorf("revoked: %w", err)
	}
	e.add(revoked.Close)
	var users keybearer.ActingUsers
	opened, err := a.openUsers()
	if err != nil {
		return nil, fmt.Errorf("acting_user: %w", err)
	}
	if opened != nil {
		e.add(opened.Close)
		users = opened
	}
	e.proxy, err = proxy.New(proxy.Config{
		Trusted: e.core.trusted(),
		Store:   e.core.store, Keyring: e.core.keyring, Auditor: e.core.auditor, Identities: identities, Users: users,
		Dialer: dial.New(dial.Config{
			AllowPrivate: a.private, AllowMetadata: a.AllowMetadata, Resolver: a.Resolver, Timeout: time.Duration(a.Timeouts.Dial),
		}),
		Roots: a.roots, Revoked: revoked, Meter: meter(),
		SecretTTL: setting(a.SecretTTL), KeyringMaxStale: setting(a.KeyringMaxStale), StoreMaxStale: setting(a.StoreMaxStale),
		TLSTimeout: time.Duration(a.Timeouts.TLSHandshake), HeaderTimeout: time.Duration(a.Timeouts.ResponseHeader),
		IdleTimeout: time.Duration(a.Timeouts.Idle),
		Limits:      a.Limits.caller(), DestinationConcurrency: count(a.Limits.DestinationConcurrency),
		Peer:   peer,
		Logger: logs.logger(),
	})
	if err != nil {
		return nil, err
	}
	e.add(e.proxy.Close)
	e.checkHealth(a)
	e.add(e.health.Close)
	go e.health.Report() // so that it knows what works before anybody asks
	e.tellMeter()
	return e, nil
}

// setting returns a configured duration in the form that the parts take: 0 is their default, negative is none.
func setting(d *caddy.Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case *d == 0:
		return -1
	}
	return time.Duration(*d)
}
