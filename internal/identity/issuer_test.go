package identity_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
	"github.com/keybearer/keybearer/test/harness"
)

// clock is a time that stands still until a test moves it.
type clock struct {
	base  time.Time
	ahead atomic.Int64
}

func (c *clock) now() time.Time       { return c.base.Add(time.Duration(c.ahead.Load())) }
func (c *clock) move(d time.Duration) { c.ahead.Add(int64(d)) }

// party is an issuer with an identity that follows it.
type party struct {
	*harness.Issuer
	*clock
	j *identity.JWT
}

func follow(t *testing.T, issuer *harness.Issuer, ca *harness.CA, change func(*identity.IssuerConfig)) *party {
	t.Helper()
	p := &party{Issuer: issuer, clock: &clock{base: time.Now()}}
	c := identity.IssuerConfig{Issuer: issuer.URL, Audience: ours, Roots: ca.Pool, Leeway: time.Minute, Wait: time.Minute, Now: p.now}
	if change != nil {
		change(&c)
	}
	p.j = openJWT(t, c, nobody{})
	return p
}

// asks presents a new JWT signed with the key.
func (p *party) asks(t *testing.T, k *harness.IssuerKey) error {
	t.Helper()
	_, err := identify(t, p.j, p.now(), k.Sign(t, nil, claims(p.now(), "iss", p.URL)))
	return err
}

// fetches is how often the keys were asked for.
func (p *party) fetches() (n int) {
	for _, path := range p.Requests() {
		if path == "/keys" {
			n++
		}
	}
	return n
}

func TestTheFirstRequestWaitsForTheKeysOfADiscoveredIssuer(t *testing.T) {
	ca := harness.NewCA(t)
	issuer := harness.StartIssuer(t, ca)
	k := issuer.Publish(harness.NewKey(t, "a", "ES256"))
	p := follow(t, issuer, ca, nil)
	if err := p.asks(t, k); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(issuer.Requests(), " "); got != "/.well-known/openid-configuration /keys" {
		t.Errorf("it asked for %s", got)
	}
}

// A new key is asked for when it first shows, by one request of many, and not again for a while however many unknown ones are named.
func TestKeyRotation(t *testing.T) {
	ca := harness.NewCA(t)
	issuer := harness.StartIssuer(t, ca)
	old := issuer.Publish(harness.NewKey(t, "old", "ES256"))
	p := follow(t, issuer, ca, nil)
	if err := p.asks(t, old); err != nil {
		t.Fatal(err)
	}
	next := issuer.Publish(harness.NewKey(t, "next", "EdDSA"))
	for range 20 { // known keys cost nothing, and unknown ones neither so soon
		if err := p.asks(t, old); err != nil {
			t.Fatal(err)
		}
		if code := keybearer.CodeOf(p.asks(t, next)); code != keybearer.CallerUnauthenticated {
			t.Fatalf("got %q", code)
		}
	}
	if n := p.fetches(); n != 1 {
		t.Fatalf("the keys were asked for %d times", n)
	}
	p.move(10 * time.Second)
	for what, bad := range map[string]string{ // the issuer's keys are not at fault
		"signed by another with a known name": harness.NewKey(t, "old", "ES256").Sign(t, nil, claims(p.now(), "iss", p.URL)),
		"another algorithm":                   next.Sign(t, map[string]any{"kid": "old"}, claims(p.now(), "iss", p.URL)),
	} {
		if who, err := identify(t, p.j, p.now(), bad); who != "" || err == nil || p.fetches() != 1 {
			t.Errorf("%s: %q, %v; the keys were asked for %d times", what, who, err, p.fetches())
		}
	}
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 50 {
		wg.Go(func() {
			if p.asks(t, next) != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if n := p.fetches(); failed.Load() != 0 || n != 2 {
		t.Errorf("%d of 50 failed; the keys were asked for %d times", failed.Load(), n)
	}
	if err := p.asks(t, old); err != nil {
		t.Errorf("the old key beside the new one: %v", err)
	}

	// One that names no key may be by a new one, too.
	nameless := issuer.Publish(harness.NewKey(t, "", "ES384"))
	p.move(10 * time.Second)
	if err := p.asks(t, &harness.IssuerKey{Alg: "ES384", Private: nameless.Private}); err == nil {
		t.Error("an empty kid was taken")
	}
	if who, err := identify(t, p.j, p.now(), nameless.Sign(t, map[string]any{"kid": nil}, claims(p.now(), "iss", p.URL))); who != "billing" {
		t.Errorf("by a new key without a name: %v", err)
	}

	// A key that is withdrawn is believed no more, nor is a JWT that was found genuine by it.
	token := old.Sign(t, nil, claims(p.now(), "iss", p.URL))
	if who, _ := identify(t, p.j, p.now(), token); who != "billing" {
		t.Fatal("before it was withdrawn")
	}
	issuer.Withdraw()
	issuer.Publish(next)
	p.move(10 * time.Second)
	if err := p.asks(t, harness.NewKey(t, "unknown", "ES256")); err == nil { // has the keys asked for
		t.Fatal("a stranger's key")
	}
	if who, err := identify(t, p.j, p.now(), token); who != "" || keybearer.CodeOf(err) != keybearer.CallerUnauthenticated {
		t.Errorf("after it was withdrawn: %q, %v", who, err)
	}
}

// While the issuer is away its last known keys serve for a day; without any nobody is believed, and the answer says that it is not the JWT's fault.
func TestAnIssuerThatIsAway(t *testing.T) {
	ca := harness.NewCA(t)
	issuer := harness.StartIssuer(t, ca)
	k := issuer.Publish(harness.NewKey(t, "a", "ES256"))
	var ill atomic.Bool
	issuer.Answer(func(w http.ResponseWriter, _ *http.Request) bool {
		if ill.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return ill.Load()
	})
	p := follow(t, issuer, ca, nil)
	if err := p.asks(t, k); err != nil {
		t.Fatal(err)
	}
	ill.Store(true)
	p.move(23*time.Hour + 50*time.Minute)
	if err := p.asks(t, k); err != nil {
		t.Errorf("after 23 h 50 min: %v", err)
	}
	if err := p.asks(t, harness.NewKey(t, "b", "ES256")); keybearer.CodeOf(err) != keybearer.CallerUnauthenticated {
		t.Errorf("an unknown key meanwhile: %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	unknown := harness.NewKey(t, "c", "ES256").Sign(t, nil, claims(p.now(), "iss", p.URL))
	if _, err := p.j.Identify(gone, &keybearer.Evidence{Tokens: []string{unknown}, At: p.now()}); keybearer.CodeOf(err) != keybearer.CallerGone {
		t.Errorf("a caller that has gone, with an unknown key: %v", err)
	}
	p.move(10 * time.Minute)
	if err := p.asks(t, k); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("after a day: %v", err)
	}
	ill.Store(false)
	p.move(10 * time.Second)
	if err := p.asks(t, k); err != nil {
		t.Errorf("when it is back: %v", err)
	}

	ill.Store(true)
	late := follow(t, issuer, ca, nil)
	if err := late.asks(t, k); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("without any keys: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	token := k.Sign(t, nil, claims(late.now(), "iss", late.URL))
	if _, err := late.j.Identify(ctx, &keybearer.Evidence{Tokens: []string{token}, At: late.now()}); keybearer.CodeOf(err) != keybearer.CallerGone {
		t.Errorf("a caller that has gone: %v", err)
	}
}

// Whatever an issuer's server answers that is not its configuration and its keys, over a connection that is trusted, gives no keys.
func TestAnswersThatAreNoKeys(t *testing.T) {
	ca := harness.NewCA(t)
	answers := func(discovery, keys string, status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			body := keys
			if strings.HasPrefix(r.URL.Path, "/.well-known") {
				body = discovery
			}
			if body == "" {
				return false
			}
			if status >= 300 && status < 400 {
				w.Header().Set("Location", body)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		change func(*identity.IssuerConfig)
		answer func(url string) func(http.ResponseWriter, *http.Request) bool
	}{
		"another issuer": {answer: func(url string) func(http.ResponseWriter, *http.Request) bool {
			return answers(`{"issuer":"`+url+`/","jwks_uri":"`+url+`/keys"}`, "", 200)
		}},
		"no issuer": {answer: func(url string) func(http.ResponseWriter, *http.Request) bool {
			return answers(`{"jwks_uri":"`+url+`/keys"}`, "", 200)
		}},
		"keys in clear": {answer: func(url string) func(http.ResponseWriter, *http.Request) bool {
			return answers(`{"issuer":"`+url+`","jwks_uri":"`+strings.Replace(url, "https", "http", 1)+`/keys"}`, "", 200)
		}},
		"keys in a file": {answer: func(url string) func(http.ResponseWriter, *http.Request) bool {
			return answers(`{"issuer":"`+url+`","jwks_uri":"file:///etc/passwd"}`, "", 200)
		}},
		"a redirect of the discovery": {answer: func(url string) func(http.ResponseWriter, *http.Request) bool {
			return answers(url+"/other", "", 302)
		}},
		"a redirect of the keys": {answer: func(url string) func(http.ResponseWriter, *http.Request) bool {
			return answers("", url+"/other", 307)
		}},
		"no JSON":   {answer: func(string) func(http.ResponseWriter, *http.Request) bool { return answers("", "<html>", 200) }},
		"no keys":   {answer: func(string) func(http.ResponseWriter, *http.Request) bool { return answers("", "{}", 200) }},
		"not found": {answer: func(string) func(http.ResponseWriter, *http.Request) bool { return answers("", `{"keys":[]}`, 404) }},
		"much": {answer: func(string) func(http.ResponseWriter, *http.Request) bool {
			return answers("", string(harness.JWKS(signer(t, "ES256")))+strings.Repeat(" ", 1<<20), 200)
		}},
		"many": {answer: func(string) func(http.ResponseWriter, *http.Request) bool {
			return answers("", `{"keys":[`+strings.Repeat("{},", 64)+`{}]}`, 200)
		}},
		"a stranger":  {change: func(c *identity.IssuerConfig) { c.Roots = x509.NewCertPool() }},
		"no ca":       {change: func(c *identity.IssuerConfig) { c.CA = "/nonexistent" }},
		"another ca":  {change: func(c *identity.IssuerConfig) { c.CA = harness.NewCA(t).File }},
		"no token":    {change: func(c *identity.IssuerConfig) { c.JWKSURL, c.TokenFile = c.Issuer+"/keys", "/nonexistent" }},
		"nobody here": {change: func(c *identity.IssuerConfig) { c.JWKSURL = "https://" + harness.Address().String() + "/keys" }},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := harness.StartIssuer(t, ca)
			k := issuer.Publish(signer(t, "ES256"))
			plain := harness.StartServer(t, harness.ServerOptions{ // the same keys in clear
				Addr:    netip.AddrPortFrom(netip.MustParseAddr(strings.TrimPrefix(issuer.URL, "https://")), 80),
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(issuer.JWKS()) }),
			})
			if c.answer != nil {
				issuer.Answer(c.answer(issuer.URL))
			}
			p := follow(t, issuer, ca, c.change)
			if err := p.asks(t, k); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
				t.Errorf("got %v", err)
			}
			if plain.Len() > 0 {
				t.Error("the keys were asked for in clear")
			}
			for _, path := range issuer.Requests() {
				if path == "/other" {
					t.Error("the redirect was followed")
				}
			}
		})
	}
}

// As Kubernetes wants: the keys behind a bearer token, which is read from its file each time and sent to nobody else.
func TestKeysBehindAToken(t *testing.T) {
	ca := harness.NewCA(t)
	issuer := harness.StartIssuer(t, ca)
	k := issuer.Publish(harness.NewKey(t, "a", "RS256"))
	var want atomic.Value
	want.Store("Bearer first")
	issuer.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == want.Load() {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	file := harness.WriteFile(t, filepath.Join(t.TempDir(), "token"), []byte("first\n"))
	p := follow(t, issuer, ca, func(c *identity.IssuerConfig) { c.JWKSURL, c.TokenFile, c.CA = c.Issuer+"/keys", file, ca.File })
	if err := p.asks(t, k); err != nil {
		t.Fatal(err)
	}
	want.Store("Bearer second")
	harness.WriteFile(t, file, []byte("second"))
	next := issuer.Publish(harness.NewKey(t, "b", "RS256"))
	p.move(10 * time.Second)
	if err := p.asks(t, next); err != nil {
		t.Error(err)
	}
}

// A file is read again when it changes. While it is half written what it held before serves, and an empty set ends all belief.
func TestAFileOfKeysIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwks.json")
	a, b := harness.NewKey(t, "a", "ES256"), harness.NewKey(t, "b", "ES256")
	harness.WriteFile(t, file, harness.JWKS(a))
	j := openJWT(t, config(file), nobody{})
	proves := func(k *harness.IssuerKey) error {
		_, err := identify(t, j, time.Now(), k.Sign(t, nil, claims(time.Now())))
		return err
	}
	if err := proves(a); err != nil {
		t.Fatal(err)
	}
	await := func(what string, k *harness.IssuerKey, want keybearer.Code) {
		t.Helper()
		harness.Await(t, what, 10*time.Second, func() error {
			if err := proves(k); keybearer.CodeOf(err) != want {
				return fmt.Errorf("got %v", err)
			}
			return nil
		})
	}
	harness.WriteFile(t, file, harness.JWKS(a, b))
	await("the new key", b, "")
	harness.WriteFile(t, file, harness.JWKS(b)[:20])
	c := harness.NewKey(t, "c", "ES256")
	if err := proves(c); keybearer.CodeOf(err) != keybearer.CallerUnauthenticated { // and has the file read
		t.Errorf("got %v", err)
	}
	if err := errors.Join(proves(a), proves(b)); err != nil {
		t.Errorf("while the file is half written: %v", err)
	}
	harness.WriteFile(t, file, harness.JWKS(b))
	await("the end of the old key", a, keybearer.CallerUnauthenticated)
	if err := proves(b); err != nil {
		t.Error(err)
	}
	harness.WriteFile(t, file, []byte(`{"keys":[]}`))
	await("the end of all belief", b, keybearer.CallerUnauthenticated)
}

func TestConfigurationsThatCannotBeRight(t *testing.T) {
	good := keyFile(t, harness.NewKey(t, "a", "ES256"))
	for want, c := range map[string]identity.IssuerConfig{
		"no name":                   {Audience: ours, JWKSFile: good},
		"no audience":               {Issuer: iss, JWKSFile: good},
		"exclude each other":        {Issuer: iss, Audience: ours, JWKSFile: good, JWKSURL: iss},
		"sent to jwks_url":          {Issuer: iss, Audience: ours, TokenFile: good},
		"ca judges nothing":         {Issuer: iss, Audience: ours, JWKSFile: good, CA: good},
		"jwks_url is not an https":  {Issuer: iss, Audience: ours, JWKSURL: "http://idp.example.com/keys"},
		"the issuer is not an http": {Issuer: "http://idp.example.com", Audience: ours},
		"is not an https address":   {Issuer: "https://idp.example.com?x", Audience: ours},
		"is not one that Keybearer": {Issuer: iss, Audience: ours, JWKSFile: good, Algorithms: []string{"HS256"}},
		"an algorithm is not one":   {Issuer: iss, Audience: ours, JWKSFile: good, Algorithms: []string{"none"}},
		"cannot be read":            {Issuer: iss, Audience: ours, JWKSFile: "/nonexistent"},
		"not a JWK set":             {Issuer: iss, Audience: ours, JWKSFile: harness.WriteFile(t, filepath.Join(t.TempDir(), "x"), []byte("{}"))},
		"holds no key": {
			Issuer: iss, Audience: ours,
			JWKSFile: harness.WriteFile(t, filepath.Join(t.TempDir(), "x"), []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)),
		},
	} {
		i, err := identity.OpenIssuer(c)
		if err == nil {
			_ = i.Close()
		}
		if e := keybearer.AsError(err); keybearer.CodeOf(err) != keybearer.Invalid || !strings.Contains(e.Detail, want) || e.Hint == "" {
			t.Errorf("got %v, want one that says %q", err, want)
		}
	}
}
