package anchor_test

import (
	"context"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/anchor"
)

// busyStore has a change committed right after each answer about how far it goes.
type busyStore struct {
	keybearer.Store
	after func()
}

func (s busyStore) Sequence(ctx context.Context) (uint64, error) {
	seq, err := s.Store.Sequence(ctx)
	s.after()
	return seq, err
}

// While a reload has two configurations open, what the old one commits while the new one looks at the store does not make the store look old.
func TestAReloadWhileChangesAreMadeFindsNothingLost(t *testing.T) {
	l := newLab(t)
	s, a, done := l.open(t)
	defer done()
	commit(t, s, a)
	config := l.config(busyStore{s, func() { commit(t, s, a) }})
	b, err := anchor.Open(t.Context(), config)
	if err != nil {
		t.Fatalf("the reload is refused: %v; %+v", err, l.entry(t))
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if e := l.entry(t); e.Refused || e.Sequence < 2 {
		t.Errorf("%+v", e)
	}
}
