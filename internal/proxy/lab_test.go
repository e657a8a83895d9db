package proxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/internal/identity"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/metrics"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/policy"
)

// lab is a proxy on real parts: SQLite, the local keyring, an audit file, TLS destinations on loopback.
type lab struct {
	t       testing.TB
	store   keybearer.Store
	keyring keybearer.Keyring
	proxy   *Proxy
	log     *audit.Log
	clock   *clock

	scope  *keybearer.Scope
	caller *keybearer.Caller
	token  string

	destination *httptest.Server // TLS, HTTP/1.1 and 2
	seen        chan *http.Request
	bodies      chan string
	handle      func(http.ResponseWriter, *http.Request) // set to answer other than 200 "ok"
}

type clock struct {
	mu sync.Mutex
	d  time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.d)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.d += d
}

type labOption func(*lab, *Config)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newLab(t testing.TB, options ...labOption) *lab {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, clock: &clock{}, seen: make(chan *http.Request, 1000), bodies: make(chan string, 1000)}
	l.store = must(sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "keybearer.db")))
	l.keyring = must(localkeys.Open(localkeys.Config{Path: filepath.Join(dir, "keyring.key")}))
	l.log = must(audit.OpenFile(filepath.Join(dir, "audit.jsonl"), audit.Options{}))

	l.destination = httptest.NewUnstartedServer(http.HandlerFunc(l.record))
	l.destination.EnableHTTP2 = true
	l.destination.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	l.destination.StartTLS()
	t.Cleanup(l.destination.Close)
	roots := x509.NewCertPool()
	roots.AddCert(l.destination.Certificate())

	config := Config{
		Store: l.store, Keyring: l.keyring, Auditor: l.log, Roots: roots, Now: l.clock.now,
		Dialer: dial.New(dial.Config{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}),
		Logger: slog.New(slog.DiscardHandler), Meter: metrics.New("test"),
	}
	for _, o := range options {
		o(l, &config)
	}
	if config.Identities == nil {
		callers := identity.NewCallers(config.Store, time.Minute, config.Now)
		config.Identities = []keybearer.Identity{identity.Token{Callers: callers}, identity.Fixed{Callers: callers}}
		t.Cleanup(callers.Close)
	}
	l.proxy = must(New(config))
	t.Cleanup(func() {
		l.proxy.Close()
		l.log.Close()
		l.keyring.Close()
		l.store.Close()
	})
	l.scope = l.newScope("docs")
	l.caller, l.token = l.newCaller("billing", l.scope.ID)
	return l
}

func (l *lab) record(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	l.seen <- r
	l.bodies <- string(b)
	if l.handle != nil {
		l.handle(w, r)
		return
	}
	_, _ = io.WriteString(w, "ok")
}

// oneOne makes the destination speak HTTP/1.1 only.
func (l *lab) oneOne() { l.destination.TLS.NextProtos = []string{"http/1.1"} }

func (l *lab) commit(writes ...keybearer.Write) uint64 {
	l.t.Helper()
	seq, err := l.store.Commit(context.Background(), keybearer.Batch{Writes: writes})
	if err != nil {
		l.t.Fatal(err)
	}
	return seq
}

func (l *lab) newScope(name string) *keybearer.Scope {
	l.t.Helper()
	share := make([]byte, 32)
	_, _ = rand.Read(share)
	now := l.clock.now()
	s := &keybearer.Scope{
		ID: keybearer.NewID(keybearer.IDScope), Name: name, Generation: 1, CreatedAt: now,
		Key: &keybearer.ScopeKey{Name: "kb-" + name, Generation: 1, Version: 1, Share: share, CreatedAt: now},
	}
	if err := l.keyring.CreateKey(context.Background(), s.Key.Name); err != nil {
		l.t.Fatal(err)
	}
	s.Revision = l.commit(keybearer.Write{Scope: s})
	return s
}

func (l *lab) newCaller(name string, scopes ...string) (*keybearer.Caller, string) {
	l.t.Helper()
	secret, token := keybearer.NewToken(keybearer.CallerTokenPrefix, l.clock.now())
	c := &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: name, Scopes: scopes, Tokens: []keybearer.Token{token}, CreatedAt: l.clock.now()}
	c.Revision = l.commit(keybearer.Write{Caller: c})
	return c, secret.Reveal()
}

// credential stores a credential of the lab's scope with a grant for the lab's caller; edit changes it before it is sealed.
func (l *lab) credential(name string, terms keybearer.Terms, secret string, edit ...func(*keybearer.Credential, *keybearer.Bundle)) *keybearer.Credential {
	l.t.Helper()
	now := l.clock.now()
	c := &keybearer.Credential{
		ID: keybearer.NewID(keybearer.IDCredential), ScopeID: l.scope.ID, Name: name, CreatedAt: now,
		Grants:  []keybearer.Grant{{Subject: keybearer.AppSubject("billing"), Level: keybearer.Use}},
		Current: keybearer.Version{Number: 1, Generation: 1, Terms: terms, CreatedAt: now},
	}
	b := &keybearer.Bundle{Terms: terms, Username: "user", Secret: keybearer.NewSecret(secret)}
	for _, e := range edit {
		e(c, b)
	}
	if secret != "" {
		l.seal(c, b)
	}
	c.Revision = l.commit(keybearer.Write{Credential: c})
	return c
}

func (l *lab) seal(c *keybearer.Credential, b *keybearer.Bundle) {
	l.t.Helper()
	sc := must(keybearer.NewSealContext(l.scope.ID, c.Current.Generation, c.ID, c.Current.Number, l.scope.Key.Share))
	c.Current.Sealed = must(l.keyring.Seal(context.Background(), l.scope.Key.Name, sc, must(b.Encode())))
}

// update commits a changed copy of c.
func (l *lab) update(c *keybearer.Credential, change func(*keybearer.Credential)) *keybearer.Credential {
	l.t.Helper()
	d := must(l.store.Credential(context.Background(), keybearer.Ref{Scope: c.ScopeID, Name: c.ID})).Clone()
	change(d)
	d.Revision = l.commit(keybearer.Write{Credential: d})
	return d
}

// bearer gives terms for the lab's destination.
func (l *lab) bearer(methods ...string) keybearer.Terms {
	return keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(l.destination.URL, methods...)}
}

func (l *lab) rules(text string, methods ...string) []keybearer.Rule {
	return []keybearer.Rule{must(policy.ParseRule(text, methods, true))}
}

// plain is the destination's address as an app in proxy mode writes it.
func (l *lab) plain() string { return "http" + strings.TrimPrefix(l.destination.URL, "https") }

// serve starts the proxy for a route and returns its address.
func (l *lab) serve(r Route) string {
	l.t.Helper()
	h := must(l.proxy.Handler(r))
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.Start()
	l.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// tunnels are those of the one route that is served.
func (l *lab) tunnels() *tunnels {
	for h := range l.proxy.handlers {
		return h.tunnels
	}
	return nil
}

// client is an app that uses the proxy.
func (l *lab) client(addr string) *http.Client {
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: addr}), DisableCompression: true}
	l.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (l *lab) request(method, target, credential string, body io.Reader) *http.Request {
	l.t.Helper()
	r := must(http.NewRequestWithContext(l.t.Context(), method, target, body))
	r.Header.Set("Keybearer-Credential", credential)
	r.Header.Set("Proxy-Authorization", "Bearer "+l.token)
	return r
}

// events waits until the audit log holds so many outcomes and returns all its events.
func (l *lab) events(outcomes int) (all []keybearer.Event) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for entry := range l.log.Subscribe(ctx, 1000, nil) {
		if entry.Lost > 0 {
			l.t.Fatalf("%d events were lost on the way to the test", entry.Lost)
		}
		all = append(all, entry.Event)
		if entry.Event.Phase == keybearer.Outcome {
			outcomes--
		}
		if outcomes == 0 {
			return all
		}
	}
	l.t.Fatalf("%d more outcomes were expected in the audit log: %+v", outcomes, all)
	return nil
}

// raw sends bytes to addr and reads one answer.
func raw(t testing.TB, addr, text string) (*http.Response, string) {
	t.Helper()
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// serveUntrusted starts a TLS server whose certificate no root of the lab has signed.
func serveUntrusted(t testing.TB) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = selfSigned(t)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func selfSigned(t testing.TB) *tls.Config {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
