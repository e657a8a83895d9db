package identity_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// counted is the real store that counts look-ups and can be taken away.
type counted struct {
	keybearer.Store
	lookups atomic.Int32
	away    atomic.Bool
}

func (c *counted) CallerByToken(ctx context.Context, h keybearer.TokenHash) (*keybearer.Caller, error) {
	c.lookups.Add(1)
	if c.away.Load() {
		return nil, errors.New("away")
	}
	return c.Store.CallerByToken(ctx, h)
}

func open(t *testing.T) *counted {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kb")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	store, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "kb.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &counted{Store: store}
}

func (c *counted) put(t *testing.T, caller *keybearer.Caller) {
	t.Helper()
	seq, err := c.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: caller}}})
	if err != nil {
		t.Fatal(err)
	}
	caller.Revision = seq
}

func TestATokenProvesItsCallerWhileBothLive(t *testing.T) {
	store := open(t)
	now := time.Now()
	first, a := keybearer.NewToken(keybearer.CallerTokenPrefix, now)
	second, b := keybearer.NewToken(keybearer.CallerTokenPrefix, now)
	b.ExpiresAt = now.Add(time.Hour)
	caller := &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "billing", Tokens: []keybearer.Token{a, b}, CreatedAt: now}
	store.put(t, caller)
	stranger, c := keybearer.NewToken(keybearer.CallerTokenPrefix, now)
	store.put(t, &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "other", Tokens: []keybearer.Token{c}, CreatedAt: now})
	operator, _ := keybearer.NewToken(keybearer.OperatorTokenPrefix, now)

	clock := now
	callers := identity.NewCallers(store, time.Hour, func() time.Time { return clock })
	defer callers.Close()
	who := func(tokens ...string) (string, keybearer.Code) {
		c, err := identity.Token{Callers: callers}.Identify(t.Context(), &keybearer.Evidence{Tokens: tokens})
		if c == nil {
			return "", keybearer.CodeOf(err)
		}
		return c.Name, keybearer.CodeOf(err)
	}
	check := func(wantName string, wantCode keybearer.Code, tokens ...string) {
		t.Helper()
		if name, code := who(tokens...); name != wantName || code != wantCode {
			t.Errorf("got %q %q, want %q %q", name, code, wantName, wantCode)
		}
	}
	check("", "")                             // nothing to look at
	check("", "", "a.b.c", operator.Reveal()) // nothing of ours
	check("billing", "", first.Reveal())      //
	check("billing", "", second.Reveal())     //
	check("billing", "", first.Reveal(), second.Reveal())
	check("", keybearer.CallerUnauthenticated, first.Reveal(), stranger.Reveal())
	check("", keybearer.CallerUnauthenticated, "kb_unknown")
	check("", keybearer.CallerUnauthenticated, first.Reveal()+"x")

	clock = now.Add(2 * time.Hour)
	check("", keybearer.CallerUnauthenticated, second.Reveal()) // expired
	check("billing", "", first.Reveal())

	changed := caller.Clone()
	changed.Disabled = true
	store.put(t, changed)
	check("", keybearer.CallerUnauthenticated, first.Reveal())
	changed.Disabled, changed.Tokens = false, changed.Tokens[1:]
	store.put(t, changed)
	check("", keybearer.CallerUnauthenticated, first.Reveal()) // revoked
	changed.Tokens = caller.Tokens
	store.put(t, changed)
	check("billing", "", first.Reveal())
	changed.DeletedAt = now
	store.put(t, changed)
	check("", keybearer.CallerUnauthenticated, first.Reveal())
}

func TestAKnownCallerNeedsNoStoreAndAnUnknownOneNoRoom(t *testing.T) {
	store := open(t)
	secret, token := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
	store.put(t, &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "billing", Tokens: []keybearer.Token{token}, CreatedAt: time.Now()})
	clock := time.Now()
	callers := identity.NewCallers(store, time.Minute, func() time.Time { return clock })
	defer callers.Close()
	identify := func(text string) error {
		_, err := identity.Token{Callers: callers}.Identify(t.Context(), &keybearer.Evidence{Tokens: []string{text}})
		return err
	}
	for range 10 {
		if err := identify(secret.Reveal()); err != nil {
			t.Fatal(err)
		}
	}
	if n := store.lookups.Load(); n != 1 {
		t.Fatalf("%d look-ups, want 1", n)
	}
	store.away.Store(true)
	if err := identify(secret.Reveal()); err != nil {
		t.Fatalf("what is known did not serve: %v", err)
	}
	clock = clock.Add(time.Minute)
	if err := identify(secret.Reveal()); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Fatalf("got %v", err)
	}
	if err := identify("kb_nobody"); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Fatalf("got %v", err)
	}
}

func TestTheFixedCallerMustBeThereAndLive(t *testing.T) {
	store := open(t)
	callers := identity.NewCallers(store, time.Minute, time.Now)
	defer callers.Close()
	fixed := func(name string) (*keybearer.Caller, keybearer.Code) {
		c, err := identity.Fixed{Callers: callers}.Identify(t.Context(), &keybearer.Evidence{Fixed: name})
		return c, keybearer.CodeOf(err)
	}
	if c, code := fixed(""); c != nil || code != "" {
		t.Errorf("none fixed: %v %q", c, code)
	}
	if c, code := fixed("billing"); c != nil || code != keybearer.CallerUnauthenticated {
		t.Errorf("absent: %v %q", c, code)
	}
	caller := &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "billing", CreatedAt: time.Now()}
	store.put(t, caller)
	if c, code := fixed("billing"); c == nil || code != "" {
		t.Errorf("present: %v %q", c, code)
	}
	off := caller.Clone()
	off.Disabled = true
	store.put(t, off)
	if c, code := fixed("billing"); c != nil || code != keybearer.CallerUnauthenticated {
		t.Errorf("disabled: %v %q", c, code)
	}
}

// silent is a store that others change too, and whose feed was heard at the start alone.
type silent struct {
	*counted
	heard time.Time
}

func (s silent) Current() time.Time { return s.heard }

func TestACallerIsNotForgottenWhileTheStoreIsAwayBeforeItsTimeIsOver(t *testing.T) {
	store := open(t)
	start := time.Now()
	now := start
	token, hash := keybearer.NewToken(keybearer.CallerTokenPrefix, now)
	store.put(t, &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "billing", Tokens: []keybearer.Token{hash}})
	callers := identity.NewCallers(silent{store, start}, time.Hour, func() time.Time { return now })
	defer callers.Close()
	ask := func() error {
		_, err := identity.Token{Callers: callers}.Identify(t.Context(), &keybearer.Evidence{Tokens: []string{token.Reveal()}})
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	store.away.Store(true)
	now = start.Add(59 * time.Minute)
	callers.Sweep(10 * time.Minute)
	if err := ask(); err != nil {
		t.Errorf("within the time: %v", err)
	}
	now = start.Add(61 * time.Minute)
	if err := ask(); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("after it: %v", err)
	}
}
