package signin

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what is remembered. The oldest go first.
const (
	maxSessions = 10_000
	maxOwn      = 20 // sessions of one operator
	maxFlows    = 10_000
)

// Register is what sign-in remembers, in the memory of this process: sessions, journeys to the identity provider, the set-up link, and attempts. It outlives
// configurations; what is kept under a secret is kept under its hash. It is safe for concurrent use. Close it.
type Register struct {
	now      func() time.Time
	mu       sync.Mutex
	sessions map[string]*session // by the hash of what the cookie holds
	flows    map[string]*flow    // by the hash of what the flow's cookie holds
	attempts attempts
	onces    onces
	refusals *rate.Limiter // of those that are audited

	setUp struct {
		sync.Mutex // held while the link is used, so that of two one wins
		hash       [sha256.Size]byte
		until      time.Time // zero: there is none
	}

	stop chan struct{}
	done chan struct{}
}

// NewRegister returns an empty register that tells the time by now; nil: the system's clock.
func NewRegister(now func() time.Time) *Register {
	if now == nil {
		now = time.Now
	}
	r := &Register{
		now:      now,
		sessions: map[string]*session{}, flows: map[string]*flow{}, attempts: newAttempts(),
		refusals: rate.NewLimiter(1, 10), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go func() {
		defer close(r.done)
		tick := time.NewTicker(time.Minute)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.sweep(r.now())
			case <-r.stop:
				return
			}
		}
	}()
	return r
}

// Close forgets everything.
func (r *Register) Close() error {
	close(r.stop)
	<-r.done
	return nil
}

func (r *Register) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range r.sessions {
		if s.over(now) {
			delete(r.sessions, key)
		}
	}
	for key, f := range r.flows {
		if !now.Before(f.until) {
			delete(r.flows, key)
		}
	}
	r.attempts.sweep(now)
}

// session is what is known of one without its contents, which scs keeps in data.
type session struct {
	owner       string // the operator's name
	how         string
	since, seen time.Time
	idle, max   time.Duration // as the configuration had it when it was last seen
	data        []byte
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.seen) >= s.idle || now.Sub(s.since) >= s.max
}

// keyOf is the name under which something is kept that a cookie holds; scs makes the same one.
func keyOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// open announces a session. Those that are too many end.
func (r *Register) open(key string, s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[key] = s
	r.thin(maxOwn, func(other *session) bool { return other.owner == s.owner })
	r.thin(maxSessions, func(*session) bool { return true })
}

// thin removes the oldest of those that match until at most n are left.
func (r *Register) thin(n int, match func(*session) bool) {
	if len(r.sessions) <= n {
		return
	}
	var keys []string
	for key, s := range r.sessions {
		if match(s) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return r.sessions[a].since.Compare(r.sessions[b].since) })
	for _, key := range keys[:max(0, len(keys)-n)] {
		delete(r.sessions, key)
	}
}

// look returns a session that is not over; nil without one.
func (r *Register) look(key string, now time.Time) *session {
	s := r.sessions[key]
	if s != nil && s.over(now) {
		delete(r.sessions, key)
		return nil
	}
	return s
}

// Session is what its owner may see of one.
type Session struct {
	ID          string // names it for its owner, and opens nothing
	How         string
	Since, Seen time.Time
	Current     bool // the one that asks
}

func (r *Register) of(owner, current string, now time.Time) (all []Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range r.sessions {
		if s.owner == owner && !s.over(now) {
			all = append(all, Session{ID: key[:16], How: s.how, Since: s.since, Seen: s.seen, Current: key == current})
		}
	}
	slices.SortFunc(all, func(a, b Session) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// closeAll ends the sessions of an operator.
func (r *Register) closeAll(owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range r.sessions {
		if s.owner == owner {
			delete(r.sessions, key)
		}
	}
}

// store is the register as scs wants it, under the limits of one configuration.
type store struct {
	*Register
	idle, max time.Duration
}

// touch says that the session's owner is there.
func (s store) touch(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if have := s.sessions[key]; have != nil {
		have.idle, have.max = s.idle, s.max
		if have = s.look(key, now); have != nil {
			have.seen = now
		}
	}
}

func (s store) alive(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.look(key, s.now()) != nil
}

// Find implements [scs.Store].
func (s store) Find(key string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.look(key, s.now())
	if have == nil || have.data == nil {
		return nil, false, nil
	}
	return have.data, true, nil
}

// Commit implements [scs.Store]. What belongs to no session that was announced is dropped: a request that was under way when its session ended does
// not bring it back.
func (s store) Commit(key string, b []byte, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.sessions[key]; have != nil {
		have.data = b
	}
	return nil
}

// Delete implements [scs.Store].
func (s store) Delete(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, key)
	return nil
}

// random is 256 random bits as text.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}
