package custody_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func TestCredentialsAreCountedByScopeAndState(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	l.scope("sales")
	l.scope("empty")
	day := 24 * time.Hour
	expires := func(name string, in time.Duration) {
		t.Helper()
		if _, err := l.EditCredential(ctx, by(root), ref("docs", name), custody.Patch{ExpiresAt: new(l.clock.Now().Add(in))}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b", "c", "off", "ends", "over", "gone"} {
		l.credential("docs", name, "s3cret", "api.example.com")
	}
	l.credential("sales", "crm", "s3cret", "api.example.com")
	if _, err := l.DisableCredential(ctx, by(root), ref("docs", "off")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteCredential(ctx, by(root), ref("docs", "gone"), true); err != nil {
		t.Fatal(err)
	}
	expires("ends", 14*day)
	expires("c", 20*day)
	expires("over", day)
	counts := func(want ...custody.Count) {
		t.Helper()
		got, err := l.Count(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
	counts(custody.Count{Scope: "docs", Active: 5, Disabled: 1, Expiring: 1}, custody.Count{Scope: "sales", Active: 1})
	l.clock.Add(2 * day)
	counts(custody.Count{Scope: "docs", Active: 4, Disabled: 1, Expired: 1, Expiring: 1}, custody.Count{Scope: "sales", Active: 1})
	if _, err := l.EnableCredential(ctx, by(root), ref("docs", "off")); err != nil {
		t.Fatal(err)
	}
	counts(custody.Count{Scope: "docs", Active: 5, Expired: 1, Expiring: 1}, custody.Count{Scope: "sales", Active: 1})
}

// watchedStore counts who watches it.
type watchedStore struct {
	keybearer.Store
	watchers atomic.Int32
}

func (s *watchedStore) Watch(fn func([]keybearer.Change)) func() {
	stop := s.Store.Watch(fn)
	s.watchers.Add(1)
	return func() { s.watchers.Add(-1); stop() }
}

// A store outlives a custody over it. A scrape that was under way when the custody was closed must not leave a watcher behind.
func TestCountingAfterTheEndLeavesNoWatcher(t *testing.T) {
	l := newLab(t)
	store := &watchedStore{Store: l.store}
	cfg := l.cfg
	cfg.Store = store
	c, err := custody.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, counted := range []bool{true, false} {
		if counted {
			if _, err := c.Count(t.Context()); err != nil || store.watchers.Load() != 1 {
				t.Fatalf("%d watchers, %v", store.watchers.Load(), err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Count(t.Context()); keybearer.CodeOf(err) != keybearer.StoreUnavailable || store.watchers.Load() != 0 {
			t.Errorf("counted before: %v; %d watchers, %v", counted, store.watchers.Load(), err)
		}
		if c, err = custody.New(cfg); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
}
