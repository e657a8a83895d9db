package caddymodule

import (
	"context"
	"net"
	"net/http"

	"github.com/keybearer/keybearer"
)

type peerKey struct{}

// withPeer keeps the peer's credentials of a unix socket for the requests on it. It is a [net/http.Server.ConnContext].
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if conn, ok := c.(*net.UnixConn); ok {
		if peer, err := peerOf(conn); err == nil {
			return context.WithValue(ctx, peerKey{}, peer)
		}
	}
	return ctx
}

// peer returns the credentials of the process that sent a request through a unix socket; nil when it came otherwise.
func peer(r *http.Request) *keybearer.PeerCredentials {
	p, _ := r.Context().Value(peerKey{}).(*keybearer.PeerCredentials)
	return p
}
