package caddymodule

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// On a reload Caddy binds an address again beside the old socket, and closes that. The system then resets the connections that wait in
// its queue, and net/http drops the requests on those that were accepted but not read. So servers that hold a keybearer
// handler listen on networks of ours instead, named "shared-tcp" and the like: one socket stays open
// across configurations, each has a claim on what it accepts, and a configuration that leaves stops claiming before it stops.
const sharedPrefix = "shared-"

func init() {
	for _, network := range []string{"tcp", "tcp4", "tcp6", "unix"} {
		caddy.RegisterNetwork(sharedPrefix+network, listenShared)
	}
}

// shareListeners puts the server's listeners on our networks. With TLS they stay Caddy's, for HTTP/3, which takes no request from early data here:
// whoever saw one could send it once more (RFC 8470).
func shareListeners(server *caddyhttp.Server) {
	if len(server.TLSConnPolicies) > 0 {
		server.Allow0RTT = new(false)
		return
	}
	for i, address := range server.Listen {
		na, err := caddy.ParseNetworkAddress(address)
		switch {
		case err != nil:
		case na.Network == "tcp" || na.Network == "tcp4" || na.Network == "tcp6":
			na.Network = sharedPrefix + na.Network
			server.Listen[i] = na.String()
		case na.Network == "unix" && !strings.ContainsAny(na.Host, ":[]"):
			server.Listen[i] = sharedPrefix + "unix/" + na.Host + ":1" // Caddy wants a port
		}
	}
}

// listenAddress parses an address of a server's Listen, on our networks or others.
func listenAddress(address string) (caddy.NetworkAddress, error) {
	address, ours := strings.CutPrefix(address, sharedPrefix)
	if ours && strings.HasPrefix(address, "unix/") {
		address = strings.TrimSuffix(address, ":1")
	}
	return caddy.ParseNetworkAddress(address)
}

// socket is one open socket. Its connections go to whichever claim takes them first.
type socket struct {
	net.Listener
	key    string
	claims int // guarded by sockets
	queue  chan accepted
	done   chan struct{}
}

type accepted struct {
	conn net.Conn
	err  error
}

var sockets = struct {
	sync.Mutex
	open map[string]*socket
}{open: map[string]*socket{}}

// listenShared is a [caddy.ListenerFunc]: it claims the socket at the address for the configuration of ctx.
func listenShared(ctx context.Context, network, host, ports string, offset uint, config net.ListenConfig) (any, error) {
	na, err := listenAddress(network + "/" + net.JoinHostPort(host, ports))
	if err != nil {
		return nil, err
	}
	left := make(chan struct{})
	if cctx, ok := ctx.(caddy.Context); ok {
		if app, err := cctx.AppIfConfigured("keybearer"); err == nil {
			left = app.(*App).lease.left
		}
	}
	return claimSocket(ctx, na, offset, config, left)
}

// claimSocket returns a claim on the socket at the address, which it opens if need be. Nothing is accepted once left is closed.
func claimSocket(ctx context.Context, na caddy.NetworkAddress, offset uint, config net.ListenConfig, left chan struct{}) (net.Listener, error) {
	sockets.Lock()
	defer sockets.Unlock()
	key := fmt.Sprint(na, offset)
	s := sockets.open[key]
	if s == nil {
		l, err := na.Listen(ctx, offset, config)
		if err != nil {
			return nil, err
		}
		s = &socket{Listener: l.(net.Listener), key: key, queue: make(chan accepted), done: make(chan struct{})}
		sockets.open[key] = s
		go s.accept()
	}
	s.claims++
	return &claim{socket: s, left: left, closed: make(chan struct{})}, nil
}

func (s *socket) accept() {
	for {
		conn, err := s.Listener.Accept()
		select {
		case s.queue <- accepted{conn, err}: // net/http waits after an error that can pass
		case <-s.done:
			if conn != nil {
				conn.Close()
			}
			return
		}
	}
}

// claim is one configuration's listener on a shared socket.
type claim struct {
	*socket
	left   chan struct{} // closed when the configuration is leaving
	once   sync.Once
	closed chan struct{}
}

// Accept implements [net.Listener]. Once the configuration is leaving it only waits for Close.
func (c *claim) Accept() (net.Conn, error) {
	select {
	case <-c.left:
	default:
		select {
		case a := <-c.queue:
			return a.conn, a.err
		case <-c.left:
		case <-c.closed:
		}
	}
	<-c.closed
	return nil, net.ErrClosed
}

// Close gives the claim up. The last one closes the socket.
func (c *claim) Close() (err error) {
	err = net.ErrClosed
	c.once.Do(func() {
		close(c.closed)
		sockets.Lock()
		defer sockets.Unlock()
		err = nil
		if c.claims--; c.claims == 0 {
			delete(sockets.open, c.key)
			close(c.done)
			err = c.Listener.Close()
		}
	})
	return err
}
