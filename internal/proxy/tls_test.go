package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/revocation"
	"github.com/keybearer/keybearer/test/harness"
)

// teller is a destination on bare TLS that counts what it is told once the handshake is over, and what it is told without one.
type teller struct {
	url      string
	told     atomic.Int64 // bytes
	conns    atomic.Int64
	resumed  atomic.Int64 // handshakes
	observed chan tls.ConnectionState
	heads    chan string // what came in one read, as long as somebody takes it
}

// tell starts a teller; a nil config is one that speaks no TLS. keep leaves connections open after an answer.
func tell(t testing.TB, config *tls.Config, keep bool) *teller {
	t.Helper()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	d := &teller{url: "https://" + ln.Addr().String(), observed: make(chan tls.ConnectionState, 1000), heads: make(chan string, 16)}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			d.conns.Add(1)
			go d.serve(conn, config, keep)
		}
	}()
	return d
}

func (d *teller) serve(conn net.Conn, config *tls.Config, keep bool) {
	defer conn.Close()
	if config != nil {
		secure := tls.Server(conn, config)
		if secure.Handshake() != nil {
			return
		}
		if secure.ConnectionState().DidResume {
			d.resumed.Add(1)
		}
		select {
		case d.observed <- secure.ConnectionState():
		default:
		}
		conn = secure
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		if config != nil || strings.Contains(string(buffer[:n]), "HTTP/1.1") { // else it is a hello
			d.told.Add(int64(n))
			select {
			case d.heads <- string(buffer[:n]):
			default:
			}
		}
		if err != nil {
			return
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
		if keep {
			answer = strings.Replace(answer, "Connection: close\r\n", "", 1)
		}
		if _, err := io.WriteString(conn, answer); err != nil || !keep {
			return
		}
	}
}

// trusting makes the lab trust the authority and read the lists.
func trusting(ca *harness.CA, lists ...string) labOption {
	return func(l *lab, c *Config) {
		c.Roots = ca.Pool
		c.Revoked = must(revocation.Open(slog.New(slog.DiscardHandler), lists...))
		l.t.Cleanup(func() { _ = c.Revoked.Close() })
	}
}

// ask sends one request with the credential to a destination and returns the status, and what an error of ours says.
func (l *lab) ask(addr, credential, destination string) (int, keybearer.Code, string) {
	l.t.Helper()
	resp, err := l.client(addr).Do(l.request("GET", "http"+strings.TrimPrefix(destination, "https")+"/x", credential, nil))
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var problem struct {
		Code   keybearer.Code
		Detail string
		Hint   string
	}
	_ = json.NewDecoder(resp.Body).Decode(&problem)
	return resp.StatusCode, problem.Code, problem.Detail + " " + problem.Hint
}

func writeList(t testing.TB, path string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, der, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whoever cannot be told from an impostor is told nothing: no byte after the handshake.
func TestADestinationThatCannotBeVerifiedGetsNoByte(t *testing.T) {
	ca, foreign, listed := harness.NewCA(t), harness.NewCA(t), harness.NewCA(t)
	const ip = "127.0.0.1"
	alone := func() tls.Certificate { // signs itself
		self := harness.NewCA(t)
		return self.Certificate(t, nil, ip)
	}
	revoked, held := listed.Certificate(t, nil, ip), listed.Certificate(t, nil, ip)
	lists := filepath.Join(t.TempDir(), "listed.crl")
	writeList(t, lists, listed.Revoke(t, nil, revoked))
	tired := harness.NewCA(t)
	late := filepath.Join(t.TempDir(), "late.crl")
	writeList(t, late, tired.Revoke(t, func(r *x509.RevocationList) {
		r.ThisUpdate, r.NextUpdate = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}))

	stapled := func(edit func(*ocsp.Response), templates ...func(*x509.Certificate)) tls.Certificate {
		var template func(*x509.Certificate)
		if len(templates) > 0 {
			template = templates[0]
		}
		c := ca.Certificate(t, template, ip)
		c.OCSPStaple = ca.Staple(t, c, edit)
		return c
	}
	borrowed := ca.Certificate(t, nil, ip)
	borrowed.OCSPStaple = ca.Staple(t, ca.Certificate(t, nil, ip), nil)
	stranger := ca.Certificate(t, nil, ip)
	stranger.OCSPStaple = foreign.Staple(t, stranger, nil)
	cut := stapled(nil)
	cut.OCSPStaple = cut.OCSPStaple[:len(cut.OCSPStaple)-1]

	l := newLab(t, func(l *lab, c *Config) {
		roots := ca.Pool.Clone()
		for _, more := range []*harness.CA{listed, tired} {
			roots.AppendCertsFromPEM(must(os.ReadFile(more.File)))
		}
		c.Roots, c.TLSTimeout = roots, 2*time.Second
		c.Revoked = must(revocation.Open(nil, lists, late))
		t.Cleanup(func() { _ = c.Revoked.Close() })
	})
	addr := l.serve(Route{})
	n := 0
	ask := func(t *testing.T, d *teller) (int, keybearer.Code, string) {
		t.Helper()
		n++
		name := "tls" + strings.Repeat("x", n)
		l.credential(name, keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(d.url)}, "s3cret-token")
		return l.ask(addr, "docs/"+name, d.url)
	}

	with := func(c tls.Certificate, limits ...uint16) *tls.Config {
		config := &tls.Config{Certificates: []tls.Certificate{c}}
		if len(limits) == 2 {
			config.MinVersion, config.MaxVersion = limits[0], limits[1]
		}
		return config
	}
	for name, c := range map[string]struct {
		config *tls.Config
		says   string
	}{
		"no TLS":                       {nil, ""},
		"expired":                      {with(ca.Issue(t, time.Now().Add(-time.Second), ip)), ""},
		"not yet valid":                {with(ca.Certificate(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, ip)), ""},
		"another name":                 {with(ca.Certificate(t, nil, "other.test")), ""},
		"another address":              {with(ca.Certificate(t, nil, "127.0.0.2")), ""},
		"the address as a common name": {with(ca.Certificate(t, func(c *x509.Certificate) { c.IPAddresses = nil; c.Subject.CommonName = ip }, ip)), ""},
		"signed by itself":             {with(alone()), ""},
		"unknown authority":            {with(foreign.Certificate(t, nil, ip)), ""},
		"for clients":                  {with(ca.Certificate(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, ip)), ""},
		"TLS 1.0":                      {with(ca.Certificate(t, nil, ip), tls.VersionTLS10, tls.VersionTLS10), ""},
		"TLS 1.1":                      {with(ca.Certificate(t, nil, ip), tls.VersionTLS10, tls.VersionTLS11), ""},
		"named in a list":              {with(revoked), string(revocation.Revoked)},
		"named in a list, TLS 1.2":     {with(revoked, tls.VersionTLS12, tls.VersionTLS12), string(revocation.Revoked)},
		"a list past its time":         {with(tired.Certificate(t, nil, ip)), string(revocation.ListExpired)},
		"stapled as revoked":           {with(stapled(func(r *ocsp.Response) { r.Status = ocsp.Revoked })), string(revocation.Revoked)},
		"stapled as unknown":           {with(stapled(func(r *ocsp.Response) { r.Status = ocsp.Unknown })), string(revocation.StapleUnknown)},
		"a staple past its time": {with(stapled(func(r *ocsp.Response) {
			r.ThisUpdate, r.NextUpdate = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		})), string(revocation.StapleExpired)},
		"a staple cut short":            {with(cut), string(revocation.StapleUnreadable)},
		"a staple of another":           {with(borrowed), string(revocation.StapleUnreadable)},
		"a staple by another authority": {with(stranger), string(revocation.StapleUnreadable)},
		"a staple that it must have":    {with(ca.Certificate(t, harness.MustStaple, ip)), string(revocation.StapleMissing)},
	} {
		t.Run(name, func(t *testing.T) {
			d := tell(t, c.config, false)
			for range 2 {
				status, code, says := ask(t, d)
				if status != 502 || code != keybearer.DestinationTLSFailed {
					t.Errorf("%d %s", status, code)
				}
				if !strings.Contains(says, c.says) || strings.Contains(says, "127.0.0.1") {
					t.Errorf("says %q", says)
				}
			}
			if n := d.told.Load(); n != 0 {
				t.Errorf("%d bytes were sent", n)
			}
			if d.conns.Load() != 2 {
				t.Errorf("%d connections", d.conns.Load())
			}
		})
	}
	for name, c := range map[string]*tls.Config{
		"plain":                              with(ca.Certificate(t, nil, ip)),
		"TLS 1.2":                            with(ca.Certificate(t, nil, ip), tls.VersionTLS12, tls.VersionTLS12),
		"its issuer has a list":              with(held),
		"good staple":                        with(stapled(nil)),
		"good staple where there must be":    with(stapled(nil, harness.MustStaple)),
		"good staple, TLS 1.2, must be one":  with(stapled(nil, harness.MustStaple), tls.VersionTLS12, tls.VersionTLS12),
		"its issuer has a list, and TLS 1.2": with(held, tls.VersionTLS12, tls.VersionTLS12),
	} {
		t.Run("verified: "+name, func(t *testing.T) {
			d := tell(t, c, false)
			if status, code, says := ask(t, d); status != http.StatusOK || d.told.Load() == 0 {
				t.Errorf("%d %s %s, %d bytes", status, code, says, d.told.Load())
			}
		})
	}
}

// A connection that is kept was judged by the lists of its time. When they change it is not used again, and neither is its session.
func TestAListThatChangesEndsConnectionsAndSessions(t *testing.T) {
	t.Parallel() // it waits for the file to be looked at
	ca := harness.NewCA(t)
	cert := ca.Certificate(t, nil, "127.0.0.1")
	path := writeList(t, filepath.Join(t.TempDir(), "ca.crl"), ca.Revoke(t, nil))
	var lists *revocation.Lists
	l := newLab(t, trusting(ca, path), func(_ *lab, c *Config) { lists = c.Revoked })
	d := tell(t, &tls.Config{Certificates: []tls.Certificate{cert}}, true)
	l.credential("crm", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(d.url)}, "s3cret-token")
	addr := l.serve(Route{})
	for range 3 {
		if status, code, says := l.ask(addr, "docs/crm", d.url); status != 200 {
			t.Fatal(status, code, says)
		}
	}
	if n := d.conns.Load(); n != 1 {
		t.Fatalf("%d connections: the pool does not keep any, and the test shows nothing", n)
	}
	told, before := d.told.Load(), lists.Issue()
	writeList(t, path, ca.Revoke(t, nil, cert))
	harness.Await(t, "that the list is read anew", time.Minute, func() error {
		if lists.Issue() == before {
			return errors.New("it is the one before")
		}
		return nil
	})
	for range 2 {
		if status, code, says := l.ask(addr, "docs/crm", d.url); code != keybearer.DestinationTLSFailed || !strings.Contains(says, string(revocation.Revoked)) {
			t.Error(status, code, says)
		}
	}
	if n := d.told.Load(); n != told {
		t.Errorf("%d bytes were sent after the certificate had been revoked", n-told)
	}
}

// A session brings back the staple of its beginning. When that is past its time the session is not resumed again, and the next handshake
// brings a new one.
func TestAStaplePastItsTimeCostsTheSessionAndNotTheDestination(t *testing.T) {
	t.Parallel() // it waits for the staple's end
	ca := harness.NewCA(t)
	cert := ca.Certificate(t, harness.MustStaple, "127.0.0.1")
	fresh := cert
	fresh.OCSPStaple = ca.Staple(t, cert, nil)
	var renewed atomic.Bool
	config := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if renewed.Load() {
			return &fresh, nil
		}
		return &cert, nil
	}}
	l := newLab(t, trusting(ca))
	d := tell(t, config, false)
	l.credential("crm", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(d.url)}, "s3cret-token")
	addr := l.serve(Route{})
	until := time.Now().Add(4 * time.Second).Truncate(time.Second) // as the answer has it
	cert.OCSPStaple = ca.Staple(t, cert, func(r *ocsp.Response) { r.NextUpdate = until })
	if status, code, says := l.ask(addr, "docs/crm", d.url); status != 200 {
		t.Fatal(status, code, says)
	}
	renewed.Store(true)
	<-time.After(time.Until(until))
	told := d.told.Load()
	if _, code, says := l.ask(addr, "docs/crm", d.url); code != keybearer.DestinationTLSFailed || !strings.Contains(says, string(revocation.StapleExpired)) || d.told.Load() != told {
		t.Errorf("resumed: %s %s, %d bytes", code, says, d.told.Load()-told)
	}
	if status, code, says := l.ask(addr, "docs/crm", d.url); status != 200 {
		t.Errorf("the next one: %d %s %s", status, code, says)
	}
}
