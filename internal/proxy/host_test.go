package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/test/harness"
)

// Whatever a request says in Host and beside it: the one destination that was judged is dialled, named in SNI, named in Host and audited,
// or nothing is sent.
func TestOneDestinationInDialSNIHostAndAudit(t *testing.T) {
	dns, ca := harness.StartDNS(t), harness.NewCA(t)
	l := newLab(t, trusting(ca), func(_ *lab, c *Config) {
		c.Dialer = dial.New(dial.Config{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Resolver: dns.Addr})
	})
	d := tell(t, &tls.Config{Certificates: []tls.Certificate{ca.Certificate(t, nil, "api.test", "evil.test")}}, false)
	trap := must(net.Listen("tcp", strings.Replace(strings.TrimPrefix(d.url, "https://"), "127.0.0.1", "127.0.0.9", 1)))
	defer trap.Close()
	dns.Set("api.test", netip.MustParseAddr("127.0.0.1"))
	dns.Set("evil.test", netip.MustParseAddr("127.0.0.9"))
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(d.url, "https://"))
	host := "api.test:" + port
	// The rules would let evil.test have the secret, too: only the destination that was named may.
	l.credential("crm", keybearer.Terms{Kind: keybearer.Bearer, Rules: append(l.rules("https://"+host), l.rules("https://evil.test:"+port)...)}, "s3cret-token")
	open := l.serve(Route{Hosts: []string{"keybearer.internal"}})
	fixed := l.serve(Route{Caller: "billing", Credential: must(keybearer.ParseRef("docs/crm")), Destination: "https://" + host, SharedHostOK: true, Hosts: []string{"keybearer.internal"}})
	tags := "Keybearer-Credential: docs/crm\r\n"
	modes := map[string]func(hosts string) (int, string){
		"proxy": func(hosts string) (int, string) {
			return send(t, open, "GET http://"+host+"/x HTTP/1.1\r\n"+hosts+tags+"Proxy-Authorization: Bearer "+l.token+"\r\n\r\n")
		},
		"proxy, other spelling": func(hosts string) (int, string) {
			return send(t, open, "GET HTTP://API.Test.:"+port+"/x HTTP/1.1\r\n"+hosts+tags+"Proxy-Authorization: Bearer "+l.token+"\r\n\r\n")
		},
		"gateway": func(hosts string) (int, string) {
			return send(t, open, "GET /x HTTP/1.1\r\n"+hosts+tags+"Keybearer-Destination: https://"+host+"\r\nAuthorization: Bearer "+l.token+"\r\n\r\n")
		},
		"route": func(hosts string) (int, string) { return send(t, fixed, "GET /x HTTP/1.1\r\n"+hosts+"\r\n") },
		"tunnel": func(hosts string) (int, string) {
			return send(t, open, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n",
				"GET /x HTTP/1.1\r\n"+hosts+tags+"\r\n")
		},
		"absolute in a tunnel": func(hosts string) (int, string) {
			return send(t, open, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n",
				"GET http://"+host+"/x HTTP/1.1\r\n"+hosts+tags+"\r\n")
		},
	}
	evil := "evil.test:" + port
	matrix := []string{
		"Host: " + host + "\r\n", "Host: " + evil + "\r\n", "Host: \r\n", "", "Host: 127.0.0.1\r\n", "Host: localhost\r\n", "Host: keybearer.internal\r\n", "Host: evil.test\r\n",
		"Host: API.TEST:" + port + "\r\n", "Host: api.test.:" + port + "\r\n", "Host: api.test\r\n", "Host: user@" + evil + "\r\n", "Host: " + host + "@" + evil + "\r\n",
		"Host: " + host + ", " + evil + "\r\n", "Host: " + host + "\r\nHost: " + evil + "\r\n", "Host: " + evil + "\r\nHost: " + host + "\r\n", "Host : " + evil + "\r\nHost: " + host + "\r\n",
		"Host: " + host + "\r\n " + evil + "\r\n", "Host: " + host + "/../" + evil + "\r\n", "Host: " + host + "#" + evil + "\r\n", "Host: " + host + "\\" + evil + "\r\n", "Host: [::1]\r\n",
		"Host: 127.0.0.1\r\nX-Forwarded-Host: " + evil + "\r\nForwarded: host=" + evil + "\r\nX-Host: " + evil + "\r\n", "Host: " + host + "\r\nX_Forwarded_Host: " + evil + "\r\nX-Original-Url: https://" + evil + "/\r\n",
		"Host: localhost\r\nConnection: Host\r\n", "Host: " + host + "\r\nConnection: Host, Authorization\r\n", "Host: \tevil.test\r\n", "Host: \x00evil.test\r\n", "Host: évil.test\r\n",
	}
	served := map[string]int{}
	for name, mode := range modes {
		for _, hosts := range matrix {
			status, raw := mode(hosts)
			switch {
			case status == 200:
				served[name]++
				head := <-d.heads
				state := <-d.observed
				first, fields, _ := strings.Cut(head, "\r\n")
				if first != "GET /x HTTP/1.1" || strings.Count(strings.ToLower("\r\n"+fields), "\r\nhost:") != 1 || !strings.Contains("\r\n"+fields, "\r\nHost: "+host+"\r\n") || state.ServerName != "api.test" {
					t.Errorf("%s, %q: arrived for %q as %q", name, hosts, state.ServerName, head)
				}
				if strings.Count(head, "\r\nAuthorization: Bearer s3cret-token\r\n") != 1 || strings.Contains(strings.ToLower(head), "forwarded") {
					t.Errorf("%s, %q: arrived as %q", name, hosts, head)
				}
			case status < 400 || status > 499:
				t.Errorf("%s, %q: %d %s", name, hosts, status, raw)
			}
		}
		if served[name] == 0 {
			t.Errorf("%s: every request was refused, which shows nothing", name)
		}
	}
	total := 0
	for _, n := range served {
		total += n
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	uses := 0
	for entry := range l.log.Subscribe(ctx, 10_000, nil) {
		e := entry.Event
		if e.Kind != keybearer.UseEvent {
			continue
		}
		if e.Host != "api.test" || e.Scheme != "https" || keybearer.JoinHost("", e.Host, e.Port) != host {
			t.Errorf("recorded as %s://%s:%d", e.Scheme, e.Host, e.Port)
		}
		if uses++; uses == 2*total { // intent and outcome
			break
		}
	}
	if uses != 2*total {
		t.Errorf("%d events of %d uses", uses, total)
	}
	t.Logf("served %v of %d each", served, len(matrix))
	if n := int(d.conns.Load()); n != total {
		t.Errorf("%d connections for %d requests", n, total)
	}
	probe := must(net.Dial("tcp", trap.Addr().String()))
	defer probe.Close()
	caught := must(trap.Accept())
	defer caught.Close()
	if caught.RemoteAddr().String() != probe.LocalAddr().String() {
		t.Error("the other host got a connection")
	}
}

// send writes the texts, each after an answer to the one before, and returns what the last was answered with.
func send(t testing.TB, addr string, texts ...string) (status int, body string) {
	t.Helper()
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(conn)
	for _, text := range texts {
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		method, _, _ := strings.Cut(text, " ")
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		status = resp.StatusCode
		if method != "CONNECT" {
			b, _ := io.ReadAll(resp.Body)
			body = string(b)
		}
	}
	return status, body
}
