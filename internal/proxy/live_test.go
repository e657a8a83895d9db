package proxy

import (
	"context"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// admitted is a pass of the lab's caller for docs/crm.
func (l *lab) admitted() *Pass {
	l.t.Helper()
	p, err := l.proxy.gate.Admit(l.t.Context(), &Call{Method: "GET", Target: l.plain() + "/", Route: &Route{}, Fields: []Field{
		{"Keybearer-Credential", "docs/crm"}, {"Proxy-Authorization", "Bearer " + l.token},
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { p.Finish(Result{}) })
	return p
}

// A store that fails at the very moment when a revocation is looked at must not give the stream its life back.
func TestAUseWhoseRevocationCannotBeReadAtOnceEndsAllTheSame(t *testing.T) {
	for name, tc := range map[string]struct {
		mends bool
		code  keybearer.Code
	}{
		"the store answers again": {true, keybearer.CredentialDisabled},
		"it does not":             {false, keybearer.StoreUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := &brokenStore{}
			l := newLab(t, func(l *lab, c *Config) { s.Store = l.store; c.Store = s })
			c := l.credential("crm", l.bearer(), "s3cret-token")
			held, release := l.admitted().Hold(t.Context())
			defer release()
			s.fail.Store(true)
			began := time.Now()
			l.update(c, func(c *keybearer.Credential) { c.Disabled = true })
			if tc.mends {
				s.wait(t, 1)
				s.fail.Store(false)
			}
			select {
			case <-held.Done():
			case <-time.After(5 * time.Second):
				t.Fatal("a use that was revoked goes on")
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it went on for %v", took)
			}
			if err := keybearer.AsError(context.Cause(held)); err.Code != tc.code {
				t.Errorf("it ended with %v, want %s", err, tc.code)
			}
		})
	}
}

func TestAnOutageEndsNoUseWhoseRecordsAreKnown(t *testing.T) {
	s := &brokenStore{}
	l := newLab(t, func(l *lab, c *Config) { s.Store = l.store; c.Store = s })
	l.credential("crm", l.bearer(), "s3cret-token")
	other := l.credential("other", l.bearer(), "s3cret-token")
	held, release := l.admitted().Hold(t.Context())
	defer release()
	s.fail.Store(true)
	l.update(other, func(c *keybearer.Credential) { c.Disabled = true })
	if unsure := l.proxy.gate.look(nil); len(unsure) != 0 || held.Err() != nil {
		t.Fatalf("%d unsure, %v", len(unsure), context.Cause(held))
	}
}

// deafStore is one whose changes are never heard of, and that says so.
type deafStore struct {
	keybearer.Store
	heard time.Time
}

func (*deafStore) Watch(func([]keybearer.Change)) func() { return func() {} }
func (s *deafStore) Current() time.Time                  { return s.heard }

// While a slow app sends its body, nobody tells this node of a revocation: it has to ask before it sends.
func TestAPassThatWaitedForTheAppIsJudgedAgainWhenNothingIsHeard(t *testing.T) {
	l := newLab(t, func(l *lab, c *Config) { c.Store = &deafStore{l.store, l.clock.now()} })
	c := l.credential("crm", l.bearer(), "s3cret-token")
	p := l.admitted()
	l.update(c, func(c *keybearer.Credential) { c.Disabled = true })
	l.clock.advance(2 * time.Second)
	if err := p.Renew(t.Context()); err == nil || err.Code != keybearer.CredentialDisabled {
		t.Fatalf("got %v, want %s", err, keybearer.CredentialDisabled)
	}
}

func TestAUseEndsWhenWhatRevokedItIsNotHeardOf(t *testing.T) {
	s := &brokenStore{}
	l := newLab(t, func(l *lab, c *Config) {
		s.Store = l.store
		c.Store = &deafStore{s, l.clock.now()}
		c.StoreMaxStale = 10 * time.Second
	})
	c := l.credential("crm", l.bearer(), "s3cret-token")
	held, release := l.admitted().Hold(t.Context())
	defer release()
	s.fail.Store(true)
	s.wait(t, 2) // an outage beside it
	if held.Err() != nil {
		t.Fatalf("an outage ended it: %v", context.Cause(held))
	}
	s.fail.Store(false)
	began := time.Now()
	l.update(c, func(c *keybearer.Credential) { c.Disabled = true })
	select {
	case <-held.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("a use that was revoked goes on")
	}
	if took := time.Since(began); took > 3*time.Second { // a second until the read that failed is tried again
		t.Errorf("it went on for %v", took)
	}
	if err := keybearer.AsError(context.Cause(held)); err.Code != keybearer.CredentialDisabled {
		t.Errorf("it ended with %v", err)
	}
}
