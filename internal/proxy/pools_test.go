package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/policy"
	"github.com/keybearer/keybearer/test/harness"
)

// twoScopes gives the lab's caller the credentials docs/crm and sales/crm for the destination.
func twoScopes(l *lab, d *teller) {
	terms := keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(d.url)}
	l.credential("crm", terms, "s3cret-token")
	docs := l.scope
	l.scope = l.newScope("sales")
	l.credential("crm", terms, "s3cret-token")
	sales := l.scope
	l.scope = docs
	caller := l.caller.Clone()
	caller.Scopes = []string{docs.ID, sales.ID}
	caller.Revision = l.commit(keybearer.Write{Caller: caller})
}

func TestScopesShareNoConnection(t *testing.T) {
	ca := harness.NewCA(t)
	l := newLab(t, trusting(ca))
	d := tell(t, &tls.Config{Certificates: []tls.Certificate{ca.Certificate(t, nil, "127.0.0.1")}}, true)
	twoScopes(l, d)
	addr := l.serve(Route{})
	for i, c := range []struct {
		credential string
		conns      int64
	}{{"docs/crm", 1}, {"docs/crm", 1}, {"sales/crm", 2}, {"docs/crm", 2}, {"sales/crm", 2}} {
		if status, code, _ := l.ask(addr, c.credential, d.url); status != 200 || d.conns.Load() != c.conns {
			t.Errorf("request %d, of %s: %d %s, %d connections", i, c.credential, status, code, d.conns.Load())
		}
	}
}

func TestScopesShareNoSession(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			ca := harness.NewCA(t)
			l := newLab(t, trusting(ca))
			d := tell(t, &tls.Config{Certificates: []tls.Certificate{ca.Certificate(t, nil, "127.0.0.1")}, MaxVersion: version}, false)
			twoScopes(l, d)
			addr := l.serve(Route{})
			for i, c := range []struct {
				credential string
				resumed    int64
			}{{"docs/crm", 0}, {"docs/crm", 1}, {"sales/crm", 1}, {"sales/crm", 2}, {"docs/crm", 3}} {
				if status, code, _ := l.ask(addr, c.credential, d.url); status != 200 || d.resumed.Load() != c.resumed {
					t.Errorf("handshake %d, of %s: %d %s, %d resumed", i, c.credential, status, code, d.resumed.Load())
				}
			}
		})
	}
}

func TestPoolsAreApartByScopeReachAndIssue(t *testing.T) {
	l := newLab(t)
	pools := l.proxy.transports
	a := pools.get("scp_a", policy.Public)
	b, c := pools.get("scp_b", policy.Public), pools.get("scp_a", policy.Listed)
	if a == b || a == c || b == c || pools.get("scp_a", policy.Public) != a {
		t.Error("pools are shared")
	}
	for _, tr := range []*http.Transport{a, b, c} {
		config := tr.TLSClientConfig
		if tr.Proxy != nil || config.InsecureSkipVerify || config.MinVersion < tls.VersionTLS12 || config.VerifyConnection == nil || config.ClientSessionCache == nil {
			t.Errorf("%+v", tr)
		}
	}
	if a.TLSClientConfig.ClientSessionCache == b.TLSClientConfig.ClientSessionCache || a.TLSClientConfig.ClientSessionCache == c.TLSClientConfig.ClientSessionCache {
		t.Error("sessions are shared")
	}
}

// A session is resumed for an hour.
func TestSessionsAreForgotten(t *testing.T) {
	s, state := new(sessions), new(tls.ClientSessionState)
	has := func() bool { _, ok := s.Get("x"); return ok }
	s.Put("x", state)
	if !has() {
		t.Error("not kept")
	}
	s.until = time.Now().Add(-time.Second)
	if has() {
		t.Error("kept after its hour")
	}
}

// Whatever asks for a connection gets one to the destination that was judged, at an address that was judged, or none.
func TestADialOfAnythingElseThanWasJudgedConnectsNowhere(t *testing.T) {
	trap, good := must(net.Listen("tcp", "127.0.0.1:0")), must(net.Listen("tcp", "127.0.0.2:0"))
	defer trap.Close()
	defer good.Close()
	go func() {
		for {
			conn, err := good.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 1024))
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			}()
		}
	}()
	at, trapped := netip.MustParseAddrPort(good.Addr().String()), netip.MustParseAddrPort(trap.Addr().String())
	l := newLab(t, func(_ *lab, c *Config) {
		c.Dialer = dial.New(dial.Config{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
	})
	pools := l.proxy.transports
	judged := func(host string, port uint16, reach policy.Reach, list ...netip.Addr) *dialTarget {
		addr, _ := netip.ParseAddr(host)
		return &dialTarget{destination: policy.Destination{Scheme: "http", Host: host, Addr: addr, Port: port}, addresses: dial.Addresses{List: list, Reach: reach}}
	}
	fine := judged("api.test", at.Port(), policy.Listed, at.Addr())
	for name, c := range map[string]struct {
		target *dialTarget
		addr   string
		want   keybearer.Code
	}{
		"what was judged":           {fine, fine.destination.HostPort(), ""},
		"another host":              {fine, "evil.test:" + strings.TrimPrefix(fine.destination.HostPort(), "api.test:"), keybearer.DestinationUnreachable},
		"another port":              {fine, "api.test:1", keybearer.DestinationUnreachable},
		"no port":                   {fine, "api.test", keybearer.DestinationUnreachable},
		"the address of the name":   {fine, at.String(), keybearer.DestinationUnreachable},
		"the trap":                  {fine, trapped.String(), keybearer.DestinationUnreachable},
		"another spelling":          {fine, strings.ToUpper(fine.destination.HostPort()), keybearer.DestinationUnreachable},
		"nothing":                   {fine, "", keybearer.DestinationUnreachable},
		"nothing was judged":        {nil, trapped.String(), keybearer.DestinationUnreachable},
		"judged, and not listed":    {judged("api.test", trapped.Port(), policy.Listed, trapped.Addr()), "api.test:" + portText(trapped), keybearer.AddressDenied},
		"judged in another reach":   {judged("api.test", at.Port(), policy.Public, at.Addr()), fine.destination.HostPort(), keybearer.AddressDenied},
		"judged as denied":          {judged("api.test", at.Port(), policy.Denied, at.Addr()), fine.destination.HostPort(), keybearer.AddressDenied},
		"judged as nothing":         {judged("api.test", at.Port(), policy.Unresolved), fine.destination.HostPort(), keybearer.AddressDenied},
		"a literal that is no list": {judged("127.0.0.1", trapped.Port(), policy.Listed, at.Addr()), trapped.String(), keybearer.DestinationUnreachable},
	} {
		ctx := t.Context()
		if c.target != nil {
			ctx = context.WithValue(ctx, dialKey{}, c.target)
		}
		conn, err := pools.dial(ctx, "tcp", c.addr)
		if c.want == "" {
			if err != nil || conn.RemoteAddr().String() != good.Addr().String() {
				t.Errorf("%s: %v", name, err)
			}
		} else if keybearer.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if conn != nil {
			_ = conn.Close()
		}
		// The same by way of the transport, which chooses the address itself.
		if c.addr == "" {
			continue
		}
		r := (&http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: c.addr, Path: "/"}, Header: http.Header{}}).WithContext(ctx)
		if c.want != "" {
			if resp, err := pools.get("scp_x", policy.Listed).RoundTrip(r); err == nil {
				t.Errorf("%s: status %d", name, resp.StatusCode)
			}
		}
	}
	probe := must(net.Dial("tcp", trap.Addr().String()))
	defer probe.Close()
	first := must(trap.Accept())
	defer first.Close()
	if first.RemoteAddr().String() != probe.LocalAddr().String() {
		t.Errorf("the trap got a connection from %s", first.RemoteAddr())
	}
}

func portText(a netip.AddrPort) string { return strings.TrimPrefix(a.String(), a.Addr().String()+":") }

// A kept connection serves a request only if the request itself is admitted now: by the rules, and by where the name leads.
func TestAKeptConnectionServesNobodyWhoIsRefused(t *testing.T) {
	t.Parallel() // it waits for an answer of the name server to pass
	dns := harness.StartDNS(t)
	ca := harness.NewCA(t)
	l := newLab(t, trusting(ca), func(_ *lab, c *Config) {
		c.Dialer = dial.New(dial.Config{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Resolver: dns.Addr})
	})
	d := tell(t, &tls.Config{Certificates: []tls.Certificate{ca.Certificate(t, nil, "api.test")}}, true)
	d.url = strings.Replace(d.url, "127.0.0.1", "api.test", 1)
	dns.Set("api.test", netip.MustParseAddr("127.0.0.1"))
	wide := keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(d.url)}
	c := l.credential("crm", wide, "s3cret-token")
	l.credential("flip", wide, "s3cret-token")
	addr := l.serve(Route{})
	works := func(credential string) {
		t.Helper()
		if status, code, says := l.ask(addr, credential, d.url); status != 200 {
			t.Fatal(status, code, says)
		}
	}
	works("docs/crm")
	works("docs/flip")
	if n := d.conns.Load(); n != 1 {
		t.Fatalf("%d connections: none is kept, and the test shows nothing", n)
	}
	told := d.told.Load()
	for name, rules := range map[string][]keybearer.Rule{
		"no rule":          {},
		"another host":     l.rules("https://other.test"),
		"a path":           l.rules(d.url + "/elsewhere"),
		"not private":      {must(policy.ParseRule(d.url, nil, false))},
		"in clear":         l.rules("http://" + strings.TrimPrefix(d.url, "https://")),
		"another port":     l.rules("https://api.test"),
		"one label deeper": l.rules("https://*." + strings.TrimPrefix(d.url, "https://")),
	} {
		l.update(c, func(c *keybearer.Credential) { c.Current.Terms.Rules = policy.CanonicalRules(rules) })
		if status, code, _ := l.ask(addr, "docs/crm", d.url); status == 200 {
			t.Errorf("%s: %d %s", name, status, code)
		}
	}
	if n := d.told.Load() - told; n != 0 {
		t.Errorf("%d bytes were sent for refused requests", n)
	}
	// The name leads elsewhere now. The answer before serves for some seconds, the connection that it led to must not after that.
	dns.Set("api.test", netip.MustParseAddr("127.0.0.3"))
	harness.Await(t, "that the new answer counts", time.Minute, func() error {
		status, code, _ := l.ask(addr, "docs/flip", d.url)
		switch {
		case code == keybearer.AddressDenied:
			return nil
		case status != 200:
			t.Fatalf("%d %s", status, code)
		}
		return errors.New("the answer before serves")
	})
	told = d.told.Load()
	for range 3 {
		if _, code, _ := l.ask(addr, "docs/flip", d.url); code != keybearer.AddressDenied {
			t.Error(code)
		}
	}
	if d.told.Load() != told || d.conns.Load() != 1 {
		t.Errorf("%d bytes, %d connections", d.told.Load()-told, d.conns.Load())
	}
}
