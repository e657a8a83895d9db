package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/keybearer/keybearer"
)

// HTTP/2 does not need Content-Length, so net/http passes on what is no length, or two. Over HTTP/1.1 whoever reads the other one takes the next answer
// for the rest of this one, or the other way round.
func TestOnlyALengthThatHoldsComesBack(t *testing.T) {
	for name, tc := range map[string]struct {
		lengths []string
		want    []string
	}{
		"one":    {[]string{"5"}, []string{"5"}},
		"two":    {[]string{"5", "7"}, nil},
		"signed": {[]string{"+5"}, nil},
		"none":   {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(l *lab, _ *Config) { l.destination.TLS.NextProtos = []string{"h2"} })
			listener := must(tls.Listen("tcp", "127.0.0.1:0", l.destination.TLS))
			defer listener.Close()
			go answerHTTP2(listener, tc.lengths)
			url := "https://" + listener.Addr().String()
			l.credential("crm", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(url)}, "s3cret-token")
			conn := must(net.Dial("tcp", l.serve(Route{})))
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, "GET "+url+"/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
			raw := string(must(io.ReadAll(conn)))
			head, _, _ := strings.Cut(raw, "\r\n\r\n")
			var got []string
			for line := range strings.SplitSeq(head, "\r\n") {
				if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
					got = append(got, value)
				}
			}
			if !strings.HasPrefix(head, "HTTP/1.1 200 ") || strings.Join(got, ",") != strings.Join(tc.want, ",") || !strings.Contains(raw, "hello") {
				t.Errorf("%q", raw)
			}
		})
	}
}

// answerHTTP2 answers the first request of each connection with "hello" and these fields.
func answerHTTP2(listener net.Listener, lengths []string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
				return
			}
			framer := http2.NewFramer(conn, conn)
			_ = framer.WriteSettings()
			for {
				f, err := framer.ReadFrame()
				if err != nil {
					return
				}
				if h, ok := f.(*http2.HeadersFrame); ok {
					var block bytes.Buffer
					e := hpack.NewEncoder(&block)
					_ = e.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
					for _, n := range lengths {
						_ = e.WriteField(hpack.HeaderField{Name: "content-length", Value: n})
					}
					_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: block.Bytes(), EndHeaders: true})
					_ = framer.WriteData(h.StreamID, true, []byte("hello"))
				}
			}
		}()
	}
}

// A trailer that nobody announced may have any name. One that says how long the message is must not stand behind it (RFC 9110 section 6.5.1).
func TestNoLengthComesBackAsATrailer(t *testing.T) {
	l := newLab(t)
	l.oneOne()
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 7\r\nX-Sum: 1\r\n\r\n")
	})
	l.credential("crm", l.bearer(), "s3cret-token")
	conn := must(net.Dial("tcp", l.serve(Route{})))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, "GET "+l.plain()+"/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	raw := string(must(io.ReadAll(conn)))
	if strings.Contains(raw, "Content-Length") || !strings.Contains(raw, "X-Sum: 1\r\n") || !strings.Contains(raw, "hello") {
		t.Errorf("%q", raw)
	}
}
