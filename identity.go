package keybearer

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"time"
)

// Evidence is what a request and its connection bring as proof of who is calling. Forwarded headers and source
// addresses are not evidence.
type Evidence struct {
	Tokens []string             // bearer values, or passwords of basic proofs, in the headers that count in this mode
	TLS    *tls.ConnectionState // of the connection to us; nil without TLS
	Peer   *PeerCredentials     // of a unix socket; nil elsewhere
	Fixed  string               // caller's name that the operator fixed for the listener or route; "" without
	At     time.Time            // when it was presented: a proof with an end of its own, such as a JWT, must hold at that time
}

// PeerCredentials are those of the process at the other end of a unix socket, as the kernel gave them.
type PeerCredentials struct {
	PID int32
	UID uint32
	GID uint32
}

// Identity proves callers. Implementations are safe for concurrent use. Evidence is judged again while a use goes on, so the same evidence must
// be cheap to judge the second time.
type Identity interface {
	// Identify returns the caller that the evidence proves, or nil when it holds nothing that this identity looks at. It returns
	// [CallerUnauthenticated] when it does hold such a thing and that is wrong, expired or of a caller that is not
	// live, [StoreUnavailable] when it cannot tell, [RateLimited] when it was asked about too many proofs that were wrong to look at one more, and
	// [CallerGone] when ctx ends first.
	Identify(ctx context.Context, e *Evidence) (*Caller, error)
}

// Recognizer is an Identity whose proofs do not look like tokens of ours. What it recognizes counts as evidence wherever a token would, and
// never goes on to a destination.
type Recognizer interface {
	// Recognize reports whether text holds a proof that is meant for Keybearer, be it valid or not. It does no I/O.
	Recognize(text string) bool
}

// Callers finds callers for those who prove them, and remembers them until they change. It is safe for concurrent use. Errors are
// those of [Identity]; who is not there or not live is [CallerUnauthenticated].
type Callers interface {
	ByName(ctx context.Context, name string) (*Caller, error)
	// ByToken also refuses a token that has expired.
	ByToken(ctx context.Context, hash TokenHash) (*Caller, error)
}

// User is an acting user, as an assertion proved one. It is immutable.
type User struct {
	ID     string   // as in the subject "user:<ID>"
	Groups []string // as in "group:<name>"
	Once   OnceID   // of the assertion, which counts one time
	Until  time.Time
}

// OnceID tells apart what may be used one time.
type OnceID [sha256.Size]byte

// ActingUsers proves on whose behalf callers ask. Implementations are safe for concurrent use.
type ActingUsers interface {
	// Prove returns the user that the assertion names. It returns [UserRequired] when it does not hold, now or for this caller, or cannot be judged,
	// and [CallerGone] when ctx ends first. It does not know whether the assertion was used before.
	Prove(ctx context.Context, assertion string, caller *Caller, at time.Time) (*User, error)
}

// Spender is a Store that remembers what may be used one time, for all processes that share it.
type Spender interface {
	// Spend marks id as used, and forgets it some time after until. It returns [AlreadyExists] when it is marked already, by anyone, and
	// [StoreUnavailable] when the store cannot tell; then it may have been marked.
	Spend(ctx context.Context, id OnceID, until time.Time) error
}
