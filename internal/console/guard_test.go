package console_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keybearer/keybearer/internal/console"
	"github.com/keybearer/keybearer/internal/signin"
)

// A page of another site cannot make the browser of somebody who is signed in change anything.
func TestChangesComeFromThePagesThemselves(t *testing.T) {
	d := newDesk(t)
	b := d.browser()
	b.signIn(d.operator("ann"))
	set := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del("Origin")
			r.Header.Del("Sec-Fetch-Site")
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
	for name, test := range map[string]struct {
		head func(*http.Request)
		ok   bool
	}{
		"the page itself":                   {set("Sec-Fetch-Site", "same-origin", "Origin", home), true},
		"an old browser":                    {set("Origin", home), true},
		"the address bar":                   {set("Sec-Fetch-Site", "none"), true},
		"another site":                      {set("Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"), false},
		"another site, in an old browser":   {set("Origin", "https://evil.example"), false},
		"another site that hides":           {set("Origin", "null"), false},
		"a sandboxed frame":                 {set("Sec-Fetch-Site", "cross-site", "Origin", "null"), false},
		"nobody knows who":                  {set(), false},
		"a sibling":                         {set("Sec-Fetch-Site", "same-site", "Origin", "http://app.127.0.0.1:9081"), false},
		"another port":                      {set("Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:9082"), false},
		"another port, in an old browser":   {set("Origin", "http://127.0.0.1:9082"), false},
		"no port, in an old browser":        {set("Origin", "http://127.0.0.1"), false},
		"another name, in an old browser":   {set("Origin", "http://localhost:9081"), false},
		"the page itself, as another says":  {set("Sec-Fetch-Site", "cross-site", "Origin", home), false},
		"a word that browsers do not say":   {set("Sec-Fetch-Site", "same_origin"), false},
		"the page itself behind a bad port": {set("Origin", home+"0"), false},
	} {
		p := b.send(http.MethodPost, "/account/theme", url.Values{"theme": {"dark"}}, test.head)
		if changed := b.cookies["__Host-keybearer-theme"] != nil; changed != test.ok || (p.StatusCode == http.StatusForbidden) == test.ok {
			t.Errorf("%s: %d %s", name, p.StatusCode, p.body)
		}
		delete(b.cookies, "__Host-keybearer-theme")
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, "PROPFIND"} {
		if p := b.send(method, "/account", url.Values{}); p.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, p.StatusCode)
		}
	}
}

// Whoever makes a name of theirs resolve to this machine gets nothing, not even the sign-in page.
func TestTheConsoleKnowsItsNames(t *testing.T) {
	for name, test := range map[string]struct {
		config console.Config
		ok, no []string
	}{
		"on loopback": {
			ok: []string{"127.0.0.1:9081", "127.1.2.3", "localhost:9081", "LOCALHOST", "localhost.:9081", "[::1]:9081", "[::1]"},
			no: []string{
				"evil.example:9081", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example", "10.0.0.1:9081", "2130706433", "127.1",
				"0.0.0.0:9081", "[::]:9081", "[::ffff:7f00:1%25lo]", "127.0.0.1@evil.example", "", ":9081",
			},
		},
		"with a public address": {
			config: console.Config{Public: &url.URL{Scheme: "https", Host: "kb.example.com:8443"}},
			ok:     []string{"kb.example.com:8443", "KB.example.com", "127.0.0.1"}, no: []string{"example.com", "a.kb.example.com", "kb.example.com.evil.example"},
		},
		"on a site with names": {
			config: console.Config{Hosts: []string{"kb.example.com", "*.kb.test", "10.1.2.3"}},
			ok:     []string{"kb.example.com", "a.kb.test:9081", "10.1.2.3:9081"}, no: []string{"b.example.com", "kb.test", "a.b.kb.test", ".kb.test", "10.1.2.4", "akb.test"},
		},
	} {
		d := newDesk(t, func(d *desk) { d.config = test.config })
		for want, hosts := range map[bool][]string{true: test.ok, false: test.no} {
			for _, host := range hosts {
				p := d.browser().get("/sign-in", func(r *http.Request) { r.Host, r.TLS = host, &tls.ConnectionState{} })
				if got := p.StatusCode == http.StatusOK; got != want || !want && (p.StatusCode != http.StatusMisdirectedRequest || p.has("form")) {
					t.Errorf("%s, %q: %d", name, host, p.StatusCode)
				}
			}
		}
	}
}

// Where browsers would not keep the cookie, the console says so and takes nothing.
func TestInClearThereIsNoSignIn(t *testing.T) {
	public := func(d *desk) {
		d.config = console.Config{Public: &url.URL{Scheme: "https", Host: "kb.example.com"}, Hosts: []string{"10.1.2.3"}}
	}
	d := newDesk(t, public)
	token := d.operator("ann")
	for name, test := range map[string]struct {
		address string
		tls, ok bool
	}{
		"in clear":                  {"http://10.1.2.3:9081", false, false},
		"over TLS":                  {"https://10.1.2.3:9081", true, true},
		"on loopback":               {"http://127.0.0.1:9081", false, true},
		"behind a proxy with TLS":   {"http://kb.example.com", false, true},
		"by the name, on localhost": {"http://localhost:9081", false, true},
	} {
		b := d.browser()
		set := func(r *http.Request) {
			r.Header.Set("Origin", test.address)
			if r.TLS = nil; test.tls {
				r.TLS = &tls.ConnectionState{}
			}
		}
		for _, path := range []string{"/sign-in", "/", "/set-up/x", "/sign-in/oidc"} {
			if p := b.get(test.address+path, set); (p.StatusCode == http.StatusForbidden && p.has("TLS or 127.0.0.1", "https://kb.example.com")) == test.ok {
				t.Errorf("%s, %s: %d %s", name, path, p.StatusCode, p.body)
			} else if policy := p.Header.Get("Referrer-Policy"); path == "/set-up/x" && policy != "strict-origin" {
				t.Errorf("%s: what the page loads is asked for with the code: %s", name, policy)
			}
		}
		p := b.send(http.MethodPost, test.address+"/sign-in", url.Values{"token": {token}}, set)
		if (p.StatusCode == http.StatusSeeOther) != test.ok || (b.cookies[signin.CookieName] != nil) != test.ok {
			t.Errorf("%s: %d %s", name, p.StatusCode, p.body)
		}
	}
}

// A link from elsewhere comes without the cookie, and again from here with it; the page in between has no address of its own to lead astray.
func TestALinkFromElsewhereIsFollowedTwice(t *testing.T) {
	d := newDesk(t)
	b := d.browser()
	b.signIn(d.operator("ann"))
	p := b.get("/account", crossSite)
	if p.StatusCode != http.StatusOK || !p.has(`content="0">`) || p.has("ann") {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	if !b.in() || b.session() == "" {
		t.Error("the session is lost")
	}
}

// Where the way after a sign-in leads is a page of the console.
func TestTheWayBackStaysHere(t *testing.T) {
	d := newDesk(t)
	token := d.operator("ann")
	n := 0
	for next, want := range map[string]string{
		"/credentials?q=a%20b": "/credentials?q=a%20b", "": "/", "/": "/",
		"https://evil.example/": "/", "//evil.example": "/", "/\\evil.example": "/", "\\\\evil.example": "/", "/\t/evil.example": "/", "/\n/evil.example": "/",
		" //evil.example": "/", "javascript:alert(1)": "/", "evil.example": "/", "http:evil.example": "/", "/%5cevil.example": "/%5cevil.example",
		"/sign-out": "/", "/sign-in?next=/sign-in": "/", "/set-up/x": "/", "/confirm": "/", "///evil.example": "/", "/ /evil.example": "/", "/credentials#x": "/credentials#x",
	} {
		b := d.browser()
		n++
		b.address = fmt.Sprintf("10.0.0.%d:1", n)
		p := b.post("/sign-in", "token", token, "next", next)
		u, err := url.Parse(p.Header.Get("Location"))
		if err != nil || u.Path != "/sign-in" || u.Query().Get("next") != want || u.Query().Get("kept") != "1" {
			t.Errorf("%q: %s", next, u)
		}
		if p := b.get("/sign-in?kept=1&next=" + url.QueryEscape(next)); p.StatusCode != http.StatusSeeOther || p.Header.Get("Location") != want {
			t.Errorf("%q: %d %s", next, p.StatusCode, p.Header.Get("Location"))
		}
	}
	// Who comes back without a cookie is told.
	if p := d.browser().get("/sign-in?kept=1&next=/"); !p.has("did not keep the cookie") {
		t.Errorf("%s", p.body)
	}
}

// Nobody needs to be signed in to ask for a page: what comes with the asking is not read, let alone kept in files.
func TestAPageIsAskedForWithoutABody(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	d := newDesk(t)
	var sent atomic.Int64
	body := func() io.Reader {
		return io.MultiReader(
			strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"next\"; filename=\"f\"\r\n\r\n"),
			counter{io.LimitReader(zeros{}, 64<<20), &sent}, strings.NewReader("\r\n--x--\r\n"),
		)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, path := range []string{"/sign-in", "/sign-in?next=/audit", "/sign-in/oidc", "/confirm", "/overview"} {
			r := httptest.NewRequestWithContext(t.Context(), method, home+path, body())
			r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
			w := httptest.NewRecorder()
			d.ServeHTTP(w, r)
			if n := sent.Swap(0); n > 0 {
				t.Errorf("%s %s: %d bytes of the body were read", method, path, n)
			}
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
