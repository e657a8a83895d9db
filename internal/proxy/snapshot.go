package proxy

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/fence"
	"github.com/keybearer/keybearer/internal/inject"
	"github.com/keybearer/keybearer/internal/metrics"
	"github.com/keybearer/keybearer/internal/scrub"
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

// row is a credential's record as it was read, and the snapshot that was last made of it.
type row struct {
	credential *keybearer.Credential // nil: there is none of that name
	rules      []string
	last       *atomic.Pointer[snapshot]
	torn       *atomic.Bool // its key is gone: reading it again was of no use
}

// snapshots makes them of the records of scope and credential, each cached by the name that requests use. A change of a scope, which each step of a
// rotation is, has the scope alone read again.
type snapshots struct {
	store   keybearer.Store
	keyring keybearer.Keyring
	now     func() time.Time
	ttl     time.Duration                          // how long an opened secret serves without asking the keyring
	stale   time.Duration                          // how long it serves while the keyring cannot answer
	scopes  *fence.Cache[string, *keybearer.Scope] // nil: there is none of that name
	rows    *fence.Cache[keybearer.Ref, row]       // by scope id
	meter   *metrics.Meter

	readScope fence.Load[string, *keybearer.Scope] // loadScope and loadRow, bound once: a request allocates neither
	readRow   fence.Load[keybearer.Ref, row]

	mu    sync.Mutex
	safes map[string]*safe // by credential id
}

const (
	maxSnapshots   = 1 << 16
	rereads        = 2 // of a scope and a credential that seem to be of two moments
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
	if all { // what was opened stays in its safe: it is used only for a record that is read anew
		s.scopes.Flush()
		s.rows.Flush()
	}
	s.scopes.Changed(ids...)
	s.rows.Changed(ids...)
}

// sweep lets go of what was not loaded again for so long: nobody uses it.
func (s *snapshots) sweep(idle time.Duration) {
	s.scopes.Sweep(idle)
	s.rows.Sweep(idle)
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
// A secret that was sealed with a key that the scope does not have may be on the move to another keyring, and the two records of two moments: they are
// read again, up to so many times.
func (s *snapshots) get(ctx context.Context, ref keybearer.Ref, again int) (snapshot, *keybearer.Error) {
	scope, err := s.scopes.Get(ctx, ref.Scope, s.readScope)
	if err != nil || scope == nil {
		return snapshot{}, unavailable(ctx, err)
	}
	in := keybearer.Ref{Scope: scope.ID, Name: ref.Name}
	r, err := s.rows.Get(ctx, in, s.readRow)
	if err != nil || r.credential == nil {
		return snapshot{}, unavailable(ctx, err)
	}
	if sealed := &r.credential.Current; len(sealed.Sealed) > 0 && scope.KeyOf(sealed.Generation) == nil && !r.torn.Load() {
		if again > 0 {
			s.scopes.Changed(scope.ID)
			s.rows.Changed(r.credential.ID)
			return s.get(ctx, ref, again-1)
		}
		r.torn.Store(true)
	}
	last := r.last.Load()
	if last == nil || last.Scope != scope {
		last = &snapshot{policy.Snapshot{Scope: scope, Credential: r.credential}, s.safeFor(scope, r.credential), r.rules}
		r.last.Store(last)
	}
	return *last, nil
}

// loadScope reads the scope of a name or id.
func (s *snapshots) loadScope(ctx context.Context, name string) (*keybearer.Scope, []string, error) {
	scope, err := s.store.Scope(ctx, name)
	switch {
	case keybearer.CodeOf(err) == keybearer.NotFound:
		return nil, []string{fence.Any}, nil
	case err != nil:
		return nil, nil, err
	}
	return scope, []string{scope.ID}, nil
}

// loadRow reads a credential.
func (s *snapshots) loadRow(ctx context.Context, ref keybearer.Ref) (row, []string, error) {
	c, err := s.store.Credential(ctx, ref)
	switch {
	case keybearer.CodeOf(err) == keybearer.NotFound:
		return row{}, []string{fence.Any}, nil
	case err != nil:
		return row{}, nil, err
	}
	r := row{credential: c, last: new(atomic.Pointer[snapshot]), torn: new(atomic.Bool)}
	for _, rule := range c.Current.Terms.Rules {
		r.rules = append(r.rules, rule.String())
	}
	return r, []string{c.ID}, nil
}

func unavailable(ctx context.Context, err error) *keybearer.Error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &keybearer.Error{Code: keybearer.CallerGone, Err: err}
	}
	return &keybearer.Error{Code: keybearer.StoreUnavailable, Op: "load credential", Err: err}
}

// opened is a secret, ready to be written, and the terms that it was sealed with.
type opened struct {
	terms   *keybearer.Terms
	field   inject.Field
	folded  string     // the field's name
	needles *scrub.Set // forms in which an answer could echo it
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
	switch {
	case fresh:
		f.s.meter.Look(metrics.Hit)
		return last, nil
	case away:
		f.s.meter.Look(metrics.Stale)
		return last, nil
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, &keybearer.Error{Code: keybearer.CallerGone, Err: ctx.Err()}
	}
	if a.err == nil {
		f.s.meter.Look(metrics.Miss)
		return a.opened, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.last; o != nil && f.s.now().Sub(o.at) < f.s.stale {
		f.s.meter.Look(metrics.Stale)
		return o, nil // what was opened before serves while the keyring is away
	}
	f.s.meter.Look(metrics.Miss)
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
	return &opened{terms: &bundle.Terms, field: field, folded: fold(field.Name), needles: needles(bundle, field), at: at}, nil
}

// needles are what an answer could echo: the secret, and what carries it on the way.
func needles(b *keybearer.Bundle, f inject.Field) *scrub.Set {
	var carriers []keybearer.Secret
	if b.Terms.Kind == keybearer.Basic {
		pair := keybearer.NewSecret(strings.TrimPrefix(f.Value.Reveal(), "Basic "))
		carriers = append(carriers, pair, keybearer.NewSecret(b.Username+":"+b.Secret.Reveal()))
	}
	return scrub.New(b.Secret, append(carriers, f.Value)...)
}
