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

// office is the console over the real embedded parts.
type office struct {
	*custody.Custody
	t     testing.TB
	store *sqlstore.Store
	pages http.Handler
}

// everything is an instance admin, as the admin socket makes them.
var everything = custody.Ask{Actor: custody.Actor{Subject: "user:uid-0", Roles: []string{keybearer.RoleInstanceAdmin}}}

func newOffice(t testing.TB) *office {
	t.Helper()
	dir := t.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() { // in memory where it can be
		if dir, err = os.MkdirTemp("/dev/shm", "office-*"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
	}
	o := &office{t: t}
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
	register := signin.NewRegister(nil)
	t.Cleanup(func() { _ = register.Close() })
	sessions := signin.New(signin.Config{Custody: o.Custody, Register: register})
	o.pages = console.New(console.Config{Custody: o.Custody, SignIn: sessions, Proxy: "127.0.0.1:9080"})
	return o
}

// scope makes a scope with a key, or only the key of global.
func (o *office) scope(name string) custody.Scope {
	o.t.Helper()
	if name != keybearer.GlobalScope {
		if _, err := o.CreateScope(o.t.Context(), everything, name, ""); err != nil {
			o.t.Fatal(err)
		}
	}
	s, err := o.GenerateKey(o.t.Context(), everything, name)
	if err != nil {
		o.t.Fatal(err)
	}
	return s
}

// make makes a credential, as change wants it.
func (o *office) make(scope, name string, change ...func(*custody.NewCredential)) custody.Credential {
	o.t.Helper()
	n := custody.NewCredential{
		Name: name, Kind: keybearer.Bearer, Secret: custody.Secret{Value: keybearer.NewSecret("s3cret")}, Rules: []custody.Destination{{Rule: "api.example.com"}},
	}
	for _, fn := range change {
		fn(&n)
	}
	c, err := o.CreateCredential(o.t.Context(), everything, scope, n)
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

func granting(subject keybearer.Subject, level keybearer.Level) func(*custody.NewCredential) {
	return func(n *custody.NewCredential) {
		n.Grants = append(n.Grants, keybearer.Grant{Subject: subject, Level: level})
	}
}

func (o *office) caller(name string, scopes ...string) {
	o.t.Helper()
	if _, _, err := o.CreateCaller(o.t.Context(), everything, custody.NewCaller{Name: name, Scopes: scopes}); err != nil {
		o.t.Fatal(err)
	}
}

// used records uses of a credential by a caller.
func (o *office) used(c custody.Credential, caller string, ago time.Duration) {
	o.t.Helper()
	err := o.store.RecordUses(context.Background(), []keybearer.UseRecord{
		{CredentialID: c.ID, Scope: c.Scope, Caller: caller, Host: "api.example.com:443", Status: 200, At: time.Now().Add(-ago)},
	}, keybearer.Checkpoint{})
	if err != nil {
		o.t.Fatal(err)
	}
}

// visitor is somebody with a browser.
type visitor struct {
	o       *office
	cookies []*http.Cookie
}

// signedIn is an operator with the roles, who is signed in.
func (o *office) signedIn(name string, roles ...string) *visitor {
	o.t.Helper()
	_, token, err := o.CreateOperator(o.t.Context(), everything, custody.NewOperator{Name: name, Roles: roles})
	if err != nil {
		o.t.Fatal(err)
	}
	v := &visitor{o: o}
	if r := v.post("/sign-in", "token", token.Reveal()); r.Code != http.StatusSeeOther {
		o.t.Fatalf("sign-in: %d", r.Code)
	}
	return v
}

// reply is what came back, its text as somebody reads it.
type reply struct {
	*httptest.ResponseRecorder
	html, text string
}

var (
	tags   = regexp.MustCompile(`(?s)<(script|style)[^>]*>.*?</(script|style)>|<[^>]*>`)
	blanks = regexp.MustCompile(`\s+`)
)

func (v *visitor) send(r *http.Request) reply {
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
	text := html.UnescapeString(tags.ReplaceAllString(body, " "))
	return reply{w, body, strings.TrimSpace(blanks.ReplaceAllString(text, " "))}
}

func (v *visitor) get(path string, header ...string) reply {
	v.o.t.Helper()
	r := httptest.NewRequestWithContext(v.o.t.Context(), http.MethodGet, "http://127.0.0.1:9081"+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return v.send(r)
}

// post sends a form of names and values.
func (v *visitor) post(path string, pairs ...string) reply {
	v.o.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return v.form(path, form)
}

func (v *visitor) form(path string, form url.Values, header ...string) reply {
	v.o.t.Helper()
	r := httptest.NewRequestWithContext(v.o.t.Context(), http.MethodPost, "http://127.0.0.1:9081"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return v.send(r)
}

// wants fails unless the answer has the status and holds the texts; those that begin with "!" it must not hold.
func (r reply) wants(t *testing.T, status int, texts ...string) {
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

// names are the credentials that a list shows, in its order.
func (r reply) names() []string {
	all := []string{}
	for _, m := range regexp.MustCompile(`<a href="/credentials/([a-z0-9-]+/[a-z0-9._-]+)">`).FindAllStringSubmatch(r.html, -1) {
		all = append(all, m[1])
	}
	return all
}

func scopeAdminOf(s custody.Scope) string { return fmt.Sprint(keybearer.RoleScopeAdmin, s.ID) }
