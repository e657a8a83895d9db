package custody

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Token is what may be seen of a token.
type Token struct {
	ID         string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt time.Time // when it was last presented with a request for a known credential; zero: never, or it is not known
}

func viewTokens(tokens []keybearer.Token, last map[string]time.Time) []Token {
	out := make([]Token, 0, len(tokens))
	for _, t := range tokens {
		out = append(out, Token{t.ID, t.CreatedAt, t.ExpiresAt, last[t.ID]})
	}
	return out
}

// addToken makes one more token, which ends at expires unless that is zero, and has the others end when the overlap is over; nil lets them be.
// Tokens that have ended are forgotten.
func addToken(tokens []keybearer.Token, prefix string, now, expires time.Time, overlap *time.Duration) ([]keybearer.Token, keybearer.Secret, error) {
	if !expires.IsZero() && !expires.After(now) {
		return nil, keybearer.Secret{}, keybearer.NewError(keybearer.Invalid, "a token expires in the future, or never").In("expires")
	}
	if overlap != nil && *overlap < 0 {
		return nil, keybearer.Secret{}, keybearer.NewError(keybearer.Invalid, "an overlap is not negative").In("overlap")
	}
	var kept []keybearer.Token
	for _, t := range tokens {
		if overlap != nil {
			if end := now.Add(*overlap).Truncate(time.Microsecond); t.ExpiresAt.IsZero() || end.Before(t.ExpiresAt) {
				t.ExpiresAt = end
			}
		}
		if t.Live(now) {
			kept = append(kept, t)
		}
	}
	if len(kept) >= maxTokens {
		return nil, keybearer.Secret{}, keybearer.NewError(keybearer.Conflict, "there are 20 tokens already").WithHint("revoke some")
	}
	secret, token := keybearer.NewToken(prefix, now)
	token.ExpiresAt = expires.UTC().Truncate(time.Microsecond)
	return append(kept, token), secret, nil
}

// revokeTokens forgets the token with the id; "" forgets all.
func revokeTokens(tokens []keybearer.Token, id string) ([]keybearer.Token, error) {
	if id == "" {
		return nil, nil
	}
	left := slices.DeleteFunc(slices.Clone(tokens), func(t keybearer.Token) bool { return t.ID == id })
	if len(left) == len(tokens) {
		return nil, keybearer.NewError(keybearer.NotFound, "there is no token with that id")
	}
	return left, nil
}

// ActorByToken returns who presents an operator's or a caller's token. It returns [keybearer.Unauthenticated] for any token that is not good, whatever the reason.
func (c *Custody) ActorByToken(ctx context.Context, token keybearer.Secret) (Actor, error) {
	if err := c.anchor.Holds(); err != nil { // it may have been revoked
		return Actor{}, keybearer.AsError(err)
	}
	text := token.Reveal()
	hash, now := keybearer.HashToken(text), c.now()
	live := func(tokens []keybearer.Token) bool {
		return slices.ContainsFunc(tokens, func(t keybearer.Token) bool { return t.Hash == hash && t.Live(now) })
	}
	switch {
	case strings.HasPrefix(text, keybearer.OperatorTokenPrefix):
		o, err := missing(c.store.OperatorByToken(ctx, hash))
		if err != nil {
			return Actor{}, err
		}
		if o != nil && o.Live() && live(o.Tokens) {
			return operatorActor(o), nil
		}
	case strings.HasPrefix(text, keybearer.CallerTokenPrefix):
		cl, err := missing(c.store.CallerByToken(ctx, hash))
		if err != nil {
			return Actor{}, err
		}
		if cl != nil && cl.Live() && live(cl.Tokens) {
			return Actor{Subject: keybearer.AppSubject(cl.Name), Caller: cl}, nil
		}
	}
	return Actor{}, keybearer.NewError(keybearer.Unauthenticated, "")
}
