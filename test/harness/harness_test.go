package harness_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// Each destination is reached by Go's client over verified TLS, by name through the test's name server, and has recorded what
// was sent.
func TestDestinations(t *testing.T) {
	ca := harness.NewCA(t)
	dns := harness.StartDNS(t)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", dns.Addr)
	}}

	nginx1 := harness.StartNginx(t, ca, "nginx1.example.com", false)
	nginx2 := harness.StartNginx(t, ca, "nginx2.example.com", true)
	haproxy1 := harness.StartHAProxy(t, ca, "haproxy1.example.com", false)
	haproxy2 := harness.StartHAProxy(t, ca, "haproxy2.example.com", true)
	raw := harness.StartRecorder(t, harness.RecorderOptions{
		Name: "raw.example.com", TLS: harness.ServerTLS(ca.Issue(t, time.Time{}, "raw.example.com")),
	})
	server := harness.StartServer(t, harness.ServerOptions{
		Name: "server.example.com", TLS: harness.ServerTLS(ca.Issue(t, time.Time{}, "server.example.com")), HTTP2: true,
	})
	for name, d := range map[string]struct {
		addr  netip.AddrPort
		proto string
		all   func() []*harness.Arrival
	}{
		"nginx1.example.com":   {nginx1.Addr, "HTTP/1.1", func() []*harness.Arrival { return nginx1.All(t) }},
		"nginx2.example.com":   {nginx2.Addr, "HTTP/2.0", func() []*harness.Arrival { return nginx2.All(t) }},
		"haproxy1.example.com": {haproxy1.Addr, "HTTP/1.1", haproxy1.All},
		"haproxy2.example.com": {haproxy2.Addr, "HTTP/2.0", haproxy2.All},
		"raw.example.com":      {raw.Addr, "HTTP/1.1", raw.All},
		"server.example.com":   {server.Addr, "HTTP/2.0", server.All},
	} {
		t.Run(name, func(t *testing.T) {
			dns.Set(name, d.addr.Addr())
			transport := &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: ca.Pool}, ForceAttemptHTTP2: true,
				DialContext: (&net.Dialer{Resolver: resolver}).DialContext,
			}
			defer transport.CloseIdleConnections()
			for i := range 3 {
				id := fmt.Sprintf("%s-%d", name, i)
				req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+name+"/hook?x=1", strings.NewReader(`{"a":1}`))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set(harness.IDHeader, id)
				req.Header.Set("Authorization", "Bearer "+id)
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || string(body) != "ok" || resp.StatusCode != 200 || resp.Header.Get(harness.IDHeader) != id || resp.Proto != d.proto {
					t.Fatalf("answer %s %s %v %q, %v", resp.Proto, resp.Status, resp.Header, body, err)
				}
			}
			harness.Await(t, "three arrivals", 5*time.Second, func() error {
				if n := len(d.all()); n != 3 {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			for i, a := range d.all() {
				id := fmt.Sprintf("%s-%d", name, i)
				auth := strings.Join(a.Values("authorization"), ",")
				if a.ID() != id || auth != "Bearer "+id || a.Method != "POST" || a.Target != "/hook?x=1" || a.Host != name || a.Destination != name {
					t.Errorf("arrival %+v", a)
				}
				if a.SNI != name && !strings.HasPrefix(name, "haproxy") {
					t.Errorf("SNI %q", a.SNI)
				}
			}
		})
	}
	if dns.Queries("raw.example.com") == 0 {
		t.Error("no query was counted")
	}
}

// A program that ends early or is not installed is told apart from one that is not ready, and a process's figures can be read.
func TestProcess(t *testing.T) {
	_, err := harness.TryStart(t, harness.Command{
		Name: "early", Path: "sh", Args: []string{"-c", "echo no such key; exit 3"},
		Ready: func(context.Context) error { return fmt.Errorf("never") },
	})
	if err == nil || !strings.Contains(err.Error(), "exit code 3") || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("early end: %v", err)
	}
	if _, err := harness.TryStart(t, harness.Command{Name: "none", Path: "keybearer-no-such-program"}); err == nil {
		t.Error("a program that does not exist was started")
	}

	p := harness.Start(t, harness.Command{Name: "busy", Path: "sh", Args: []string{"-c", "while :; do :; done"}, CPU: "0"})
	harness.Await(t, "processor time", 10*time.Second, func() error {
		cpu, err := p.CPU()
		if err == nil && cpu < 20*time.Millisecond {
			err = fmt.Errorf("only %v", cpu)
		}
		return err
	})
	if rss := p.RSS(t); rss < 100<<10 || rss > 100<<20 {
		t.Errorf("resident memory of a shell: %d", rss)
	}
	p.Kill()
	if code := p.ExitCode(); code != -1 {
		t.Errorf("exit code after SIGKILL: %d", code)
	}
	if r := harness.Run(t, harness.Command{Path: "sh", Args: []string{"-c", "cat; echo talk >&2; exit 4"}}, "data"); r != (harness.Result{Stdout: "data", Stderr: "talk\n", Code: 4}) {
		t.Errorf("run: %+v", r)
	}
}
