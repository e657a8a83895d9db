package vaultkv

import (
	"context"
	"time"
)

// MaxText is how much fits into a secret.
const MaxText = maxText

// Look looks for changes of others now.
func (s *Store) Look() error { return s.look() }

// Adopt says how long events wait for their own process.
func (s *Store) Adopt(after time.Duration) { s.adopt = after }

// Sweep sweeps as two sweeps would with a minute between them.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	if err := s.take(ctx); err != nil {
		return 0, err
	}
	defer s.give()
	first, err := s.sweepUnnamed(ctx)
	if err != nil {
		return 0, err
	}
	second, err := s.sweepUnnamed(ctx)
	return first + second, err
}
