package custody_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// hookedKeyring calls the hook around its first CreateKey.
type hookedKeyring struct {
	keys
	before, after func()
}

func (k *hookedKeyring) CreateKey(ctx context.Context, key string) error {
	if fn := k.before; fn != nil {
		k.before = nil
		fn()
	}
	err := k.keys.CreateKey(ctx, key)
	if fn := k.after; fn != nil {
		k.after = nil
		fn()
	}
	return err
}

// A server that starts while another one installs a key finds its name among the doomed. Whatever it does with that, the key that ends up in
// the scope is one that works, and no other is left.
func TestGenerateBesideAStart(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after=%v", after), func(t *testing.T) {
			hooked := new(hookedKeyring)
			l := newLab(t, func(c *custody.Config) { hooked.Keyring, c.Keyring = c.Keyring, hooked })
			other := l.another()
			t.Cleanup(func() { _ = other.Close() })
			ctx := t.Context()
			start := func() {
				if err := other.Resume(ctx); err != nil {
					t.Error(err)
				}
				if err := other.Settled(ctx); err != nil {
					t.Error(err)
				}
			}
			if _, err := l.CreateScope(ctx, by(root), "docs", ""); err != nil {
				t.Fatal(err)
			}
			if after {
				hooked.after = start
			} else {
				hooked.before = start
			}
			if _, err := l.GenerateKey(ctx, by(root), "docs"); err != nil {
				t.Fatal(err)
			}
			if err := l.Settled(ctx); err != nil {
				t.Fatal(err)
			}
			l.credential("docs", "crm", "s3cret")
			if got := l.secretOf(crm); got != "s3cret" {
				t.Fatal(got)
			}
			if len(hooked.names) != 2 {
				t.Errorf("%d keys were made: the start came to nothing", len(hooked.names))
			}
			l.onlyKey(l.scopeRecord("docs"), hooked.names...)
			if n := len(l.action(custody.ScopeGenerate)); n != 1 {
				t.Errorf("%d audit lines", n)
			}
		})
	}
}

// pausedKeyring says when it is asked to destroy its first key, and waits.
type pausedKeyring struct {
	keybearer.Keyring
	once           sync.Once
	reached, going chan struct{}
}

func (k *pausedKeyring) DestroyKey(ctx context.Context, key string) error {
	k.once.Do(func() {
		close(k.reached)
		<-k.going
	})
	return k.Keyring.DestroyKey(ctx, key)
}

// The same, with the other server just about to destroy the key when it would be installed.
func TestGenerateBesideADestroy(t *testing.T) {
	hooked := new(hookedKeyring)
	l := newLab(t, func(c *custody.Config) { hooked.Keyring, c.Keyring = c.Keyring, hooked })
	paused := &pausedKeyring{Keyring: l.keyring, reached: make(chan struct{}), going: make(chan struct{})}
	l.cfg.Keyring = paused
	other := l.another()
	t.Cleanup(func() { _ = other.Close() })
	ctx := t.Context()
	if _, err := l.CreateScope(ctx, by(root), "docs", ""); err != nil {
		t.Fatal(err)
	}
	hooked.after = func() {
		if err := other.Resume(ctx); err != nil {
			t.Error(err)
		}
		<-paused.reached
	}
	if _, err := l.GenerateKey(ctx, by(root), "docs"); err != nil {
		t.Fatal(err)
	}
	l.credential("docs", "crm", "s3cret")
	close(paused.going)
	for _, c := range []*custody.Custody{l.Custody, other} {
		if err := c.Settled(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.secretOf(crm); got != "s3cret" {
		t.Fatal(got)
	}
	l.onlyKey(l.scopeRecord("docs"), hooked.names...)
}
