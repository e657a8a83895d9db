package proxy

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// AdmitTunnel judges a CONNECT: its form and its caller. What it leads to is judged with each request inside. The id
// is that of the request, for the answer. A refusal has been recorded.
func (g *Gate) AdmitTunnel(ctx context.Context, c *Call) (t *Tunnel, id string, _ *keybearer.Error) {
	p := &Pass{gate: g, Started: g.now()}
	p.event = keybearer.Event{Time: p.Started, ID: keybearer.NewID(keybearer.IDRequest), Method: c.Method}
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
	t, err := c.read()
	if err != nil {
		return nil, err
	}
	caller, err := g.identify(ctx, c, t.tokens)
	if err != nil {
		return nil, err
	}
	p.event.Caller = caller.Name
	host, _, port, perr := policy.ParseAuthority(c.Target)
	if perr != nil {
		return nil, keybearer.AsError(perr)
	}
	p.event.Host, p.event.Port = host, port
	if t.destination != "" {
		return nil, tagError("CONNECT and Keybearer-Destination both name a destination")
	}
	if port == 443 {
		return nil, keybearer.NewError(keybearer.TLSTunnelUnsupported, "")
	}
	return &Tunnel{Host: host, Port: port, Tokens: t.tokens, Credential: t.credential}, nil
}

const tunnelIdle = 2 * time.Minute

// connect serves a CONNECT: plain HTTP inside, each request judged on its own.
func (h *handler) connect(w http.ResponseWriter, r *http.Request, call *Call) {
	tunnel, id, err := h.proxy.gate.AdmitTunnel(r.Context(), call)
	if err != nil {
		h.refuse(w, r, call, id, err)
		return
	}
	conn, rw, herr := http.NewResponseController(w).Hijack()
	if herr != nil {
		h.refuse(w, r, call, id, keybearer.NewError(keybearer.BadRequest, "CONNECT is served over HTTP/1.1 only"))
		return
	}
	inner := &handler{proxy: h.proxy, route: h.route, tunnel: tunnel}
	call.Fields = nil // pooled; the tunnel has what it needs
	h.proxy.tunnels.group.Go(func() { inner.serve(conn, rw, call, id) })
}

// serve speaks HTTP/1.1 on a hijacked connection until it ends.
func (h *handler) serve(conn net.Conn, rw *bufio.ReadWriter, call *Call, id string) {
	defer conn.Close()
	l := &oneConn{conn: &buffered{conn, rw.Reader}, closed: make(chan struct{})}
	ended := make(chan struct{})
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: time.Minute, IdleTimeout: tunnelIdle, MaxHeaderBytes: 256 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(h.proxy.logger.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed || s == http.StateHijacked {
				close(ended)
				l.Close()
			}
		},
	}
	if !h.proxy.tunnels.add(conn, server) {
		return
	}
	defer h.proxy.tunnels.remove(conn)
	_ = conn.SetDeadline(time.Now().Add(tunnelIdle))
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nKeybearer-Request-Id: %s\r\n\r\n", id); err != nil {
		return
	}
	first, err := rw.Reader.Peek(1)
	if err != nil {
		return
	}
	if first[0] == 0x16 { // a TLS handshake record
		h.refuseTLS(conn, call, id)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	_ = server.Serve(l) // returns when the connection has ended, or at once when the tunnels are drained
	if l.given {
		<-ended
	}
}

// refuseTLS says in clear, to whoever looks at the bytes, why the handshake fails.
func (h *handler) refuseTLS(conn net.Conn, call *Call, id string) {
	err := keybearer.NewError(keybearer.TLSTunnelUnsupported, "")
	g := h.proxy.gate
	p := &Pass{gate: g, Started: g.now()}
	p.event = keybearer.Event{ID: id, Method: call.Method, Host: h.tunnel.Host, Port: h.tunnel.Port}
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
	group sync.WaitGroup

	mu      sync.Mutex
	open    map[net.Conn]*http.Server
	drained bool
}

// add takes a tunnel in, unless no more are taken.
func (t *tunnels) add(conn net.Conn, server *http.Server) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.drained {
		return false
	}
	if t.open == nil {
		t.open = map[net.Conn]*http.Server{}
	}
	t.open[conn] = server
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
	t.mu.Lock()
	t.drained = true
	open := t.open
	t.open = nil
	t.mu.Unlock()
	var wg sync.WaitGroup
	for conn, server := range open {
		wg.Go(func() {
			// Idle is known a moment after the answer; a tunnel in which nothing has been asked yet is closed by its end.
			_ = server.Shutdown(ctx)
			conn.Close()
		})
	}
	wg.Wait()
	t.group.Wait()
}
