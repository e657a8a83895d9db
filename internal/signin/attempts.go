package signin

import (
	"context"
	"math"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/keybearer/keybearer"
)

// How often sign-in may be tried. Tokens cannot be guessed; this bounds the work and the noise of whoever tries.
const (
	perAddress      = rate.Limit(1.0 / 3) // a second
	perAddressBurst = 20
	overall         = rate.Limit(20)
	overallBurst    = 200
	maxAddresses    = 10_000
)

// attempts limits them by address and in all. It is guarded by the register.
type attempts struct {
	all *rate.Limiter
	by  map[netip.Prefix]*rate.Limiter
}

func newAttempts() attempts {
	return attempts{rate.NewLimiter(overall, overallBurst), map[netip.Prefix]*rate.Limiter{}}
}

// sweep forgets addresses that have all their attempts left.
func (a *attempts) sweep(now time.Time) {
	for prefix, l := range a.by {
		if l.TokensAt(now) >= perAddressBurst {
			delete(a.by, prefix)
		}
	}
}

// take returns how long to wait before the next attempt; 0: now, and it counts until it is given back.
func (a *attempts) take(from netip.Prefix, now time.Time) (wait time.Duration, giveBack func()) {
	l := a.by[from]
	if l == nil {
		if len(a.by) >= maxAddresses {
			a.sweep(now)
		}
		if len(a.by) >= maxAddresses { // so many come from everywhere: they share what there is
			from = netip.Prefix{}
			l = a.by[from]
		}
		if l == nil {
			l = rate.NewLimiter(perAddress, perAddressBurst)
			a.by[from] = l
		}
	}
	for _, l := range []*rate.Limiter{l, a.all} { // who is over their own does not use up the others'
		if left := l.TokensAt(now); left < 1 {
			return time.Duration(math.Ceil((1-left)/float64(l.Limit()))) * time.Second, nil
		}
	}
	own, all := l.ReserveN(now, 1), a.all.ReserveN(now, 1)
	return 0, func() {
		own.CancelAt(now)
		all.CancelAt(now)
	}
}

type addressKey struct{}

// From returns a context that says from which address a request came, for the limits. It proves nothing.
func From(ctx context.Context, address netip.Addr) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}

// attempt counts an attempt to sign in, until it is given back: one that succeeded was no guess. It returns [keybearer.RateLimited] when there were too many,
// before anything is looked at.
func (s *SignIn) attempt(ctx context.Context, id string) (giveBack func(), _ error) {
	address, _ := ctx.Value(addressKey{}).(netip.Addr)
	bits := 64 // what one host has of IPv6
	if address = address.Unmap(); address.Is4() {
		bits = 32
	}
	prefix, _ := address.WithZone("").Prefix(bits) // the zero address: whose nobody knows
	s.register.mu.Lock()
	wait, back := s.register.attempts.take(prefix, s.register.now())
	s.register.mu.Unlock()
	if wait > 0 {
		s.refused(id, keybearer.RateLimited)
		e := keybearer.NewError(keybearer.RateLimited, "there were too many attempts to sign in")
		e.RetryAfter = wait
		return nil, e
	}
	return func() {
		s.register.mu.Lock()
		defer s.register.mu.Unlock()
		back()
	}, nil
}

// refused audits a sign-in that was refused, one of many where there are many.
func (s *SignIn) refused(id string, code keybearer.Code) {
	if s.register.refusals.Allow() {
		s.custody.SignInRefused(id, code)
	}
}
