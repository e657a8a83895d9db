package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// socketServer starts a WebSocket server of Node, with nginx in front of it on port 443 of one host and HAProxy on that of another; both offer HTTP/2.
func (w *world) socketServer(nginx, haproxy string) {
	w.t.Helper()
	behind := netip.AddrPortFrom(harness.Address(), 8080)
	script := filepath.Join(harness.Repository(), "test", "e2e", "node", "socket-server.mjs")
	harness.Start(w.t, harness.Command{
		Name: "node-sockets", Path: "node", Args: []string{script, behind.String()}, Dir: filepath.Dir(script), Ready: harness.Accepts(behind),
	})
	front := netip.AddrPortFrom(harness.Address(), 443)
	harness.StartNginxConfig(w.t, harness.Command{Name: "nginx-sockets"}, front, fmt.Sprintf(`
		map $http_upgrade $connection_upgrade { default upgrade; "" close; }
		server {
			listen %s ssl http2;
			ssl_certificate %[2]s;
			ssl_certificate_key %[2]s;
			location / {
				proxy_pass http://%[3]s;
				proxy_http_version 1.1;
				proxy_set_header Upgrade $http_upgrade;
				proxy_set_header Connection $connection_upgrade;
			}
		}`, front, w.ca.Files(w.t, nginx), behind))
	w.dns.Set(nginx, front.Addr())
	front = netip.AddrPortFrom(harness.Address(), 443)
	harness.StartHAProxyConfig(w.t, harness.Command{Name: "haproxy-sockets"}, front, fmt.Sprintf(`
frontend tls
	bind %s ssl crt %s alpn h2,http/1.1
	default_backend sockets
backend sockets
	timeout tunnel 1m
	server node %s
`, front, w.ca.Files(w.t, haproxy), behind))
	w.dns.Set(haproxy, front.Addr())
}

// Node's WebSocket client reaches Node's WebSocket server behind nginx and HAProxy in each mode; without leave it is told so by the server.
func TestWebSockets(t *testing.T) {
	w := newWorld(t)
	w.scope("docs")
	w.caller("billing", "docs")
	hosts := private("*.example.com")
	w.credential("docs/crm", "bearer", append(hosts, "--websocket")...)
	w.credential("docs/scrubbed", "basic", append(hosts, "--websocket", "--scrub-body")...)
	w.credential("docs/plain", "bearer", hosts...)
	for name := range w.expected {
		w.grant(name, "billing", "use")
	}
	w.socketServer("nginx.example.com", "haproxy.example.com")
	script := filepath.Join(harness.Repository(), "test", "e2e", "node", "socket.mjs")
	talk := func(t *testing.T, mode, host, credential string) (out struct {
		Status, Wrong, Code int
		Extensions, Body    string
		Seen                map[string]string
	},
	) {
		t.Helper()
		job, _ := json.Marshal(map[string]string{"mode": mode, "proxy": "http://" + w.Proxy.String(), "host": host, "token": w.tokens["billing"], "credential": credential})
		r := harness.Run(t, harness.Command{Path: "node", Args: []string{script}, Dir: filepath.Dir(script)}, string(job))
		if err := json.Unmarshal([]byte(r.Stdout), &out); err != nil || r.Code != 0 {
			t.Fatalf("exit code %d: %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
		}
		return out
	}
	for _, mode := range []string{"absolute", "tunnel", "gateway"} {
		for _, host := range []string{"nginx.example.com", "haproxy.example.com"} {
			t.Run(mode+" "+host, func(t *testing.T) {
				out := talk(t, mode, host, "docs/crm")
				if out.Status != 101 || out.Wrong != 0 || out.Code != 1000 || !strings.Contains(out.Extensions, "permessage-deflate") || out.Seen["authorization"] != w.expected["docs/crm"].value {
					t.Errorf("got %+v", out)
				}
				for name, value := range out.Seen {
					if strings.HasPrefix(name, "keybearer") || strings.HasPrefix(name, "proxy-") || strings.Contains(value, w.tokens["billing"]) {
						t.Errorf("%s: %s reached the destination", name, value)
					}
				}
				out = talk(t, mode, host, "docs/scrubbed")
				if out.Status != 101 || out.Wrong != 0 || out.Code != 1000 || out.Extensions != "" || !strings.HasPrefix(out.Seen["authorization"], "Basic ****") {
					t.Errorf("scrubbed: got %+v", out)
				}
				if out := talk(t, mode, host, "docs/plain"); out.Status != 426 && out.Status != 400 {
					t.Errorf("without leave: got %+v", out)
				}
			})
		}
	}
	var sockets int
	for _, e := range w.events(t) {
		if e.Phase == keybearer.Outcome && e.DestinationStatus == 101 {
			sockets++
			if e.Code != "" || e.BytesIn < 2<<20 && e.Credential == "scrubbed" || e.BytesOut == 0 {
				t.Errorf("outcome %+v", e)
			}
		}
	}
	if sockets != 12 {
		t.Errorf("%d outcomes of WebSockets", sockets)
	}
}

// openSocket opens a WebSocket with docs/crm by hand and returns its connection.
func (w *world) openSocket(t *testing.T, host string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", w.Proxy.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	if _, err := io.WriteString(conn, request("GET", "http://"+host+"/chat", host, "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+w.tokens["billing"],
		"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	resp, err := http.ReadResponse(r, &http.Request{Method: "GET"})
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	return conn, r
}

// A change that takes the leave away ends a WebSocket within 2 s of its acknowledgement, and a reload ends those of the configuration before; then
// a new one can be opened.
func TestWebSocketsAreCut(t *testing.T) {
	w := newWorld(t)
	w.scope("docs")
	w.caller("billing", "docs")
	w.credential("docs/crm", "bearer", append(private("*.example.com"), "--websocket")...)
	w.grant("docs/crm", "billing", "use")
	w.socketServer("nginx.example.com", "haproxy.example.com")
	const soon = 15 * time.Second
	for _, c := range []struct {
		name      string
		cut, mend func()
		code      keybearer.Code
		within    time.Duration // 2 s, but where the machine is busy with others
	}{
		{
			"disabled", func() { w.must("", "credential", "disable", "docs/crm") },
			func() { w.must("", "credential", "enable", "docs/crm") }, keybearer.CredentialDisabled, soon,
		},
		{
			"revoked", func() { w.must("", "grant", "remove", "docs/crm", "app:billing") },
			func() { w.grant("docs/crm", "billing", "use") }, keybearer.CredentialForbidden, soon,
		},
		{
			"reloaded", func() { w.Configure(t, w.options("secret_ttl 7m"), ""); w.Reload() }, // it lingers as tunnels do
			func() {}, keybearer.CallerGone, 40 * time.Second,
		},
		{
			"no websockets", func() { w.must("", "credential", "edit", "docs/crm", "--websocket=false") },
			func() {}, keybearer.DestinationNotAllowed, soon,
		},
	} {
		_, r := w.openSocket(t, "nginx.example.com")
		before := len(w.events(t))
		c.cut()
		began := time.Now()
		if b, err := r.ReadByte(); err == nil {
			t.Errorf("%s: byte %x came", c.name, b)
		}
		if took := time.Since(began); took > c.within {
			t.Errorf("%s: it went on for %v", c.name, took)
		} else {
			t.Logf("%s: it went on for %v", c.name, took)
		}
		harness.Await(t, "the outcome", 10*time.Second, func() error {
			for _, e := range w.events(t)[before:] {
				if e.Phase == keybearer.Outcome && e.DestinationStatus == 101 && e.Code == c.code {
					return nil
				}
			}
			return fmt.Errorf("none with %s", c.code)
		})
		c.mend()
	}
}

// What a WebSocket carries takes no memory, scrubbed or not, and the secret is in none of it.
func TestWebSocketsStreamInConstantMemory(t *testing.T) {
	const size, message = 64 << 20, 60_000
	for _, scrub := range []bool{false, true} {
		t.Run(fmt.Sprintf("scrub %v", scrub), func(t *testing.T) {
			w := newWorld(t)
			w.scope("docs")
			w.caller("billing", "docs")
			args := append(private("*.example.com"), "--websocket")
			if scrub {
				args = append(args, "--scrub-body")
			}
			w.credential("docs/crm", "bearer", args...)
			w.grant("docs/crm", "billing", "use")
			w.server("api.example.com", harness.ServerOptions{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				conn, buffered, err := http.NewResponseController(rw).Hijack()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
				taken := make(chan struct{})
				go func() { defer close(taken); _, _ = io.Copy(io.Discard, buffered) }()
				defer func() { <-taken }()
				payload := make([]byte, message)
				for sent := 0; sent < size; sent += message {
					copy(payload[sent%(message-200):], r.Header.Get("Authorization"))
					_, err := conn.Write(append([]byte{0x82, 126, message >> 8, message & 0xff}, payload...))
					if err != nil {
						return
					}
					clear(payload)
				}
				_, _ = conn.Write([]byte{0x88, 0})
			})})
			conn, r := w.openSocket(t, "api.example.com")
			before, peak := w.RSS(t), w.watchMemory(t)
			go func() { // as much the other way
				b := make([]byte, 64<<10)
				for {
					if _, err := conn.Write(b); err != nil {
						return
					}
				}
			}()
			secret := w.planted[len(w.planted)-1]
			messages, found := 0, 0
			payload := make([]byte, message)
			for {
				head := make([]byte, 4)
				if _, err := io.ReadFull(r, head[:2]); err != nil {
					t.Fatal(err)
				}
				if head[0] == 0x88 {
					_ = conn.Close()
					break
				}
				if _, err := io.ReadFull(r, head[2:]); err != nil {
					t.Fatal(err)
				}
				if head[0] != 0x82 || head[1] != 126 || int(head[2])<<8|int(head[3]) != message {
					t.Fatalf("frame %d begins with %x", messages, head)
				}
				if _, err := io.ReadFull(r, payload); err != nil {
					t.Fatal(err)
				}
				messages++
				if strings.Contains(string(payload), secret) {
					found++
				}
			}
			grown := peak() - before
			if want := (size + message - 1) / message; messages != want || (found > 0) == scrub {
				t.Errorf("%d messages of %d came, %d with the secret", messages, want, found)
			}
			t.Logf("resident memory %d MiB, at most %d MiB more", before>>20, grown>>20)
			if grown > 32<<20 {
				t.Errorf("resident memory grew by %d MiB", grown>>20)
			}
		})
	}
}
