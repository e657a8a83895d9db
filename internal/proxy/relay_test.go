package proxy

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/keybearer/keybearer"
)

// Whatever takes the leave away ends the WebSocket, and the audit log says what it was.
func TestAWebSocketEndsWithItsLeave(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*lab, *keybearer.Credential)
		code   keybearer.Code
	}{
		"disabled": {func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.Disabled = true })
		}, keybearer.CredentialDisabled},
		"no grant": {func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.Grants = nil })
		}, keybearer.CredentialForbidden},
		"deleted": {func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.DeletedAt = l.clock.now() })
		}, keybearer.CredentialForbidden},
		"another rule": {func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.Current.Terms.Rules = l.rules("other.example.com") })
		}, keybearer.DestinationNotAllowed},
		"no websockets": {func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.Current.Terms.WebSocket = false })
		}, keybearer.DestinationNotAllowed},
		"an expiry that comes": {func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.ExpiresAt = l.clock.now().Add(300 * time.Millisecond) })
		}, keybearer.CredentialExpired},
		"the caller is gone": {func(l *lab, _ *keybearer.Credential) {
			d := *l.caller
			d.Tokens = nil
			l.commit(keybearer.Write{Caller: &d})
		}, keybearer.CallerUnauthenticated},
		"the handler closes": {func(l *lab, _ *keybearer.Credential) {
			for _, h := range slices.Collect(maps.Keys(l.proxy.handlers)) { // closing takes them from the map
				go h.Close()
			}
		}, keybearer.CallerGone},
	} {
		for _, tunnelled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, tunnelled %v", name, tunnelled), func(t *testing.T) {
				l := newLab(t)
				gone := make(chan struct{})
				l.serveSocket(func(ws *websocket.Conn) {
					echo(ws)
					close(gone)
				})
				c := l.credential("crm", l.sockets(), "s3cret-token")
				addr := l.serve(Route{})
				var s *socket
				if tunnelled {
					host := strings.TrimPrefix(l.destination.URL, "https://")
					in := openTunnel(t, addr, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
					s = open(t, in.conn, in.r, "GET / HTTP/1.1\r\nHost: "+host+"\r\nKeybearer-Credential: docs/crm\r\n"+wsFields+"\r\n")
				} else {
					s = l.socket(addr)
				}
				s.echo(t, "it lives")
				began := time.Now()
				tc.change(l, c)
				if _, _, err := s.receive(); err == nil {
					t.Fatal("it goes on")
				}
				t.Logf("it went on for %v", time.Since(began)) // 2 s at most, where the machine is not busy with others
				select {
				case <-gone:
				case <-time.After(10 * time.Second):
					t.Error("the destination was not told")
				}
				events := l.events(1)
				if e := events[len(events)-1]; e.Code != tc.code || e.DestinationStatus != 101 || e.BytesIn == 0 {
					t.Errorf("outcome %+v, want %s", e, tc.code)
				}
			})
		}
	}
}

func TestAWebSocketEndsWhenItsCredentialExpires(t *testing.T) {
	l := newLab(t)
	l.echoes()
	addr := l.serve(Route{})
	for i, life := range []time.Duration{500 * time.Millisecond, 3 * time.Second, 15 * time.Second} { // a busy machine may need longer to open it
		name := fmt.Sprintf("crm%d", i)
		l.credential(name, l.sockets(), "s3cret-token", func(c *keybearer.Credential, _ *keybearer.Bundle) { c.ExpiresAt = l.clock.now().Add(life) })
		s := dialSocket(t, addr, "GET "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/"+name+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n"+wsFields+"\r\n")
		if s.resp.StatusCode == 403 {
			continue
		}
		if _, _, err := s.receive(); err == nil {
			t.Fatal("it goes on")
		}
		events := l.events(i + 1)
		if e := events[len(events)-1]; e.Code != keybearer.CredentialExpired || e.DestinationStatus != 101 {
			t.Errorf("outcome %+v", e)
		}
		return
	}
	t.Fatal("it could not be opened")
}

// The outcome says who ended a WebSocket.
func TestTheOutcomeSaysWhoEndedAWebSocket(t *testing.T) {
	for name, tc := range map[string]struct {
		destination func(*websocket.Conn)
		app         func(*socket)
		code        keybearer.Code
	}{
		"the destination, in order": {func(*websocket.Conn) {}, func(s *socket) { _, _, _ = s.receive(); s.Close() }, ""},
		"the app half, then the destination": {
			func(ws *websocket.Conn) { _, _ = io.Copy(io.Discard, ws); _, _ = io.WriteString(ws, "last words") },
			func(s *socket) {
				_ = s.Conn.(*net.TCPConn).CloseWrite()
				if _, text, err := s.receive(); text != "last words" {
					panic(fmt.Sprint(text, err))
				}
				_, _, _ = s.receive()
			}, "",
		},
		"the app, by a reset": {
			echo,
			func(s *socket) { _ = s.Conn.(*net.TCPConn).SetLinger(0); s.Close() }, keybearer.CallerGone,
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.serveSocket(tc.destination)
			l.credential("crm", l.sockets(), "s3cret-token")
			s := l.socket(l.serve(Route{}))
			tc.app(s)
			events := l.events(1)
			if e := events[len(events)-1]; e.Code != tc.code || e.DestinationStatus != 101 {
				t.Errorf("outcome %+v, want code %q", e, tc.code)
			}
		})
	}
	t.Run("the destination, by a reset", func(t *testing.T) {
		l := newLab(t)
		l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+wsAccept+"\r\n\r\n")
			_ = netConn(conn).SetLinger(0)
			_ = netConn(conn).Close()
		})
		l.credential("crm", l.sockets(), "s3cret-token")
		s := l.socket(l.serve(Route{}))
		if _, _, err := s.receive(); err == nil {
			t.Fatal("a frame came")
		}
		events := l.events(1)
		if e := events[len(events)-1]; e.Code != keybearer.DestinationUnreachable {
			t.Errorf("outcome %+v", e)
		}
	})
}

// netConn is the TCP connection below TLS.
func netConn(c net.Conn) *net.TCPConn {
	return c.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn)
}

// Messages come back without the secret, split over frames at every byte, and each as soon as it has ended.
func TestMessagesComeBackWithoutTheSecret(t *testing.T) {
	const secret = "s3cret-token/of+the=crm"
	l := newLab(t)
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.seen <- r
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+wsAccept+"\r\n\r\n")
		text := "you sent " + r.Header.Get("Authorization")
		for at := range len(text) + 1 { // in two frames and two segments, and the next only once the app has it
			_, _ = conn.Write(append([]byte{1, byte(at)}, text[:at]...))
			_, _ = conn.Write(append([]byte{0x80, byte(len(text) - at)}, text[at:]...))
			if _, err := io.ReadFull(rw, make([]byte, len(masked(1, "got")))); err != nil {
				return
			}
		}
		_, _ = conn.Write(append([]byte{0x88, byte(2 + len(secret)), 3, 0xe8}, secret...))
	})
	l.credential("crm", l.sockets(), secret, func(c *keybearer.Credential, _ *keybearer.Bundle) { c.ScrubBody = true })
	s := dialSocket(t, l.serve(Route{}), "GET "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n"+
		wsFields+"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
	if got := (<-l.seen).Header["Sec-Websocket-Extensions"]; s.resp.StatusCode != 101 || got != nil {
		t.Fatalf("%s, asked for %q", s.resp.Status, got)
	}
	want := "you sent Bearer " + strings.Repeat("*", len(secret))
	for at := range len(want) + 1 {
		_, first, _ := s.receive()
		_, second, err := s.receive()
		if first != want[:at] || second != want[at:] || err != nil {
			t.Fatalf("split at %d: %q and %q, %v", at, first, second, err)
		}
		if _, err := s.Write(masked(1, "got")); err != nil {
			t.Fatal(err)
		}
	}
	if opcode, reason, err := s.receive(); opcode != 8 || reason != "\x03\xe8"+strings.Repeat("*", len(secret)) {
		t.Errorf("%d %q, %v", opcode, reason, err)
	}
}

// An app may send before it has the answer; a destination may be spoken to in clear where its rule says so.
func TestWhatAnAppSendsEarlyArrivesAlsoInClear(t *testing.T) {
	l := newLab(t)
	server := httptest.NewServer(websocket.Server{Handler: echo})
	t.Cleanup(server.Close)
	terms := keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(server.URL), WebSocket: true}
	l.credential("crm", terms, "s3cret-token")
	s := dialSocket(t, l.serve(Route{}), "GET "+server.URL+"/ HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n"+
		wsFields+"\r\n"+string(masked(1, "early")))
	if s.resp.StatusCode != 101 {
		t.Fatalf("got %s", s.resp.Status)
	}
	if _, text, err := s.receive(); text != "early" {
		t.Fatalf("%q came back, %v", text, err)
	}
	s.echo(t, "late")
	_ = s.Conn.(*net.TCPConn).CloseWrite()
	if _, _, err := s.receive(); err == nil {
		t.Fatal("more came")
	}
	events := l.events(1)
	if e := events[len(events)-1]; e.Code != "" || e.Scheme != "http" || e.DestinationStatus != 101 {
		t.Errorf("outcome %+v", e)
	}
}
