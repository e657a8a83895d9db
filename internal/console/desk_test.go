package console_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/console"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/signin"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// desk is the console over the real embedded parts, as far as signing in needs them.
type desk struct {
	*custody.Custody
	http.Handler
	t        *testing.T
	log      *audit.Log
	said     lockedBuffer // by the server's own log
	register *signin.Register
	provider *signin.Provider
	issuer   *issuer // nil: none
	config   console.Config
	idle     time.Duration

	mu    sync.Mutex
	late  time.Duration // by which the clock of the register and the provider is
	shown bytes.Buffer  // all that was ever sent to a browser, cookies apart
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var root = custody.Ask{Actor: custody.Actor{Subject: "user:uid-0", Roles: []string{keybearer.RoleInstanceAdmin}}}

const home = "http://127.0.0.1:9081"

// newDesk opens the parts.
func newDesk(t *testing.T, change ...func(*desk)) *desk {
	t.Helper()
	parent := t.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if parent, err = os.MkdirTemp("/dev/shm", "desk-*"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(parent) })
	}
	d := &desk{t: t}
	d.register = signin.NewRegister(d.now)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { must(d.register.Close()) })
	store, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(parent, "kb.db"))
	must(err)
	t.Cleanup(func() { _ = store.Close() })
	keyring, err := localkeys.Open(localkeys.Config{Path: filepath.Join(parent, "keyring.key")})
	must(err)
	t.Cleanup(func() { _ = keyring.Close() })
	d.log, err = audit.OpenFile(filepath.Join(parent, "audit.jsonl"), audit.Options{})
	must(err)
	t.Cleanup(func() { _ = d.log.Close() })
	d.Custody, err = custody.New(custody.Config{Store: store, Keyring: keyring, Auditor: d.log, Ledger: store})
	must(err)
	t.Cleanup(func() { _ = d.Close() })
	must(d.Resume(t.Context()))
	d.configure(change...)
	return d
}

func (d *desk) now() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Add(d.late)
}

// wait moves that clock.
func (d *desk) wait(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.late += by
}

// configure puts another configuration over the same core, as a reload does.
func (d *desk) configure(change ...func(*desk)) {
	for _, fn := range change {
		fn(d)
	}
	logger := slog.New(slog.NewTextHandler(&d.said, nil))
	d.config.Custody, d.config.Logger = d.Custody, logger
	d.config.SignIn = signin.New(signin.Config{Custody: d.Custody, Register: d.register, Provider: d.provider, Logger: logger, Idle: d.idle})
	d.Handler = console.New(d.config)
}

// operator makes an instance admin and returns their token.
func (d *desk) operator(name string) string {
	d.t.Helper()
	_, token, err := d.CreateOperator(d.t.Context(), root, custody.NewOperator{Name: name, Roles: []string{keybearer.RoleInstanceAdmin}})
	if err != nil {
		d.t.Fatal(err)
	}
	return token.Reveal()
}

// events are those of the audit log about operators, the oldest first.
func (d *desk) events() []keybearer.Event {
	d.t.Helper()
	if err := d.log.Record(d.t.Context(), &keybearer.Event{Kind: "flush"}); err != nil {
		d.t.Fatal(err)
	}
	all, err := audit.Tail(d.t.Context(), d.log.Path(), 1000, func(e *keybearer.Event) bool { return strings.HasPrefix(e.Action, "operator.") })
	if err != nil {
		d.t.Fatal(err)
	}
	return all
}

// actions counts the events by action and decision.
func (d *desk) actions() map[string]int {
	d.t.Helper()
	count := map[string]int{}
	for _, e := range d.events() {
		if e.Action != "operator.create" {
			count[strings.TrimPrefix(e.Action, "operator.")+" "+e.Decision]++
		}
	}
	return count
}

// leaks returns those of the texts that are found where none may be.
func (d *desk) leaks(texts ...string) (found []string) {
	d.t.Helper()
	lines, err := os.ReadFile(d.log.Path())
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for place, text := range map[string]string{"audit": string(lines), "log": d.said.String(), "pages": d.shown.String()} {
		for _, secret := range texts {
			if secret == "" || strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
				found = append(found, place+": "+secret)
			}
		}
	}
	return found
}

// browser keeps cookies as browsers do.
type browser struct {
	d       *desk
	cookies map[string]*http.Cookie
	address string // that it comes from
	last    string // page that it is on
}

func (d *desk) browser() *browser {
	return &browser{d: d, cookies: map[string]*http.Cookie{}, address: "127.0.0.1:40000"}
}

// page is an answer.
type page struct {
	*http.Response
	body string
}

func (p page) has(texts ...string) bool {
	for _, text := range texts {
		if !strings.Contains(p.body, text) {
			return false
		}
	}
	return true
}

func (b *browser) get(path string, change ...func(*http.Request)) page {
	b.d.t.Helper()
	return b.send(http.MethodGet, path, nil, change...)
}

func (b *browser) post(path string, pairs ...string) page {
	b.d.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.send(http.MethodPost, path, form)
}

// crossSite makes a request that another site's page caused.
func crossSite(r *http.Request) {
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// send sends one request, and follows nothing.
func (b *browser) send(method, path string, form url.Values, change ...func(*http.Request)) page {
	b.d.t.Helper()
	address := path
	if strings.HasPrefix(path, "/") {
		address = home + path
	}
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(b.d.t.Context(), method, address, body)
	r.RemoteAddr = b.address
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", home)
	}
	if b.last != "" {
		r.Header.Set("Referer", b.last)
	}
	for _, fn := range change {
		fn(r)
	}
	for _, c := range b.cookies {
		if r.Header.Get("Sec-Fetch-Site") != "cross-site" || c.SameSite == http.SameSiteLaxMode && method == http.MethodGet {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	w := httptest.NewRecorder()
	b.d.ServeHTTP(w, r)
	res := w.Result()
	for _, c := range res.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-keybearer") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
			b.d.t.Errorf("cookie %s", c)
		}
		if c.Name == signin.CookieName && c.SameSite != http.SameSiteStrictMode {
			b.d.t.Errorf("the session's cookie is sent to whom another site sends: %s", c)
		}
		if delete(b.cookies, c.Name); c.MaxAge >= 0 {
			b.cookies[c.Name] = c
		}
	}
	p := page{res, w.Body.String()}
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	for name, values := range res.Header {
		if name != "Set-Cookie" && name != "Location" {
			b.d.shown.WriteString(name + ": " + strings.Join(values, ", ") + "\n")
		}
	}
	b.d.shown.WriteString(p.body)
	return p
}

// signIn signs in with a token.
func (b *browser) signIn(token string) {
	b.d.t.Helper()
	if p := b.post("/sign-in", "token", token); p.StatusCode != http.StatusSeeOther {
		b.d.t.Fatalf("sign-in: %d %s", p.StatusCode, p.body)
	}
}

// in reports whether the browser is signed in.
func (b *browser) in() bool {
	b.d.t.Helper()
	p := b.get("/account")
	switch {
	case p.StatusCode == http.StatusOK && p.has("Who you are here"):
		return true
	case p.StatusCode == http.StatusSeeOther && p.Header.Get("Location") == "/sign-in?next=%2Faccount":
		return false
	}
	b.d.t.Fatalf("account: %d %s", p.StatusCode, p.body)
	return false
}

func (b *browser) session() string {
	if c := b.cookies[signin.CookieName]; c != nil {
		return c.Value
	}
	return ""
}

// issuer is a provider that says what the test wants.
type issuer struct {
	*harness.Issuer
	key    *harness.IssuerKey
	mu     sync.Mutex
	claims map[string]any    // beside those that are always right; nil values remove
	header map[string]any    // of the ID token
	asked  url.Values        // of the last request to the token endpoint
	basic  [2]string         // user and password of that request
	secret string            // of the client
	codes  map[string]string // the nonce, by code that was not redeemed
	answer func(w http.ResponseWriter, r *http.Request) bool
	about  map[string]any // what discovery says beside
}

const clientID = "keybearer"

// withProvider has operators sign in at a provider.
func withProvider(change ...func(*signin.ProviderConfig)) func(*desk) {
	return func(d *desk) {
		d.t.Helper()
		ca := harness.NewCA(d.t)
		i := &issuer{Issuer: harness.StartIssuer(d.t, ca), key: harness.NewKey(d.t, "k1", "ES256"), secret: "client-secret-canary", codes: map[string]string{}}
		i.Publish(i.key)
		i.Answer(i.serve)
		cfg := signin.ProviderConfig{
			Issuer: i.URL, ClientID: clientID, Redirect: home + signin.CallbackPath, CA: ca.File, GroupsClaim: "groups", UserClaim: "email",
			Secret:         func() (keybearer.Secret, error) { return keybearer.NewSecret(i.secret), nil },
			InstanceAdmins: []string{"platform"}, ScopeAdmins: map[string][]string{"docs": {"docs-admins"}}, Now: d.now,
		}
		for _, fn := range change {
			fn(&cfg)
		}
		var err error
		if d.provider, err = signin.NewProvider(cfg); err != nil {
			d.t.Fatal(err)
		}
		d.issuer = i
	}
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.answer != nil && i.answer(w, r) {
		return true
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		about := map[string]any{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		}
		maps.Copy(about, i.about)
		_ = json.NewEncoder(w).Encode(about)
	case "/token":
		_ = r.ParseForm()
		i.asked = r.PostForm
		i.basic[0], i.basic[1], _ = r.BasicAuth()
		nonce, ok := i.codes[r.PostForm.Get("code")]
		delete(i.codes, r.PostForm.Get("code"))
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"`+r.PostForm.Get("code")+`"}`)
			return true
		}
		now := time.Now()
		claims := map[string]any{
			"iss": i.URL, "aud": clientID, "sub": "1", "exp": now.Add(time.Minute).Unix(), "iat": now.Unix(), "nonce": nonce,
			"email": "ann@example.com", "email_verified": true, "groups": []string{"platform"}, "auth_time": now.Unix(),
		}
		maps.Copy(claims, i.claims)
		maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": i.key.Sign(panicker{}, i.header, claims)})
	default:
		return false
	}
	return true
}

// panicker is what a handler has in the place of a test.
type panicker struct{ harness.TB }

func (panicker) Helper() {}

func (panicker) Fatalf(format string, _ ...any) { panic(errors.New(format)) }

// say sets what the provider says from now on.
func (i *issuer) say(claims map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.claims = claims
}

// leave begins a sign-in and returns what the browser was sent to the provider with.
func (b *browser) leave(path string) url.Values {
	b.d.t.Helper()
	p := b.get(path)
	to, err := url.Parse(p.Header.Get("Location"))
	if err != nil || p.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to.String(), b.d.issuer.URL+"/authorize?") {
		b.d.t.Fatalf("%d to %s: %s", p.StatusCode, to, p.body)
	}
	return to.Query()
}

// code makes the provider's answer to what it was asked.
func (i *issuer) code(asked url.Values) url.Values {
	i.mu.Lock()
	defer i.mu.Unlock()
	code := "code-canary-" + asked.Get("nonce")[:8]
	i.codes[code] = asked.Get("nonce")
	return url.Values{"code": {code}, "state": {asked.Get("state")}}
}

// comeBack sends the browser back, as one that does not send the session's cookie along chains of redirects.
func (b *browser) comeBack(answer url.Values) page {
	b.d.t.Helper()
	path := signin.CallbackPath + "?" + answer.Encode()
	p := b.get(path, crossSite)
	if p.has(`http-equiv="refresh" content="0">`) {
		return b.get(path)
	}
	return p
}

// arrived reports whether that went well.
func arrived(p page) bool {
	return p.StatusCode == http.StatusOK && p.has(`http-equiv="refresh" content="0; url=/sign-in?kept=1&amp;next=`)
}

// serve has a handler answer a request with a cookie.
func serve(t *testing.T, h http.Handler, c *http.Cookie) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, home+"/", nil)
	r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	h.ServeHTTP(httptest.NewRecorder(), r)
}
