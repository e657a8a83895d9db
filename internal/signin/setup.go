package signin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// SetUpTime is how long a set-up link holds.
const SetUpTime = 15 * time.Minute

// OfferSetUp makes the code of a set-up link, which makes the first operator once, within [SetUpTime]. The one before it holds no more. It returns
// [keybearer.Conflict] once there is a live operator, and what custody returns to whoever may not.
func (r *Register) OfferSetUp(ctx context.Context, c *custody.Custody, ask custody.Ask) (code keybearer.Secret, until time.Time, err error) {
	if err := c.OfferSetUp(ctx, ask); err != nil {
		return keybearer.Secret{}, time.Time{}, err
	}
	text := random()
	r.setUp.Lock()
	defer r.setUp.Unlock()
	r.setUp.hash, r.setUp.until = sha256.Sum256([]byte(text)), r.now().Add(SetUpTime)
	return keybearer.NewSecret(text), r.setUp.until.UTC().Truncate(time.Second), nil
}

// holds reports whether the code is that of the link. The caller holds the lock.
func (r *Register) holds(code keybearer.Secret) bool {
	hash := sha256.Sum256([]byte(code.Reveal()))
	same := subtle.ConstantTimeCompare(hash[:], r.setUp.hash[:]) == 1
	return same && r.now().Before(r.setUp.until)
}

func noSetUp() *keybearer.Error {
	return keybearer.NewError(keybearer.NotFound, "this set-up link does not hold: it was used, a newer one was made, it is older than 15 minutes, or the server has restarted").
		WithHint("make a new one on the server's machine: keybearer operator setup")
}

// CheckSetUp returns [keybearer.NotFound] unless the code is that of the link, and [keybearer.RateLimited] after too many attempts.
func (s *SignIn) CheckSetUp(ctx context.Context, id string, code keybearer.Secret) error {
	if _, err := s.attempt(ctx, id); err != nil {
		return err
	}
	s.register.setUp.Lock()
	defer s.register.setUp.Unlock()
	if !s.register.holds(code) {
		s.refused(id, keybearer.NotFound)
		return noSetUp()
	}
	return nil
}

// SetUp makes the first operator for whoever holds the link, returns its token, and signs them in. Besides the errors of CheckSetUp it returns
// [keybearer.Invalid] and [keybearer.AlreadyExists] for the name, after which the link still holds, and [keybearer.Conflict] when there is a live operator.
func (s *SignIn) SetUp(ctx context.Context, id string, code keybearer.Secret, name string) (keybearer.Secret, error) {
	if _, err := s.attempt(ctx, id); err != nil {
		return keybearer.Secret{}, err
	}
	s.register.setUp.Lock()
	defer s.register.setUp.Unlock()
	if !s.register.holds(code) {
		s.refused(id, keybearer.NotFound)
		return keybearer.Secret{}, noSetUp()
	}
	_, token, err := s.custody.SetUp(ctx, id, name)
	switch keybearer.CodeOf(err) {
	case "":
		s.register.setUp.until = time.Time{}
	case keybearer.Conflict:
		s.register.setUp.until = time.Time{}
		return keybearer.Secret{}, err
	default:
		return keybearer.Secret{}, err
	}
	// From here on the operator is there: its token is shown whatever happens to the session.
	proof, err := s.custody.Prove(ctx, token)
	if err != nil {
		return token, nil
	}
	actor, err := s.custody.ActorByProof(ctx, proof)
	if err == nil {
		err = s.begin(ctx, id, ByToken, actor, proof)
	}
	if err != nil {
		s.log.Warn("the first operator is not signed in", "request_id", id, "error", err)
	}
	return token, nil
}
