package proxy

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// gatedKeyring is the real keyring with a hand on its Open.
type gatedKeyring struct {
	keybearer.Keyring
	opens atomic.Int32
	mu    sync.Mutex
	hook  func() error // runs before each Open; an error takes its place
}

func (k *gatedKeyring) Open(ctx context.Context, key string, sc keybearer.SealContext, sealed []byte) ([]byte, error) {
	k.opens.Add(1)
	k.mu.Lock()
	hook := k.hook
	k.mu.Unlock()
	if hook != nil {
		if err := hook(); err != nil {
			return nil, err
		}
	}
	return k.Keyring.Open(ctx, key, sc, sealed)
}

func (k *gatedKeyring) set(hook func() error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hook = hook
}

func gated(k *gatedKeyring) labOption {
	return func(l *lab, c *Config) { k.Keyring = l.keyring; c.Keyring = k }
}

func (l *lab) get(addr, credential string) (int, string) {
	l.t.Helper()
	resp, body := raw(l.t, addr, "GET "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: "+credential+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	return resp.StatusCode, body
}

func wantCode(t *testing.T, status int, body string, want int, code keybearer.Code) {
	t.Helper()
	if status != want || !strings.Contains(body, `"code":"`+string(code)+`"`) {
		t.Fatalf("got %d %s, want %d %s", status, body, want, code)
	}
}

// A fill that is paused, while the credential is revoked, and resumed then, must not send the old secret, neither for the
// request that began it nor for any later one.
func TestAFillThatFinishesAfterARevokeRevivesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*lab, *keybearer.Credential)
		status int
		code   keybearer.Code
	}{
		"grant removed": {func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.Grants = nil })
		}, 403, keybearer.CredentialForbidden},
		"disabled": {func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.Disabled = true })
		}, 403, keybearer.CredentialDisabled},
		"rules narrowed": {func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.Current.Terms.Rules = nil })
		}, 403, keybearer.DestinationNotAllowed},
		"row deleted": {func(l *lab, c *keybearer.Credential) {
			d := must(l.store.Credential(context.Background(), keybearer.Ref{Scope: c.ScopeID, Name: c.ID}))
			l.commit(keybearer.Write{Credential: d, Delete: true})
		}, 403, keybearer.CredentialForbidden},
		"scope regenerating": {func(l *lab, _ *keybearer.Credential) {
			s := l.scope.Clone()
			s.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRegenerate}
			l.commit(keybearer.Write{Scope: s})
		}, 503, keybearer.ScopeRegenerating},
	} {
		t.Run(name, func(t *testing.T) {
			k := &gatedKeyring{}
			l := newLab(t, gated(k))
			c := l.credential("crm", l.bearer(), "s3cret-token")
			addr := l.serve(Route{})
			paused, resume := make(chan struct{}), make(chan struct{})
			k.set(func() error { close(paused); k.set(nil); <-resume; return nil })
			type answer struct {
				status int
				body   string
			}
			got := make(chan answer)
			go func() {
				status, body := l.get(addr, "docs/crm")
				got <- answer{status, body}
			}()
			<-paused
			tc.change(l, c)
			close(resume)
			first := <-got
			wantCode(t, first.status, first.body, tc.status, tc.code)
			status, body := l.get(addr, "docs/crm")
			wantCode(t, status, body, tc.status, tc.code)
			if len(l.seen) != 0 {
				t.Fatalf("%d requests reached the destination after the change", len(l.seen))
			}
		})
	}
}

func TestANewSecretIsSentByTheNextRequest(t *testing.T) {
	l := newLab(t)
	c := l.credential("crm", l.bearer(), "secret-one")
	addr := l.serve(Route{})
	for i, secret := range []string{"secret-one", "secret-two", "secret-three"} {
		if i > 0 {
			c = l.update(c, func(c *keybearer.Credential) {
				c.Current.Number++
				l.seal(c, &keybearer.Bundle{Terms: c.Current.Terms, Secret: keybearer.NewSecret(secret)})
			})
		}
		if status, body := l.get(addr, "docs/crm"); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		<-l.bodies
		if got := (<-l.seen).Header.Get("Authorization"); got != "Bearer "+secret {
			t.Fatalf("arrived %q, want %q", got, secret)
		}
	}
}

// A scope's record changes with every step of a long operation. That must not make the keyring open everything again, and what the key or
// the ciphertext is must still decide.
func TestAnOpenedSecretOutlivesAChangeOfTheScopeOnlyUnderTheSameKey(t *testing.T) {
	k := &gatedKeyring{}
	l := newLab(t, gated(k))
	c := l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	ask := func(want int32) {
		t.Helper()
		if status, body := l.get(addr, "docs/crm"); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		if n := k.opens.Load(); n != want {
			t.Fatalf("the keyring was asked %d times, want %d", n, want)
		}
	}
	scope := func(change func(*keybearer.Scope)) {
		s := l.scope.Clone()
		change(s)
		s.Revision = l.commit(keybearer.Write{Scope: s})
		l.scope = s
	}
	ask(1)
	scope(func(s *keybearer.Scope) { s.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRotate} })
	ask(1)
	l.update(c, func(c *keybearer.Credential) { // rewrapped: another ciphertext
		l.seal(c, &keybearer.Bundle{Terms: c.Current.Terms, Secret: keybearer.NewSecret("s3cret-token")})
	})
	ask(2)
	scope(func(s *keybearer.Scope) { s.Key.Share[0] ^= 1 }) // as if it were another key
	status, body := l.get(addr, "docs/crm")
	wantCode(t, status, body, 503, keybearer.KeyringUnavailable)
	scope(func(s *keybearer.Scope) { s.Key.Generation++ })
	status, body = l.get(addr, "docs/crm")
	wantCode(t, status, body, 409, keybearer.CredentialNeedsSecret)
}

func TestOneOpenServesAStampede(t *testing.T) {
	k := &gatedKeyring{}
	l := newLab(t, gated(k))
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if status, body := l.get(addr, "docs/crm"); status != 200 {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	wg.Wait()
	if n := k.opens.Load(); n != 1 {
		t.Fatalf("the keyring was asked %d times, want once", n)
	}
}

func TestAnOpenedSecretLivesForItsTimeAndOutlivesTheKeyringOnlyAsLongAsAllowed(t *testing.T) {
	k := &gatedKeyring{}
	l := newLab(t, gated(k), func(_ *lab, c *Config) {
		c.SecretTTL, c.KeyringMaxStale, c.StoreMaxStale = 5*time.Minute, 15*time.Minute, time.Minute
	})
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	ask := func(want int, code keybearer.Code) {
		t.Helper()
		status, body := l.get(addr, "docs/crm")
		if want != 200 {
			wantCode(t, status, body, want, code)
		} else if status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
	}
	ask(200, "")
	l.clock.advance(2 * time.Minute) // the metadata is read again, the secret stays open
	ask(200, "")
	if n := k.opens.Load(); n != 1 {
		t.Fatalf("opened %d times within its time, want once", n)
	}
	l.clock.advance(4 * time.Minute)
	ask(200, "")
	if n := k.opens.Load(); n != 2 {
		t.Fatalf("opened %d times after its time, want twice", n)
	}
	away := errors.New("connection refused")
	k.set(func() error { return away })
	l.clock.advance(10 * time.Minute) // past its time, within keyring_max_stale
	ask(200, "")
	l.clock.advance(6 * time.Minute)
	ask(503, keybearer.KeyringUnavailable)
	k.set(nil)
	l.clock.advance(2 * time.Second)
	ask(200, "")
	k.set(func() error {
		return &keybearer.Error{Code: keybearer.KeyringUnavailable, Err: keybearer.ErrUnopenable}
	})
	l.clock.advance(6 * time.Minute)
	ask(503, keybearer.KeyringUnavailable) // it did answer: nothing old serves
	k.set(func() error { return away })
	l.clock.advance(2 * time.Second)
	ask(503, keybearer.KeyringUnavailable)
}

func TestNothingIsSentThatTheAuditLogDoesNotHold(t *testing.T) {
	broken := &brokenAuditor{}
	l := newLab(t, func(l *lab, c *Config) { broken.Auditor = c.Auditor; c.Auditor = broken })
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	broken.fail.Store(true)
	status, body := l.get(addr, "docs/crm")
	wantCode(t, status, body, 503, keybearer.AuditUnavailable)
	if len(l.seen) != 0 {
		t.Fatal("a request was sent without its audit line")
	}
	broken.fail.Store(false)
	if status, body = l.get(addr, "docs/crm"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
}

type brokenAuditor struct {
	keybearer.Auditor
	fail atomic.Bool
}

func (b *brokenAuditor) Record(ctx context.Context, e *keybearer.Event) error {
	if b.fail.Load() {
		return errors.New("disk full")
	}
	return b.Auditor.Record(ctx, e)
}

func TestAStoreThatCannotAnswerRefuses(t *testing.T) {
	s := &brokenStore{}
	l := newLab(t, func(l *lab, c *Config) { s.Store = l.store; c.Store = s })
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	s.fail.Store(true)
	status, body := l.get(addr, "docs/crm")
	wantCode(t, status, body, 503, keybearer.StoreUnavailable)
	s.fail.Store(false)
	if status, body = l.get(addr, "docs/crm"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	s.fail.Store(true)
	if status, body = l.get(addr, "docs/crm"); status != 200 {
		t.Fatalf("what is known did not serve: %d %s", status, body)
	}
	l.clock.advance(2 * time.Minute)
	status, body = l.get(addr, "docs/crm")
	wantCode(t, status, body, 503, keybearer.StoreUnavailable)
}

type brokenStore struct {
	keybearer.Store
	fail   atomic.Bool
	failed atomic.Int32
}

// wait returns when so many reads have failed.
func (b *brokenStore) wait(t *testing.T, n int32) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); b.failed.Load() < n; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d reads failed, want %d", b.failed.Load(), n)
		}
	}
}

func (b *brokenStore) Credential(ctx context.Context, ref keybearer.Ref) (*keybearer.Credential, error) {
	if b.fail.Load() {
		b.failed.Add(1)
		return nil, keybearer.NewError(keybearer.StoreUnavailable, "")
	}
	return b.Store.Credential(ctx, ref)
}

func TestARevokedCallerIsRefusedByTheNextRequest(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	if status, body := l.get(addr, "docs/crm"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	c := l.caller.Clone()
	c.Disabled = true
	c.Revision = l.commit(keybearer.Write{Caller: c})
	status, body := l.get(addr, "docs/crm")
	wantCode(t, status, body, http.StatusProxyAuthRequired, keybearer.CallerUnauthenticated)
	c.Disabled, c.Tokens[0].ExpiresAt = false, l.clock.now().Add(time.Hour)
	l.commit(keybearer.Write{Caller: c})
	if status, body = l.get(addr, "docs/crm"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	l.clock.advance(2 * time.Hour)
	status, body = l.get(addr, "docs/crm")
	wantCode(t, status, body, http.StatusProxyAuthRequired, keybearer.CallerUnauthenticated)
}

// The engine may wait for the app between Admit and sending: Renew is the last word.
func TestAPassIsRenewedOnlyWhileItHolds(t *testing.T) {
	l := newLab(t)
	c := l.credential("crm", l.bearer(), "secret-one")
	other := l.credential("other", l.bearer(), "secret-one")
	call := &Call{Method: "GET", Target: l.plain() + "/", Route: &Route{}, Fields: []Field{
		{"Keybearer-Credential", "docs/crm"}, {"Proxy-Authorization", "Bearer " + l.token},
	}}
	p, err := l.proxy.gate.Admit(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	renew := func(want keybearer.Code, field string) {
		t.Helper()
		err := p.Renew(t.Context())
		if err == nil && want != "" || err != nil && err.Code != want {
			t.Fatalf("got %v, want %q", err, want)
		}
		if want == "" && p.Field.Value.Reveal() != field {
			t.Fatalf("it holds %q, want %q", p.Field.Value.Reveal(), field)
		}
	}
	renew("", "Bearer secret-one")
	l.update(other, func(c *keybearer.Credential) { c.Disabled = true })
	renew("", "Bearer secret-one")
	c = l.update(c, func(c *keybearer.Credential) {
		c.Current.Number++
		l.seal(c, &keybearer.Bundle{Terms: c.Current.Terms, Secret: keybearer.NewSecret("secret-two")})
	})
	renew("", "Bearer secret-two")
	c = l.update(c, func(c *keybearer.Credential) { c.Grants = nil })
	renew(keybearer.CredentialForbidden, "")
	l.update(c, func(c *keybearer.Credential) {
		c.Grants = []keybearer.Grant{{Subject: keybearer.AppSubject("billing"), Level: keybearer.Use}}
	})
	renew("", "Bearer secret-two")
	caller := l.caller.Clone()
	caller.Disabled = true
	l.commit(keybearer.Write{Caller: caller})
	renew(keybearer.CallerUnauthenticated, "")
	p.Finish(Result{})
}

func TestASafeFitsOneCiphertextUnderOneKey(t *testing.T) {
	scope := func() *keybearer.Scope {
		return &keybearer.Scope{ID: "scp_a", Key: &keybearer.ScopeKey{Name: "k", Generation: 1, Share: []byte{1}}}
	}
	credential := func() *keybearer.Credential {
		return &keybearer.Credential{ID: "crd_a", Current: keybearer.Version{Number: 1, Generation: 1, Sealed: []byte("x")}}
	}
	f := &safe{scope: scope(), credential: credential()}
	if !f.fits(scope(), credential()) {
		t.Fatal("it does not fit its own records")
	}
	for name, change := range map[string]func(*keybearer.Scope, *keybearer.Credential){
		"scope":          func(s *keybearer.Scope, _ *keybearer.Credential) { s.ID = "scp_b" },
		"key":            func(s *keybearer.Scope, _ *keybearer.Credential) { s.Key.Name = "l" },
		"key generation": func(s *keybearer.Scope, _ *keybearer.Credential) { s.Key.Generation = 2 },
		"share":          func(s *keybearer.Scope, _ *keybearer.Credential) { s.Key.Share = []byte{2} },
		"no key":         func(s *keybearer.Scope, _ *keybearer.Credential) { s.Key = nil },
		"number":         func(_ *keybearer.Scope, c *keybearer.Credential) { c.Current.Number = 2 },
		"generation":     func(_ *keybearer.Scope, c *keybearer.Credential) { c.Current.Generation = 2 },
		"ciphertext":     func(_ *keybearer.Scope, c *keybearer.Credential) { c.Current.Sealed = []byte("y") },
	} {
		s, c := scope(), credential()
		change(s, c)
		if f.fits(s, c) {
			t.Errorf("it fits another %s", name)
		}
	}
	if f.scope.Key = nil; f.fits(scope(), credential()) {
		t.Error("one without a key fits")
	}
}

func TestASecretIsLetGoOfWithItsRecord(t *testing.T) {
	l := newLab(t)
	c := l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	held := func() int {
		s := l.proxy.gate.snapshots
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.safes)
	}
	if l.get(addr, "docs/crm"); held() != 1 {
		t.Fatalf("%d safes", held())
	}
	l.update(c, func(c *keybearer.Credential) { c.Disabled = true })
	if held() != 0 {
		t.Error("the secret of a changed credential is still held")
	}
	l.update(c, func(c *keybearer.Credential) { c.Disabled = false })
	l.get(addr, "docs/crm")
	l.clock.advance(time.Hour)
	if l.proxy.gate.snapshots.sweep(30 * time.Minute); held() != 0 || l.proxy.gate.snapshots.rows.Len() != 0 {
		t.Error("what nobody used for an hour is still held")
	}
}

// While an opened secret serves, nobody waits for a keyring that is known to be away; only who finds out waits.
func TestASlowKeyringHoldsNobodyUpWhoseSecretIsOpen(t *testing.T) {
	k := &gatedKeyring{}
	l := newLab(t, gated(k), func(_ *lab, c *Config) { c.SecretTTL, c.KeyringMaxStale = 5*time.Minute, 15*time.Minute })
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	ask := func() {
		t.Helper()
		if status, body := l.get(addr, "docs/crm"); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	ask()
	k.set(func() error { return errors.New("connection refused") })
	l.clock.advance(6 * time.Minute)
	ask() // finds out
	stalled := make(chan struct{})
	k.set(func() error { <-stalled; return errors.New("timeout") })
	for range 8 { // a try a second
		l.clock.advance(time.Second)
		ask() // if it waited, it would do so for ever
	}
	k.set(nil)
	close(stalled)
}

func TestASecretInUseIsOpenedAnewBeforeItsTimeIsOver(t *testing.T) {
	k := &gatedKeyring{}
	l := newLab(t, gated(k), func(_ *lab, c *Config) { c.SecretTTL, c.StoreMaxStale = 5*time.Minute, time.Hour })
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	ask := func() {
		t.Helper()
		if status, body := l.get(addr, "docs/crm"); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	ask()
	l.clock.advance(3*time.Minute + 59*time.Second)
	ask()
	if n := k.opens.Load(); n != 1 {
		t.Fatalf("opened %d times before it was time", n)
	}
	opening, release := make(chan struct{}), make(chan struct{})
	k.set(func() error { close(opening); <-release; k.set(nil); return nil })
	l.clock.advance(time.Second)
	ask() // does not wait for it
	<-opening
	ask()
	close(release)
	l.clock.advance(59 * time.Second) // not yet over, and it was opened anew meanwhile
	ask()
	if n := k.opens.Load(); n != 2 {
		t.Fatalf("opened %d times, want twice", n)
	}
}

// countedStore is the real store that counts how often it is asked for what.
type countedStore struct {
	keybearer.Store
	scopes, credentials atomic.Int32
}

func (c *countedStore) Scope(ctx context.Context, name string) (*keybearer.Scope, error) {
	c.scopes.Add(1)
	return c.Store.Scope(ctx, name)
}

func (c *countedStore) Credential(ctx context.Context, ref keybearer.Ref) (*keybearer.Credential, error) {
	c.credentials.Add(1)
	return c.Store.Credential(ctx, ref)
}

// The journal of a rotation is written on the scope with each step: that must not have every credential of the scope read again.
func TestAStepOfARotationHasTheScopeAloneReadAgain(t *testing.T) {
	counted := &countedStore{}
	l := newLab(t, func(l *lab, c *Config) { counted.Store = l.store; c.Store = counted })
	for _, name := range []string{"crm", "erp", "cms"} {
		l.credential(name, l.bearer(), "s3cret-token")
	}
	addr := l.serve(Route{})
	for step := range int32(4) {
		for _, name := range []string{"crm", "erp", "cms", "crm"} {
			if status, body := l.get(addr, "docs/"+name); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
		}
		if s, c := counted.scopes.Load(), counted.credentials.Load(); s != step+1 || c != 3 {
			t.Fatalf("after %d steps the store was asked for the scope %d times, for credentials %d times", step, s, c)
		}
		scope := l.scope.Clone()
		scope.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRotate, Done: int(step)}
		scope.Revision = l.commit(keybearer.Write{Scope: scope})
		l.scope = scope
	}
	l.scope = l.scope.Clone()
	l.scope.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRegenerate}
	l.commit(keybearer.Write{Scope: l.scope})
	status, body := l.get(addr, "docs/crm")
	wantCode(t, status, body, 503, keybearer.ScopeRegenerating)
}
