// Package e2e tests the real keybearer binary with the repository's Caddyfile, between real clients (curl, Python's urllib,
// Node's undici, Go) and real destinations (nginx, HAProxy, Go).
package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// world is a running Keybearer with what it stands between.
type world struct {
	*harness.Keybearer
	t   *testing.T
	ca  *harness.CA
	dns *harness.DNS

	planted  []string          // secrets and tokens, for the sweep
	tokens   map[string]string // by caller
	expected map[string]field  // what arrives, by credential
}

// field is the header field that a credential writes.
type field struct{ name, value string }

// newWorld starts Keybearer, which trusts the test's authority, asks the test's name server, and may reach loopback. further
// are lines for the global option keybearer.
func newWorld(t *testing.T, further ...string) *world {
	t.Helper()
	w := prepareWorld(t, further...)
	w.start()
	return w
}

// prepareWorld is newWorld that does not start Keybearer.
func prepareWorld(t *testing.T, further ...string) *world {
	t.Helper()
	w := &world{t: t, ca: harness.NewCA(t), dns: harness.StartDNS(t), tokens: map[string]string{}, expected: map[string]field{}}
	w.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{Options: w.options(further...)})
	return w
}

func (w *world) options(further ...string) string {
	return strings.Join(append([]string{"trust " + w.ca.File, "allow_private 127.0.0.0/8", "resolver " + w.dns.Addr}, further...), "\n")
}

func (w *world) start() {
	w.t.Helper()
	if err := w.TryStart(w.t); err != nil {
		w.t.Fatalf("start keybearer: %v", err)
	}
}

// must runs a command of the CLI that must succeed.
func (w *world) must(stdin string, args ...string) string {
	w.t.Helper()
	return w.Do(w.t, stdin, args...)
}

// scope makes a scope with a key.
func (w *world) scope(name string) {
	w.t.Helper()
	if name != "global" {
		w.must("", "scope", "create", name)
	}
	w.must("", "scope", "generate-key", name)
}

// credential makes a credential of a kind ("basic", "bearer" or the name of a header) with a secret of its own, and returns its name.
func (w *world) credential(name, kind string, args ...string) string {
	w.t.Helper()
	secret := newCanary()
	w.planted = append(w.planted, secret)
	stdin, f := secret, field{"Authorization", "Bearer " + secret}
	switch kind {
	case "bearer":
	case "basic":
		stdin = "user@" + name + "\n" + secret
		f.value = "Basic " + base64Of("user@"+name+":"+secret)
	default:
		args = append([]string{"--header", kind, "--prefix", "Token "}, args...)
		f = field{kind, "Token " + secret}
		kind = "header"
	}
	w.must(stdin, append([]string{"credential", "create", name, "--kind", kind}, args...)...)
	w.expected[name] = f
	return name
}

// caller makes a caller of the scopes and returns its token.
func (w *world) caller(name string, scopes ...string) string {
	w.t.Helper()
	args := []string{"caller", "create", name}
	for _, s := range scopes {
		args = append(args, "--scope", s)
	}
	token := w.must("", args...)
	if !strings.HasPrefix(token, "kb_") || strings.ContainsAny(token, " \n") {
		w.t.Fatalf("caller create printed %q, not a token alone", token)
	}
	w.tokens[name], w.planted = token, append(w.planted, token)
	return token
}

func (w *world) grant(credential, caller, level string) {
	w.t.Helper()
	w.must("", "grant", "add", credential, "app:"+caller, level)
}

// billing sets up the usual: the scope docs, the caller billing, and a bearer credential docs/crm that it may use for the hosts,
// which may be on loopback.
func (w *world) billing(hosts ...string) {
	w.t.Helper()
	w.scope("docs")
	w.caller("billing", "docs")
	w.credential("docs/crm", "bearer", private(hosts...)...)
	w.grant("docs/crm", "billing", "use")
}

// private returns the flags for rules that may reach loopback.
func private(rules ...string) []string {
	var args []string
	for _, r := range rules {
		args = append(args, "--domain", r)
	}
	return append(args, "--private")
}

// recorder starts a destination that records bytes, on port 443 of the host.
func (w *world) recorder(host string, answer func(*harness.Arrival) []byte) *harness.Recorder {
	w.t.Helper()
	r := harness.StartRecorder(w.t, harness.RecorderOptions{
		Name: host, TLS: harness.ServerTLS(w.ca.Issue(w.t, tomorrow, host)), Answer: answer,
	})
	w.dns.Set(host, r.Addr.Addr())
	return r
}

// server starts a destination on Go's server, on port 443 of the host.
func (w *world) server(host string, o harness.ServerOptions) *harness.Server {
	w.t.Helper()
	o.Name, o.TLS = host, harness.ServerTLS(w.ca.Issue(w.t, tomorrow, host))
	s := harness.StartServer(w.t, o)
	w.dns.Set(host, s.Addr.Addr())
	return s
}

// right checks that a request arrived as one of this credential: with its field once, and with nothing that is for others.
func (w *world) right(t *testing.T, a *harness.Arrival, credential string) {
	t.Helper()
	if err := w.wrong(a, credential); err != nil {
		t.Errorf("request %s at %s: %v\n%s", a.ID(), a.Destination, err, a.Head)
	}
}

func (w *world) wrong(a *harness.Arrival, credential string) error {
	want := w.expected[credential]
	if got := a.Values(want.name); len(got) != 1 || got[0] != want.value {
		return fmt.Errorf("%s is %q, not %q", want.name, got, want.value)
	}
	for _, f := range a.Header {
		name := strings.ToLower(f.Name)
		switch {
		case strings.EqualFold(f.Name, want.name):
			continue
		case strings.HasPrefix(name, "keybearer"), strings.HasPrefix(name, "proxy-"), strings.HasPrefix(name, "x-forwarded"), name == "via", name == "forwarded",
			name == "authorization", name == "x-api-key":
			return fmt.Errorf("%s: %s arrived", f.Name, f.Value)
		}
		for _, p := range w.planted {
			if strings.Contains(f.Value, p) {
				return fmt.Errorf("%s holds a secret or token: %s", f.Name, f.Value)
			}
		}
	}
	if a.SNI != "" && a.SNI != hostOnly(a.Host) {
		return fmt.Errorf("SNI %q, Host %q", a.SNI, a.Host)
	}
	return nil
}

func hostOnly(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return name
}

// tomorrow is when most certificates end: the zero time.
var tomorrow time.Time

// otherPort returns another port of a recorder's address.
func otherPort(r *harness.Recorder, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(r.Addr.Addr(), port)
}

// proxyURL sends a Go client's requests through Keybearer.
func (w *world) proxyURL() func(*http.Request) (*url.URL, error) {
	return http.ProxyURL(&url.URL{Scheme: "http", Host: w.Proxy.String()})
}

// talk opens a connection on which one request is said after the other.
func talk(t *testing.T, addr string) (say func(string) *answer) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return func(text string) *answer {
		t.Helper()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		method, _, _ := strings.Cut(text, " ")
		return readAnswer(t, conn, method)
	}
}
