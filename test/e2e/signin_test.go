package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// desk is a Keybearer whose console is served over TLS, and an OpenID provider.
type desk struct {
	*harness.Keybearer
	t       *testing.T
	ca      *harness.CA
	console string // its address
	idp     string
	process *harness.Process // the provider
	secret  string           // of the client

	seen bytes.Buffer // every page that was shown
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, ca: harness.NewCA(t), secret: "canary-" + rand.Text()}
	dir := harness.Dir(t)
	tool := filepath.Join(dir, "idp")
	build := exec.Command("go", "build", "-mod=readonly", "-o", tool, ".")
	build.Dir = filepath.Join(harness.Repository(), "test", "idp")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build idp: %v\n%s", err, out)
	}
	secret := harness.WriteFile(t, filepath.Join(dir, "oidc.secret"), []byte(d.secret))
	here, idp := harness.Address().String(), harness.Address().String()
	port, idpPort := harness.FreePort(t), harness.FreePort(t)
	d.console, d.idp = fmt.Sprintf("https://%s:%d", here, port), fmt.Sprintf("https://%s:%d", idp, idpPort)
	d.process = harness.Start(t, harness.Command{
		Name: "idp", Path: tool, Args: []string{
			"-listen", fmt.Sprintf("%s:%d", idp, idpPort), "-pair", d.ca.Files(t, idp), "-secret-file", secret, "-redirect", d.console + "/sign-in/oidc/callback",
		},
		Ready: func(ctx context.Context) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.idp+"/.well-known/openid-configuration", nil)
			if err != nil {
				return err
			}
			res, err := (&http.Transport{TLSClientConfig: &tls.Config{RootCAs: d.ca.Pool}}).RoundTrip(r)
			if err == nil {
				err = res.Body.Close()
			}
			return err
		},
	})
	pair := d.ca.Files(t, here)
	d.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{Sites: fmt.Sprintf(`https://:%d {
	bind %s
	tls %s %s
	log {
		output file %s
	}
	keybearer_admin {
		public_url %s
		oidc {
			issuer %s
			client_id keybearer
			client_secret_file %s
			ca %s
			scopes openid profile email
			user_claim email
			groups_claim groups
			instance_admin group:platform
			scope_admin docs group:docs-admins
		}
	}
}`, port, here, pair, pair, filepath.Join(dir, "access.log"), d.console, d.idp, secret, d.ca.File)})
	config, err := os.ReadFile(d.Config)
	if err != nil {
		t.Fatal(err)
	}
	config = bytes.Replace(config, []byte("protocols h1 h2c"), []byte("protocols h1 h2 h2c"), 1)
	config = bytes.Replace(config, []byte("\tadmin off"), []byte("\tauto_https disable_redirects\n\tadmin off"), 1)
	harness.WriteFile(t, d.Config, config)
	if err := d.TryStart(t); err != nil {
		t.Fatal(err)
	}
	return d
}

// person is somebody with a browser: cookies are kept, redirects and refreshes followed, and what other sites lead to is marked so.
type person struct {
	*http.Client
	d    *desk
	jar  *cookiejar.Jar
	name string
}

func (d *desk) person(name string) *person {
	d.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		d.t.Fatal(err)
	}
	p := &person{d: d, jar: jar, name: name}
	p.Client = &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: p}
	return p
}

// RoundTrip does what a browser does to requests.
func (p *person) RoundTrip(r *http.Request) (*http.Response, error) {
	from := ""
	if referer := r.Referer(); referer != "" {
		from = origin(referer)
	} else if last := r.Response; last != nil {
		from = origin(last.Request.URL.String())
	}
	to := r.URL.Scheme + "://" + r.URL.Host
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if from == "" {
		r.Header.Set("Sec-Fetch-Site", "none")
	} else if from != to {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		var kept []string
		for _, c := range r.Cookies() {
			if c.Name != "__Host-keybearer" { // SameSite=Strict
				kept = append(kept, c.Name+"="+c.Value)
			}
		}
		r.Header.Set("Cookie", strings.Join(kept, "; "))
	}
	if r.Method == http.MethodPost {
		r.Header.Set("Origin", to)
	}
	return (&http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: p.d.ca.Pool}}).RoundTrip(r)
}

func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

var refresh = regexp.MustCompile(`http-equiv="refresh" content="0(?:; url=([^"]*))?"`)

// do sends a request and goes where the answers lead.
func (p *person) do(method, address, from string, form url.Values) (*http.Response, string) {
	p.d.t.Helper()
	for range 10 {
		r, err := http.NewRequestWithContext(p.d.t.Context(), method, address, strings.NewReader(form.Encode()))
		if err != nil {
			p.d.t.Fatal(err)
		}
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if from != "" {
			r.Header.Set("Referer", from)
		}
		res, err := p.Client.Do(r)
		if err != nil {
			p.d.t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			p.d.t.Fatal(err)
		}
		if strings.HasPrefix(res.Request.URL.String(), p.d.console) {
			p.d.seen.Write(b)
		}
		again := refresh.FindStringSubmatch(string(b))
		if again == nil {
			return res, string(b)
		}
		next, err := res.Request.URL.Parse(html.UnescapeString(again[1]))
		if err != nil {
			p.d.t.Fatal(err)
		}
		if again[1] == "" {
			next = res.Request.URL
		}
		method, address, from, form = http.MethodGet, next.String(), res.Request.URL.String(), nil
		if res.Header.Get("Referrer-Policy") == "strict-origin" {
			from = origin(from) + "/"
		}
	}
	p.d.t.Fatal("led on and on")
	return nil, ""
}

func (p *person) get(path string) (*http.Response, string) {
	p.d.t.Helper()
	return p.do(http.MethodGet, p.d.console+path, p.d.console+"/", nil)
}

var requestID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// signIn goes to the provider by a path of the console, logs in there, and returns where that led.
func (p *person) signIn(path string) (*http.Response, string) {
	p.d.t.Helper()
	res, body := p.get(path)
	id := requestID.FindStringSubmatch(body)
	if id == nil || !strings.HasPrefix(res.Request.URL.String(), p.d.idp+"/login/") {
		p.d.t.Fatalf("no log-in at the provider: %s %d %s", res.Request.URL, res.StatusCode, body)
	}
	return p.do(http.MethodPost, p.d.idp+"/login/username", res.Request.URL.String(), url.Values{"username": {p.name}, "password": {p.name}, "id": {id[1]}})
}

func (p *person) session() string {
	u, _ := url.Parse(p.d.console)
	for _, c := range p.jar.Cookies(u) {
		if c.Name == "__Host-keybearer" {
			return c.Value
		}
	}
	return ""
}

func TestOperatorsSignInAtAnOpenIDProvider(t *testing.T) {
	d := newDesk(t)
	d.Do(t, "", "scope", "create", "docs")
	d.Do(t, "", "scope", "generate-key", "docs")
	var sessions []string
	for _, test := range []struct {
		name      string
		has, lack []string
		creates   bool
	}{
		{"ann", []string{"user:ann@example.com", "instance-admin", "group:platform", "group:writers"}, nil, true},
		{"bob", []string{"user:bob@example.com", "scope-admin:docs", "group:docs-admins"}, []string{"instance-admin"}, true},
		{"cid", []string{"user:cid@example.com", "none: you see what you were granted"}, []string{"instance-admin", "scope-admin"}, false},
	} {
		p := d.person(test.name)
		res, body := p.signIn("/sign-in/oidc?next=/account")
		if res.StatusCode != http.StatusOK || res.Request.URL.String() != d.console+"/account" {
			t.Fatalf("%s is led to %s: %d %s", test.name, res.Request.URL, res.StatusCode, body)
		}
		for _, text := range test.has {
			if !strings.Contains(body, text) {
				t.Errorf("%s: no %q in %s", test.name, text, body)
			}
		}
		for _, text := range test.lack {
			if strings.Contains(body, text) {
				t.Errorf("%s: %q", test.name, text)
			}
		}
		// And does with it what they may.
		res, body = p.do(http.MethodPost, d.console+"/credentials", d.console+"/credentials/new", url.Values{
			"scope": {"docs"}, "name": {"by-" + test.name}, "kind": {"bearer"}, "secret": {"s3cret"}, "destinations": {"api.example.com"},
		})
		if created := strings.HasPrefix(res.Request.URL.Path, "/credentials/docs/by-"+test.name) && res.StatusCode == http.StatusOK; created != test.creates {
			t.Errorf("%s creates a credential: %s %d %s", test.name, res.Request.URL, res.StatusCode, body)
		}
		sessions = append(sessions, p.session())
	}
	if list := d.Do(t, "", "credential", "list", "-o", "name"); list != "docs/by-ann\ndocs/by-bob" {
		t.Errorf("%s", list)
	}

	// Another key signs.
	res, err := d.person("").Post(d.idp+"/new-key", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	ann := d.person("ann")
	if res, body := ann.signIn("/sign-in/oidc"); res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Request.URL.String(), d.console) {
		t.Fatalf("%d %s", res.StatusCode, body)
	}

	// She proves it again, in the same session under another name.
	before := ann.session()
	if res, body := ann.signIn("/sign-in/oidc?again=yes&next=/account"); res.Request.URL.Path != "/account" || res.StatusCode != http.StatusOK || ann.session() == before {
		t.Errorf("%s %d %s", res.Request.URL, res.StatusCode, body)
	}
	ann.name = "bob"
	if res, body := ann.signIn("/sign-in/oidc?again=yes&next=/account"); res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "somebody else") {
		t.Errorf("%s %d %s", res.Request.URL, res.StatusCode, body)
	}
	ann.name = "ann"

	// A record of her name ends it, whatever the provider says.
	d.Do(t, "", "operator", "create", "ann@example.com", "--no-token")
	if res, _ := ann.get("/account"); res.StatusCode != http.StatusOK || res.Request.URL.Path != "/account" {
		t.Errorf("%s %d", res.Request.URL, res.StatusCode)
	}
	d.Do(t, "", "operator", "disable", "ann@example.com")
	if res, _ := ann.get("/account"); res.Request.URL.Path != "/sign-in" {
		t.Errorf("a disabled operator is led to %s", res.Request.URL)
	}
	if res, body := ann.signIn("/sign-in/oidc"); res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "disabled or was deleted") {
		t.Errorf("%d %s", res.StatusCode, body)
	}

	// The provider goes away.
	d.process.Kill()
	if res, body := d.person("bob").get("/sign-in"); res.StatusCode != http.StatusOK || !strings.Contains(body, "kbo_") {
		t.Errorf("%d %s", res.StatusCode, body)
	}

	// What was on the way is found nowhere.
	d.Stop(t)
	events, err := os.ReadFile(filepath.Join(d.Home, "audit.jsonl"))
	if err != nil || strings.Count(string(events), `"action":"operator.sign-in"`) < 6 {
		t.Errorf("%v\n%s", err, events)
	}
	access, err := os.ReadFile(accessLog(t, d))
	if err != nil || !strings.Contains(string(access), "/account") || strings.Contains(string(access), "code=") || strings.Contains(string(access), "state=") {
		t.Errorf("the access log: %v\n%s", err, access)
	}
	for _, secret := range append(sessions, before, d.secret) {
		for place, text := range map[string]string{"the log": d.Output(t), "the audit log": string(events), "a page": d.seen.String(), "the access log": string(access)} {
			if secret == "" || strings.Contains(text, secret) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(secret))) {
				t.Errorf("%s holds %q", place, secret)
			}
		}
	}
}

func accessLog(t *testing.T, d *desk) string {
	t.Helper()
	config, err := os.ReadFile(d.Config)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(config), "output file ")
	path, _, _ := strings.Cut(rest, "\n")
	return path
}

func TestTheFirstOperatorIsMadeByALink(t *testing.T) {
	d := newDesk(t)
	link := d.Do(t, "", "operator", "setup")
	code, ok := strings.CutPrefix(link, d.console+"/set-up/")
	if !ok {
		t.Fatalf("%s", link)
	}
	p := d.person("ann")
	if res, body := p.do(http.MethodGet, link, "https://chat.example/", nil); res.StatusCode != http.StatusOK || !strings.Contains(body, "in its claim email") {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	res, body := p.do(http.MethodPost, link, link, url.Values{"name": {"ann@example.com"}})
	_, rest, _ := strings.Cut(body, "<code>kbo_")
	token, _, _ := strings.Cut("kbo_"+rest, "<")
	if res.StatusCode != http.StatusCreated || len(token) < 40 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if r := d.CLI(t, "", "operator", "setup"); r.Code != 5 || !strings.Contains(r.Stderr, "there is an operator already") {
		t.Errorf("%d %s", r.Code, r.Stderr)
	}
	if res, body := p.get("/account"); res.StatusCode != http.StatusOK || !strings.Contains(body, "user:ann@example.com") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	other := d.person("ann") // who is she at the provider, too
	if res, body := other.signIn("/sign-in/oidc?next=/account"); res.StatusCode != http.StatusOK || !strings.Contains(body, "Sessions on this server") || strings.Count(body, "another browser") != 1 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, _ := other.do(http.MethodPost, d.console+"/sign-out", d.console+"/account", url.Values{"everywhere": {"yes"}}); res.Request.URL.Path != "/sign-in" {
		t.Errorf("%s", res.Request.URL)
	}
	if res, _ := p.get("/account"); res.Request.URL.Path != "/sign-in" {
		t.Errorf("a session is left: %s", res.Request.URL)
	}
	d.Stop(t)
	events, err := os.ReadFile(filepath.Join(d.Home, "audit.jsonl"))
	access, err2 := os.ReadFile(accessLog(t, d))
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for place, text := range map[string]string{"the log": d.Output(t), "the audit log": string(events), "the access log": string(access)} {
		if strings.Contains(text, code) || strings.Contains(text, token) {
			t.Errorf("%s holds the code or the token", place)
		}
	}
}
