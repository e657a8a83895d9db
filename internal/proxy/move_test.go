package proxy

import (
	"context"
	"sync"
	"testing"

	"github.com/keybearer/keybearer"
)

// move seals the credential with another key, all at once, and destroys the old one.
func (l *lab) move(c *keybearer.Credential) {
	l.t.Helper()
	ctx := context.Background()
	was := must(l.store.Scope(ctx, c.ScopeID))
	scope := was.Clone()
	scope.Generation++
	scope.Key = &keybearer.ScopeKey{Name: was.Key.Name + "-2", Generation: scope.Generation, Version: 1, Share: make([]byte, 32)}
	if err := l.keyring.CreateKey(ctx, scope.Key.Name); err != nil {
		l.t.Fatal(err)
	}
	next := must(l.store.Credential(ctx, keybearer.Ref{Scope: c.ScopeID, Name: c.ID})).Clone()
	from := must(keybearer.NewSealContext(scope.ID, was.Key.Generation, c.ID, next.Current.Number, was.Key.Share))
	to := must(keybearer.NewSealContext(scope.ID, scope.Key.Generation, c.ID, next.Current.Number, scope.Key.Share))
	plain := must(l.keyring.Open(ctx, was.Key.Name, from, next.Current.Sealed))
	next.Current.Sealed = must(l.keyring.Seal(ctx, scope.Key.Name, to, plain))
	next.Current.Generation = scope.Generation
	l.commit(keybearer.Write{Scope: scope}, keybearer.Write{Credential: next})
	if err := l.keyring.DestroyKey(ctx, was.Key.Name); err != nil {
		l.t.Fatal(err)
	}
}

func TestARequestOutrunByAMoveIsServed(t *testing.T) {
	k := new(gatedKeyring)
	l := newLab(t, gated(k))
	addr := l.serve(Route{})
	c := l.credential("crm", l.bearer(), "s3cret")
	var once sync.Once
	k.set(func() error {
		once.Do(func() { l.move(c) })
		return nil
	})
	if status, body := l.get(addr, "docs/crm"); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	if got := (<-l.seen).Header.Get("Authorization"); got != "Bearer s3cret" {
		t.Errorf("sent %q", got)
	}
}

// tornStore has the scope move after it was read, before its credential is.
type tornStore struct {
	keybearer.Store
	between func()
	once    sync.Once
}

func (s *tornStore) Credential(ctx context.Context, ref keybearer.Ref) (*keybearer.Credential, error) {
	s.once.Do(func() {
		if s.between != nil {
			s.between()
		}
	})
	return s.Store.Credential(ctx, ref)
}

// Watch tells nothing: on another node a change is acknowledged before this one is told of it.
func (s *tornStore) Watch(func([]keybearer.Change)) func() { return func() {} }

func TestAScopeAndACredentialOfTwoMomentsAreReadAgain(t *testing.T) {
	torn := new(tornStore)
	l := newLab(t, func(l *lab, c *Config) {
		torn.Store = c.Store
		c.Store = torn
	})
	addr := l.serve(Route{})
	c := l.credential("crm", l.bearer(), "s3cret")
	torn.between = func() { l.move(c) }
	if status, body := l.get(addr, "docs/crm"); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
}
