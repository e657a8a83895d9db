package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// A connection that cannot be handed over, or an answer without one, ends what would have been a WebSocket.
func TestAConnectionThatCannotBeHandedOver(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	h := must(l.proxy.Handler(Route{}))
	r := httptest.NewRequest("GET", "/", nil)
	for name, c := range map[string]struct {
		w    http.ResponseWriter
		body io.ReadCloser
	}{
		"no connection of the app": {httptest.NewRecorder(), &ends{}},
		"none of the destination":  {hijacked{httptest.NewRecorder(), nil}, &half{}},
	} {
		released := false
		resp := &response{&http.Response{StatusCode: 101, Body: c.body}, t.Context(), func() { released = true }}
		err := h.upgrade(c.w, r, l.admitted(), resp)
		if err == nil || err.Code != keybearer.Internal || !released {
			t.Errorf("%s: %v, released %v", name, err, released)
		}
		if closed, ok := c.body.(interface{ isClosed() bool }); ok && !closed.isClosed() {
			t.Errorf("%s: the answer is left open", name)
		}
	}
}

// half is a body that can only be read, ends one that can be written, too.
type half struct{ closed bool }

func (h *half) Read([]byte) (int, error) { return 0, io.EOF }
func (h *half) Close() error             { h.closed = true; return nil }
func (h *half) isClosed() bool           { return h.closed }

type ends struct{ half }

func (e *ends) Write(b []byte) (int, error) { return len(b), nil }

// hijacked gives a connection of its own away.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// stream is what a destination sends over a WebSocket: nothing, until it ends.
type stream struct {
	ends
	end  chan struct{}
	err  error
	once chan struct{} // closed by Close
}

func newStream(err error) *stream {
	return &stream{end: make(chan struct{}), err: err, once: make(chan struct{})}
}

func (s *stream) Read([]byte) (int, error) {
	select {
	case <-s.end:
		return 0, s.err
	case <-s.once:
		return 0, net.ErrClosed
	}
}

func (s *stream) Close() error {
	select {
	case <-s.once:
	default:
		close(s.once)
	}
	return nil
}

// A WebSocket goes on when the request that began it has been answered, in the place of its use, and tells the operator why it ended.
func TestAWebSocketOutlivesItsRequest(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code keybearer.Code
	}{"in order": {io.EOF, ""}, "broken off": {errors.New("reset"), keybearer.DestinationUnreachable}} {
		log, n := &bytes.Buffer{}, &notes{}
		l := newLab(t, noted(n), func(_ *lab, c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
		l.credential("crm", l.bearer(), "s3cret-token")
		h := must(l.proxy.Handler(Route{}))
		here, app := net.Pipe()
		answered := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(app)
			answered <- string(b)
		}()
		p := l.admitted()
		held, release := p.Hold(t.Context())
		s := newStream(c.err)
		resp := &response{&http.Response{StatusCode: 101, Header: http.Header{"Content-Length": {"5"}, "X-Any": {"a"}}, Body: s}, held, release}
		if err := h.upgrade(hijacked{httptest.NewRecorder(), here}, httptest.NewRequest("GET", "/", nil), p, resp); err != nil {
			t.Fatal(err)
		}
		if uses := l.proxy.gate.live.list(); held.Err() == nil || len(uses) != 1 {
			t.Errorf("%s: %d uses are under way", name, len(uses))
		}
		close(s.end)
		h.tunnels.group.Wait()
		if uses := l.proxy.gate.live.list(); len(uses) != 0 {
			t.Errorf("%s: %d uses are under way behind its end", name, len(uses))
		}
		if text := <-answered; !strings.HasPrefix(text, "HTTP/1.1 101 Switching Protocols\r\n") || !strings.Contains(text, "Upgrade: websocket") || !strings.Contains(text, "X-Any: a") || strings.Contains(text, "Content-Length") {
			t.Errorf("%s: %q", name, text)
		}
		if _, posted, _ := n.take(); len(posted) != 1 || posted[0].Code != c.code || posted[0].DestinationStatus != 101 {
			t.Errorf("%s: %+v", name, posted)
		}
		if told := strings.Contains(log.String(), "use failed"); told != (c.code != "") {
			t.Errorf("%s: the log says %q", name, log)
		}
	}
}

// An app that is gone gets no answer, and a handler that is closed relays nothing.
func TestAWebSocketThatCannotBegin(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*Handler, net.Conn)
		op      string
	}{
		"the app is gone": {func(_ *Handler, app net.Conn) { app.Close() }, "write answer"},
		"nobody is served": {func(h *Handler, app net.Conn) {
			h.tunnels.drain(time.Minute)
			go func() { _, _ = io.Copy(io.Discard, app) }()
		}, "send"},
	} {
		l := newLab(t)
		l.credential("crm", l.bearer(), "s3cret-token")
		h := must(l.proxy.Handler(Route{}))
		here, app := net.Pipe()
		c.prepare(h, app)
		p := l.admitted()
		held, release := p.Hold(t.Context())
		s := newStream(io.EOF)
		result := h.relay(p, &response{&http.Response{StatusCode: 101, Header: http.Header{}, Body: s}, held, release}, here, bufio.NewReader(here), s)
		if result.Err == nil || result.Err.Code != keybearer.CallerGone || result.Err.Op != c.op || result.Status != 101 {
			t.Errorf("%s: %+v", name, result)
		}
		if uses := l.proxy.gate.live.list(); len(uses) != 0 {
			t.Errorf("%s: %d uses are under way", name, len(uses))
		}
	}
}
