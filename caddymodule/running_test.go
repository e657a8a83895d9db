package caddymodule

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// stand is a running Keybearer inside Caddy, with a destination and a credential for it.
type stand struct {
	t           *testing.T
	dir         string // KEYBEARER_HOME is dir/kb
	destination *httptest.Server
	token       string // of the caller "billing"

	mu       sync.Mutex
	received []*http.Request // bodies read into Form["body"]
}

const secret = "s3cret-of-the-crm"

// newStand starts the destination and Caddy with the configuration that block and sites give, and makes docs/crm.
func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{t: t, dir: t.TempDir()}
	s.destination = httptest.NewTLSServer(http.HandlerFunc(s.receive))
	t.Cleanup(s.destination.Close)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.destination.Certificate().Raw})
	s.write("ca.pem", string(root))
	s.write("other.pem", rootPEM)
	t.Setenv("KEYBEARER_HOME", filepath.Join(s.dir, "kb"))
	t.Setenv("STAND", s.dir)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		retired.Wait()
		for _, key := range shared.keys() {
			t.Errorf("left open: %s", key)
		}
	})
	return s
}

func (s *stand) write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *stand) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Form = url.Values{"body": {string(body)}}
	s.mu.Lock()
	s.received = append(s.received, r)
	s.mu.Unlock()
	w.Header().Set("Server", "destination")
	_, _ = io.WriteString(w, "ok")
}

func (s *stand) taken() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.received
	s.received = nil
	return all
}

const (
	basics = "trust {env.STAND}/ca.pem\n allow_private 127.0.0.0/8"
	site   = "http:// {\n bind unix/{env.STAND}/proxy.sock\n keybearer\n}\n"
)

// config returns a Caddyfile with these options and sites.
func config(options, sites string) string {
	return "{\n admin off\n persist_config off\n storage_clean_interval off\n log {\n output discard\n}\n keybearer {\n" + options + "\n}\n}\n" + sites
}

// load runs a configuration, as a start or a reload does.
func (s *stand) load(options, sites string) error {
	s.t.Helper()
	text, _, err := adapt(config(options, sites))
	if err != nil {
		s.t.Fatal(err)
	}
	return caddy.Load(text, true)
}

func (s *stand) mustLoad(options, sites string) {
	s.t.Helper()
	if err := s.load(options, sites); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) admin() *admin.Client {
	s.t.Helper()
	c, err := admin.NewClient(admin.ClientConfig{Socket: filepath.Join(s.dir, "kb", "admin.sock")})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// current returns the app that runs.
func current() *App {
	app, _ := caddy.ActiveContext().App("keybearer")
	return app.(*App)
}

// furnish makes the scope docs with the credential docs/crm and the caller billing, through the admin socket.
func (s *stand) furnish() {
	s.t.Helper()
	ctx, c := s.t.Context(), s.admin()
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	_, err := c.CreateScope(ctx, admin.NewScope{Name: "docs"})
	must(err)
	_, err = c.GenerateKey(ctx, "docs")
	must(err)
	n := admin.NewCredential{Name: "crm", Kind: keybearer.Bearer, Destinations: []admin.Destination{{Rule: s.destination.URL, Private: true}}}
	n.Secret = admin.NewPlaintext(secret)
	_, err = c.CreateCredential(ctx, "docs", n)
	must(err)
	issued, err := c.CreateCaller(ctx, admin.NewCaller{Name: "billing", Scopes: []string{"docs"}})
	must(err)
	s.token = issued.Token.Reveal()
	_, err = c.SetGrant(ctx, keybearer.Ref{Scope: "docs", Name: "crm"}, keybearer.AppSubject("billing"), keybearer.Use)
	must(err)
}

// transport sends to the listener at address, "unix/<path>" or host:port, as a proxy.
func transport(address string) *http.Transport {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix/"); ok {
		network, address = "unix", path
	}
	return &http.Transport{
		Proxy:               http.ProxyURL(&url.URL{Scheme: "http", Host: "keybearer"}),
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
}

// request asks for the destination as an app behind HTTP_PROXY does.
func (s *stand) request(method, body string) *http.Request {
	s.t.Helper()
	target := strings.Replace(s.destination.URL, "https://", "http://", 1) + "/hook?x=1"
	r, err := http.NewRequestWithContext(s.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Keybearer-Credential", "docs/crm")
	r.Header.Set("Proxy-Authorization", "Bearer "+s.token)
	return r
}

// send sends a request and returns the answer with its body.
func (s *stand) send(t http.RoundTripper, r *http.Request) (*http.Response, string) {
	s.t.Helper()
	res, err := t.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(body)
}

// works checks that a request goes through the listener.
func (s *stand) works(address string) {
	s.t.Helper()
	tr := transport(address)
	defer tr.CloseIdleConnections()
	s.taken()
	res, body := s.send(tr, s.request("POST", "hello"))
	got := s.taken()
	if res.StatusCode != 200 || len(got) != 1 || got[0].Header.Get("Authorization") != "Bearer "+secret {
		s.t.Fatalf("status %s, body %s, received %v", res.Status, body, got)
	}
}

func (s *stand) proxy() string { return "unix/" + filepath.Join(s.dir, "proxy.sock") }

func TestForward(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	tr := transport(s.proxy())
	defer tr.CloseIdleConnections()

	res, body := s.send(tr, s.request("POST", "hello"))
	got := s.taken()
	if res.StatusCode != 200 || body != "ok" || len(got) != 1 {
		t.Fatalf("%s %s, received %v", res.Status, body, got)
	}
	r := got[0]
	if r.Method != "POST" || r.URL.String() != "/hook?x=1" || r.Form.Get("body") != "hello" || r.Host != s.destination.Listener.Addr().String() {
		t.Errorf("received %s %s of %s: %q", r.Method, r.URL, r.Host, r.Form)
	}
	if v := r.Header["Authorization"]; len(v) != 1 || v[0] != "Bearer "+secret {
		t.Errorf("Authorization is %q", v)
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Keybearer") || strings.HasPrefix(name, "Proxy") || strings.HasPrefix(name, "X-Forwarded") || name == "Via" {
			t.Errorf("%s reached the destination", name)
		}
	}
	if v := res.Header["Server"]; len(v) != 1 || v[0] != "destination" {
		t.Errorf("Server is %q: ours, or lost", v)
	}

	anonymous := s.request("POST", "hello")
	anonymous.Header.Del("Proxy-Authorization")
	res, body = s.send(tr, anonymous)
	if res.StatusCode != 407 || !strings.Contains(body, `"caller_unauthenticated"`) || res.Header["Server"] != nil || len(s.taken()) > 0 {
		t.Errorf("without a token: %s %v %s", res.Status, res.Header, body)
	}

	for _, path := range []string{"kb/keybearer.db", "kb/keyring.key", "kb/audit.jsonl", "kb/admin.sock"} {
		if info, err := os.Stat(filepath.Join(s.dir, path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if info, err := os.Stat(filepath.Join(s.dir, "kb")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("home: %v, %v", info, err)
	}
}

// In route mode the app sends nothing but its request; here the socket proves it.
func TestForwardFixedRoute(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	fixed := fmt.Sprintf("http:// {\n bind unix/{env.STAND}/fixed.sock\n keybearer {\n caller app:billing\n credential docs/crm\n destination %s\n}\n}\n",
		s.destination.URL)
	s.mustLoad(basics, fixed)
	tr := transport("unix/" + filepath.Join(s.dir, "fixed.sock"))
	tr.Proxy = nil
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://any.name/hook", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, body := s.send(tr, r)
	if got := s.taken(); res.StatusCode != 200 || len(got) != 1 || got[0].Header.Get("Authorization") != "Bearer "+secret {
		t.Errorf("%s %s", res.Status, body)
	}
}

// Some clients open a tunnel and speak plain HTTP inside.
func TestForwardTunnel(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	conn, err := net.Dial("unix", filepath.Join(s.dir, "proxy.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	host := s.destination.Listener.Addr().String()
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Bearer %s\r\nKeybearer-Credential: docs/crm\r\n\r\n", host, host, s.token)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	for range 2 {
		fmt.Fprintf(conn, "POST /hook HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\n\r\nhello", host)
		res, err = http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		if got := s.taken(); res.StatusCode != 200 || len(got) != 1 || got[0].Header.Get("Authorization") != "Bearer "+secret {
			t.Fatalf("%s %s", res.Status, body)
		}
	}
}

// A refusal does not wait for a body that the client holds back until it may send it.
func TestRefusalWithUnreadBody(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	conn, err := net.Dial("unix", filepath.Join(s.dir, "proxy.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST http://elsewhere.example/ HTTP/1.1\r\nHost: elsewhere.example\r\nProxy-Authorization: Bearer %s\r\n"+
		"Keybearer-Credential: docs/crm\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n", s.token)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil) // Caddy itself would wait for the body for a minute; the test's timeout is ours
	if err != nil || res.StatusCode != 403 || !res.Close {
		t.Fatal(res, err)
	}
}
