package proxy

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer"
)

// drawer is a keyring that gives what it is told to, after some time.
type drawer struct {
	keybearer.Keyring
	plain []byte
	err   error
	delay time.Duration
	opens int
	given []byte // last
}

func (d *drawer) Open(ctx context.Context, _ string, _ keybearer.SealContext, _ []byte) ([]byte, error) {
	d.opens++
	plain, err := append([]byte(nil), d.plain...), d.err
	d.given = plain
	select {
	case <-time.After(d.delay):
		return plain, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newDrawer() *drawer {
	b := &keybearer.Bundle{Terms: keybearer.Terms{Kind: keybearer.Bearer}, Secret: keybearer.NewSecret("s3cret-token")}
	return &drawer{plain: must(b.Encode())}
}

// closedSafe is one of which nothing is open yet.
func closedSafe(d *drawer, ttl, stale time.Duration) *safe {
	s := &snapshots{keyring: d, now: time.Now, ttl: ttl, stale: stale, safes: map[string]*safe{}}
	scope := &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Key: &keybearer.ScopeKey{Name: "k", Generation: 1, Share: make([]byte, 32)}}
	return s.safeFor(scope, &keybearer.Credential{ID: keybearer.NewID(keybearer.IDCredential), Current: keybearer.Version{Number: 1, Generation: 1, Sealed: []byte("x")}})
}

func TestHowLongAnOpenedSecretServes(t *testing.T) {
	const ttl, stale = 5 * time.Minute, 15 * time.Minute
	away := errors.New("connection refused")
	unopenable := &keybearer.Error{Code: keybearer.KeyringUnavailable, Err: keybearer.ErrUnopenable}
	type step struct {
		at    time.Duration // from the start
		err   error         // of the keyring, from now on
		delay time.Duration
		code  keybearer.Code
		took  time.Duration
		opens int // in all
	}
	for name, steps := range map[string][]step{
		"its time":                             {{opens: 1}, {at: ttl - ttl/refreshAhead - 1, opens: 1}},
		"opened anew before it is over":        {{opens: 1}, {at: ttl - ttl/refreshAhead, delay: time.Second, opens: 2}, {at: 2*ttl - 2*ttl/refreshAhead - 1, opens: 2}},
		"a moment before it is over":           {{opens: 1}, {at: ttl - 1, delay: time.Second, opens: 2}},
		"when it is over":                      {{opens: 1}, {at: ttl, delay: time.Second, took: time.Second, opens: 2}},
		"the first time":                       {{delay: time.Second, took: time.Second, opens: 1}},
		"nobody is there the first time":       {{err: away, code: keybearer.KeyringUnavailable, opens: 1}},
		"nobody answers":                       {{delay: time.Hour, code: keybearer.KeyringUnavailable, took: openTimeout, opens: 1}},
		"the one who finds out waits":          {{opens: 1}, {at: ttl, err: away, delay: time.Second, took: time.Second, opens: 2}},
		"no try a moment after one":            {{opens: 1}, {at: ttl, err: away, opens: 2}, {at: ttl + reopenInterval - 1, err: away, opens: 2}},
		"another try after a second":           {{opens: 1}, {at: ttl, err: away, opens: 2}, {at: ttl + reopenInterval, err: away, delay: time.Second, opens: 3}},
		"a moment before it is too old":        {{opens: 1}, {at: ttl, err: away, opens: 2}, {at: stale - 1, err: away, delay: time.Second, opens: 3}},
		"too old":                              {{opens: 1}, {at: ttl, err: away, opens: 2}, {at: stale, err: away, code: keybearer.KeyringUnavailable, opens: 3}},
		"too old by the time of the answer":    {{opens: 1}, {at: stale - time.Second/2, err: away, delay: time.Second, took: time.Second, code: keybearer.KeyringUnavailable, opens: 2}},
		"not too old by the time of it":        {{opens: 1}, {at: stale - time.Second - 1, err: away, delay: time.Second, took: time.Second, opens: 2}},
		"too old, and asked again too soon":    {{err: away, code: keybearer.KeyringUnavailable, opens: 1}, {at: reopenInterval - 1, code: keybearer.KeyringUnavailable, opens: 1}, {at: reopenInterval, opens: 2}},
		"the answer is no":                     {{opens: 1}, {at: ttl, err: unopenable, code: keybearer.KeyringUnavailable, opens: 2}, {at: ttl + time.Second, err: away, code: keybearer.KeyringUnavailable, opens: 3}},
		"there again":                          {{opens: 1}, {at: ttl, err: away, opens: 2}, {at: 2 * ttl, opens: 3}, {at: 2*ttl + time.Second, opens: 3}},
		"there again, and away after its time": {{opens: 1}, {at: ttl, err: away, opens: 2}, {at: 2 * ttl, opens: 3}, {at: 3 * ttl, err: away, delay: time.Second, took: time.Second, opens: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, d := time.Now(), newDrawer()
				f := closedSafe(d, ttl, stale)
				for i, s := range steps {
					time.Sleep(s.at - time.Since(began))
					d.err, d.delay = s.err, s.delay
					asked := time.Now()
					o, err := f.open(t.Context())
					if took := time.Since(asked); took != s.took {
						t.Errorf("step %d took %v", i, took)
					}
					if code := keybearer.CodeOf(asError(err)); code != s.code || err == nil && o.field.Value.Reveal() != "Bearer s3cret-token" {
						t.Errorf("step %d: %v", i, err)
					}
					if synctest.Wait(); d.opens != s.opens {
						t.Errorf("step %d: the keyring was asked %d times", i, d.opens)
					}
				}
				time.Sleep(openTimeout) // what is under way ends
			})
		})
	}
}

// Who goes does not end the opening that others wait for.
func TestWhoWaitsForASecretMayGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrawer()
		d.delay = time.Second
		f := closedSafe(d, time.Minute, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, cancel)
		if _, err := f.open(ctx); err == nil || err.Code != keybearer.CallerGone {
			t.Errorf("got %v", err)
		}
		if _, err := f.open(t.Context()); err != nil || d.opens != 1 {
			t.Errorf("%v after %d times", err, d.opens)
		}
		if bytes.ContainsFunc(d.given, func(r rune) bool { return r != 0 }) {
			t.Error("what the keyring gave is left to lie about")
		}
	})
}

// Where nothing serves while the keyring is away, what has just been opened serves all the same.
func TestWhatWasJustOpenedServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			if o, err := closedSafe(newDrawer(), 0, -1).open(t.Context()); o == nil || err != nil {
				t.Errorf("%v, %v", o, err)
			}
		}
	})
}

func TestWhatDoesNotOpen(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*safe, *drawer)
		code   keybearer.Code
		detail string
	}{
		"no ciphertext": {func(f *safe, _ *drawer) { f.credential.Current.Sealed = nil }, keybearer.CredentialNeedsSecret, ""},
		"no key":        {func(f *safe, _ *drawer) { f.scope.Key = nil }, keybearer.CredentialNeedsSecret, ""},
		"no share":      {func(f *safe, _ *drawer) { f.scope.Key.Share = nil }, keybearer.KeyringUnavailable, ""},
		"no bundle":     {func(_ *safe, d *drawer) { d.plain = []byte("x") }, keybearer.KeyringUnavailable, ""},
		"no kind": {func(_ *safe, d *drawer) {
			d.plain = must((&keybearer.Bundle{Secret: keybearer.NewSecret("x")}).Encode())
		}, keybearer.CredentialNeedsSecret, ""},
		"a sealed keyring": {func(_ *safe, d *drawer) {
			d.err = keybearer.NewError(keybearer.KeyringUnavailable, "it is sealed")
		}, keybearer.KeyringUnavailable, "it is sealed"},
		"a keyring that is not one": {func(_ *safe, d *drawer) { d.err = errors.New("any") }, keybearer.KeyringUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDrawer()
				f := closedSafe(d, time.Minute, time.Hour)
				if _, err := f.open(t.Context()); err != nil {
					t.Fatal(err)
				}
				c.change(f, d)
				fresh := &safe{s: f.s, scope: f.scope, credential: f.credential}
				if o, err := fresh.open(t.Context()); err == nil || err.Code != c.code || c.detail != "" && err.Detail != c.detail {
					t.Errorf("the first time: %v, %v", o, err)
				}
				time.Sleep(2 * time.Minute)
				o, err := f.open(t.Context())
				if answered := c.code != keybearer.KeyringUnavailable; answered != (err != nil) || answered && err.Code != c.code {
					t.Errorf("%v, %v %q", o, err, keybearer.CodeOf(asError(err)))
				}
			})
		})
	}
}

// Secrets are let go of when they were not asked for so long, and not a moment before.
func TestWhenASafeIsSweptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(nil)
		if _, err := s.gate.snapshots.get(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"}, 0); err != nil {
			t.Fatal(err)
		}
		g := s.gate.snapshots
		time.Sleep(time.Minute)
		if g.sweep(time.Minute); len(g.safes) != 1 {
			t.Error("swept out a moment too soon")
		}
		time.Sleep(time.Nanosecond)
		if g.sweep(time.Minute); len(g.safes) != 0 || g.rows.Len() != 0 || g.scopes.Len() != 0 {
			t.Errorf("%d safes, %d rows and %d scopes are left", len(g.safes), g.rows.Len(), g.scopes.Len())
		}
	})
}

// A change has read again what it concerns, and a secret let go of only with its own record.
func TestWhatAChangeHasReadAgain(t *testing.T) {
	for name, c := range map[string]struct {
		change              keybearer.Change
		scopes, rows, safes int // that are left
	}{
		"the credential":     {keybearer.Change{Kind: keybearer.CredentialRecord, ID: "cre_1"}, 1, 0, 0},
		"another credential": {keybearer.Change{Kind: keybearer.CredentialRecord, ID: "cre_2"}, 1, 1, 1},
		"the scope":          {keybearer.Change{Kind: keybearer.ScopeRecord, ID: "sco_1"}, 0, 1, 1},
		"a caller":           {keybearer.Change{Kind: keybearer.CallerRecord, ID: "cre_1"}, 1, 1, 1},
		"all":                {keybearer.Change{Kind: keybearer.AllRecords}, 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(nil)
				g := s.gate.snapshots
				if _, err := g.get(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"}, 0); err != nil {
					t.Fatal(err)
				}
				epoch := s.gate.epoch.Load()
				s.shelf.tell([]keybearer.Change{c.change})
				if g.scopes.Len() != c.scopes || g.rows.Len() != c.rows || len(g.safes) != c.safes || s.gate.epoch.Load() != epoch+1 || len(s.gate.live.wake) != 1 {
					t.Errorf("%d scopes, %d rows and %d safes are left", g.scopes.Len(), g.rows.Len(), len(g.safes))
				}
			})
		})
	}
}

// Records that cannot be read are not unknown ones.
func TestRecordsThatCannotBeRead(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		err  error
		ctx  context.Context
		code keybearer.Code
		all  bool // and not the scope alone
	}{
		"there":                {nil, t.Context(), "", true},
		"unknown":              {keybearer.NewError(keybearer.NotFound, ""), t.Context(), "", true},
		"away":                 {errors.New("away"), t.Context(), keybearer.StoreUnavailable, true},
		"no scope":             {errors.New("away"), t.Context(), keybearer.StoreUnavailable, false},
		"an unknown scope":     {keybearer.NewError(keybearer.NotFound, ""), t.Context(), "", false},
		"away, the caller too": {errors.New("away"), gone, keybearer.CallerGone, true},
	} {
		s := newStand(nil)
		if s.shelf.noScope = c.err; c.all {
			s.shelf.err = c.err
		}
		snap, err := s.gate.snapshots.get(c.ctx, keybearer.Ref{Scope: "docs", Name: "crm"}, 0)
		if code := keybearer.CodeOf(asError(err)); code != c.code || (snap.Credential != nil) != (c.err == nil) {
			t.Errorf("%s: %v, %v", name, snap.Credential, err)
		}
		if c.code == "" {
			continue
		}
		if _, err := s.gate.Admit(c.ctx, &Call{Method: "GET", Target: "http://1.1.1.1/", Route: &Route{}, Fields: []Field{{"Keybearer-Credential", "docs/crm"}}}); err == nil || err.Code != c.code {
			t.Errorf("%s: admitted or refused with %v", name, err)
		}
	}
}
