package custody_test

import (
	"context"
	"errors"
	"sync"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// fuse kills a process at its n-th call that changes something outside of it: before the call takes effect, or after it has and
// before the answer is read. From then on nothing reaches the outside.
type fuse struct {
	mu    sync.Mutex
	left  int // calls until it blows; it never does when it begins at 0
	after bool
	blown bool
	blow  func() // called once
}

var errDead = errors.New("the process is dead")

func (f *fuse) dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blown
}

func (f *fuse) call(fn func() error) error {
	f.mu.Lock()
	if f.blown {
		f.mu.Unlock()
		return errDead
	}
	f.left--
	if f.left != 0 {
		f.mu.Unlock()
		return fn()
	}
	f.blown = true
	f.mu.Unlock()
	if f.after {
		_ = fn()
	}
	f.blow()
	return errDead
}

func down(code keybearer.Code, err error) error {
	if errors.Is(err, errDead) {
		return keybearer.NewError(code, "").Wrap(err)
	}
	return err
}

// behind puts a fuse before all the parts.
func (f *fuse) behind(cfg *custody.Config) {
	cfg.Store = &fusedStore{cfg.Store, f}
	cfg.Keyring = &fusedKeyring{cfg.Keyring, f}
	cfg.Auditor = &fusedAuditor{cfg.Auditor, f}
}

type fusedStore struct {
	keybearer.Store
	f *fuse
}

func (s *fusedStore) Commit(ctx context.Context, b keybearer.Batch) (seq uint64, err error) {
	err = s.f.call(func() (err error) { seq, err = s.Store.Commit(ctx, b); return err })
	return seq, down(keybearer.StoreUnavailable, err)
}

func (s *fusedStore) Delivered(ctx context.Context, seqs ...uint64) error {
	return down(keybearer.StoreUnavailable, s.f.call(func() error { return s.Store.Delivered(ctx, seqs...) }))
}

func (s *fusedStore) Scope(ctx context.Context, name string) (*keybearer.Scope, error) {
	if s.f.dead() {
		return nil, down(keybearer.StoreUnavailable, errDead)
	}
	return s.Store.Scope(ctx, name)
}

func (s *fusedStore) Events(ctx context.Context, limit int) ([]keybearer.PendingEvent, error) {
	if s.f.dead() {
		return nil, down(keybearer.StoreUnavailable, errDead)
	}
	return s.Store.Events(ctx, limit)
}

type fusedKeyring struct {
	keybearer.Keyring
	f *fuse
}

func (k *fusedKeyring) CreateKey(ctx context.Context, key string) error {
	return down(keybearer.KeyringUnavailable, k.f.call(func() error { return k.Keyring.CreateKey(ctx, key) }))
}

func (k *fusedKeyring) RotateKey(ctx context.Context, key string) (v uint32, err error) {
	err = k.f.call(func() (err error) { v, err = k.Keyring.RotateKey(ctx, key); return err })
	return v, down(keybearer.KeyringUnavailable, err)
}

func (k *fusedKeyring) DestroyKey(ctx context.Context, key string) error {
	return down(keybearer.KeyringUnavailable, k.f.call(func() error { return k.Keyring.DestroyKey(ctx, key) }))
}

func (k *fusedKeyring) Rewrap(ctx context.Context, key string, items []keybearer.RewrapItem) (r []keybearer.RewrapResult, err error) {
	err = k.f.call(func() (err error) { r, err = k.Keyring.Rewrap(ctx, key, items); return err })
	return r, down(keybearer.KeyringUnavailable, err)
}

type fusedAuditor struct {
	keybearer.Auditor
	f *fuse
}

func (a *fusedAuditor) Record(ctx context.Context, e *keybearer.Event) error {
	return down(keybearer.AuditUnavailable, a.f.call(func() error { return a.Auditor.Record(ctx, e) }))
}
