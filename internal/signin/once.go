package signin

import (
	"sync"
	"time"
)

// onces remembers which forms were sent. The zero value remembers none.
type onces struct {
	mu   sync.Mutex
	sent map[string]time.Time
}

// maxOnces bounds what is remembered; when there are more, those whose sessions are surely over are forgotten.
const maxOnces = 10_000

// First reports whether the person sends the form that holds the nonce for the first time. A browser sends one again when its reader reloads the
// answer, and what makes a token must not make a second one then. Forget takes it back when nothing came of it.
func (s *SignIn) First(p *Person, nonce string) bool {
	o, now := &s.register.onces, s.register.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.sent) >= maxOnces {
		for key, at := range o.sent {
			if now.Sub(at) > s.store.max {
				delete(o.sent, key)
			}
		}
	}
	key := onceKey(p, nonce)
	if _, sent := o.sent[key]; sent || nonce == "" || len(nonce) > 64 || len(o.sent) >= maxOnces {
		return false
	}
	if o.sent == nil {
		o.sent = map[string]time.Time{}
	}
	o.sent[key] = now
	return true
}

// Forget lets a form be sent again, of which nothing came.
func (s *SignIn) Forget(p *Person, nonce string) {
	s.register.onces.mu.Lock()
	defer s.register.onces.mu.Unlock()
	delete(s.register.onces.sent, onceKey(p, nonce))
}

func onceKey(p *Person, nonce string) string { return string(p.Subject) + " " + nonce }
