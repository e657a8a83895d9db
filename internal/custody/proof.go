package custody

import (
	"context"
	"slices"

	"github.com/keybearer/keybearer"
)

// Proof names the token with which an operator once proved who they are, so that it can be judged again without it. The zero value proves
// nobody.
type Proof struct {
	Operator string // id
	Token    string // id
}

func operatorActor(o *keybearer.Operator) Actor {
	return Actor{Subject: keybearer.UserSubject(o.Name), Groups: o.Groups, Roles: o.Roles}
}

// Prove returns what an operator's token proves. It returns [keybearer.Unauthenticated] for anything else, callers' tokens included.
func (c *Custody) Prove(ctx context.Context, token keybearer.Secret) (Proof, error) {
	if err := c.anchor.Holds(); err != nil {
		return Proof{}, keybearer.AsError(err)
	}
	hash, now := keybearer.HashToken(token.Reveal()), c.now()
	o, err := missing(c.store.OperatorByToken(ctx, hash))
	if err != nil {
		return Proof{}, err
	}
	if o != nil && o.Live() {
		for _, t := range o.Tokens {
			if t.Hash == hash && t.Live(now) {
				return Proof{o.ID, t.ID}, nil
			}
		}
	}
	return Proof{}, keybearer.NewError(keybearer.Unauthenticated, "")
}

// ActorByProof returns the operator whom the proof still proves. It returns [keybearer.Unauthenticated] once the token was revoked or has
// ended, or the operator is not live any more.
func (c *Custody) ActorByProof(ctx context.Context, p Proof) (Actor, error) {
	if err := c.anchor.Holds(); err != nil {
		return Actor{}, keybearer.AsError(err)
	}
	if p == (Proof{}) {
		return Actor{}, keybearer.NewError(keybearer.Unauthenticated, "")
	}
	o, err := missing(c.store.Operator(ctx, p.Operator))
	if err != nil {
		return Actor{}, err
	}
	now := c.now()
	if o == nil || o.ID != p.Operator || !o.Live() ||
		!slices.ContainsFunc(o.Tokens, func(t keybearer.Token) bool { return t.ID == p.Token && t.Live(now) }) {
		return Actor{}, keybearer.NewError(keybearer.Unauthenticated, "")
	}
	return operatorActor(o), nil
}
