package signin

import (
	"context"

	"github.com/keybearer/keybearer"
)

// WithToken signs in whoever has an operator's token. id is the request's. It returns [keybearer.Unauthenticated] for anything else, always the same,
// [keybearer.RateLimited] after too many attempts, and [keybearer.AuditUnavailable].
func (s *SignIn) WithToken(ctx context.Context, id string, token keybearer.Secret) error {
	giveBack, err := s.attempt(ctx, id)
	if err != nil {
		return err
	}
	proof, err := s.custody.Prove(ctx, token)
	if err != nil {
		return s.unproved(id, err)
	}
	actor, err := s.custody.ActorByProof(ctx, proof)
	if err != nil {
		return s.unproved(id, err)
	}
	giveBack()
	return s.begin(ctx, id, ByToken, actor, proof)
}

// Confirm takes the proof again from who is signed in, before something is destroyed. It returns [keybearer.Unauthenticated] for a token
// that is not theirs, and [keybearer.RateLimited].
func (s *SignIn) Confirm(ctx context.Context, id string, token keybearer.Secret) error {
	giveBack, err := s.attempt(ctx, id)
	if err != nil {
		return err
	}
	person, err := s.Person(ctx)
	if err != nil {
		return err
	}
	proof, err := s.custody.Prove(ctx, token)
	if err != nil {
		return s.unproved(id, err)
	}
	actor, err := s.custody.ActorByProof(ctx, proof)
	if err == nil && actor.Subject != person.Subject {
		err = keybearer.NewError(keybearer.Unauthenticated, "this token is another operator's")
	}
	if err != nil {
		return s.unproved(id, err)
	}
	giveBack()
	return s.confirmed(ctx)
}

// unproved audits a proof that was none.
func (s *SignIn) unproved(id string, err error) error {
	if keybearer.CodeOf(err) == keybearer.Unauthenticated {
		s.refused(id, keybearer.Unauthenticated)
	}
	return err
}
