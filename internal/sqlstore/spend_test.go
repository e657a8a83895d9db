package sqlstore_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/harness"
)

func TestSpender(t *testing.T) {
	keybearertest.TestSpender(t, func(t *testing.T) func(string) keybearer.Spender {
		s := open(t)
		return func(string) keybearer.Spender { return s }
	})
}

func TestPostgresSpender(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	keybearertest.TestSpender(t, func(t *testing.T) func(string) keybearer.Spender {
		dsn := server.Database(t)
		return func(node string) keybearer.Spender { return openPostgres(t, dsn, node) }
	})
}

func newOnce() (id keybearer.OnceID) {
	rand.Read(id[:])
	return id
}

// spendCode is the code of an attempt to spend.
func spendCode(t *testing.T, s keybearer.Spender, id keybearer.OnceID, until time.Time) keybearer.Code {
	t.Helper()
	return keybearer.CodeOf(s.Spend(t.Context(), id, until))
}

func TestWhatWasSpentStaysSpentAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home", "keybearer.db")
	id, until := newOnce(), time.Now().Add(time.Minute)
	first, err := sqlstore.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Spend(t.Context(), id, until); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if code := spendCode(t, openAt(t, path), id, until); code != keybearer.AlreadyExists {
		t.Errorf("after a restart: %q", code)
	}
}

// An id is kept for an hour behind its end, since clocks differ, and then forgotten.
func TestWhatWasSpentIsForgottenLater(t *testing.T) {
	s := open(t)
	now := time.Now()
	old, late, live := newOnce(), newOnce(), newOnce()
	for id, until := range map[keybearer.OnceID]time.Time{old: now.Add(-61 * time.Minute), late: now.Add(-59 * time.Minute), live: now.Add(time.Minute)} {
		if err := s.Spend(t.Context(), id, until); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Forget(now) {
		t.Error("it says that there is more to forget")
	}
	for _, c := range []struct {
		name  string
		id    keybearer.OnceID
		until time.Time
		want  keybearer.Code
	}{{"an hour behind its end", old, now, ""}, {"almost an hour", late, now, keybearer.AlreadyExists}, {"live", live, now, keybearer.AlreadyExists}} {
		if got := spendCode(t, s, c.id, c.until); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// While the database is away nothing can be spent; what was spent before is known when it is back, and what is of unknown outcome was spent once at most.
func TestNothingIsSpentWhilePostgresIsAway(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	cable := harness.StartCable(t, server.Addr)
	dsn := server.Database(t)
	s := openPostgres(t, harness.Via(t, dsn, cable.Addr), "a")
	before, during, until := newOnce(), newOnce(), time.Now().Add(time.Minute)
	if code := spendCode(t, s, before, until); code != "" {
		t.Fatal(code)
	}
	cable.Cut()
	if code := spendCode(t, s, during, until); code != keybearer.StoreUnavailable {
		t.Errorf("while it is away: %q", code)
	}
	cable.Mend(t)
	direct := openPostgres(t, dsn, "b")
	if code := spendCode(t, direct, before, until); code != keybearer.AlreadyExists {
		t.Errorf("what was spent before: %q", code)
	}
	harness.Await(t, "spending again", 10*time.Second, func() error {
		if err := s.Spend(t.Context(), newOnce(), until); err != nil {
			return err
		}
		return nil
	})
}

// Whoever stops waiting does not know whether it was marked; that it counts once holds all the same.
func TestWhoLeavesBeforeItIsSpentKnowsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := open(t)
	until := time.Now().Add(time.Minute)
	for range 50 {
		id := newOnce()
		first := keybearer.CodeOf(s.Spend(ctx, id, until))
		second := spendCode(t, s, id, until)
		if first != "" && first != keybearer.StoreUnavailable || second != "" && second != keybearer.AlreadyExists || first == "" && second == "" {
			t.Errorf("first %q, second %q", first, second)
		}
	}
}

func BenchmarkSpend(b *testing.B) {
	s, err := sqlstore.OpenSQLite(b.Context(), filepath.Join(b.TempDir(), "home", "keybearer.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	server := harness.StartPostgres(b)
	p, err := sqlstore.OpenPostgres(b.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(server.Database(b)), Node: "a"})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	until := time.Now().Add(5 * time.Minute)
	for name, s := range map[string]keybearer.Spender{"sqlite": s, "postgres": p} {
		for _, at := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", name, at), func(b *testing.B) {
				var wg sync.WaitGroup
				work := make(chan struct{})
				for range at {
					wg.Go(func() {
						for range work {
							if err := s.Spend(b.Context(), newOnce(), until); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for b.Loop() {
					work <- struct{}{}
				}
				close(work)
				wg.Wait()
			})
		}
	}
}
