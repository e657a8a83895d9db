package identity_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
)

func random() keybearer.TokenHash {
	secret, _ := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
	return keybearer.HashToken(secret.Reveal())
}

// A flood of random tokens reaches the store a thousand times and then a hundred times a second, however many come at once; who is known goes on,
// even after a change that made the cache forget them, and somebody new is heard once the flood is over.
func TestAFloodOfUnknownTokensDoesNotFloodTheStore(t *testing.T) {
	store := open(t)
	start := time.Now()
	var passed atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(passed.Load())) }
	secret, token := keybearer.NewToken(keybearer.CallerTokenPrefix, start)
	billing := &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "billing", Tokens: []keybearer.Token{token}, CreatedAt: start}
	store.put(t, billing)
	late, lateToken := keybearer.NewToken(keybearer.CallerTokenPrefix, start)
	store.put(t, &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "late", Tokens: []keybearer.Token{lateToken}, CreatedAt: start})
	callers := identity.NewCallers(store, time.Minute, now)
	defer callers.Close()
	ask := func(hash keybearer.TokenHash) keybearer.Code {
		_, err := callers.ByToken(t.Context(), hash)
		return keybearer.CodeOf(err)
	}
	known := keybearer.HashToken(secret.Reveal())
	if code := ask(known); code != "" {
		t.Fatal(code)
	}

	flood := func(n int) (refused, limited int) {
		var wg sync.WaitGroup
		var unknown, held atomic.Int64
		for range n {
			wg.Go(func() {
				switch code := ask(random()); code {
				case keybearer.CallerUnauthenticated:
					unknown.Add(1)
				case keybearer.RateLimited:
					held.Add(1)
				default:
					t.Errorf("a random token got %q", code)
				}
			})
		}
		wg.Wait()
		return int(unknown.Load()), int(held.Load())
	}
	store.lookups.Store(0)
	refused, limited := flood(3000)
	if got := store.lookups.Load(); got != 1000 || refused != 1000 || limited != 2000 {
		t.Errorf("%d look-ups, %d told that the token is unknown, %d held up", got, refused, limited)
	}
	if code := ask(keybearer.HashToken(late.Reveal())); code != keybearer.RateLimited {
		t.Errorf("a token that nobody has seen yet got %q", code)
	}
	store.put(t, billing) // the cache forgets the caller
	if code := ask(known); code != "" {
		t.Errorf("the caller that is known got %q", code)
	}

	store.lookups.Store(0)
	passed.Store(int64(500 * time.Millisecond))
	flood(500)
	if got := store.lookups.Load(); got != 50 {
		t.Errorf("%d look-ups in half a second", got)
	}
	passed.Store(int64(2 * time.Second))
	if code := ask(keybearer.HashToken(late.Reveal())); code != "" {
		t.Errorf("after the flood the new token got %q", code)
	}
}

// A store that cannot answer uses nothing up: when it is back, who is new is heard.
func TestAStoreThatIsAwayIsNoFlood(t *testing.T) {
	store := open(t)
	secret, token := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
	store.put(t, &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "billing", Tokens: []keybearer.Token{token}})
	at := time.Now()
	callers := identity.NewCallers(store, time.Minute, func() time.Time { return at })
	defer callers.Close()
	store.away.Store(true)
	for range 1500 {
		if _, err := callers.ByToken(t.Context(), random()); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
			t.Fatal(err)
		}
	}
	store.away.Store(false)
	if _, err := callers.ByToken(t.Context(), keybearer.HashToken(secret.Reveal())); err != nil {
		t.Error(err)
	}
}

// A token that was revoked is unknown from its next look-up on, and no way around the bound.
func TestARevokedTokenIsUnknownAgain(t *testing.T) {
	store := open(t)
	secret, token := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
	billing := &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "billing", Tokens: []keybearer.Token{token}}
	store.put(t, billing)
	at := time.Now()
	callers := identity.NewCallers(store, time.Minute, func() time.Time { return at })
	defer callers.Close()
	hash := keybearer.HashToken(secret.Reveal())
	if _, err := callers.ByToken(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	billing.Tokens = nil
	store.put(t, billing)
	store.lookups.Store(0)
	last := keybearer.Code("")
	for range 1500 {
		_, err := callers.ByToken(t.Context(), hash)
		last = keybearer.CodeOf(err)
	}
	if got := store.lookups.Load(); got != 1001 || last != keybearer.RateLimited {
		t.Errorf("%d look-ups of a revoked token, in the end %q", got, last)
	}
}
