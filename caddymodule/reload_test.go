package caddymodule

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer/internal/admin"
)

// more is one more trusted root.
const more = "\n trust {env.STAND}/other.pem"

func TestReloadKeepsWhatHasNotChanged(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	s.works(s.proxy())
	first := current()

	s.mustLoad(basics, site)
	if current() == first || current().engine != first.engine {
		t.Error("an equal configuration did not keep the engine")
	}
	s.works(s.proxy())

	s.mustLoad(basics+more, site)
	second := current()
	switch {
	case second.engine == first.engine:
		t.Error("another root did not make another engine")
	case second.engine.core != first.engine.core:
		t.Error("another root made another core")
	}
	s.works(s.proxy())

	// The same path with other contents is another root, too.
	s.write("other.pem", strings.Repeat(rootPEM, 2))
	s.mustLoad(basics+more, site)
	if current().engine == second.engine {
		t.Error("another content of a root's file did not make another engine")
	}

	s.mustLoad(basics+"\n audit file {env.STAND}/kb/other.jsonl", site)
	switch {
	case current().engine.core == first.engine.core:
		t.Error("another audit file did not make another core")
	case current().engine.core.store != first.engine.core.store || current().engine.core.bare != first.engine.core.bare:
		t.Error("another audit file opened store or keyring again")
	}
	s.works(s.proxy())
}

// Whatever is wrong with a new configuration, and wherever that is found out, the one that runs goes on.
func TestBadConfigurationLeavesTheLiveOne(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	live := current()
	elsewhere := filepath.Join(s.dir, "elsewhere.sock")
	serveElsewhere(t, elsewhere)
	s.write("kb/not-a-database", strings.Repeat("no database at all\n", 1000))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct{ name, options, sites, want string }{
		{"while the app is provisioned", "trust {env.STAND}/none.pem", site, "none.pem"},
		{"while a handler is provisioned", basics, site + "http:// {\n bind unix/{env.STAND}/b.sock\n keybearer {\n credential x\n}\n}\n", "has no destination"},
		{"while the store is opened", basics + "\n store sqlite {env.STAND}/kb/not-a-database", site, "not-a-database"},
		{"while the admin socket is opened", basics + "\n admin_socket {env.STAND}/elsewhere.sock", site, "serves " + elsewhere},
		{
			"while another app starts", basics,
			site + fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n keybearer\n}\n", taken.Addr().(*net.TCPAddr).Port), "address already in use",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer func(t *testing.T) { s.t = t }(s.t)
			s.t = t
			for range 8 { // Caddy starts apps in any order
				err := s.load(tt.options, tt.sites)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("error is %v", err)
				}
				if current() != live || live.lease.leaving.Load() {
					t.Fatal("the live app is not the current() one any more")
				}
				s.works(s.proxy())
				if _, err := s.admin().Scopes(t.Context(), admin.ListQuery{}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Nobody notices a lost ring by the first use, when a new one has been begun.
func TestKeyringWithoutTheStoresKeys(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	s.works(s.proxy())
	err := s.load(basics+"\n keyring local {env.STAND}/kb/other.key", site)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(s.dir, "kb", "other.key.ring")+" has no key of the store's scopes") {
		t.Fatalf("error is %v", err)
	}
	s.works(s.proxy())
}

// Clients that send one request after the other notice nothing of reloads: each is answered, and arrives once.
func TestReloadUnderLoad(t *testing.T) {
	linger, moving = time.Second, 250*time.Millisecond
	t.Cleanup(func() { linger, moving = 0, 10*time.Millisecond }) // after the stand's
	s := newStand(t)
	port := freePort(t)
	tcp := fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n keybearer\n}\n", port)
	s.mustLoad(basics, site+tcp)
	s.furnish()

	var sent atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 8 {
		tr := transport([]string{s.proxy(), fmt.Sprintf("127.0.0.1:%d", port)}[i%2])
		tr.DisableKeepAlives = i%4 > 1
		clients.Go(func() {
			defer tr.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := s.request("POST", fmt.Sprint(sent.Add(1)))
				r.GetBody = nil // or net/http would send it again by itself
				res, err := tr.RoundTrip(r)
				if err != nil {
					t.Error(err)
					continue
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Error(err)
				}
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Error(res.Status)
				}
			}
		})
	}
	for i := range 6 {
		options := basics
		if i%2 == 0 {
			options += more
		}
		s.mustLoad(options, site+tcp)
	}
	close(stop)
	clients.Wait()
	seen := map[string]int{}
	for _, r := range s.taken() {
		seen[r.Form.Get("body")]++
	}
	t.Logf("%d requests over 6 reloads", sent.Load())
	for i := range sent.Load() {
		if n := seen[fmt.Sprint(i+1)]; n != 1 {
			t.Errorf("request %d arrived %d times", i+1, n)
		}
	}
	if sent.Load() < 100 {
		t.Errorf("only %d requests were sent", sent.Load())
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
