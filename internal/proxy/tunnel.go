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
	h.proxy.tunnels.Go(func() { inner.serve(conn, rw, call, id) })
}

// serve speaks HTTP/1.1 on a hijacked connection until it ends.
func (h *handler) serve(conn net.Conn, rw *bufio.ReadWriter, call *Call, id string) {
	defer conn.Close()
	if !h.proxy.track(conn) {
		return
	}
	defer h.proxy.untrack(conn)
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
	l := &oneConn{conn: &buffered{conn, rw.Reader}, done: make(chan struct{})}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: time.Minute, IdleTimeout: tunnelIdle, MaxHeaderBytes: 256 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(h.proxy.logger.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed || s == http.StateHijacked {
				l.Close()
			}
		},
	}
	_ = server.Serve(l) // ends when the connection does
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

// oneConn is a listener that gives one connection and then waits until that is closed.
type oneConn struct {
	conn net.Conn
	once sync.Once
	done chan struct{}

	mu    sync.Mutex
	given bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	l.mu.Lock()
	given := l.given
	l.given = true
	l.mu.Unlock()
	if !given {
		return l.conn, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// buffered reads first what the outer server had read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }
