package proxy

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/keybearer/keybearer"
)

const (
	wsKey    = "dGhlIHNhbXBsZSBub25jZQ==" // of RFC 6455 section 1.3
	wsAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	wsFields = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + wsKey + "\r\n"
)

// sockets gives terms for the lab's destination that allow WebSockets.
func (l *lab) sockets() keybearer.Terms {
	terms := l.bearer()
	terms.WebSocket = true
	return terms
}

// echoes makes the destination a WebSocket server that sends back what it gets, until handle is set.
func (l *lab) echoes() {
	l.serveSocket(echo)
}

// echo sends each message back.
func echo(ws *websocket.Conn) {
	var message string
	for websocket.Message.Receive(ws, &message) == nil {
		if websocket.Message.Send(ws, message) != nil {
			return
		}
	}
}

func (l *lab) serveSocket(handler websocket.Handler) {
	server := websocket.Server{Handler: handler}
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.seen <- r
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "plain")
			return
		}
		server.ServeHTTP(w, r)
	})
}

// socket is an app that has asked for a WebSocket.
type socket struct {
	net.Conn
	r    *bufio.Reader
	resp *http.Response
}

// open sends the head of a request and reads the answer.
func open(t testing.TB, conn net.Conn, r *bufio.Reader, head string) *socket {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(r, &http.Request{Method: "GET"})
	if err != nil {
		t.Fatal(err)
	}
	return &socket{conn, r, resp}
}

func dialSocket(t testing.TB, addr, head string) *socket {
	t.Helper()
	conn := must(net.Dial("tcp", addr))
	t.Cleanup(func() { conn.Close() })
	return open(t, conn, bufio.NewReader(conn), head)
}

// socket opens a WebSocket with the credential docs/crm in proxy mode.
func (l *lab) socket(addr string) *socket {
	l.t.Helper()
	s := dialSocket(l.t, addr, "GET "+l.plain()+"/chat HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n"+wsFields+"\r\n")
	if s.resp.StatusCode != 101 {
		b, _ := io.ReadAll(s.resp.Body)
		l.t.Fatalf("got %d %s", s.resp.StatusCode, b)
	}
	return s
}

// masked is a frame of a client.
func masked(opcode byte, payload string) []byte {
	b := []byte{0x80 | opcode}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	}
	mask := []byte{1, 2, 3, 4}
	b = append(b, mask...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

// receive reads one frame of a server.
func (s *socket) receive() (opcode byte, payload string, err error) {
	head := make([]byte, 2)
	if _, err = io.ReadFull(s.r, head); err != nil {
		return 0, "", err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		more := make([]byte, 2)
		_, err = io.ReadFull(s.r, more)
		n = uint64(binary.BigEndian.Uint16(more))
	case 127:
		more := make([]byte, 8)
		_, err = io.ReadFull(s.r, more)
		n = binary.BigEndian.Uint64(more)
	}
	if err != nil {
		return 0, "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(s.r, b)
	return head[0] & 0xf, string(b), err
}

func (s *socket) echo(t *testing.T, text string) {
	t.Helper()
	if _, err := s.Write(masked(1, text)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := s.receive(); got != text || err != nil {
		t.Fatalf("%q came back for %q, %v", got, text, err)
	}
}

func TestAWebSocketGoesThroughInEveryMode(t *testing.T) {
	l := newLab(t)
	l.echoes()
	l.credential("crm", l.sockets(), "s3cret-token")
	addr := l.serve(Route{})
	fixed := l.serve(Route{Caller: "billing", Credential: keybearer.Ref{Scope: "docs", Name: "crm"}, Destination: l.destination.URL})
	host := strings.TrimPrefix(l.destination.URL, "https://")
	pair := base64.StdEncoding.EncodeToString([]byte("docs%2Fcrm:" + l.token))
	n := 0
	for name, tc := range map[string]struct{ addr, connect, request string }{
		"proxy":   {addr, "", "GET http://" + host + "/chat?a=1 HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer " + l.token + "\r\n"},
		"gateway": {addr, "", "GET /chat?a=1 HTTP/1.1\r\nHost: " + addr + "\r\nKeybearer-Credential: docs/crm\r\nKeybearer-Destination: " + l.destination.URL + "\r\nAuthorization: Bearer " + l.token + "\r\n"},
		"route":   {fixed, "", "GET /chat?a=1 HTTP/1.1\r\nHost: " + fixed + "\r\n"},
		"tunnel":  {addr, "CONNECT " + host + " HTTP/1.1\r\nHost: " + host + "\r\nProxy-Authorization: Basic " + pair + "\r\n\r\n", "GET /chat?a=1 HTTP/1.1\r\nHost: " + host + "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := must(net.Dial("tcp", tc.addr))
			defer conn.Close()
			r := bufio.NewReader(conn)
			if tc.connect != "" {
				if s := open(t, conn, r, tc.connect); s.resp.StatusCode != 200 {
					t.Fatalf("CONNECT: %s", s.resp.Status)
				}
			}
			s := open(t, conn, r, tc.request+wsFields+"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
			h := s.resp.Header
			if s.resp.StatusCode != 101 || h.Get("Sec-WebSocket-Accept") != wsAccept || !strings.EqualFold(h.Get("Upgrade"), "websocket") ||
				!strings.EqualFold(h.Get("Connection"), "upgrade") || h.Get("Proxy-Status") != "keybearer; received-status=101" || h.Get("Keybearer-Request-Id") == "" {
				t.Fatalf("got %s %v", s.resp.Status, h)
			}
			arrived := <-l.seen
			if got := arrived.Header; arrived.RequestURI != "/chat?a=1" || arrived.TLS == nil || arrived.ProtoMajor != 1 || got.Get("Authorization") != "Bearer s3cret-token" ||
				got.Get("Sec-Websocket-Key") != wsKey || got.Get("Sec-Websocket-Extensions") != "permessage-deflate" || got.Get("Keybearer-Credential")+got.Get("Proxy-Authorization") != "" {
				t.Fatalf("arrived %s %v", arrived.RequestURI, got)
			}
			for i := range 3 { // one after another: nothing waits for more
				s.echo(t, fmt.Sprintf("message %d", i))
			}
			s.echo(t, strings.Repeat("x", 30_000))
			if _, err := s.Write(masked(8, "\x03\xe8")); err != nil {
				t.Fatal(err)
			}
			for err := error(nil); err == nil; { // the destination closes first, as RFC 6455 section 7.1.1 has it
				_, _, err = s.receive()
			}
			conn.Close()
			n++
			events := l.events(n)
			var intents int
			for _, e := range events {
				if e.ID == h.Get("Keybearer-Request-Id") && e.Phase == keybearer.Intent {
					intents++
				}
			}
			e := events[len(events)-1]
			if intents != 1 || e.ID != h.Get("Keybearer-Request-Id") || e.DestinationStatus != 101 || e.Code != "" || e.BytesOut < 30_000 || e.BytesIn < 30_000 {
				t.Errorf("%d intents, outcome %+v", intents, e)
			}
		})
	}
}

// The row of the credential and what was sealed with its secret must both leave it; else the request goes on as any other.
func TestARequestBecomesAWebSocketOnlyWhereRowAndSealAllow(t *testing.T) {
	for _, tc := range []struct{ row, seal bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		t.Run(fmt.Sprintf("row %v, seal %v", tc.row, tc.seal), func(t *testing.T) {
			l := newLab(t)
			l.echoes()
			terms := l.bearer()
			terms.WebSocket = tc.row
			l.credential("crm", terms, "s3cret-token", func(_ *keybearer.Credential, b *keybearer.Bundle) { b.Terms.WebSocket = tc.seal })
			s := dialSocket(t, l.serve(Route{}), "GET "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n"+wsFields+"\r\n")
			want := 200
			if tc.row && tc.seal {
				want = 101
			}
			arrived := <-l.seen
			if s.resp.StatusCode != want || (arrived.Header.Get("Upgrade") != "") != (want == 101) || (arrived.Header.Get("Connection") != "") != (want == 101) {
				t.Errorf("got %s; arrived %v", s.resp.Status, arrived.Header)
			}
		})
	}
}

// What is not exactly the wish for a WebSocket is none: nothing of an upgrade reaches the destination.
func TestOnlyTheExactWishIsAWebSocket(t *testing.T) {
	l := newLab(t)
	l.echoes()
	l.credential("crm", l.sockets(), "s3cret-token")
	l.credential("plain", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	const upgrade, version, key = "Connection: Upgrade\r\nUpgrade: websocket\r\n", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: " + wsKey + "\r\n"
	const plain, refused = 200, 400
	for name, tc := range map[string]struct {
		method, credential, proto, fields string
		status                            int
	}{
		"h2c":                       {"GET", "crm", "1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n", plain},
		"websocket and h2c":         {"GET", "crm", "1.1", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n" + version + key, plain},
		"h2c and websocket":         {"GET", "crm", "1.1", "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n" + version + key, plain},
		"two Upgrade fields":        {"GET", "crm", "1.1", upgrade + "Upgrade: h2c\r\n" + version + key, plain},
		"websocket twice":           {"GET", "crm", "1.1", upgrade + "Upgrade: websocket\r\n" + version + key, plain},
		"websocket/13":              {"GET", "crm", "1.1", "Connection: Upgrade\r\nUpgrade: websocket/13\r\n" + version + key, plain},
		"TLS/1.0":                   {"GET", "crm", "1.1", "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n", plain},
		"no Connection":             {"GET", "crm", "1.1", "Upgrade: websocket\r\n" + version + key, plain},
		"Proxy-Connection":          {"GET", "crm", "1.1", "Proxy-Connection: Upgrade\r\nUpgrade: websocket\r\n" + version + key, plain},
		"HTTP/1.0":                  {"GET", "crm", "1.0", upgrade + version + key, plain},
		"no leave":                  {"GET", "plain", "1.1", upgrade + version + key, plain},
		"no leave, malformed":       {"POST", "plain", "1.1", upgrade + "Content-Length: 0\r\n", plain},
		"POST":                      {"POST", "crm", "1.1", upgrade + version + key + "Content-Length: 0\r\n", refused},
		"body":                      {"GET", "crm", "1.1", upgrade + version + key + "Content-Length: 4\r\n\r\nbody", refused},
		"chunked body":              {"GET", "crm", "1.1", upgrade + version + key + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n", refused},
		"no version":                {"GET", "crm", "1.1", upgrade + key, refused},
		"version 8":                 {"GET", "crm", "1.1", upgrade + "Sec-WebSocket-Version: 8\r\n" + key, refused},
		"two versions":              {"GET", "crm", "1.1", upgrade + version + version + key, refused},
		"version under an alias":    {"GET", "crm", "1.1", upgrade + version + "Sec_WebSocket_Version: 13\r\n" + key, refused},
		"no key":                    {"GET", "crm", "1.1", upgrade + version, refused},
		"two keys":                  {"GET", "crm", "1.1", upgrade + version + key + key, refused},
		"short key":                 {"GET", "crm", "1.1", upgrade + version + "Sec-WebSocket-Key: c2hvcnQ=\r\n", refused},
		"key that is no base64":     {"GET", "crm", "1.1", upgrade + version + "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n", refused},
		"key with bits to spare":    {"GET", "crm", "1.1", upgrade + version + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n", refused},
		"from a web page":           {"GET", "crm", "1.1", upgrade + version + key + "Origin: https://evil.example\r\n", refused},
		"from a web page in no way": {"GET", "crm", "1.1", upgrade + version + key + "Sec-Fetch-Site: cross-site\r\n", refused},
	} {
		t.Run(name, func(t *testing.T) {
			s := dialSocket(t, addr, tc.method+" "+l.plain()+"/ HTTP/"+tc.proto+"\r\nHost: x\r\nKeybearer-Credential: docs/"+tc.credential+
				"\r\nProxy-Authorization: Bearer "+l.token+"\r\n"+tc.fields+"\r\n")
			body, _ := io.ReadAll(s.resp.Body)
			if s.resp.StatusCode != tc.status {
				t.Fatalf("got %s %s", s.resp.Status, body)
			}
			if tc.status == refused {
				wantCode(t, s.resp.StatusCode, string(body), refused, keybearer.BadRequest)
				if len(l.seen) > 0 {
					t.Error("it reached the destination")
				}
				return
			}
			arrived := <-l.seen
			for _, name := range []string{"Upgrade", "Connection", "Http2-Settings", "Proxy-Connection"} {
				if v := arrived.Header[name]; len(v) > 0 {
					t.Errorf("%s: %q reached the destination", name, v)
				}
			}
		})
	}
}

// A field that some server takes for the key does not arrive beside the one that was judged.
func TestTheKeyArrivesUnderOneName(t *testing.T) {
	l := newLab(t)
	l.echoes()
	l.credential("crm", l.sockets(), "s3cret-token")
	s := dialSocket(t, l.serve(Route{}), "GET "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n"+
		strings.ReplaceAll(wsFields, "Sec-WebSocket-", "Sec_WebSocket_")+"\r\n")
	if s.resp.StatusCode != 101 {
		t.Fatalf("got %s", s.resp.Status)
	}
	arrived := 0
	for name, values := range (<-l.seen).Header {
		if n := fold(name); n == "sec-websocket-key" || n == "sec-websocket-version" {
			arrived += len(values)
		}
	}
	if arrived != 2 {
		t.Errorf("%d fields arrived", arrived)
	}
}

// CONNECT over HTTP/2 with a protocol (RFC 8441) is refused like any CONNECT there.
func TestAWebSocketOverHTTP2IsRefused(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.sockets(), "s3cret-token")
	call := &Call{
		Method: "CONNECT", Target: "api.example.com:80", Route: &Route{}, Multiplexed: true,
		Fields: []Field{{":protocol", "websocket"}, {"Proxy-Authorization", "Bearer " + l.token}, {"Sec-Websocket-Version", "13"}},
	}
	if _, _, err := l.proxy.gate.AdmitTunnel(t.Context(), call); err == nil || err.Code != keybearer.BadRequest {
		t.Fatalf("got %v", err)
	}
}

// An answer of 101 is believed only when it is the one to this request.
func TestAnAnswerOf101MustBeTheRightOne(t *testing.T) {
	l := newLab(t)
	l.oneOne()
	l.credential("crm", l.sockets(), "s3cret-token")
	l.credential("scrubbed", l.sockets(), "s3cret-token", func(c *keybearer.Credential, _ *keybearer.Bundle) { c.ScrubBody = true })
	addr := l.serve(Route{})
	const right = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + wsAccept + "\r\n"
	for name, tc := range map[string]struct {
		credential, fields string
		status             int
	}{
		"right":                      {"crm", right, 101},
		"right, with extensions":     {"crm", right + "Sec-WebSocket-Extensions: permessage-deflate\r\n", 101},
		"scrubbed":                   {"scrubbed", right, 101},
		"scrubbed, with extensions":  {"scrubbed", right + "Sec-WebSocket-Extensions: permessage-deflate\r\n", 502},
		"no accept":                  {"crm", "Connection: Upgrade\r\nUpgrade: websocket\r\n", 502},
		"wrong accept":               {"crm", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n", 502},
		"two accepts":                {"crm", right + "Sec-WebSocket-Accept: " + wsAccept + "\r\n", 502},
		"another protocol":           {"crm", "Connection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: " + wsAccept + "\r\n", 502},
		"another protocol beside it": {"crm", right + "Upgrade: h2c\r\n", 502},
		"no Upgrade":                 {"crm", "Connection: Upgrade\r\nSec-WebSocket-Accept: " + wsAccept + "\r\n", 502},
		"no Connection":              {"crm", "Upgrade: websocket\r\nSec-WebSocket-Accept: " + wsAccept + "\r\n", 502},
	} {
		t.Run(name, func(t *testing.T) {
			l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n"+tc.fields+"X-Echo: "+r.Header.Get("Authorization")+"\r\n\r\n")
				conn.Close()
			})
			s := dialSocket(t, addr, "GET "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/"+tc.credential+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n"+wsFields+"\r\n")
			if s.resp.StatusCode != tc.status || strings.Contains(fmt.Sprint(s.resp.Header), "s3cret-token") {
				t.Errorf("got %s %v", s.resp.Status, s.resp.Header)
			}
			if tc.status == 502 {
				body, _ := io.ReadAll(s.resp.Body)
				wantCode(t, 502, string(body), 502, keybearer.DestinationUnreachable)
			}
		})
	}
}

func TestADestinationThatRefusesAWebSocketIsHeard(t *testing.T) {
	l := newLab(t)
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Sec-WebSocket-Version", "13")
		w.WriteHeader(http.StatusUpgradeRequired)
		_, _ = io.WriteString(w, "not today")
	})
	l.credential("crm", l.sockets(), "s3cret-token")
	addr := l.serve(Route{})
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	r := bufio.NewReader(conn)
	for range 2 { // the connection to the app goes on
		s := open(t, conn, r, "GET "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n"+wsFields+"\r\n")
		if body, _ := io.ReadAll(s.resp.Body); s.resp.StatusCode != 426 || string(body) != "not today" {
			t.Fatalf("got %s %q", s.resp.Status, body)
		}
	}
}

func TestAPlainRequestPaysNothingForWebSockets(t *testing.T) {
	call := &Call{Method: "GET", Upgradable: true, Fields: []Field{
		{"User-Agent", "app/1.0"}, {"Connection", "keep-alive"}, {"Content-Type", "application/json"}, {"X_Request.Id", "1"},
	}}
	if n := testing.AllocsPerRun(100, func() { call.handshake() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
