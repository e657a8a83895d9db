package console_test

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/console"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/signin"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// bureau is the console over the real embedded parts.
type bureau struct {
	*custody.Custody
	t     *testing.T
	store *sqlstore.Store
	pages http.Handler
}

// asRoot is an instance admin, as the admin socket makes them.
var asRoot = custody.Ask{Actor: custody.Actor{Subject: "user:uid-0", Roles: []string{keybearer.RoleInstanceAdmin}}}

func newBureau(t *testing.T) *bureau {
	t.Helper()
	dir := t.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() { // in memory where it can be
		if dir, err = os.MkdirTemp("/dev/shm", "bureau-*"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
	}
	o := &bureau{t: t}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	o.store, err = sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "kb.db"))
	must(err)
	t.Cleanup(func() { _ = o.store.Close() })
	keyring, err := localkeys.Open(localkeys.Config{Path: filepath.Join(dir, "keyring.key")})
	must(err)
	t.Cleanup(func() { _ = keyring.Close() })
	log, err := audit.OpenFile(filepath.Join(dir, "audit.jsonl"), audit.Options{})
	must(err)
	t.Cleanup(func() { _ = log.Close() })
	o.Custody, err = custody.New(custody.Config{Store: o.store, Keyring: keyring, Auditor: log, Ledger: o.store})
	must(err)
	t.Cleanup(func() { _ = o.Custody.Close() })
	must(o.Resume(t.Context()))
	sessions := signin.New(signin.Config{Custody: o.Custody})
	t.Cleanup(func() { _ = sessions.Close() })
	o.pages = console.New(console.Config{Custody: o.Custody, SignIn: sessions, Proxy: "127.0.0.1:9080"})
	return o
}

// scope makes a scope with a key, or only the key of global.
func (o *bureau) scope(name string) custody.Scope {
	o.t.Helper()
	if name != keybearer.GlobalScope {
		if _, err := o.CreateScope(o.t.Context(), asRoot, name, ""); err != nil {
			o.t.Fatal(err)
		}
	}
	s, err := o.GenerateKey(o.t.Context(), asRoot, name)
	if err != nil {
		o.t.Fatal(err)
	}
	return s
}

// make makes a credential, as change wants it.
func (o *bureau) make(scope, name string, change ...func(*custody.NewCredential)) custody.Credential {
	o.t.Helper()
	n := custody.NewCredential{
		Name: name, Kind: keybearer.Bearer, Secret: custody.Secret{Value: keybearer.NewSecret("s3cret")}, Rules: []custody.Destination{{Rule: "api.example.com"}},
	}
	for _, fn := range change {
		fn(&n)
	}
	c, err := o.CreateCredential(o.t.Context(), asRoot, scope, n)
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// used records uses of a credential by a caller.
func (o *bureau) used(c custody.Credential, caller string, ago time.Duration) {
	o.t.Helper()
	err := o.store.RecordUses(context.Background(), []keybearer.UseRecord{
		{CredentialID: c.ID, Caller: caller, Host: "api.example.com:443", Status: 200, At: time.Now().Add(-ago)},
	}, keybearer.Checkpoint{})
	if err != nil {
		o.t.Fatal(err)
	}
}

// guest is somebody with a browser.
type guest struct {
	o       *bureau
	cookies []*http.Cookie
}

// signedIn is an operator with the roles, who is signed in.
func (o *bureau) signedIn(name string, roles ...string) *guest {
	o.t.Helper()
	_, token, err := o.CreateOperator(o.t.Context(), asRoot, custody.NewOperator{Name: name, Roles: roles})
	if err != nil {
		o.t.Fatal(err)
	}
	v := &guest{o: o}
	if r := v.post("/sign-in", "token", token.Reveal()); r.Code != http.StatusSeeOther {
		o.t.Fatalf("sign-in: %d", r.Code)
	}
	return v
}

// sheet is what came back, its text as somebody reads it.
type sheet struct {
	*httptest.ResponseRecorder
	html, text string
}

var (
	markup = regexp.MustCompile(`(?s)<(script|style)[^>]*>.*?</(script|style)>|<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
)

func (v *guest) send(r *http.Request) sheet {
	v.o.t.Helper()
	for _, c := range v.cookies {
		r.AddCookie(c)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	v.o.pages.ServeHTTP(w, r)
	if set := w.Result().Cookies(); len(set) > 0 {
		v.cookies = set
	}
	body := w.Body.String()
	text := html.UnescapeString(markup.ReplaceAllString(body, " "))
	return sheet{w, body, strings.TrimSpace(spaces.ReplaceAllString(text, " "))}
}

func (v *guest) get(path string, header ...string) sheet {
	v.o.t.Helper()
	r := httptest.NewRequestWithContext(v.o.t.Context(), http.MethodGet, "http://127.0.0.1:9081"+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return v.send(r)
}

// post sends a form of names and values.
func (v *guest) post(path string, pairs ...string) sheet {
	v.o.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return v.form(path, form)
}

func (v *guest) form(path string, form url.Values, header ...string) sheet {
	v.o.t.Helper()
	r := httptest.NewRequestWithContext(v.o.t.Context(), http.MethodPost, "http://127.0.0.1:9081"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return v.send(r)
}

// wants fails unless the answer has the status and holds the texts; those that begin with "!" it must not hold.
func (r sheet) wants(t *testing.T, status int, texts ...string) {
	t.Helper()
	if r.Code != status {
		t.Fatalf("the answer is %d, not %d: %s", r.Code, status, r.text)
	}
	for _, text := range texts {
		if absent, not := strings.CutPrefix(text, "!"); not == (strings.Contains(r.text, absent) || strings.Contains(r.html, absent)) {
			t.Errorf("%q: %s", text, r.text)
		}
	}
}

func adminOf(s custody.Scope) string { return fmt.Sprint(keybearer.RoleScopeAdmin, s.ID) }
