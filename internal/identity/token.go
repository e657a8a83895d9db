// Package identity proves who is calling. Each identity looks at one kind of evidence and says nothing
// about the others; who combines them refuses evidence for two different callers.
package identity

import (
	"context"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/fence"
)

// Callers looks callers up by token and by name, and remembers them until they change. It is safe for concurrent use.
type Callers struct {
	store  keybearer.Store
	now    func() time.Time
	tokens *fence.Cache[keybearer.TokenHash, *keybearer.Caller]
	names  *fence.Cache[string, *keybearer.Caller]
	stale  time.Duration
	byHash fence.Load[keybearer.TokenHash, *keybearer.Caller]
	byName fence.Load[string, *keybearer.Caller]
	stop   func()
}

// NewCallers returns Callers on a store. maxStale is how long a caller is believed while the store cannot answer.
func NewCallers(store keybearer.Store, maxStale time.Duration, now func() time.Time) *Callers {
	config := fence.ForStore(store, 1<<16, maxStale, now)
	c := &Callers{
		store: store, now: now, stale: maxStale,
		tokens: fence.New[keybearer.TokenHash, *keybearer.Caller](config),
		names:  fence.New[string, *keybearer.Caller](config),
		byHash: newBudget(now).guard(func(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Caller, []string, error) {
			return depend(store.CallerByToken(ctx, hash))
		}),
		byName: func(ctx context.Context, name string) (*keybearer.Caller, []string, error) {
			return depend(store.Caller(ctx, name))
		},
	}
	c.stop = store.Watch(c.changed)
	return c
}

// Close stops following the store.
func (c *Callers) Close() { c.stop() }

func (c *Callers) changed(changes []keybearer.Change) {
	for _, ch := range changes {
		switch ch.Kind {
		case keybearer.CallerRecord:
			c.tokens.Changed(ch.ID)
			c.names.Changed(ch.ID)
		case keybearer.AllRecords:
			c.Flush()
		}
	}
}

// Flush forgets every caller, as when a change may have been missed.
func (c *Callers) Flush() {
	c.tokens.Flush()
	c.names.Flush()
}

// Sweep drops callers that were not used for so long, but none that may have to serve because the store has been away since.
func (c *Callers) Sweep(idle time.Duration) {
	idle = max(idle, c.stale)
	c.tokens.Sweep(idle)
	c.names.Sweep(idle)
}

var (
	errToken  = keybearer.NewError(keybearer.CallerUnauthenticated, "the token is unknown, revoked or expired")
	errCaller = keybearer.NewError(keybearer.CallerUnauthenticated, "the caller that the proof names does not exist or is disabled").
			WithHint("create it: keybearer caller create <name> --scope <scope>")
	errFixed = keybearer.NewError(keybearer.CallerUnauthenticated, "the caller that is fixed for this listener does not exist or is disabled").
			WithHint("create it: keybearer caller create <name> --scope <scope>")
)

// depend makes a look-up a cached value that lives until the caller changes. Unknown tokens are not remembered: who
// sends random ones would push the real ones out. How many are looked up is bounded instead.
func depend(c *keybearer.Caller, err error) (*keybearer.Caller, []string, error) {
	if err != nil {
		return nil, nil, err
	}
	return c, []string{c.ID}, nil
}

func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &keybearer.Error{Code: keybearer.CallerGone, Op: "identify caller", Err: err}
	}
	return &keybearer.Error{Code: keybearer.StoreUnavailable, Op: "identify caller", Err: err}
}

// ByName implements [keybearer.Callers].
func (c *Callers) ByName(ctx context.Context, name string) (*keybearer.Caller, error) {
	caller, err := c.names.Get(ctx, name, c.byName)
	if keybearer.CodeOf(err) == keybearer.NotFound {
		return nil, errCaller
	}
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	if !caller.Live() || caller.Name != name {
		return nil, errCaller
	}
	return caller, nil
}

// Token proves callers by the tokens that were made for them (prefix kb_).
type Token struct{ Callers keybearer.Callers }

// Identify implements [keybearer.Identity]. Two tokens of different callers are refused.
func (t Token) Identify(ctx context.Context, e *keybearer.Evidence) (*keybearer.Caller, error) {
	var proven *keybearer.Caller
	for _, text := range e.Tokens {
		if !strings.HasPrefix(text, keybearer.CallerTokenPrefix) {
			continue
		}
		caller, err := t.Callers.ByToken(ctx, keybearer.HashToken(text))
		if err != nil {
			return nil, err
		}
		if proven != nil && proven.ID != caller.ID {
			return nil, keybearer.NewError(keybearer.CallerUnauthenticated, "the request carries tokens of two callers")
		}
		proven = caller
	}
	return proven, nil
}

// ByToken implements [keybearer.Callers].
func (c *Callers) ByToken(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Caller, error) {
	caller, err := c.tokens.Get(ctx, hash, c.byHash)
	switch keybearer.CodeOf(err) {
	case keybearer.NotFound:
		return nil, errToken
	case keybearer.RateLimited:
		return nil, err
	}
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	if !caller.Live() {
		return nil, errToken
	}
	now := c.now()
	for i := range caller.Tokens {
		if caller.Tokens[i].Hash == hash && caller.Tokens[i].Live(now) {
			return caller, nil
		}
	}
	return nil, errToken
}

// Fixed proves the caller that the operator fixed for a listener or route.
type Fixed struct{ Callers keybearer.Callers }

// Identify implements [keybearer.Identity].
func (f Fixed) Identify(ctx context.Context, e *keybearer.Evidence) (*keybearer.Caller, error) {
	if e.Fixed == "" {
		return nil, nil
	}
	caller, err := f.Callers.ByName(ctx, e.Fixed)
	if keybearer.CodeOf(err) == keybearer.CallerUnauthenticated {
		return nil, errFixed
	}
	if err != nil {
		return nil, err
	}
	return caller, nil
}
