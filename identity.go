package keybearer

import (
	"context"
	"crypto/tls"
)

// Evidence is what a request and its connection bring as proof of who is calling. Forwarded headers and source
// addresses are not evidence.
type Evidence struct {
	Tokens []string             // bearer values, or passwords of basic proofs, in the headers that count in this mode
	TLS    *tls.ConnectionState // of the connection to us; nil without TLS
	Peer   *PeerCredentials     // of a unix socket; nil elsewhere
	Fixed  string               // caller's name that the operator fixed for the listener or route; "" without
}

// PeerCredentials are those of the process at the other end of a unix socket, as the kernel gave them.
type PeerCredentials struct {
	PID int32
	UID uint32
	GID uint32
}

// Identity proves callers. Implementations are safe for concurrent use.
type Identity interface {
	// Identify returns the caller that the evidence proves, or nil when it holds nothing that this identity looks at. It returns
	// [CallerUnauthenticated] when it does hold such a thing and that is wrong, expired or of a caller that is not
	// live, [StoreUnavailable] when it cannot tell, and [CallerGone] when ctx ends first.
	Identify(ctx context.Context, e *Evidence) (*Caller, error)
}
