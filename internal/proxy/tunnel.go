package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// AdmitTunnel judges a CONNECT: its form and its caller. What it leads to is judged with each request inside. The id
// is that of the request, for the answer. A refusal has been recorded; without one the engine must call Close of the tunnel.
func (g *Gate) AdmitTunnel(ctx context.Context, c *Call) (t *Tunnel, id string, _ *keybearer.Error) {
	p := g.newPass(ctx, c)
	t, err := g.admitTunnel(ctx, c, p)
	if err != nil {
		g.refused(p, err)
	}
	return t, p.ID(), err
}

func (g *Gate) admitTunnel(ctx context.Context, c *Call, p *Pass) (*Tunnel, *keybearer.Error) {
	if c.Route.fixed() {
		return nil, tagError("the operator fixed credential and destination here; CONNECT is not served")
	}
	t, err := c.read(g.foreign)
	if err != nil {
		return nil, err
	}
	evidence := c.evidence(t.tokens, p.Started)
	caller, err := g.identify(ctx, &evidence)
	if err != nil {
		return nil, err
	}
	p.event.Caller = caller.Name
	if c.Multiplexed {
		return nil, keybearer.NewError(keybearer.BadRequest, "CONNECT is served over HTTP/1.1 only")
	}
	host, _, port, perr := policy.ParseAuthority(c.Target)
	if perr != nil {
		return nil, keybearer.AsError(perr)
	}
	p.event.Host, p.event.Port = host, port
	if t.destination != "" {
		return nil, tagError("CONNECT and Keybearer-Destination both name a destination")
	}
	if t.actingUser != "" { // it would carry over to nothing, and look as if it did
		return nil, tagError("CONNECT asserts an acting user: each request inside the tunnel asserts its own")
	}
	if port == 443 {
		return nil, keybearer.NewError(keybearer.TLSTunnelUnsupported, "")
	}
	place, err := g.limits.open(caller, g.now())
	if err != nil {
		return nil, err
	}
	return &Tunnel{
		Host: host, Port: port, Caller: caller.Name, Tokens: t.tokens, TLS: c.TLS, Peer: c.Peer, Credential: t.credential, place: place,
	}, nil
}

// The limits of requests inside tunnels are those that the server outside has.
const (
	tunnelIdle = 2 * time.Minute
	headTime   = 10 * time.Second
	maxHead    = 16 << 10
)

// connect serves a CONNECT: plain HTTP inside, each request judged on its own.
func (h *Handler) connect(w http.ResponseWriter, r *http.Request, call *Call) {
	tunnel, id, err := h.proxy.gate.AdmitTunnel(r.Context(), call)
	if err != nil {
		h.refuse(w, r, call, id, err)
		return
	}
	conn, rw, herr := http.NewResponseController(w).Hijack()
	if herr != nil {
		tunnel.Close()
		h.refuse(w, r, call, id, &keybearer.Error{Code: keybearer.Internal, Op: "hijack", Err: herr})
		return
	}
	inner := &Handler{proxy: h.proxy, route: h.route, tunnel: tunnel, tunnels: h.tunnels}
	call.Fields = nil // pooled; the tunnel has what it needs
	h.tunnels.group.Go(func() {
		defer tunnel.Close()
		inner.serve(conn, rw, call, id)
	})
}

// serve speaks HTTP/1.1 on a hijacked connection until it ends.
func (h *Handler) serve(conn net.Conn, rw *bufio.ReadWriter, call *Call, id string) {
	defer conn.Close()
	between := &lull{Conn: &buffered{&impatient{Conn: conn, limit: h.proxy.stall}, rw.Reader}, silent: true}
	l := &oneConn{conn: between, closed: make(chan struct{})}
	gone := make(chan struct{})
	defer close(gone)
	ended, handed := make(chan struct{}), false
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	inside := attentive{h, h.proxy.stall}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if handed { // to a WebSocket, which has ended too
					close(ended)
				}
			}()
			inside.ServeHTTP(w, r)
		}), ReadHeaderTimeout: headTime, IdleTimeout: tunnelIdle, MaxHeaderBytes: maxHead,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(h.proxy.logger.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateHijacked: // by the handler, which goes on
				handed = true
				l.Close()
			case http.StateIdle:
				between.rest()
			case http.StateClosed:
				close(ended)
				l.Close()
			}
		},
	}
	if !h.tunnels.add(conn, func(within context.Context) {
		between.end() // Shutdown would drop a request that it has read already
		select {
		case <-gone:
		case <-within.Done():
		}
		cancel() // whatever is still under way
		conn.Close()
	}) {
		return
	}
	defer h.tunnels.remove(conn)
	_ = conn.SetDeadline(time.Now().Add(tunnelIdle))
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nKeybearer-Request-Id: %s\r\n\r\n", id); err != nil {
		return
	}
	first, err := rw.Reader.Peek(1)
	if err != nil {
		return
	}
	between.stir()
	if first[0] == 0x16 { // a TLS handshake record
		h.refuseTLS(conn, call, id)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	_ = server.Serve(l) // returns when the connection has ended
	<-ended
}

// refuseTLS says in clear, to whoever looks at the bytes, why the handshake fails.
func (h *Handler) refuseTLS(conn net.Conn, call *Call, id string) {
	err := keybearer.NewError(keybearer.TLSTunnelUnsupported, "")
	g := h.proxy.gate
	p := g.newPass(context.Background(), call)
	p.event.ID, p.event.Caller, p.event.Host, p.event.Port = id, h.tunnel.Caller, h.tunnel.Host, h.tunnel.Port
	g.refused(p, err)
	a := Refuse(call, id, err)
	w := bufio.NewWriter(conn)
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n", a.Status, http.StatusText(a.Status))
	for _, f := range a.Fields {
		fmt.Fprintf(w, "%s: %s\r\n", f.Name, f.Value)
	}
	w.WriteString("Connection: close\r\n\r\n")
	w.Write(a.Body)
	_ = w.Flush()
}

// attentive gives each read of a request's body a limit: an app that sends no more would hold the request for ever.
type attentive struct {
	next  http.Handler
	limit time.Duration
}

func (a attentive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		b := &awaited{ReadCloser: r.Body, conn: http.NewResponseController(w), limit: a.limit}
		r.Body = b
		defer b.leave()
	}
	a.next.ServeHTTP(w, r)
}

// awaited is the body of a request on a connection of its own.
type awaited struct {
	io.ReadCloser
	conn  *http.ResponseController
	limit time.Duration
	ended atomic.Bool
}

func (b *awaited) Read(p []byte) (int, error) {
	_ = b.conn.SetReadDeadline(time.Now().Add(b.limit)) // a connection can be told
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended.Store(true)
		_ = b.conn.SetReadDeadline(time.Time{}) // what is read from now on tells whether the app is still there
	}
	return n, err
}

// leave bounds what net/http reads of a body that nobody wanted.
func (b *awaited) leave() {
	if !b.ended.Load() {
		_ = b.conn.SetReadDeadline(time.Now().Add(b.limit))
	}
}

// oneConn is a listener that gives one connection and then waits until it is closed. Accept is called by one goroutine.
type oneConn struct {
	conn   net.Conn
	given  bool
	once   sync.Once
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	if !l.given {
		l.given = true
		return l.conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// buffered reads first what the outer server had read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// tunnels are the connections that were taken from their server, which no longer waits for them.
type tunnels struct {
	group   sync.WaitGroup
	leaving atomic.Bool // each is to end with the next answer

	mu      sync.Mutex
	open    map[net.Conn]func(context.Context) // how to end it
	drained bool
}

// add takes a tunnel in, unless no more are taken.
func (t *tunnels) add(conn net.Conn, end func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.drained {
		return false
	}
	if t.open == nil {
		t.open = map[net.Conn]func(context.Context){}
	}
	t.open[conn] = end
	return true
}

func (t *tunnels) remove(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, conn)
}

// drain takes no more tunnels, lets each finish the request under way, for so long at most, and returns when all have ended.
func (t *tunnels) drain(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	t.leaving.Store(true)
	t.mu.Lock()
	t.drained = true
	open := t.open
	t.open = nil
	t.mu.Unlock()
	var wg sync.WaitGroup
	for _, end := range open {
		wg.Go(func() { end(ctx) })
	}
	wg.Wait()
	t.group.Wait()
}
