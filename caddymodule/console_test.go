package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// Where browsers find the console, as far as the site tells.
func TestWhereTheConsoleIs(t *testing.T) {
	s := newStand(t)
	s.certificate()
	port := freePort(t)
	const pair = "tls {$STAND}/tls.pem {$STAND}/tls.key\n"
	for name, test := range map[string]struct {
		site  string // %d is the port
		base  string
		hosts []string
	}{
		"loopback":              {site: "http://:%d {\n bind 127.0.0.1\n keybearer_admin\n}", base: "http://127.0.0.1:%d"},
		"IPv6":                  {site: "http://:%d {\n bind [::1]\n keybearer_admin\n}", base: "http://[::1]:%d"},
		"every interface":       {site: "http://:%d {\n keybearer_admin\n}", base: "http://127.0.0.1:%d"},
		"another address":       {site: "http://:%d {\n bind 127.9.9.9\n keybearer_admin\n}", base: "http://127.9.9.9:%d"},
		"a name":                {site: "http://kb.example.com:%d {\n bind 127.0.0.1\n keybearer_admin\n}", base: "http://kb.example.com:%d", hosts: []string{"kb.example.com"}},
		"two names with TLS":    {site: "https://keybearer.internal:%d, https://kb.internal:%[1]d {\n bind 127.0.0.1\n " + pair + " keybearer_admin\n}", base: "https://keybearer.internal:%d", hosts: []string{"keybearer.internal", "kb.internal"}},
		"names of their own":    {site: "http://:%d {\n bind 127.0.0.1\n @a host a.test b.test\n handle @a {\n keybearer_admin\n}\n @c host c.test\n respond @c ok\n}", base: "http://a.test:%d", hosts: []string{"a.test", "b.test"}},
		"every name but one":    {site: "http://:%d {\n bind 127.0.0.1\n @a not host a.test\n handle @a {\n keybearer_admin\n}\n}", base: "http://127.0.0.1:%d"},
		"what browsers call it": {site: "http://:%d {\n bind 127.0.0.1\n keybearer_admin {\n public_url https://kb.example.com/\n}\n}", base: "https://kb.example.com"},
		"a socket":              {site: "http:// {\n bind unix/{env.STAND}/console.sock\n keybearer_admin\n}\n#%d"},
		"a socket and a name":   {site: "http:// {\n bind unix/{env.STAND}/console.sock\n keybearer_admin {\n public_url https://kb.example.com\n}\n}\n#%d", base: "https://kb.example.com"},
	} {
		s.mustLoad("", fmt.Sprintf(test.site, port)+"\n")
		h := current().admins[0]
		want := test.base
		if strings.Contains(want, "%d") {
			want = fmt.Sprintf(want, port)
		}
		if h.base != want {
			t.Errorf("%s: %q, want %q", name, h.base, want)
		}
		if d := cmp.Diff(test.hosts, h.hosts); d != "" && len(test.hosts)+len(h.hosts) > 0 {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// surfer is a browser as far as the console needs one: it has the cookie.
type surfer struct {
	s      *stand
	cookie *http.Cookie
}

func (v *surfer) send(method, address string, form url.Values) (*http.Response, string) {
	v.s.t.Helper()
	r, err := http.NewRequestWithContext(v.s.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		v.s.t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if v.cookie != nil {
		r.AddCookie(v.cookie)
	}
	res, body := v.s.send(&http.Transport{DisableKeepAlives: true}, r)
	for _, c := range res.Cookies() {
		if c.Name == "__Host-keybearer" {
			v.cookie = c
		}
	}
	return res, body
}

func TestTheSetUpLinkIsMadeOverTheSocket(t *testing.T) {
	s := newStand(t)
	s.mustLoad("", site)
	client := s.admin()
	_, err := client.MakeSetUpLink(t.Context())
	if e := keybearer.AsError(err); keybearer.CodeOf(err) != keybearer.Conflict || !strings.Contains(e.Hint, "keybearer_admin") {
		t.Fatalf("without a console: %v", err)
	}
	port := freePort(t)
	console := func(options string) string {
		return fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n log {\n output file {env.STAND}/access.log\n}\n keybearer_admin {\n%s\n}\n}\n", port, options)
	}
	s.mustLoad("", console(""))
	link, err := client.MakeSetUpLink(t.Context())
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	code, ok := strings.CutPrefix(link.URL.Reveal(), base+"/set-up/")
	if err != nil || !ok || len(code) < 43 {
		t.Fatalf("%v, %v", link, err)
	}
	v := &surfer{s: s}
	s.mustLoad("", console("session_idle 20m")) // the link outlives a reload
	if res, body := v.send("GET", link.URL.Reveal(), nil); res.StatusCode != 200 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	res, body := v.send("POST", link.URL.Reveal(), url.Values{"name": {"ann"}})
	_, rest, _ := strings.Cut(body, `<pre tabindex="0"><code>`)
	token, _, _ := strings.Cut(rest, "<")
	if res.StatusCode != 201 || !keybearer.LooksLikeToken(token) {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if _, err := client.MakeSetUpLink(t.Context()); keybearer.CodeOf(err) != keybearer.Conflict {
		t.Errorf("%v", err)
	}
	remote, err := admin.NewClient(admin.ClientConfig{Address: base, Token: keybearer.NewSecret(token)})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	if _, err := client.DisableOperator(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.EnableOperator(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.MakeSetUpLink(t.Context()); keybearer.CodeOf(err) != keybearer.Forbidden {
		t.Errorf("a token makes a set-up link: %v", err)
	}

	// The session, too, outlives a reload, and goes on under a limit that it keeps.
	s.mustLoad("", console("session_idle 10m"))
	if res, body := v.send("GET", base+"/account", nil); res.StatusCode != 200 || !strings.Contains(body, "user:ann") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	lines, err := os.ReadFile(filepath.Join(s.dir, "access.log"))
	if err != nil || !strings.Contains(string(lines), "/account") || strings.Contains(string(lines), code) || strings.Contains(string(lines), v.cookie.Value) || strings.Contains(string(lines), token) {
		t.Errorf("the access log: %v\n%s", err, lines)
	}
	f, err := os.Open(filepath.Join(s.dir, "kb", "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if events, err := io.ReadAll(f); err != nil || !strings.Contains(string(events), "operator.set-up-link") || strings.Contains(string(events), code) {
		t.Errorf("%v\n%s", err, events)
	}
}
