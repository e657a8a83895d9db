package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// zeros gives n bytes without holding them, and notes the highest heap seen meanwhile.
type zeros struct {
	n    int64
	heap *atomic.Uint64
	next int64
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	k := min(int64(len(p)), z.n)
	clear(p[:k])
	z.n -= k
	if z.next -= k; z.next < 0 {
		z.next = 16 << 20
		noteHeap(z.heap)
	}
	return int(k), nil
}

func noteHeap(peak *atomic.Uint64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	for {
		old := peak.Load()
		if m.HeapInuse <= old || peak.CompareAndSwap(old, m.HeapInuse) {
			return
		}
	}
}

const streamSize = 256 << 20 // the test of the real binary sends 1 GiB

func TestBodiesStreamInConstantMemory(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	var peak atomic.Uint64
	received := make(chan int64, 1)
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			n, _ := io.Copy(io.Discard, r.Body)
			received <- n
			return
		}
		_, _ = io.Copy(w, &zeros{n: streamSize, heap: &peak})
	})
	addr := l.serve(Route{})
	client := l.client(addr)
	runtime.GC()
	noteHeap(&peak)
	before := peak.Load()

	up := l.request("POST", l.plain()+"/", "docs/crm", io.NopCloser(&zeros{n: streamSize, heap: &peak}))
	resp, err := client.Do(up)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := <-received; n != streamSize || resp.StatusCode != 200 {
		t.Fatalf("%d bytes arrived, status %d", n, resp.StatusCode)
	}
	resp, err = client.Do(l.request("GET", l.plain()+"/", "docs/crm", nil))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if n != streamSize || err != nil {
		t.Fatalf("%d bytes came back, %v", n, err)
	}
	if grown := int64(peak.Load()) - int64(before); grown > 64<<20 {
		t.Fatalf("the heap grew by %d MiB", grown>>20)
	}
	for _, e := range l.events(2) {
		if e.Phase == keybearer.Outcome && e.BytesOut+e.BytesIn != streamSize {
			t.Errorf("the audit log counts %d out, %d in", e.BytesOut, e.BytesIn)
		}
	}
}

func TestServerSentEventsArriveOneByOne(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	next := make(chan string)
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for s := range next {
			fmt.Fprintf(w, "data: %s\n\n", s)
			w.(http.Flusher).Flush()
		}
	})
	addr := l.serve(Route{})
	go func() { next <- "0" }()
	resp, err := l.client(addr).Do(l.request("GET", l.plain()+"/", "docs/crm", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 5 { // the next event is sent only once the last one is here
		if i > 0 {
			next <- fmt.Sprint(i)
		}
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) || !lines.Scan() {
			t.Fatalf("event %d: %q", i, lines.Text())
		}
	}
	close(next)
	if lines.Scan() {
		t.Fatal("more than was sent")
	}
}

func TestTheAnswerMayBeginBeforeTheBodyEnds(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "echo %s\n", lines.Text())
			w.(http.Flusher).Flush()
		}
	})
	addr := l.serve(Route{})
	pr, pw := io.Pipe()
	go func() { _, _ = io.WriteString(pw, "first\n") }()
	resp, err := l.client(addr).Do(l.request("POST", l.plain()+"/", "docs/crm", pr))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewScanner(resp.Body)
	for _, want := range []string{"first", "second", "third"} {
		if want != "first" {
			_, _ = io.WriteString(pw, want+"\n")
		}
		if !answers.Scan() || answers.Text() != "echo "+want {
			t.Fatalf("got %q, want the echo of %s", answers.Text(), want)
		}
	}
	pw.Close()
}

func TestCancellationReachesTheDestination(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	arrived, gone := make(chan struct{}), make(chan struct{})
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	})
	addr := l.serve(Route{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := l.client(addr).Do(l.request("GET", l.plain()+"/", "docs/crm", nil).WithContext(ctx))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}()
	<-arrived
	cancel()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the destination never learned of it")
	}
	if e := l.events(1); e[len(e)-1].Code != keybearer.CallerGone {
		t.Fatalf("outcome %+v", e[len(e)-1])
	}
}

func TestACutAnswerIsSeenAsCut(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	for name, length := range map[string]string{"with a length": "1000", "chunked": ""} {
		t.Run(name, func(t *testing.T) {
			l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				_, _ = io.WriteString(w, "half of it")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			addr := l.serve(Route{})
			resp, err := l.client(addr).Do(l.request("GET", l.plain()+"/", "docs/crm", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err == nil {
				t.Fatalf("a cut answer read to its end: %q", b)
			}
		})
	}
}

func TestTimeoutsOfThePhases(t *testing.T) {
	l := newLab(t, func(_ *lab, c *Config) { c.HeaderTimeout, c.TLSTimeout = 50*time.Millisecond, 50*time.Millisecond })
	l.credential("slow", l.bearer(), "s3cret-token")
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	l.destination.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold })
	silent := must(net.Listen("tcp", "127.0.0.1:0")) // accepts and never shakes hands
	t.Cleanup(func() { silent.Close() })
	l.credential("mute", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules("https://" + silent.Addr().String())}, "s3cret-token")
	addr := l.serve(Route{})
	status, body := l.get(addr, "docs/slow")
	wantCode(t, status, body, 504, keybearer.DestinationTimeout)
	resp, body := raw(t, addr, "GET http://"+silent.Addr().String()+"/ HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/mute\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	wantCode(t, resp.StatusCode, body, 504, keybearer.DestinationTimeout)
}

// A destination may close an idle connection just as the next request is written to it. What may be sent twice is sent again,
// with its body; what may have been processed is not.
func TestADeadIdleConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		method, key string
		status      int
		received    int // by the destination, the lost one included
	}{
		"GET":                          {"GET", "", 200, 2},
		"POST":                         {"POST", "", 502, 1},
		"POST with an Idempotency-Key": {"POST", "k1", 200, 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			listener := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: l.destination.TLS.Certificates}))
			t.Cleanup(func() { listener.Close() })
			received := make(chan string, 10)
			go closeOnSecond(listener, received)
			l.credential("crm", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules("https://" + listener.Addr().String())}, "s3cret-token")
			client := l.client(l.serve(Route{}))
			target := "http://" + listener.Addr().String() + "/"
			send := func(method, key string) int {
				r := l.request(method, target, "docs/crm", strings.NewReader("the body"))
				if key != "" {
					r.Header.Set("Idempotency-Key", key)
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				return resp.StatusCode
			}
			if status := send("GET", ""); status != 200 || <-received != "the body" {
				t.Fatalf("the first request: %d", status)
			}
			if status := send(tc.method, tc.key); status != tc.status {
				t.Fatalf("got %d, want %d", status, tc.status)
			}
			if len(received) != tc.received {
				t.Fatalf("received %d times, want %d", len(received), tc.received)
			}
			for range tc.received {
				if b := <-received; b != "the body" {
					t.Errorf("received %q", b)
				}
			}
		})
	}
}

// closeOnSecond answers the first request of its first connection, reads the second and closes; further connections are
// answered for good.
func closeOnSecond(listener net.Listener, received chan<- string) {
	for n := 0; ; n++ {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		r := bufio.NewReader(conn)
		for i := 0; ; i++ {
			request, err := http.ReadRequest(r)
			if err != nil {
				break
			}
			b, _ := io.ReadAll(request.Body)
			received <- string(b)
			if n == 0 && i == 1 {
				break
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		conn.Close()
	}
}

func TestAnUnasked101IsRefused(t *testing.T) {
	l := newLab(t)
	l.oneOne()
	l.credential("crm", l.bearer(), "s3cret-token")
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		conn.Close()
	})
	addr := l.serve(Route{})
	status, body := l.get(addr, "docs/crm")
	wantCode(t, status, body, 502, keybearer.DestinationUnreachable)
}

func TestInformationalAnswersAreDroppedAndHeadHasNoBody(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Content-Length", "5")
		w.WriteHeader(200)
	})
	addr := l.serve(Route{})
	resp, body := raw(t, addr, "HEAD "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Length") != "5" {
		t.Fatalf("got %d %v %q", resp.StatusCode, resp.Header, body)
	}
}

// Inside a tunnel nothing of the server outside counts the time.
func TestAnAppThatStallsInATunnelIsLetGo(t *testing.T) {
	l := newLab(t, func(_ *lab, c *Config) { c.stall = 50 * time.Millisecond })
	u := destination(t, func(c net.Conn, r *bufio.Reader) {
		q, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if q.Method == "GET" { // more than all buffers on the way hold
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			_, _ = io.CopyN(c, zeroReader{}, 1_000_000_000)
			return
		}
		_, _ = io.Copy(io.Discard, q.Body)
	})
	l.credential("crm", l.clear(u), "s3cret-token")
	host := strings.TrimPrefix(u, "http://")
	addr := l.serve(Route{})
	for i, c := range []struct {
		request string
		code    keybearer.Code
	}{
		{"POST /small HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\nContent-Length: 10\r\n\r\nabc", keybearer.CallerGone},
		{"POST /large HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\nContent-Length: 1000000\r\n\r\nabc", keybearer.CallerGone},
		{"POST /chunks HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", keybearer.CallerGone},
		{"GET /answer HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\n\r\n", keybearer.CallerGone},
	} {
		tunnel := openTunnel(t, addr, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
		_, _ = io.WriteString(tunnel.conn, c.request)
		if e := l.events(i + 1); e[len(e)-1].Code != c.code { // waits for the outcome
			t.Errorf("%s: %+v", strings.Fields(c.request)[1], e[len(e)-1])
		}
	}
	// A refusal's body need not come either.
	tunnel := openTunnel(t, addr, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	resp, body := tunnel.roundTrip("POST / HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n")
	wantCode(t, resp.StatusCode, body, 400, keybearer.TagMissing)
	if _, err := tunnel.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection stays: %v", err)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { return len(p), nil }
