package caddymodule

import (
	"context"
	"net"
	"net/http"
	"reflect"

	"github.com/keybearer/keybearer"
)

type peerKey struct{}

// withPeer keeps the peer's credentials of a unix socket for the requests on it. It is a [net/http.Server.ConnContext].
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if conn, ok := bare(c).(*net.UnixConn); ok {
		if peer, err := peerOf(conn); err == nil {
			return context.WithValue(ctx, peerKey{}, peer)
		}
	}
	return ctx
}

// bare returns the connection below what it is wrapped in: TLS, which says so by NetConn, and what Caddy puts around every connection of a server with HTTP/1.1
// alone, which embeds it as Conn and says nothing.
func bare(c net.Conn) net.Conn {
	for {
		inner, ok := net.Conn(nil), false
		if w, says := c.(interface{ NetConn() net.Conn }); says {
			inner, ok = w.NetConn(), true
		} else if v := reflect.Indirect(reflect.ValueOf(c)); v.Kind() == reflect.Struct {
			if f := v.FieldByName("Conn"); f.IsValid() && f.CanInterface() {
				inner, ok = f.Interface().(net.Conn)
			}
		}
		if !ok || inner == nil {
			return c
		}
		c = inner
	}
}

// peer returns the credentials of the process that sent a request through a unix socket; nil when it came otherwise.
func peer(r *http.Request) *keybearer.PeerCredentials {
	p, _ := r.Context().Value(peerKey{}).(*keybearer.PeerCredentials)
	return p
}
