package custody_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// Two servers share a store. While both rotate the same scope over and over, secrets are replaced, descriptions edited and credentials made through
// both, and every secret is opened all the time as the data path does it. Nothing that was acknowledged is lost, and use never stops.
func TestRotateBesideChanges(t *testing.T) {
	const creds, changes = 7, 25
	l := newLab(t)
	other := l.another()
	t.Cleanup(func() { _ = other.Close() })
	servers := []*custody.Custody{l.Custody, other}
	ctx := t.Context()
	l.scope("docs")
	for i := range creds {
		l.credential("docs", fmt.Sprintf("c%d", i), "v0", "a.example.com")
	}
	var done atomic.Bool
	var writers, readers sync.WaitGroup
	last := make([]string, creds) // acknowledged
	for i := range creds {
		writers.Go(func() {
			r := ref("docs", fmt.Sprintf("c%d", i))
			for n := 1; n <= changes; n++ {
				c, secret := servers[(i+n)%2], fmt.Sprintf("v%d", n)
				if _, err := c.SetSecret(ctx, by(root), r, text(secret)); err != nil {
					t.Error(err)
					return
				}
				last[i] = secret
				if _, err := c.EditCredential(ctx, by(root), r, custody.Patch{Description: new(secret)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	rotations := 0
	readers.Go(func() {
		for ; !done.Load() || rotations < 3; rotations++ {
			_, err := servers[rotations%2].RotateKey(ctx, by(root), "docs")
			if code := keybearer.CodeOf(err); code != "" && code != keybearer.Conflict && code != keybearer.Stale {
				t.Error(err)
				return
			}
		}
	})
	opens := 0
	readers.Go(func() {
		for !done.Load() {
			for i := range creds {
				c := l.record(ref("docs", fmt.Sprintf("c%d", i)))
				if _, err := l.opened(l.scopeRecord("docs"), c.ID, &c.Current); err != nil {
					t.Errorf("a use was refused: %v", err)
					return
				}
				opens++
			}
		}
	})
	writers.Wait()
	done.Store(true)
	readers.Wait()
	for _, c := range servers {
		if err := c.Settled(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s := l.scopeRecord("docs")
	version, err := l.keyring.KeyVersion(ctx, s.Key.Name)
	if err != nil || s.Work != nil {
		t.Fatal(s.Work, err)
	}
	if _, err := l.RotateKey(ctx, by(root), "docs"); err != nil { // one last one, with nothing beside it
		t.Fatal(err)
	}
	for i := range creds {
		r := ref("docs", fmt.Sprintf("c%d", i))
		c := l.record(r)
		if got := l.secretOf(r); got != last[i] || c.Description != last[i] || c.Current.Number != changes+1 {
			t.Errorf("%s: secret %q, description %q, version %d; acknowledged was %q", r, got, c.Description, c.Current.Number, last[i])
		}
		for _, v := range []*keybearer.Version{&c.Current, c.Previous} {
			if want := fmt.Sprintf("local:v%d:", version+1); string(v.Sealed[:len(want)]) != want {
				t.Errorf("%s version %d is sealed with %.12s, want %s", r, v.Number, v.Sealed, want)
			}
		}
	}
	t.Logf("%d rotations, %d opens, key version %d", rotations, opens, version)
}

// Creates through two servers race with regenerates. Each regenerate destroys exactly as many credentials as were confirmed, so that in the end those
// destroyed and those left are all that were ever acknowledged; and what is left opens.
func TestRegenerateBesideCreates(t *testing.T) {
	const writers, each = 4, 30
	l := newLab(t)
	other := l.another()
	t.Cleanup(func() { _ = other.Close() })
	ctx := t.Context()
	l.scope("docs")
	acknowledged := make(chan string, writers*each)
	var all sync.WaitGroup
	for w, c := range []*custody.Custody{l.Custody, other, l.Custody, other} {
		all.Go(func() {
			for n := range each {
				name := fmt.Sprintf("w%d-%d", w, n)
				for {
					_, err := c.CreateCredential(ctx, by(root), "docs", bearer(name, name))
					if code := keybearer.CodeOf(err); code == keybearer.ScopeRegenerating || code == keybearer.Stale {
						continue // not acknowledged
					}
					if err != nil {
						t.Error(err)
					}
					acknowledged <- name
					break
				}
			}
		})
	}
	destroyed, regenerates := 0, 0
	for n := range writers * each {
		<-acknowledged
		if n%12 != 5 || t.Failed() {
			continue
		}
		for range 1000 { // until nobody makes one in between
			plan, err := l.RegenerateKey(ctx, by(root), "docs", custody.Regenerate{DryRun: true})
			if err == nil {
				plan, err = other.RegenerateKey(ctx, by(root), "docs", custody.Regenerate{
					Confirmation: custody.Confirmation{Confirm: "docs", Expected: plan.Live + plan.Tombstoned},
				})
			}
			if err == nil {
				destroyed += plan.Live
				regenerates++
				break
			}
			switch keybearer.CodeOf(err) {
			case keybearer.CountMismatch, keybearer.ScopeRegenerating, keybearer.Stale:
			default:
				t.Fatal(err)
			}
		}
	}
	all.Wait()
	for _, c := range []*custody.Custody{l.Custody, other} {
		if err := c.Settled(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s := l.scopeRecord("docs")
	left := l.openAll(s, l.inScope(s))
	for id, secret := range left {
		if secret == "" {
			t.Errorf("%s is there and does not open", id)
		}
	}
	if destroyed+len(left) != writers*each || int(s.Generation) != regenerates+1 {
		t.Errorf("%d acknowledged, %d destroyed in %d regenerates, %d left, generation %d", writers*each, destroyed, regenerates, len(left), s.Generation)
	}
	t.Logf("%d destroyed in %d regenerates, %d left", destroyed, regenerates, len(left))
}

// A regenerate that was confirmed for a number of credentials never destroys more of them.
func TestRegenerateCountsExactly(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	l.credential("docs", "a", "one")
	l.credential("docs", "b", "two")
	if _, err := l.DeleteCredential(ctx, by(root), ref("docs", "b"), true); err != nil {
		t.Fatal(err)
	}
	plan, err := l.RegenerateKey(ctx, by(root), "docs", custody.Regenerate{DryRun: true})
	if err != nil || plan.Live != 1 || plan.Tombstoned != 1 || len(plan.Credentials) != 2 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if got := l.secretOf(ref("docs", "a")); got != "one" || l.scopeRecord("docs").Generation != 1 {
		t.Fatal("the dry run was not dry")
	}
	for _, r := range []struct {
		confirm string
		count   int
		want    keybearer.Code
	}{
		{"", 2, keybearer.ConfirmationRequired},
		{"doc", 2, keybearer.ConfirmationRequired},
		{"docs", 1, keybearer.CountMismatch},
		{"docs", 3, keybearer.CountMismatch},
		{"docs", 0, keybearer.CountMismatch},
		{"docs", 2, ""},
	} {
		got, err := l.RegenerateKey(ctx, by(root), "docs", custody.Regenerate{Confirmation: custody.Confirmation{Confirm: r.confirm, Expected: r.count}})
		wantCode(t, err, r.want)
		if err == nil && (got.Scope.Key.Generation != 2 || got.Scope.Work != nil || got.Live != 1 || got.Tombstoned != 1) {
			t.Fatalf("%+v", got)
		}
	}
}

// While the keyring cannot destroy the old key the scope refuses, says why, and goes on by itself once it can.
func TestRegenerateWaitsForTheKeyring(t *testing.T) {
	gate := &gatedKeyring{open: make(chan struct{})}
	l := newLab(t, func(c *custody.Config) {
		gate.Keyring = c.Keyring
		c.Keyring = gate
		c.Wait = 1 // not at all
	})
	ctx := t.Context()
	l.scope("docs")
	l.credential("docs", "a", "one")
	gate.shut.Store(true)
	got, err := l.RegenerateKey(ctx, by(root), "docs", custody.Regenerate{Confirmation: custody.Confirmation{Confirm: "docs", Expected: 1}})
	if err != nil || got.Scope.Work == nil || got.Scope.Work.Kind != keybearer.WorkRegenerate {
		t.Fatalf("%+v, %v", got, err)
	}
	<-gate.open // the second attempt: the first has been answered
	s, err := l.Scope(ctx, by(root), "docs")
	if err != nil || s.Work == nil || s.Work.Waiting != keybearer.KeyringUnavailable {
		t.Fatalf("%+v, %v", s.Work, err)
	}
	_, err = l.CreateCredential(ctx, by(root), "docs", bearer("b", "two"))
	wantCode(t, err, keybearer.ScopeRegenerating)
	_, err = l.RotateKey(ctx, by(root), "docs")
	wantCode(t, err, keybearer.ScopeRegenerating)
	gate.shut.Store(false)
	if err := l.Settled(ctx); err != nil {
		t.Fatal(err)
	}
	l.credential("docs", "b", "two")
}

// gatedKeyring cannot destroy keys while it is shut.
type gatedKeyring struct {
	keybearer.Keyring
	shut  atomic.Bool
	calls atomic.Int32
	open  chan struct{} // closed at the second refused call
}

func (k *gatedKeyring) DestroyKey(ctx context.Context, key string) error {
	if !k.shut.Load() {
		return k.Keyring.DestroyKey(ctx, key)
	}
	if k.calls.Add(1) == 2 {
		close(k.open)
	}
	return keybearer.NewError(keybearer.KeyringUnavailable, "")
}

// A secret that does not open any more stops no rotation.
func TestRotatePassesOverWhatDoesNotOpen(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	for _, name := range []string{"a", "b", "c"} {
		l.credential("docs", name, name)
	}
	broken := l.record(ref("docs", "b")).Clone()
	broken.Current.Sealed[len(broken.Current.Sealed)-3] ^= 1
	if _, err := l.store.Commit(ctx, keybearer.Batch{Writes: []keybearer.Write{{Credential: broken}}}); err != nil {
		t.Fatal(err)
	}
	s, err := l.RotateKey(ctx, by(root), "docs")
	if err != nil || s.Work != nil || s.Key.Version != 2 || s.Key.RotatedAt.IsZero() {
		t.Fatalf("%+v, %v", s, err)
	}
	if l.secretOf(ref("docs", "a")) != "a" || l.secretOf(ref("docs", "c")) != "c" {
		t.Fatal("lost")
	}
	if got := l.record(ref("docs", "b")); string(got.Current.Sealed) != string(broken.Current.Sealed) {
		t.Fatal("what did not open was changed")
	}
}
