package identity

import (
	"context"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/fence"
)

// How many tokens that nobody has may be looked up: what a shared store bears beside its work, and what tells the owner of a new token at once.
const (
	missesAtOnce   = 1000
	missesEach     = 100 // second
	knownTokens    = 1 << 16
	missRetryAfter = 2 * time.Second
)

// budget bounds the look-ups of tokens that turn out to be nobody's, so that a flood of random ones does not become a flood of the store. Tokens that
// were somebody's when they were last looked up are not bounded: who is known goes on. It is safe for concurrent use.
type budget struct {
	now func() time.Time

	mu    sync.Mutex
	left  float64
	at    time.Time
	known map[keybearer.TokenHash]struct{}
}

func newBudget(now func() time.Time) *budget {
	return &budget{now: now, left: missesAtOnce, at: now(), known: map[keybearer.TokenHash]struct{}{}}
}

// guard makes load ask only as long as there is something left, and [keybearer.RateLimited] otherwise.
func (b *budget) guard(load fence.Load[keybearer.TokenHash, *keybearer.Caller]) fence.Load[keybearer.TokenHash, *keybearer.Caller] {
	return func(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Caller, []string, error) {
		known, ok := b.take(hash)
		if !ok {
			return nil, nil, errFlood()
		}
		c, ids, err := load(ctx, hash)
		switch {
		case err == nil:
			b.found(hash, known)
		case keybearer.CodeOf(err) == keybearer.NotFound:
			b.missed(hash)
		case !known:
			b.refund() // nobody could say
		}
		return c, ids, err
	}
}

// take pays for one look-up, before it, so that many at the same time do not all find something left.
func (b *budget) take(hash keybearer.TokenHash) (known, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known = b.known[hash]; known {
		return true, true
	}
	now := b.now()
	b.left, b.at = min(missesAtOnce, b.left+now.Sub(b.at).Seconds()*missesEach), now
	if b.left < 1 {
		return false, false
	}
	b.left--
	return false, true
}

// found gives back what was paid: the token is somebody's.
func (b *budget) found(hash keybearer.TokenHash, known bool) {
	if known {
		return
	}
	b.refund()
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.known {
		if len(b.known) < knownTokens {
			break
		}
		delete(b.known, k)
	}
	b.known[hash] = struct{}{}
}

func (b *budget) refund() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(missesAtOnce, b.left+1)
}

func (b *budget) missed(hash keybearer.TokenHash) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, hash)
}

// errFlood is what the sender of an unknown token gets, and unavoidably who comes with a new one at that time.
func errFlood() *keybearer.Error {
	return &keybearer.Error{
		Code: keybearer.RateLimited, Detail: "too many unknown tokens are being presented", RetryAfter: missRetryAfter,
		Hint: "try again: a token that is known is not held up",
	}
}
