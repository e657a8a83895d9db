package identity

import (
	"context"
	"time"
)

// Verify returns why a JWT does not hold, whether or not it is meant for us.
func (i *Issuer) Verify(ctx context.Context, text string, at time.Time) error {
	_, err := i.verify(ctx, text, at)
	return err
}

// Genuine returns how many JWTs are remembered.
func (j *JWT) Genuine() int {
	s := j.Issuer.known()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.genuine)
}
