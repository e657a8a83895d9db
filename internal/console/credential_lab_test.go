package console

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/signin"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// canary is the secret of every credential here: no page may show it.
const canary = "c4nary-s3cret-0451"

// town is a console over real parts, with the scope docs, the callers billing and sync, and operators who sign in by their names.
type town struct {
	t       *testing.T
	custody *custody.Custody
	store   *sqlstore.Store
	server  *httptest.Server
	root    custody.Actor
	tokens  map[string]keybearer.Secret
	sent    []custody.Probe // that were sent
}

// trail reads the log back.
type trail struct{ log *audit.Log }

func (t trail) Backwards(ctx context.Context, visit func(*keybearer.Event) bool) error {
	return audit.Backwards(ctx, t.log.Path(), visit)
}

func (t trail) Subscribe(ctx context.Context, keep func(*keybearer.Event) bool) iter.Seq[keybearer.Event] {
	return func(yield func(keybearer.Event) bool) {
		for e := range t.log.Subscribe(ctx, 0, keep) {
			if !yield(e.Event) {
				return
			}
		}
	}
}

func get[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newTown(t *testing.T) *town {
	t.Helper()
	dir := t.TempDir()
	if memory, err := os.MkdirTemp("/dev/shm", "kb"); err == nil { // where commits are quick
		dir = memory
		t.Cleanup(func() { _ = os.RemoveAll(memory) })
	}
	dir = filepath.Join(dir, "kb")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := &town{t: t, tokens: map[string]keybearer.Secret{}, root: custody.Actor{Subject: "user:root", Roles: []string{keybearer.RoleInstanceAdmin}}}
	w.store = get[*sqlstore.Store](t)(sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "kb.db")))
	t.Cleanup(func() { _ = w.store.Close() })
	keyring := get[*localkeys.Keyring](t)(localkeys.Open(localkeys.Config{Path: filepath.Join(dir, "keyring.key")}))
	t.Cleanup(func() { _ = keyring.Close() })
	log := get[*audit.Log](t)(audit.OpenFile(filepath.Join(dir, "audit.jsonl"), audit.Options{}))
	t.Cleanup(func() { _ = log.Close() })
	w.custody = get[*custody.Custody](t)(custody.New(custody.Config{Store: w.store, Keyring: keyring, Auditor: log, Ledger: w.store}))
	t.Cleanup(func() { _ = w.custody.Close() })
	register := signin.NewRegister(nil)
	t.Cleanup(func() { _ = register.Close() })
	sessions := signin.New(signin.Config{Custody: w.custody, Register: register})
	w.server = httptest.NewTLSServer(New(Config{
		Custody: w.custody, SignIn: sessions, Audit: trail{log}, Proxy: "127.0.0.1:9080",
		Probe: func(_ context.Context, p custody.Probe) (custody.Probed, error) {
			w.sent = append(w.sent, p)
			return custody.Probed{RequestID: "req_1", Status: 204, Fields: []string{"Date"}}, nil
		},
	}))
	t.Cleanup(w.server.Close)

	ctx, ask := t.Context(), w.by(w.root)
	get[custody.Scope](t)(w.custody.CreateScope(ctx, ask, "docs", ""))
	get[custody.Scope](t)(w.custody.GenerateKey(ctx, ask, "docs"))
	for _, name := range []string{"billing", "sync"} {
		if _, _, err := w.custody.CreateCaller(ctx, ask, custody.NewCaller{Name: name, Scopes: []string{"docs"}, NoToken: true}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *town) by(a custody.Actor) custody.Ask { return custody.Ask{Actor: a} }

// operator makes one, and returns who they are to custody.
func (w *town) operator(name string, roles ...string) custody.Actor {
	w.t.Helper()
	_, token, err := w.custody.CreateOperator(w.t.Context(), w.by(w.root), custody.NewOperator{Name: name, Roles: roles, Groups: []string{"g-" + name}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.tokens[name] = token
	proof := get[custody.Proof](w.t)(w.custody.Prove(w.t.Context(), token))
	return get[custody.Actor](w.t)(w.custody.ActorByProof(w.t.Context(), proof))
}

// credential makes one in docs, with grants as "app:billing use" beside that of root.
func (w *town) credential(name string, grants ...string) keybearer.Ref {
	w.t.Helper()
	n := custody.NewCredential{
		Name: name, Kind: keybearer.Bearer, Secret: secret, Description: "of " + name,
		Rules: []custody.Destination{{Rule: "api.example.com/v1"}, {Rule: "*.crm.example.com", Methods: []string{"GET", "POST"}}},
	}
	for _, g := range grants {
		subject, text, _ := strings.Cut(g, " ")
		n.Grants = append(n.Grants, keybearer.Grant{Subject: keybearer.Subject(subject), Level: get[keybearer.Level](w.t)(keybearer.ParseLevel(text))})
	}
	get[custody.Credential](w.t)(w.custody.CreateCredential(w.t.Context(), w.by(w.root), "docs", n))
	return keybearer.Ref{Scope: "docs", Name: name}
}

var secret = custody.Secret{Value: keybearer.NewSecret(canary)}

func (w *town) grant(ref keybearer.Ref, grants ...string) {
	w.t.Helper()
	for _, g := range grants {
		subject, text, _ := strings.Cut(g, " ")
		level := get[keybearer.Level](w.t)(keybearer.ParseLevel(text))
		get[custody.Credential](w.t)(w.custody.SetGrant(w.t.Context(), w.by(w.root), ref, keybearer.Subject(subject), level))
	}
}

func (w *town) now(ref keybearer.Ref) custody.Credential {
	w.t.Helper()
	return get[custody.Credential](w.t)(w.custody.Credential(w.t.Context(), w.by(w.root), ref))
}

// person is a browser in which an operator is signed in.
type person struct {
	*town
	client *http.Client
}

func (w *town) signIn(name string) *person {
	w.t.Helper()
	jar := get[*cookiejar.Jar](w.t)(cookiejar.New(nil))
	p := &person{w, &http.Client{
		Transport: w.server.Client().Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if a := p.post("/sign-in", url.Values{"token": {w.tokens[name].Reveal()}}); a.status != http.StatusSeeOther {
		w.t.Fatalf("signing in as %s: %d", name, a.status)
	}
	return p
}

// answer is a page, or where to go.
type answer struct {
	t      *testing.T
	path   string
	status int
	to     string
	body   string
}

func (p *person) get(path string) *answer {
	p.t.Helper()
	return p.do(get[*http.Request](p.t)(http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.server.URL+path, nil)))
}

func (p *person) post(path string, form url.Values) *answer {
	p.t.Helper()
	r := get[*http.Request](p.t)(http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.server.URL+path, strings.NewReader(form.Encode())))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return p.do(r)
}

func (p *person) do(r *http.Request) *answer {
	p.t.Helper()
	resp := get[*http.Response](p.t)(p.client.Do(r))
	defer resp.Body.Close()
	a := &answer{p.t, r.URL.RequestURI(), resp.StatusCode, resp.Header.Get("Location"), string(get[[]byte](p.t)(io.ReadAll(resp.Body)))}
	if strings.Contains(a.body, canary) || strings.Contains(fmt.Sprint(resp.Header), canary) {
		p.t.Errorf("%s %s: the answer holds the secret", r.Method, r.URL)
	}
	if a.status >= 500 {
		p.t.Errorf("%s %s: %d %s", r.Method, r.URL, a.status, a.body)
	}
	return a
}

// has reports whether the text stands in the page, as it is shown.
func (a *answer) has(text string) bool {
	return strings.Contains(strings.Join(strings.Fields(html.UnescapeString(a.text())), " "), text)
}

func (a *answer) wants(texts ...string) *answer {
	a.t.Helper()
	for _, text := range texts {
		if !a.has(text) {
			a.t.Errorf("%s (%d) does not say %q", a.path, a.status, text)
		}
	}
	return a
}

// walk visits the elements of the page.
func (a *answer) walk(visit func(*html.Node)) {
	root := get[*html.Node](a.t)(html.Parse(strings.NewReader(a.body)))
	for n := range root.Descendants() {
		visit(n)
	}
}

func (a *answer) text() string {
	var b strings.Builder
	a.walk(func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data + " ")
		}
	})
	return b.String()
}

func attribute(n *html.Node, name string) (string, bool) {
	i := slices.IndexFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
	if i < 0 {
		return "", false
	}
	return n.Attr[i].Val, true
}

// form is what a browser would send of the form with that action, as it stands in the page; nil when it is not there. Of several with the same
// action it is the one that asks whether somebody is sure, or else the last.
func (a *answer) form(action string) url.Values {
	var form url.Values
	a.walk(func(f *html.Node) {
		to, _ := attribute(f, "action")
		to, _, _ = strings.Cut(to, "#")
		if method, _ := attribute(f, "method"); f.Data != "form" || to != action || method != "post" || form.Has("sure") {
			return
		}
		form = url.Values{}
		for n := range f.Descendants() {
			name, named := attribute(n, "name")
			if !named {
				continue
			}
			value, _ := attribute(n, "value")
			kind, _ := attribute(n, "type")
			_, checked := attribute(n, "checked")
			switch {
			case n.Data == "input" && (kind == "checkbox" || kind == "radio") && !checked:
			case n.Data == "input":
				form.Add(name, value)
			case n.Data == "textarea" && n.FirstChild != nil:
				form.Add(name, strings.TrimPrefix(n.FirstChild.Data, "\n"))
			case n.Data == "select":
				for o := range n.Descendants() {
					if _, selected := attribute(o, "selected"); o.Data == "option" && (selected || !form.Has(name)) {
						v, _ := attribute(o, "value")
						form.Set(name, v)
					}
				}
			}
		}
	})
	return form
}

// need is form, which has to be there; pairs are what is typed into it.
func (a *answer) need(action string, pairs ...string) url.Values {
	a.t.Helper()
	form := a.form(action)
	if form == nil {
		a.t.Fatalf("%s (%d) has no form for %s", a.path, a.status, action)
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// htmlNode is an element of a page.
type htmlNode = html.Node

func pageOf(ref keybearer.Ref) string { return credentialPath(ref.Scope, ref.Name) }
