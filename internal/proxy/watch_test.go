package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/policy"
)

// shelf is a store of one credential, that can be taken away.
type shelf struct {
	keybearer.Store
	mu         sync.Mutex
	scope      keybearer.Scope
	credential keybearer.Credential
	err        error // of all that is read
	noScope    error // of scopes
	tell       func([]keybearer.Change)

	scopes, credentials int // how often they were read
	hook                func()
}

func (s *shelf) Scope(context.Context, string) (*keybearer.Scope, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scope := s.scope
	s.scopes++
	return &scope, cmp.Or(s.noScope, s.err)
}

func (s *shelf) Credential(context.Context, keybearer.Ref) (*keybearer.Credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.credentials++; s.hook != nil {
		s.hook()
	}
	return s.credential.Clone(), s.err
}

func (s *shelf) Watch(tell func([]keybearer.Change)) func() {
	s.tell = tell
	return func() {}
}

// set changes what is on the shelf, and says nothing.
func (s *shelf) set(how func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(s)
}

// change changes the credential, and says so.
func (s *shelf) change(how func(*keybearer.Credential)) {
	id := s.credential.ID
	s.set(func(s *shelf) { how(&s.credential) })
	s.tell([]keybearer.Change{{Kind: keybearer.CredentialRecord, ID: id}})
}

// heard is a shelf that others change too.
type heard struct {
	*shelf
	at func() time.Time
}

func (h heard) Current() time.Time { return h.at() }

// vouching is an identity that says what it is told to.
type vouching struct {
	mu     sync.Mutex
	caller *keybearer.Caller
	err    error
	asked  int
	hook   func()
}

func (v *vouching) Identify(context.Context, *keybearer.Evidence) (*keybearer.Caller, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asked++; v.hook != nil {
		v.hook()
	}
	if v.err != nil {
		return nil, v.err
	}
	return v.caller, nil
}

// say has the identity say something else from now on.
func (v *vouching) say(caller *keybearer.Caller, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.caller, v.err = caller, err
}

func (v *vouching) times() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked
}

// stand is a gate without a proxy, and all that it asks.
type stand struct {
	gate  *Gate
	shelf *shelf
	who   *vouching
}

func newStand(follow func() time.Time) *stand {
	s := &stand{
		shelf: &shelf{
			scope: keybearer.Scope{ID: "sco_1", Name: "docs"},
			credential: keybearer.Credential{
				ID: "cre_1", ScopeID: "sco_1", Name: "crm", Grants: []keybearer.Grant{{Subject: keybearer.AppSubject("billing"), Level: keybearer.Use}},
				Current: keybearer.Version{Number: 1, Generation: 1, Sealed: []byte("sealed"), Terms: keybearer.Terms{
					Kind: keybearer.Bearer, Rules: []keybearer.Rule{must(policy.ParseRule("https://1.1.1.1", nil, false))}, WebSocket: true,
				}},
			},
		},
		who: &vouching{caller: &keybearer.Caller{ID: "cal_1", Name: "billing", Scopes: []string{"sco_1"}}},
	}
	c := &Config{
		Store: s.shelf, Identities: []keybearer.Identity{s.who}, Dialer: dial.New(dial.Config{}), Auditor: &notes{}, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		StoreMaxStale: time.Hour, DestinationConcurrency: 10,
	}
	if follow != nil {
		c.Store = heard{s.shelf, follow}
	}
	s.gate = newGate(c)
	return s
}

// use is one under way, of a caller with that evidence.
func (s *stand) use(t *testing.T, e keybearer.Evidence) (u *use, held context.Context) {
	t.Helper()
	u = &use{
		asks:         asks{evidence: e, ref: keybearer.Ref{Scope: "docs", Name: "crm"}, target: must(policy.ParseAbsolute("https://1.1.1.1/")), method: "GET"},
		credentialID: "cre_1", addresses: dial.Addresses{Reach: policy.Public}, websocket: true,
	}
	snap, err := s.gate.snapshots.get(t.Context(), u.asks.ref, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := u.asks.decide(time.Now(), s.who.caller, &snap, policy.Public)
	if !d.Allowed() {
		t.Fatal(d.Code)
	}
	u.destination = d.Destination
	held, u.end = context.WithCancelCause(t.Context())
	s.gate.live.add(u)
	return u, held
}

func TestWhenAUseEnds(t *testing.T) {
	away := keybearer.NewError(keybearer.StoreUnavailable, "")
	disable := func(c *keybearer.Credential) { c.Disabled = true }
	others := keybearer.Evidence{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}}
	never := time.Duration(-1)
	start := func(at time.Time) func() time.Time { return func() time.Time { return at } }
	for name, c := range map[string]struct {
		follow   func(at time.Time) func() time.Time // nil: every change is heard of
		evidence keybearer.Evidence
		do       func(*stand)
		ended    time.Duration
		code     keybearer.Code
		asked    int // how often who it is of, within ten seconds; -1: whatever
	}{
		"nothing changes":                  {do: func(*stand) {}, ended: never, asked: 0},
		"a change is heard of":             {do: func(s *stand) { s.shelf.change(disable) }, code: keybearer.CredentialDisabled, asked: -1},
		"a change that takes nothing away": {do: func(s *stand) { s.shelf.change(func(c *keybearer.Credential) { c.Description = "." }) }, ended: never, asked: 1},
		"its caller is unknown": {do: func(s *stand) {
			s.who.say(nil, keybearer.NewError(keybearer.CallerUnauthenticated, ""))
			s.gate.live.changed()
		}, code: keybearer.CallerUnauthenticated, asked: -1},
		"its destination is another": {do: func(s *stand) {
			for u := range s.gate.live.uses {
				moved := *u
				moved.destination.Port = 8443
				s.gate.live.remove(u)
				s.gate.live.add(&moved)
			}
			s.gate.live.changed()
		}, code: keybearer.CredentialForbidden, asked: -1},
		"its name is another credential's": {do: func(s *stand) {
			s.shelf.change(func(c *keybearer.Credential) { c.ID = "cre_2" })
		}, code: keybearer.CredentialForbidden, asked: -1},
		"its name is that of another credential, which is disabled": {do: func(s *stand) {
			s.shelf.change(func(c *keybearer.Credential) { c.ID, c.Disabled = "cre_2", true })
		}, code: keybearer.CredentialDisabled, asked: -1},
		"it is disabled, and allows no WebSockets": {do: func(s *stand) {
			s.shelf.change(func(c *keybearer.Credential) { c.Current.Terms.WebSocket, c.Disabled = false, true })
		}, code: keybearer.CredentialDisabled, asked: -1},
		"its credential is gone": {do: func(s *stand) {
			s.shelf.set(func(s *shelf) { s.err = keybearer.NewError(keybearer.NotFound, "") })
			s.shelf.change(func(*keybearer.Credential) {})
		}, code: keybearer.CredentialForbidden, asked: -1},
		"its caller lives no more": {do: func(s *stand) {
			s.who.say(&keybearer.Caller{ID: "cal_1", Name: "billing", Scopes: []string{"sco_1"}, Disabled: true}, nil)
			s.gate.live.changed()
		}, code: keybearer.CallerUnauthenticated, asked: -1},
		"WebSockets are allowed no more": {do: func(s *stand) {
			s.shelf.change(func(c *keybearer.Credential) { c.Current.Terms.WebSocket = false })
		}, code: keybearer.DestinationNotAllowed, asked: -1},
		"its credential expires": {do: func(s *stand) {
			at := time.Now().Add(5 * time.Second)
			s.shelf.change(func(c *keybearer.Credential) { c.ExpiresAt = at })
		}, ended: 5 * time.Second, code: keybearer.CredentialExpired, asked: -1},
		"nobody can say what has changed": {do: func(s *stand) {
			s.shelf.set(func(s *shelf) { s.err = away })
			s.shelf.change(disable)
		}, ended: lookUntil, code: keybearer.StoreUnavailable, asked: -1},
		"nobody can say for a moment": {do: func(s *stand) {
			s.shelf.set(func(s *shelf) { s.err = away })
			s.shelf.change(disable)
			time.AfterFunc(3*lookAgain-1, func() { s.shelf.set(func(s *shelf) { s.err = nil }) })
		}, ended: 3 * lookAgain, code: keybearer.CredentialDisabled, asked: -1},
		"nobody can say for a moment, and then it holds": {do: func(s *stand) {
			s.shelf.set(func(s *shelf) { s.err = away })
			s.shelf.change(func(*keybearer.Credential) {})
			time.AfterFunc(2*lookAgain-1, func() { s.shelf.set(func(s *shelf) { s.err = nil }) })
		}, ended: never, asked: 3},
		"what others change, all being heard": {
			follow: func(time.Time) func() time.Time { return time.Now }, do: func(*stand) {}, ended: never, asked: 0,
		},
		"what others change, nothing being heard": {
			follow: start, do: func(s *stand) { s.shelf.set(func(s *shelf) { s.credential.Disabled = true }) }, ended: confirm, code: keybearer.CredentialDisabled, asked: -1,
		},
		"nothing being heard, nor anybody there": {
			follow: start, do: func(s *stand) {
				s.shelf.set(func(s *shelf) { s.err = away })
				s.shelf.set(func(s *shelf) { s.credential.Disabled = true })
			}, ended: never, asked: -1,
		},
		"others vouch for it": {evidence: others, do: func(*stand) {}, ended: never, asked: 9},
		"others vouch for it no more": {evidence: others, do: func(s *stand) {
			time.AfterFunc(confirm+1, func() { s.who.say(nil, keybearer.NewError(keybearer.CallerUnauthenticated, "")) })
		}, ended: 2 * confirm, code: keybearer.CallerUnauthenticated, asked: -1},
		"others cannot be asked": {evidence: others, do: func(s *stand) { s.who.say(nil, away) }, ended: never, asked: 9},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var follow func() time.Time
				if c.follow != nil {
					follow = c.follow(began)
				}
				s := newStand(follow)
				_, held := s.use(t, c.evidence)
				s.who.asked = 0
				quit, done := make(chan struct{}), make(chan struct{})
				go func() { s.gate.watch(quit); close(done) }()
				c.do(s)
				ended := never
				select {
				case <-held.Done():
					ended = time.Since(began)
				case <-time.After(10*time.Second - 1):
				}
				if ended != c.ended || c.ended >= 0 && keybearer.CodeOf(context.Cause(held)) != c.code {
					t.Errorf("ended after %v: %v", ended, context.Cause(held))
				}
				if c.asked >= 0 && s.who.times() != c.asked {
					t.Errorf("its caller was asked for %d times", s.who.times())
				}
				close(quit)
				<-done
			})
		})
	}
}

// A pass becomes a use that ends with its credential, and at once when something has changed since it was judged.
func TestAPassThatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(nil)
		u, _ := s.use(t, keybearer.Evidence{})
		s.gate.live.remove(u)
		began := time.Now()
		p := &Pass{gate: s.gate, asks: u.asks, Destination: u.destination, Addresses: u.addresses, event: keybearer.Event{CredentialID: "cre_1"}, judged: began, expires: began.Add(time.Minute)}
		held, release := p.Hold(t.Context())
		if len(s.gate.live.wake) != 0 || len(s.gate.live.list()) != 1 || s.gate.live.list()[0].websocket {
			t.Error("it is looked at though nothing has changed, or is none, or is a WebSocket")
		}
		if <-s.gate.live.wake; time.Since(began) != time.Minute {
			t.Errorf("it expires after %v", time.Since(began))
		}
		if held.Err() != nil {
			t.Error("it has ended by itself")
		}
		if release(); len(s.gate.live.list()) != 0 || held.Err() == nil {
			t.Error("it goes on when it is released")
		}
		s.gate.epoch.Add(1)
		p.expires, p.handshake = time.Time{}, &handshake{}
		_, release = p.Hold(t.Context())
		defer release()
		if len(s.gate.live.wake) != 1 || !s.gate.live.list()[0].websocket {
			t.Error("what changed before it could be seen is not looked at, or it is no WebSocket")
		}
	})
}

// A pass is judged again when something has changed, or may have.
func TestWhenAPassIsJudgedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(nil)
		u, _ := s.use(t, keybearer.Evidence{})
		p := &Pass{gate: s.gate, asks: u.asks, judged: time.Now()}
		refused := keybearer.NewError(keybearer.CallerUnauthenticated, "")
		s.who.err, s.who.asked = refused, 0
		time.Sleep(confirm - 1)
		if err := p.Renew(t.Context()); err != nil || s.who.asked != 0 {
			t.Errorf("before a second is over: %v, asked %d times", err, s.who.asked)
		}
		time.Sleep(time.Nanosecond)
		if err := p.Renew(t.Context()); !errors.Is(asError(err), refused) || s.who.asked != 1 {
			t.Errorf("after a second: %v, asked %d times", err, s.who.asked)
		}
		p.judged = time.Now()
		s.gate.epoch.Add(1)
		if err := p.Renew(t.Context()); !errors.Is(asError(err), refused) || s.who.asked != 2 {
			t.Errorf("after a change: %v, asked %d times", err, s.who.asked)
		}
	})
}

// While records keep changing nothing is decided; but what is forbidden stays so.
func TestRecordsThatKeepChanging(t *testing.T) {
	for name, c := range map[string]struct {
		changes int
		grants  bool
		code    keybearer.Code
		asked   int
	}{
		"not at all":             {0, true, keybearer.CredentialNeedsSecret, 1},
		"while it is judged":     {1, true, keybearer.CredentialNeedsSecret, 2},
		"once more":              {2, true, keybearer.CredentialNeedsSecret, 3},
		"always":                 {100, true, keybearer.StoreUnavailable, maxRetries + 1},
		"always, and no leave":   {100, false, keybearer.CredentialForbidden, 1},
		"as often as is endured": {maxRetries - 1, true, keybearer.CredentialNeedsSecret, maxRetries},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(nil)
				s.shelf.credential.Current.Sealed = nil
				if !c.grants {
					s.shelf.credential.Grants = nil
				}
				s.who.hook = func() {
					if s.who.asked <= c.changes {
						s.gate.epoch.Add(1)
					}
				}
				_, err := s.gate.Admit(t.Context(), &Call{
					Method: "GET", Target: "http://1.1.1.1/", Route: &Route{}, Fields: []Field{{"Keybearer-Credential", "docs/crm"}},
				})
				if err == nil || err.Code != c.code || s.who.asked != c.asked {
					t.Errorf("%v, asked %d times", err, s.who.asked)
				}
			})
		})
	}
}

// knowing is an identity whose proofs do not look like tokens of ours.
type knowing struct {
	*vouching
	recognizer
}

func TestTheGateKnowsTheProofsOfAllItsIdentities(t *testing.T) {
	g := newGate(&Config{
		Store: &shelf{}, Identities: []keybearer.Identity{&vouching{}, knowing{&vouching{}, "foreign"}}, Users: &asserted{}, Now: time.Now, StoreMaxStale: time.Minute,
	})
	for text, want := range map[string]bool{"foreign": true, "assertion": true, "else": false} {
		if g.foreign.holds(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
