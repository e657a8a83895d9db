package caddymodule

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// A connection to a destination that is kept for later was judged under the configuration of its time. Each other configuration of what
// may be reached and trusted makes its own, and asks anew.
func TestAReloadJudgesDestinationsAnew(t *testing.T) {
	s := newStand(t)
	ca := harness.NewCA(t)
	cert := ca.Certificate(t, nil, "127.0.0.1")
	var opened atomic.Int64
	s.destination.Close()
	s.destination = httptest.NewUnstartedServer(http.HandlerFunc(s.receive))
	s.destination.TLS = harness.ServerTLS(cert)
	s.destination.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.destination.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.destination.StartTLS()
	t.Cleanup(s.destination.Close)
	root, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	s.write("ca.pem", string(root))
	s.write("ca.crl", string(ca.Revoke(t, nil)))
	s.mustLoad(basics, site)
	s.furnish()
	tr := transport(s.proxy())
	defer tr.CloseIdleConnections()
	refused := func(t *testing.T, code string) {
		t.Helper()
		tr := transport(s.proxy())
		defer tr.CloseIdleConnections()
		res, body := s.send(tr, s.request("POST", "hello"))
		if got := s.taken(); !strings.Contains(body, code) || len(got) > 0 {
			t.Errorf("%s %s, received %v", res.Status, body, got)
		}
	}
	kept := func(t *testing.T) { // there is a connection that is kept
		t.Helper()
		before := opened.Load()
		s.works(s.proxy())
		s.works(s.proxy())
		if n := opened.Load() - before; n > 1 {
			t.Fatalf("%d connections for two requests: nothing is kept, and the test shows nothing", n)
		}
	}
	const lists = "\n revoked {env.STAND}/ca.crl"
	for _, c := range []struct {
		name, options, code string
		change              func()
	}{
		{"networks are not listed any more", "trust {env.STAND}/ca.pem", "address_denied", nil},
		{"another network is listed", "trust {env.STAND}/ca.pem\n allow_private 127.0.0.2/32", "address_denied", nil},
		{"its root is not trusted any more", "trust {env.STAND}/other.pem\n allow_private 127.0.0.0/8", "destination_tls_failed", nil},
		{"nothing beside the system is trusted", "allow_private 127.0.0.0/8", "destination_tls_failed", nil},
		{"the same file holds another root", basics, "destination_tls_failed", func() { s.write("ca.pem", rootPEM) }},
		{"a list names it", basics + lists, "destination_tls_failed", func() { s.write("ca.crl", string(ca.Revoke(t, nil, cert))) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func(t *testing.T) { s.t = t }(s.t)
			s.t = t
			s.write("ca.pem", string(root))
			s.write("ca.crl", string(ca.Revoke(t, nil)))
			s.mustLoad(basics+lists, site)
			kept(t)
			if c.change != nil {
				c.change()
			}
			s.mustLoad(c.options, site)
			refused(t, c.code)
		})
	}
	t.Run("a list that is replaced holds without a reload", func(t *testing.T) {
		defer func(t *testing.T) { s.t = t }(s.t)
		s.t = t
		s.write("ca.pem", string(root))
		s.write("ca.crl", string(ca.Revoke(t, nil)))
		s.mustLoad(basics+lists, site)
		kept(t)
		s.write("ca.crl", string(ca.Revoke(t, nil, cert)))
		harness.Await(t, "that the list holds", time.Minute, func() error {
			res, _ := s.send(tr, s.request("POST", "hello"))
			s.taken()
			if res.StatusCode != 502 {
				return errors.New(res.Status)
			}
			return nil
		})
		refused(t, "the certificate was revoked")
	})
}
