package proxy

import (
	"crypto/tls"
	"sync"
	"time"
)

// sessions are the TLS sessions of one pool. A session brings back what the destination stapled when it began, so it is resumed
// only for an hour or so: long before a staple that was good then is past its time. Package crypto/tls drops a session that is refused. It is safe
// for concurrent use.
type sessions struct {
	mu    sync.Mutex
	cache tls.ClientSessionCache
	until time.Time
}

const sessionLife = time.Hour

// current returns the cache of this hour.
func (s *sessions) current() tls.ClientSessionCache {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.cache == nil || !now.Before(s.until) {
		s.cache, s.until = tls.NewLRUClientSessionCache(0), now.Add(sessionLife)
	}
	return s.cache
}

// Get implements [tls.ClientSessionCache].
func (s *sessions) Get(key string) (*tls.ClientSessionState, bool) { return s.current().Get(key) }

// Put implements [tls.ClientSessionCache].
func (s *sessions) Put(key string, state *tls.ClientSessionState) { s.current().Put(key, state) }
