package proxy

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// limits count, for this node alone, what each caller asks in a second and has under way, and what is under way to each destination. So neither a
// caller that never stops nor a destination that never answers takes what the others need. It is safe for concurrent use.
type limits struct {
	caller      keybearer.Limits // of callers that have none of their own
	destination keybearer.Limits

	mu     sync.RWMutex
	quotas map[quotaKey]*quota
}

// quotaKey names a caller by its id, or a destination as the scope's credentials are sent to it.
type quotaKey struct {
	caller  string
	tunnels bool // of the caller, not its requests

	scope, host string
	port        uint16
}

func newLimits(caller keybearer.Limits, destination int) limits {
	return limits{
		caller:      caller,
		destination: keybearer.Limits{Rate: keybearer.Unlimited, Concurrency: destination},
		quotas:      map[quotaKey]*quota{},
	}
}

// quota is how far one caller or destination has used its limits up.
type quota struct {
	mu     sync.Mutex
	under  int           // way
	bucket *rate.Limiter // nil: there is no limit of rate
	set    keybearer.Limits
	gone   bool // swept: another has its place, or will have
}

// verdict is why a quota lets nobody in.
type verdict uint8

const (
	entered verdict = iota
	full
	tooFast
	swept
)

// enter lets one more in. When it comes too fast, wait says when the next one may.
func (q *quota) enter(l keybearer.Limits, now time.Time) (_ verdict, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone {
		return swept, 0
	}
	if q.set != l {
		q.adjust(l, now)
	}
	if l.Concurrency > 0 && q.under >= l.Concurrency {
		return full, 0
	}
	if q.bucket != nil && !q.bucket.AllowN(now, 1) {
		missing := 1 - q.bucket.TokensAt(now)
		return tooFast, time.Duration(missing / l.Rate * float64(time.Second))
	}
	q.under++
	return entered, 0
}

// adjust takes other limits over. What was used up of the former ones stays so.
func (q *quota) adjust(l keybearer.Limits, now time.Time) {
	switch {
	case l.Rate <= 0:
		q.bucket = nil
	case q.bucket == nil:
		q.bucket = rate.NewLimiter(rate.Limit(l.Rate), l.Burst)
	default:
		q.bucket.SetLimitAt(now, rate.Limit(l.Rate))
		q.bucket.SetBurstAt(now, l.Burst)
	}
	q.set = l
}

func (q *quota) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.under--
}

// idle marks a quota as gone if nothing would be lost with it.
func (q *quota) idle(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone = q.under == 0 && (q.bucket == nil || q.bucket.TokensAt(now) >= float64(q.bucket.Burst()))
	return q.gone
}

// place is what a pass or a tunnel takes up. The zero value takes up nothing. It belongs to its pass or tunnel.
type place struct {
	caller, destination *quota
	at                  quotaKey // of the destination
}

// enter gives the pass its place, or returns RateLimited. A pass that has one is in, and is not counted again when it is judged again; should it go
// elsewhere by then, it takes a place there.
func (l *limits) enter(p *place, caller *keybearer.Caller, scope string, d *policy.Destination, now time.Time) *keybearer.Error {
	if p.caller == nil {
		q, v, wait := l.admit(quotaKey{caller: caller.ID}, caller.Limits.Over(l.caller), now)
		switch v {
		case full:
			return limited("the caller has as many requests under way as it may", 0)
		case tooFast:
			return limited("the caller asks more often than it may", wait)
		}
		p.caller = q
	}
	at := quotaKey{scope: scope, host: d.Host, port: d.Port}
	if p.destination != nil && p.at == at {
		return nil
	}
	q, v, _ := l.admit(at, l.destination, now)
	if v != entered {
		return limited("as many requests to this destination are under way as may be", 0)
	}
	if p.destination != nil {
		p.destination.leave()
	}
	p.destination, p.at = q, at
	return nil
}

// open gives a tunnel its place, or returns RateLimited. A caller may have as many open as requests under way, and these beside them: each holds a
// connection, though nothing may be asked over it.
func (l *limits) open(caller *keybearer.Caller, now time.Time) (place, *keybearer.Error) {
	own := keybearer.Limits{Rate: keybearer.Unlimited, Concurrency: caller.Limits.Over(l.caller).Concurrency}
	q, v, _ := l.admit(quotaKey{caller: caller.ID, tunnels: true}, own, now)
	if v != entered {
		return place{}, limited("the caller has as many tunnels open as it may", 0)
	}
	return place{caller: q}, nil
}

// leave gives the place back, once.
func (p *place) leave() {
	if p.caller != nil {
		p.caller.leave()
	}
	if p.destination != nil {
		p.destination.leave()
	}
	*p = place{}
}

func limited(detail string, wait time.Duration) *keybearer.Error {
	e := keybearer.NewError(keybearer.RateLimited, detail)
	e.RetryAfter = max(wait, time.Second)
	return e
}

// admit enters the quota of that key, and makes it if need be.
func (l *limits) admit(key quotaKey, limits keybearer.Limits, now time.Time) (*quota, verdict, time.Duration) {
	for {
		l.mu.RLock()
		q := l.quotas[key]
		l.mu.RUnlock()
		if q == nil {
			l.mu.Lock()
			if q = l.quotas[key]; q == nil {
				q, key.host = &quota{}, strings.Clone(key.host) // a part of the request's first line, which would be kept with it
				l.quotas[key] = q
			}
			l.mu.Unlock()
		}
		if v, wait := q.enter(limits, now); v != swept {
			return q, v, wait
		}
	}
}

// sweep lets go of quotas that nobody uses.
func (l *limits) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, q := range l.quotas {
		if q.idle(now) {
			delete(l.quotas, key)
		}
	}
}
