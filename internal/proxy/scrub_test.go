package proxy

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

// scrubbing makes the credential docs/crm, whose answers' bodies are scrubbed.
func (l *lab) scrubbing(secret string) {
	l.credential("crm", l.bearer(), secret, func(c *keybearer.Credential, _ *keybearer.Bundle) { c.ScrubBody = true })
}

const scrubSecret = `s3cret/"token"+of=the&crm`

func TestBodiesComeBackWithoutTheSecretAndAsLongAsTheyWere(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP2 %v", http2), func(t *testing.T) {
			l := newLab(t)
			if !http2 {
				l.oneOne()
			}
			l.scrubbing(scrubSecret)
			l.credential("open", l.bearer(), scrubSecret)
			client := l.client(l.serve(Route{}))
			// In two pieces, split at every byte in turn.
			l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text := "you sent " + r.Header.Get("Authorization") + "!"
				var at int
				_, _ = fmt.Sscanf(r.URL.Path, "/%d", &at)
				if r.URL.RawQuery == "length" {
					w.Header().Set("Content-Length", fmt.Sprint(len(text)))
				}
				_, _ = io.WriteString(w, text[:at])
				_ = http.NewResponseController(w).Flush()
				_, _ = io.WriteString(w, text[at:])
			})
			plain := "you sent Bearer " + scrubSecret + "!"
			for at := range len(plain) + 1 {
				for _, query := range []string{"", "?length"} {
					for credential, want := range map[string]string{
						"docs/crm": "you sent Bearer " + strings.Repeat("*", len(scrubSecret)) + "!", "docs/open": plain,
					} {
						resp, err := client.Do(l.request("GET", fmt.Sprintf("%s/%d%s", l.plain(), at, query), credential, nil))
						if err != nil {
							t.Fatal(err)
						}
						body, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if string(body) != want || err != nil || (query != "") != (resp.ContentLength == int64(len(want))) {
							t.Fatalf("%s, split at %d: %q, %v, length %d", credential, at, body, err, resp.ContentLength)
						}
					}
				}
			}
		})
	}
}

func TestARequestWhoseAnswerIsScrubbedAsksForPlainWholeBytes(t *testing.T) {
	l := newLab(t)
	l.scrubbing("s3cret-token")
	l.credential("open", l.bearer(), "s3cret-token")
	client := l.client(l.serve(Route{}))
	send := func(credential string) http.Header {
		r := l.request("GET", l.plain()+"/", credential, nil)
		r.Header["Accept-Encoding"], r.Header["Accept_encoding"] = []string{"br", "gzip"}, []string{"gzip"}
		r.Header["Range"], r.Header["If-Range"] = []string{"bytes=3-"}, []string{`"x"`}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return (<-l.seen).Header
	}
	if got := send("docs/crm"); fmt.Sprint(got["Accept-Encoding"], got["Accept_encoding"], got["Range"], got["If-Range"]) != "[identity] [] [] []" {
		t.Errorf("arrived %v", got)
	}
	if got := send("docs/open"); fmt.Sprint(got["Accept-Encoding"], got["Range"], got["If-Range"]) != `[br gzip] [bytes=3-] ["x"]` {
		t.Errorf("without the option arrived %v", got)
	}
}

// Nothing passes of a body in which the secret cannot be looked for.
func TestAnAnswerThatCannotBeScrubbedIsRefused(t *testing.T) {
	l := newLab(t)
	l.oneOne()
	l.scrubbing("s3cret-token")
	addr := l.serve(Route{})
	for name, tc := range map[string]struct {
		head   string
		status int
	}{
		"gzip":                         {"200 OK\r\nContent-Encoding: gzip", 502},
		"gzip, in other letters":       {"200 OK\r\ncontent-encoding: GZip", 502},
		"identity and gzip":            {"200 OK\r\nContent-Encoding: identity, gzip", 502},
		"gzip in a second field":       {"200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: gzip", 502},
		"what nobody knows":            {"500 Oops\r\nContent-Encoding: x-mine", 502},
		"Transfer-Encoding gzip":       {"200 OK\r\nTransfer-Encoding: gzip, chunked", 502},
		"a part":                       {"206 Partial Content\r\nContent-Range: bytes 3-14/100", 502},
		"parts":                        {"206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x", 502},
		"identity":                     {"200 OK\r\nContent-Encoding: identity", 200},
		"no coding":                    {"200 OK\r\nContent-Encoding:", 200},
		"not modified, of a gzip body": {"304 Not Modified\r\nContent-Encoding: gzip", 304},
		"no content":                   {"204 No Content\r\nContent-Encoding: gzip", 204},
	} {
		t.Run(name, func(t *testing.T) {
			l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 "+tc.head+"\r\nConnection: close\r\n\r\n")
				if tc.status != 304 && tc.status != 204 {
					_, _ = io.WriteString(conn, "a canary")
				}
				conn.Close()
			})
			status, body := l.get(addr, "docs/crm")
			if tc.status != 502 {
				if status != tc.status || tc.status == 200 && body != "a canary" {
					t.Errorf("got %d %q", status, body)
				}
				return
			}
			wantCode(t, status, body, 502, keybearer.DestinationUnreachable)
			if strings.Contains(body, "canary") || !strings.Contains(name, "Transfer") && !strings.Contains(body, "the secret cannot be taken out") {
				t.Errorf("got %s", body)
			}
		})
	}
	t.Run("HEAD of a gzip body", func(t *testing.T) {
		l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Length", "100")
		})
		resp, _ := raw(t, addr, "HEAD "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
		if resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "gzip" || resp.ContentLength != 100 {
			t.Errorf("got %s %v", resp.Status, resp.Header)
		}
	})
	t.Run("without the option", func(t *testing.T) {
		l.credential("open", l.bearer(), "s3cret-token")
		l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, "compressed")
			z.Close()
		})
		resp, err := l.client(addr).Do(l.request("GET", l.plain()+"/", "docs/open", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(must(gzip.NewReader(resp.Body))); string(text) != "compressed" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
	})
}

// An answer without a body has nothing to be taken out of, whichever version of HTTP it came over.
func TestAnAnswerWithoutABodyIsNotTakenForACompressedOne(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		l := newLab(t)
		if version == "HTTP/1.1" {
			l.oneOne()
		}
		l.handle = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(must(strconv.Atoi(r.URL.Path[1:])))
		}
		l.scrubbing("s3cret-token")
		app := l.client(l.serve(Route{}))
		for _, tc := range []struct {
			method, path string
			status       int
		}{{"HEAD", "/200", 200}, {"GET", "/304", 304}, {"GET", "/204", 204}, {"GET", "/200", 200}} {
			resp := must(app.Do(l.request(tc.method, l.plain()+tc.path, "docs/crm", nil)))
			body := must(io.ReadAll(resp.Body))
			resp.Body.Close()
			if r := <-l.seen; r.Proto != version || resp.StatusCode != tc.status || resp.Header.Get("Content-Encoding") != "gzip" {
				t.Errorf("%s, %s %s: %s %v %s", r.Proto, tc.method, tc.path, resp.Status, resp.Header, body)
			}
		}
	}
}

// What says of the bytes what they were before does not come back with others.
func TestDigestsOfAScrubbedBodyDoNotComeBack(t *testing.T) {
	l := newLab(t)
	l.scrubbing("s3cret-token")
	l.credential("open", l.bearer(), "s3cret-token")
	client := l.client(l.serve(Route{}))
	names := []string{"Content-Md5", "Digest", "Content-Digest", "Repr-Digest"}
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"v1"`)
		for _, name := range names[:2] {
			w.Header().Set(name, "sum")
		}
		w.Header().Set("Trailer", "Content-Digest, Repr-Digest, X-Late")
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
		for _, name := range names[2:] {
			w.Header().Set(name, "sum")
		}
		w.Header().Set("X-Late", r.Header.Get("Authorization"))
	})
	for credential, kept := range map[string]bool{"docs/crm": false, "docs/open": true} {
		resp, err := client.Do(l.request("GET", l.plain()+"/", credential, nil))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		for i, name := range names {
			got := resp.Header
			if i > 1 {
				got = resp.Trailer
			}
			if (got.Get(name) != "") != kept {
				t.Errorf("%s: %s is %q", credential, name, got.Get(name))
			}
		}
		if resp.Header.Get("Etag") != `"v1"` || resp.Trailer.Get("X-Late") != "Bearer [removed]" || strings.Contains(string(body), "s3cret") == !kept {
			t.Errorf("%s: %v %q %v", credential, resp.Header, body, resp.Trailer)
		}
	}
}

func TestScrubbedEventsArriveOneByOne(t *testing.T) {
	l := newLab(t)
	l.scrubbing("s3cret-token")
	next := make(chan struct{})
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range next {
			fmt.Fprintf(w, "data: %s and s3c\n\n", r.Header.Get("Authorization"))
			_ = http.NewResponseController(w).Flush()
		}
	})
	go func() { next <- struct{}{} }()
	resp, err := l.client(l.serve(Route{})).Do(l.request("GET", l.plain()+"/", "docs/crm", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 5 { // the next event is sent only once the last one is here
		if i > 0 {
			next <- struct{}{}
		}
		if !lines.Scan() || lines.Text() != "data: Bearer ************ and s3c" || !lines.Scan() {
			t.Fatalf("event %d: %q", i, lines.Text())
		}
	}
	close(next)
}
