package console

import (
	"sync"

	"github.com/keybearer/keybearer"
)

// share bounds how much of what takes long or much memory one person may have going on at a time. The zero value counts nobody yet.
type share struct {
	mu sync.Mutex
	of map[keybearer.Subject]int
}

const (
	maxLive    = 20 // followed logs of a person: some for each browser that they left open
	maxExports = 2  // exports of a person
)

// take returns what gives back a place among most, or [keybearer.RateLimited] when the person holds so many.
func (s *share) take(who keybearer.Subject, most int) (give func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[who] >= most {
		return nil, keybearer.NewError(keybearer.RateLimited, "you have too many of these going on at a time").WithHint("close those that are open, then try again")
	}
	if s.of == nil {
		s.of = map[keybearer.Subject]int{}
	}
	s.of[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.of[who]--; s.of[who] == 0 {
			delete(s.of, who)
		}
	}, nil
}
