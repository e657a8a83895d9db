package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// client returns a Go client in proxy mode that authenticates as the caller and names the credential.
func (w *world) client(t *testing.T, caller, credential string) *http.Client {
	t.Helper()
	transport := &http.Transport{
		Proxy:              http.ProxyURL(&url.URL{Scheme: "http", Host: w.Proxy.String(), User: url.UserPassword(credential, w.tokens[caller])}),
		DisableCompression: true,
		WriteBufferSize:    64 << 10, ReadBufferSize: 64 << 10,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: 2 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// both runs a test with a destination over each version of HTTP.
func both(t *testing.T, test func(t *testing.T, w *world, handle func(http.HandlerFunc) (destination string))) {
	for _, http2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP1", true: "HTTP2"}[http2], func(t *testing.T) {
			w := newWorld(t)
			w.billing("*.example.com")
			n := 0
			test(t, w, func(h http.HandlerFunc) string {
				n++
				host := fmt.Sprintf("d%d.example.com", n)
				w.server(host, harness.ServerOptions{HTTP2: http2, Handler: h})
				return host
			})
		})
	}
}

const gib = 1 << 30

// pattern is an endless stream that repeats after a prime number of bytes, and sum the checksum of its first GiB.
type pattern struct{ at int }

var block = func() []byte {
	b := make([]byte, 65_521)
	for i := range b {
		b[i] = byte(i*i>>3 + i)
	}
	return b
}()

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, block[p.at:])
	p.at = (p.at + n) % len(block)
	return n, nil
}

func checksum(t *testing.T, r io.Reader) string {
	t.Helper()
	sum, n, err := sumOf(r)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%08x of %d bytes", sum, n)
}

func sumOf(r io.Reader) (uint32, int64, error) {
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.CopyBuffer(h, r, make([]byte, 256<<10))
	return h.Sum32(), n, err
}

// 1 GiB goes up, with a length and without, and 1 GiB comes down, and Keybearer's memory hardly grows.
func TestStreamsInConstantMemory(t *testing.T) {
	want := checksum(t, io.LimitReader(&pattern{}, gib))
	both(t, func(t *testing.T, w *world, handle func(http.HandlerFunc) string) {
		host := handle(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				if r.URL.Query().Has("length") {
					rw.Header().Set("Content-Length", strconv.Itoa(gib))
				}
				_, _ = io.CopyBuffer(struct{ io.Writer }{rw}, io.LimitReader(&pattern{}, gib), make([]byte, 256<<10))
				return
			}
			sum, n, err := sumOf(r.Body)
			fmt.Fprintf(rw, "%08x of %d bytes", sum, n)
			if err != nil {
				fmt.Fprint(rw, err)
			}
		})
		client := w.client(t, "billing", "docs/crm")
		warm, err := client.Post("http://"+host+"/", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		_ = warm.Body.Close()
		before := w.RSS(t)
		peak := w.watchMemory(t)

		for _, length := range []int64{gib, -1} {
			req, err := http.NewRequest("POST", "http://"+host+"/", io.LimitReader(&pattern{}, gib))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = length
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != 200 || string(body) != want {
				t.Errorf("up with length %d: %s %q, %v; want %s", length, resp.Status, body, err, want)
			}
		}
		for _, query := range []string{"?length", ""} {
			resp, err := client.Get("http://" + host + "/" + query)
			if err != nil {
				t.Fatal(err)
			}
			if got := checksum(t, resp.Body); resp.StatusCode != 200 || got != want {
				t.Errorf("down%s: %s %s; want %s", query, resp.Status, got, want)
			}
			_ = resp.Body.Close()
		}
		grown := peak() - before
		t.Logf("resident memory %d MiB, at most %d MiB more", before>>20, grown>>20)
		if grown > 32<<20 {
			t.Errorf("resident memory grew by %d MiB", grown>>20)
		}
	})
}

// watchMemory samples the resident memory until the function that it returns is called, which gives the highest value.
func (w *world) watchMemory(t *testing.T) func() int64 {
	var highest atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				highest.Store(max(highest.Load(), w.RSS(t)))
			case <-stop:
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-done
		return highest.Load()
	}
}

// Each server-sent event reaches the app before the destination writes the next, and so does each part of an answer without a
// length.
func TestEventsArriveOneByOne(t *testing.T) {
	both(t, func(t *testing.T, w *world, handle func(http.HandlerFunc) string) {
		for _, kind := range []string{"text/event-stream", "application/x-ndjson"} {
			received := make(chan int)
			host := handle(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", kind)
				for i := range 5 {
					fmt.Fprintf(rw, "data: %d\n\n", i)
					_ = http.NewResponseController(rw).Flush()
					select {
					case got := <-received:
						if got != i {
							t.Errorf("event %d was received as %d", i, got)
						}
					case <-r.Context().Done():
						t.Error("the app left")
						return
					}
				}
			})
			resp, err := w.client(t, "billing", "docs/crm").Get("http://" + host + "/events")
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(resp.Body)
			for lines.Scan() {
				var i int
				if _, err := fmt.Sscanf(lines.Text(), "data: %d", &i); err == nil {
					received <- i
				}
			}
			if err := lines.Err(); err != nil {
				t.Error(err)
			}
			_ = resp.Body.Close()
		}
	})
}

// When the app goes away the destination learns of it: while it thinks, while it answers, and while it receives, where the body
// that was cut short must not look whole.
func TestCancellationReachesTheDestination(t *testing.T) {
	both(t, func(t *testing.T, w *world, handle func(http.HandlerFunc) string) {
		began, ended := make(chan struct{}), make(chan error)
		host := handle(func(rw http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/think":
				close(began)
				<-r.Context().Done()
				ended <- r.Context().Err()
			case "/answer":
				_ = http.NewResponseController(rw).Flush()
				<-r.Context().Done()
				ended <- r.Context().Err()
			case "/receive":
				_, err := r.Body.Read(make([]byte, 1))
				close(began)
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
				}
				ended <- err
			}
		})
		client := w.client(t, "billing", "docs/crm")
		for _, path := range []string{"/think", "/answer", "/receive"} {
			t.Run(path[1:], func(t *testing.T) {
				began = make(chan struct{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var body io.Reader
				if path == "/receive" {
					r, wr := io.Pipe()
					defer context.AfterFunc(ctx, func() { wr.CloseWithError(ctx.Err()) })() // Go's client waits for it
					go func() { _, _ = wr.Write(make([]byte, 1<<20)) }()                    // and then no more
					body = r
				}
				req, err := http.NewRequestWithContext(ctx, "POST", "http://"+host+path, body)
				if err != nil {
					t.Fatal(err)
				}
				if path == "/answer" {
					resp, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
				} else {
					failed := make(chan error, 1)
					go func() {
						resp, err := client.Do(req)
						if err == nil {
							_ = resp.Body.Close()
						}
						failed <- err
					}()
					defer func() {
						if err := <-failed; !errors.Is(err, context.Canceled) {
							t.Errorf("the app got %v", err)
						}
					}()
					<-began
				}
				cancel()
				select {
				case err := <-ended:
					if err == nil {
						t.Error("a body that was cut short looked whole")
					}
				case <-time.After(10 * time.Second):
					t.Error("the destination was not told within 10 s")
				}
			})
		}
	})
}

// An answer that the destination cuts short is cut short for the app.
func TestCutAnswersStayCut(t *testing.T) {
	both(t, func(t *testing.T, w *world, handle func(http.HandlerFunc) string) {
		host := handle(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("length") {
				rw.Header().Set("Content-Length", "100")
			}
			_, _ = io.WriteString(rw, "the first half")
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		})
		for _, query := range []string{"", "?length"} {
			resp, err := w.client(t, "billing", "docs/crm").Get("http://" + host + "/" + query)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(body) != "the first half" || err == nil {
				t.Errorf("%q, %v", body, err)
			}
		}
	})
}

// Trailers of the answer come through, but none that would speak for Keybearer.
func TestTrailers(t *testing.T) {
	both(t, func(t *testing.T, w *world, handle func(http.HandlerFunc) string) {
		trailers := make(chan http.Header, 1)
		host := handle(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			trailers <- r.Trailer
			rw.Header().Set("Trailer", "X-Checksum, Keybearer-Request-Id, Proxy-Status")
			_, _ = io.WriteString(rw, "body")
			rw.Header().Set("X-Checksum", "abc")
			rw.Header().Set("Keybearer-Request-Id", "forged")
			rw.Header().Set("Proxy-Status", "keybearer; received-status=299")
			rw.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
		})
		req, err := http.NewRequest("POST", "http://"+host+"/", io.MultiReader(strings.NewReader("body")))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-From-App": {"secret trailer"}, "Authorization": {"Bearer of the app"}}
		resp, err := w.client(t, "billing", "docs/crm").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "body" {
			t.Errorf("%q, %v", body, err)
		}
		if got := resp.Trailer; got.Get("X-Checksum") != "abc" || got.Get("X-Late") != "unannounced" || got.Get("Keybearer-Request-Id") != "" || got.Get("Proxy-Status") != "" {
			t.Errorf("trailers %v", got)
		}
		if got := <-trailers; len(got) > 0 {
			t.Errorf("the app's trailers arrived: %v", got)
		}
	})
}

// Expect: 100-continue gets its interim answer from us, or the refusal at once; interim answers of a destination do not come through.
func TestInterimAnswers(t *testing.T) {
	w := newWorld(t)
	w.billing("*.example.com")
	api := w.recorder("api.example.com", func(a *harness.Arrival) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(a.Body), a.Body)
	})
	head := func(credential string) string {
		return request("POST", "http://api.example.com/hook", "api.example.com", "Keybearer-Credential: "+credential, harness.IDHeader+": expects",
			"Proxy-Authorization: Bearer "+w.tokens["billing"], "Content-Length: 4", "Expect: 100-continue")
	}
	conn, err := net.Dial("tcp", w.Proxy.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, head("docs/crm")); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("first line %q, %v", line, err)
	}
	if line, err = in.ReadString('\n'); line != "\r\n" {
		t.Fatalf("second line %q, %v", line, err)
	}
	if _, err := io.WriteString(conn, "body"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != "body" || resp.Header.Get("Link") != "" {
		t.Errorf("%s %v %q, %v", resp.Status, resp.Header, body, err)
	}
	w.right(t, api.One(t, "expects"), "docs/crm")

	began := time.Now()
	if a := w.ask(t, head("docs/none")); a.StatusCode != 403 || time.Since(began) > 5*time.Second {
		t.Errorf("refused after %v: %s", time.Since(began), a.raw)
	}
}
