package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// The configuration is read again and again under load, changed each time and now and then broken: no request fails, each arrives once,
// and the server serves by the last one that is right.
func TestReloadUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.billing("*.example.com")
	api := w.recorder("api.example.com", nil)
	extra := harness.Address() // of a site that every other configuration has
	accepts := harness.Accepts(netip.AddrPortFrom(extra, 9090))

	all := append([]string{"tunnel"}, modes...)
	var stop atomic.Bool
	var sent atomic.Int64
	var wg sync.WaitGroup
	var clients [64]goClient
	for i := range clients {
		wg.Go(func() {
			defer clients[i].close()
			for n := 0; !stop.Load(); n++ {
				j := &job{
					ID: fmt.Sprintf("w%d-%d", i, n), client: "go", mode: all[i%len(all)], Method: "POST", Body: strings.Repeat("x", 100),
					caller: "billing", credential: "docs/crm", host: "api.example.com", target: "/hook",
				}
				w.address(j)
				r, err := clients[i].send(j)
				sent.Add(1)
				if err != nil {
					t.Errorf("request %s: %v", j.ID, err)
					return
				}
				w.checkResult(t, j, r)
			}
		})
	}
	const reloads = 20
	for i := range reloads {
		mark := sent.Load()
		site := ""
		if i%2 == 0 {
			site = fmt.Sprintf("http://:9090 {\n\tbind %s\n\tkeybearer\n}", extra)
		}
		broken := i%5 == 4
		if broken {
			site = "http://named.example {\n\tkeybearer\n}"
		}
		w.Configure(t, w.options(fmt.Sprintf("secret_ttl %ds", 60+i)), site)
		lines := w.outcomes(t)
		w.Reload()
		harness.Await(t, fmt.Sprintf("reload %d", i), 30*time.Second, func() error {
			if n := w.outcomes(t); n <= lines {
				return fmt.Errorf("%d of them", n)
			}
			if n := sent.Load(); n < mark+200 {
				return fmt.Errorf("only %d requests since", n-mark)
			}
			return nil
		})
		if broken {
			continue
		}
		harness.Await(t, fmt.Sprintf("what reload %d changed", i), 10*time.Second, func() error {
			if err := accepts(t.Context()); (err == nil) != (site != "") {
				return fmt.Errorf("connecting to the second site gives %v", err)
			}
			return nil
		})
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d requests over %d reloads", sent.Load(), reloads)
	harness.Await(t, "all arrivals", 10*time.Second, func() error {
		if n := int64(api.Len()); n != sent.Load() {
			return fmt.Errorf("%d of %d", n, sent.Load())
		}
		return nil
	})
	seen := map[string]bool{}
	for _, a := range api.All() {
		if seen[a.ID()] {
			t.Errorf("request %s arrived twice", a.ID())
		}
		seen[a.ID()] = true
		w.right(t, a, "docs/crm")
	}
	w.checkAudit(t, int(sent.Load()), 0)
}

// outcomes counts the log lines that end a reload, well or badly.
func (w *world) outcomes(t *testing.T) int {
	t.Helper()
	output := w.Output(t)
	return strings.Count(output, "successfully reloaded config") + strings.Count(output, "failed to reload config")
}

// A reload ends idle tunnels in time, and a request that is under way in one when it has been answered.
func TestReloadWithTunnels(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	began, release := make(chan struct{}), make(chan struct{})
	w.recorder("api.example.com", func(*harness.Arrival) []byte {
		close(began)
		<-release
		return []byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
	})
	open := func() net.Conn {
		conn, err := tunnel(w.Proxy.String(), "api.example.com:80", "Bearer "+w.tokens["billing"])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		return conn
	}
	idle, busy := open(), open()
	if _, err := io.WriteString(busy, request("GET", "/", "api.example.com", "Keybearer-Credential: docs/crm")); err != nil {
		t.Fatal(err)
	}
	<-began
	w.Configure(t, w.options("secret_ttl 7m"), "")
	w.Reload()
	if n, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the idle tunnel: %d bytes, %v", n, err)
	}
	close(release)
	if a := readAnswer(t, busy, "GET"); a.StatusCode != 200 || string(a.body) != "late" {
		t.Errorf("in the busy tunnel: %s", a.raw)
	}
	if n, err := busy.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the tunnel after its request: %d bytes, %v", n, err)
	}
}
