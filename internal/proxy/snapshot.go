package proxy

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/fence"
	"github.com/keybearer/keybearer/internal/inject"
	"github.com/keybearer/keybearer/policy"
)

// snapshot is what is known of one credential at one moment: immutable records, and the secret that belongs to exactly
// these records once somebody needed it.
type snapshot struct {
	policy.Snapshot
	safe  *safe    // nil when the credential is unknown
	rules []string // the rules' texts, for the audit log
}

// ruleText returns the text of one of the credential's rules.
func (s *snapshot) ruleText(r *keybearer.Rule) string {
	rules := s.Credential.Current.Terms.Rules
	for i := range rules {
		if &rules[i] == r {
			return s.rules[i]
		}
	}
	return ""
}

// snapshots caches them by the name that requests use.
type snapshots struct {
	store   keybearer.Store
	keyring keybearer.Keyring
	now     func() time.Time
	ttl     time.Duration // how long an opened secret serves without asking the keyring
	stale   time.Duration // how long it serves while the keyring cannot answer
	cache   *fence.Cache[keybearer.Ref, snapshot]

	mu    sync.Mutex
	safes map[string]*safe // by credential id
}

const (
	maxSnapshots   = 1 << 16
	maxTorn        = 3 // attempts to read a scope and a credential of one moment
	openTimeout    = 2 * time.Second
	reopenInterval = time.Second // between attempts while the keyring cannot answer
	refreshAhead   = 5           // in the last fifth of its time a secret is opened anew, while nobody has to wait for it
)

func (s *snapshots) changed(changes []keybearer.Change) {
	ids, all := make([]string, 0, 8), false
	s.mu.Lock()
	for _, c := range changes {
		switch c.Kind {
		case keybearer.CredentialRecord:
			delete(s.safes, c.ID)
			ids = append(ids, c.ID)
		case keybearer.ScopeRecord:
			ids = append(ids, c.ID)
		case keybearer.AllRecords:
			all = true
		}
	}
	s.mu.Unlock()
	if all {
		s.cache.Flush() // what was opened stays in its safe: it is used only for a record that is read anew
	}
	s.cache.Changed(ids...)
}

// sweep lets go of what was not loaded again for so long: nobody uses it.
func (s *snapshots) sweep(idle time.Duration) {
	s.cache.Sweep(idle)
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.safes {
		if now.Sub(f.loaded) > idle {
			delete(s.safes, id)
		}
	}
}

// safeFor returns the safe for exactly this ciphertext under exactly this key. A change of the scope that leaves both as they are,
// such as the journal of a rotation, does not close it.
func (s *snapshots) safeFor(scope *keybearer.Scope, c *keybearer.Credential) *safe {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.safes[c.ID]
	if f == nil || !f.fits(scope, c) {
		f = &safe{s: s, scope: scope, credential: c}
		s.safes[c.ID] = f
	}
	f.loaded = s.now()
	return f
}

// get returns the snapshot for ref. An unknown scope or credential is a snapshot without them; the error is StoreUnavailable.
func (s *snapshots) get(ctx context.Context, ref keybearer.Ref) (snapshot, *keybearer.Error) {
	v, err := s.cache.Get(ctx, ref, func(ctx context.Context) (snapshot, []string, error) {
		return s.load(ctx, ref)
	})
	if err != nil {
		if ctx.Err() != nil {
			return snapshot{}, &keybearer.Error{Code: keybearer.CallerGone, Err: err}
		}
		return snapshot{}, &keybearer.Error{Code: keybearer.StoreUnavailable, Op: "load credential", Err: err}
	}
	return v, nil
}

func (s *snapshots) load(ctx context.Context, ref keybearer.Ref) (v snapshot, ids []string, err error) {
	for range maxTorn {
		v.Scope, err = s.store.Scope(ctx, ref.Scope)
		if err == nil {
			v.Credential, err = s.store.Credential(ctx, keybearer.Ref{Scope: v.Scope.ID, Name: ref.Name})
		}
		if err != nil || len(v.Credential.Current.Sealed) == 0 || v.Scope.KeyOf(v.Credential.Current.Generation) != nil {
			break
		}
		// Sealed with a key that the scope did not have a moment before, while it moves to another keyring: read both again.
	}
	switch {
	case keybearer.CodeOf(err) == keybearer.NotFound:
		return snapshot{}, []string{fence.Any}, nil
	case err != nil:
		return snapshot{}, nil, err
	}
	v.safe = s.safeFor(v.Scope, v.Credential)
	for _, r := range v.Credential.Current.Terms.Rules {
		v.rules = append(v.rules, r.String())
	}
	return v, []string{v.Scope.ID, v.Credential.ID}, nil
}

// opened is a secret, ready to be written, and the terms that it was sealed with.
type opened struct {
	terms   *keybearer.Terms
	field   inject.Field
	needles []string // forms in which an answer could echo it
	at      time.Time
}

// safe opens the secret of one snapshot, once for all who wait.
type safe struct {
	s          *snapshots
	scope      *keybearer.Scope
	credential *keybearer.Credential
	loaded     time.Time // last; guarded by snapshots.mu

	mu     sync.Mutex
	last   *opened
	failed *attempt // last failed one
	flight *attempt // under way
}

// attempt is one try to open the secret, for all who wait for it.
type attempt struct {
	done   chan struct{}
	at     time.Time // when it ended
	opened *opened
	err    *keybearer.Error
}

// fits reports whether what is in the safe is what these records seal.
func (f *safe) fits(scope *keybearer.Scope, c *keybearer.Credential) bool {
	a, b := &f.credential.Current, &c.Current
	mine, theirs := f.scope.KeyOf(a.Generation), scope.KeyOf(b.Generation)
	return mine != nil && theirs != nil && f.scope.ID == scope.ID &&
		mine.Name == theirs.Name && mine.Generation == theirs.Generation && bytes.Equal(mine.Share, theirs.Share) &&
		a.Number == b.Number && a.Generation == b.Generation && bytes.Equal(a.Sealed, b.Sealed)
}

// open returns the opened secret. It is KeyringUnavailable or CredentialNeedsSecret, or CallerGone when ctx ends.
func (f *safe) open(ctx context.Context) (*opened, *keybearer.Error) {
	now := f.s.now()
	f.mu.Lock()
	last, age := f.last, time.Duration(0)
	if last != nil {
		age = now.Sub(last.at)
	}
	fresh := last != nil && age < f.s.ttl
	a := f.flight
	switch {
	case a != nil, fresh && age < f.s.ttl-f.s.ttl/refreshAhead:
	case f.failed != nil && now.Sub(f.failed.at) < reopenInterval:
		a = f.failed
	default:
		a = &attempt{done: make(chan struct{})}
		f.flight = a
		go f.try(context.WithoutCancel(ctx), a)
	}
	// Nobody waits for a keyring that did not answer the last time, as long as what was opened before serves.
	away := f.failed != nil && last != nil && age < f.s.stale
	f.mu.Unlock()
	if fresh || away {
		return last, nil
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, &keybearer.Error{Code: keybearer.CallerGone, Err: ctx.Err()}
	}
	if a.err == nil {
		return a.opened, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.last; o != nil && f.s.now().Sub(o.at) < f.s.stale {
		return o, nil // what was opened before serves while the keyring is away
	}
	return nil, a.err
}

func (f *safe) try(ctx context.Context, a *attempt) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	o, err := f.unseal(ctx, f.s.now())
	f.mu.Lock()
	defer f.mu.Unlock()
	a.at, a.opened = f.s.now(), o
	f.flight = nil
	if err == nil {
		f.last, f.failed = o, nil
	} else {
		a.err, f.failed = keybearer.AsError(err), a
		if errors.Is(err, keybearer.ErrUnopenable) || a.err.Code != keybearer.KeyringUnavailable {
			f.last = nil // the keyring answered: what was opened before is void
		}
	}
	close(a.done)
}

func (f *safe) unseal(ctx context.Context, at time.Time) (*opened, error) {
	version := &f.credential.Current
	key := f.scope.KeyOf(version.Generation)
	if key == nil || len(version.Sealed) == 0 {
		return nil, keybearer.NewError(keybearer.CredentialNeedsSecret, "")
	}
	sc, err := keybearer.NewSealContext(f.scope.ID, version.Generation, f.credential.ID, version.Number, key.Share)
	if err != nil {
		return nil, err
	}
	plain, err := f.s.keyring.Open(ctx, key.Name, sc, version.Sealed)
	if err != nil {
		if keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
			err = &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: "open secret", Err: err}
		}
		return nil, err
	}
	bundle, err := keybearer.DecodeBundle(plain)
	clear(plain)
	if err != nil {
		return nil, err
	}
	field, err := inject.For(bundle)
	if err != nil {
		return nil, err
	}
	return &opened{terms: &bundle.Terms, field: field, needles: needles(bundle, field), at: at}, nil
}

// Shorter secrets are looked for only as whole values: cutting every "k" out of an answer would ruin it.
const minNeedle = 8

func needles(b *keybearer.Bundle, f inject.Field) []string {
	forms := []string{b.Secret.Reveal(), f.Value.Reveal()}
	if b.Terms.Kind == keybearer.Basic {
		forms = append(forms, f.Value.Reveal()[len("Basic "):])
	}
	return forms
}
