package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/internal/inject"
	"github.com/keybearer/keybearer/internal/revocation"
	"github.com/keybearer/keybearer/policy"
)

func TestWhatAFailedRequestIsCalled(t *testing.T) {
	taken := keybearer.NewError(keybearer.CredentialForbidden, "")
	revoked, revoke := context.WithCancelCause(t.Context())
	revoke(taken)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		code keybearer.Code
		op   string
	}{
		{"of ours", gone, &url.Error{Err: keybearer.NewError(keybearer.AddressDenied, "")}, keybearer.AddressDenied, ""},
		{"the leave was taken", revoked, net.ErrClosed, keybearer.CredentialForbidden, ""},
		{"the caller is gone", gone, net.ErrClosed, keybearer.CallerGone, "send"},
		{"revoked", t.Context(), &url.Error{Err: revocation.Refusal("a")}, keybearer.DestinationTLSFailed, "send"},
		{"unknown authority", t.Context(), &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, keybearer.DestinationTLSFailed, "send"},
		{"no TLS", t.Context(), tls.RecordHeaderError{Msg: "a"}, keybearer.DestinationTLSFailed, "send"},
		{"an alert", t.Context(), tls.AlertError(40), keybearer.DestinationTLSFailed, "send"},
		{"an alert of theirs", t.Context(), &net.OpError{Op: "remote error", Err: errors.New("a")}, keybearer.DestinationTLSFailed, "send"},
		{"an alert of ours", t.Context(), &net.OpError{Op: "local error", Err: errors.New("a")}, keybearer.DestinationTLSFailed, "send"},
		{"a reset", t.Context(), &net.OpError{Op: "read", Err: syscall.ECONNRESET}, keybearer.DestinationUnreachable, "send"},
		{"late", t.Context(), &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, keybearer.DestinationTimeout, "send"},
		{"anything", t.Context(), errors.New("a"), keybearer.DestinationUnreachable, "send"},
	} {
		if got := sendError(c.ctx, c.err); got.Code != c.code || got.Op != c.op {
			t.Errorf("%s: %s of %q", c.name, got.Code, got.Op)
		}
	}
	if ended(t.Context()) != nil || !errors.Is(ended(revoked), taken) {
		t.Error("why a request has ended is not what ended it")
	}
}

// deadlines is a connection that notes until when a write may take.
type deadlines struct {
	net.Conn
	set []time.Time
	err error
}

func (d *deadlines) Write(b []byte) (int, error) { return len(b), nil }

func (d *deadlines) SetDeadline(t time.Time) error { return d.SetWriteDeadline(t) }

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return d.err
}

// Each write has its limit, but where somebody has set another.
func TestAWriteHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, at := &deadlines{}, time.Now().Add(time.Hour)
		c := &impatient{Conn: d, limit: time.Minute}
		for i, step := range []struct {
			do  func()
			set []time.Time // by the write behind it, too
		}{
			{func() {}, []time.Time{time.Now().Add(time.Minute)}},
			{func() { _ = c.SetWriteDeadline(at) }, []time.Time{at}},
			{func() { _ = c.SetWriteDeadline(time.Time{}) }, []time.Time{{}, time.Now().Add(time.Minute)}},
			{func() { _ = c.SetDeadline(at) }, []time.Time{at}},
			{func() { _ = c.SetDeadline(time.Time{}) }, []time.Time{{}, time.Now().Add(time.Minute)}},
		} {
			d.set = nil
			step.do()
			if n, err := c.Write([]byte("ping")); n != 4 || err != nil || !slices.Equal(d.set, step.set) {
				t.Errorf("step %d: %d, %v, until %v", i, n, err, d.set)
			}
		}
		d.err = net.ErrClosed
		if n, err := c.Write([]byte("ping")); n != 0 || err != net.ErrClosed {
			t.Errorf("without a limit it wrote %d, %v", n, err)
		}
	})
}

// What was sent is told as far as anybody can tell, and nothing that comes back holds on to the secret.
func TestWhatIsCountedAsSent(t *testing.T) {
	l := newLab(t)
	over := make(chan struct{}, 100) // a connection that was answered was closed by us
	listen := func(answer string) netip.AddrPort {
		s := must(net.Listen("tcp", "127.0.0.1:0"))
		t.Cleanup(func() { s.Close() })
		go func() {
			for {
				conn, err := s.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					b := make([]byte, 1<<10)
					for read := 0; !bytes.Contains(b[:read], []byte("ping")) && b[0] != 0x16; { // a TLS hello
						n, err := conn.Read(b[read:])
						if err != nil {
							return
						}
						read += n
					}
					_, _ = io.WriteString(conn, answer)
					if answer != "" {
						_, _ = io.Copy(io.Discard, conn)
						over <- struct{}{}
					}
				}()
			}
		}()
		return must(netip.ParseAddrPort(s.Addr().String()))
	}
	for name, c := range map[string]struct {
		scheme, answer string
		code           keybearer.Code
		sent           int64
	}{
		"answered":             {"http", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", 4},
		"the highest status":   {"http", "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", "", 4},
		"no final status":      {"http", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", keybearer.DestinationUnreachable, 4},
		"broken off":           {"http", "", keybearer.DestinationUnreachable, 4},
		"no TLS":               {"https", "HTTP/1.1 400 Bad\r\n\r\n", keybearer.DestinationTLSFailed, 0},
		"another protocol":     {"http", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", keybearer.DestinationUnreachable, 4},
		"what is not scrubbed": {"http", "HTTP/1.1 206 Partial\r\nContent-Length: 2\r\n\r\nx", keybearer.DestinationUnreachable, 4},
	} {
		at := listen(c.answer)
		p := &Pass{
			Destination: policy.Destination{Scheme: c.scheme, Host: at.Addr().String(), Addr: at.Addr(), Port: at.Port()}, Target: "/", ScopeID: "scp_a",
			Addresses: dial.Addresses{List: []netip.Addr{at.Addr()}, Reach: policy.Listed}, Field: inject.Field{Name: "X-Key", Value: keybearer.NewSecret("s3cret")}, filter: filter{scrub: true},
		}
		b := &body{whole: []byte("ping"), length: 4}
		resp, err := l.proxy.transports.send(t.Context(), p, "POST", http.Header{}, b)
		if code := keybearer.CodeOf(asError(err)); code != c.code || b.sent.Load() != c.sent || (resp == nil) != (c.code != "") {
			t.Errorf("%s: %v, %d bytes", name, err, b.sent.Load())
		}
		if c.code != "" && c.answer != "" {
			select {
			case <-over:
			case <-time.After(10 * time.Second):
				t.Errorf("%s: the connection stays open", name)
			}
		}
		if resp != nil {
			if resp.Request != nil {
				t.Errorf("%s: the answer holds the request, and so the secret", name)
			}
			resp.Body.Close()
		}
	}
	b := &body{whole: []byte("ping"), length: 4}
	p := &Pass{Destination: policy.Destination{Scheme: "http", Host: "127.0.0.1", Port: 1}, Target: "/", Addresses: dial.Addresses{Reach: policy.Denied}, Field: inject.Field{Name: "X-Key", Value: keybearer.NewSecret("s3cret")}}
	if _, err := l.proxy.transports.send(t.Context(), p, "POST", http.Header{}, b); err == nil || err.Code != keybearer.AddressDenied || b.sent.Load() != 0 {
		t.Errorf("nowhere: %v, %d bytes", err, b.sent.Load())
	}
}

// Connections that were judged by older lists, and all when nobody is served any more, are ended once they are idle.
func TestIdleConnectionsAreEnded(t *testing.T) {
	ended := make(chan struct{}, 10)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			ended <- struct{}{}
		}
	}
	s.Start()
	defer s.Close()
	lists := must(revocation.Open(slog.New(slog.DiscardHandler)))
	defer lists.Close()
	idle := func() *http.Transport {
		tr := &http.Transport{}
		resp := must(tr.RoundTrip(must(http.NewRequestWithContext(t.Context(), "GET", s.URL, nil))))
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return tr
	}
	wait := func(what string) {
		t.Helper()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: its connection stays open", what)
		}
	}
	ts := &transports{c: &Config{Revoked: lists}, pools: map[poolKey]*http.Transport{}}
	now := lists.Issue()
	old, same := poolKey{"scp_a", policy.Public, now - 1}, poolKey{"scp_b", policy.Public, now}
	ts.pools[old], ts.pools[same] = idle(), idle()
	if tr := ts.get("scp_c", policy.Public); tr == nil || ts.get("scp_c", policy.Public) != tr {
		t.Error("a pool of its own each time")
	}
	wait("of an older list")
	if _, kept := ts.pools[old]; kept || ts.pools[same] == nil || len(ts.pools) != 2 {
		t.Errorf("%d pools", len(ts.pools))
	}
	ts.close()
	wait("nobody is served")
}

// Over HTTP/2 a status may be any number.
func TestAStatusOfFourDigitsIsNone(t *testing.T) {
	l := newLab(t)
	config := l.destination.TLS.Clone()
	config.NextProtos = []string{"h2"}
	s := must(tls.Listen("tcp", "127.0.0.1:0", config))
	defer s.Close()
	go func() {
		conn, err := s.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
		f := http2.NewFramer(conn, conn)
		_ = f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if _, ok := frame.(*http2.HeadersFrame); ok {
				var head bytes.Buffer
				_ = hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: "1000"})
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.Header().StreamID, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true})
			}
		}
	}()
	l.credential("odd", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules("https://" + s.Addr().String())}, "s3cret-token")
	c := l.call("docs/odd")
	c.Target = "http://" + s.Addr().String() + "/"
	p, err := l.proxy.gate.Admit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Finish(Result{})
	if resp, err := l.proxy.transports.send(t.Context(), p, "GET", http.Header{}, &body{}); resp != nil || err.Code != keybearer.DestinationUnreachable || err.Detail != "the destination gave no final answer" {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestWhichAnswersMayHaveABody(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		length int64
		want   bool
	}{
		{"GET", 200, -1, true},
		{"GET", 200, 1, true},
		{"POST", 500, 1, true},
		{"HEAD", 200, 1, false},
		{"GET", 204, -1, false},
		{"GET", 304, 1, false},
		{"GET", 200, 0, false},
	} {
		if got := hasBody(c.method, &http.Response{StatusCode: c.status, ContentLength: c.length}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestTheRequestLineIsWrittenAsItWasJudged(t *testing.T) {
	d := &policy.Destination{Scheme: "https", Host: "h.example", Port: 443}
	for _, target := range []string{"/", "/?", "/a%2Fb?q=%20", "/a/../b", "//", "//a", "//a%2Fb", "//a?", "//a?b?c", "/a//b?", "/a{b}?x={y}", "/" + strings.Repeat("a", 9) + "|"} {
		if got := (&http.Request{URL: targetURL(d, target)}).URL.RequestURI(); got != target {
			t.Errorf("%q is written as %q", target, got)
		}
	}
}
