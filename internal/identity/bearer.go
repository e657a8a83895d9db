package identity

import (
	"context"
	"errors"
	"strings"

	"github.com/keybearer/keybearer"
)

// JWT proves callers by the JWTs of one issuer. Which of its subjects is which caller is the operator's word, not the issuer's.
type JWT struct {
	Issuer  *Issuer
	Callers keybearer.Callers
	Claim   string            // that tells apps apart
	Names   map[string]string // by the claim's value, to the letter: the caller's name
}

var (
	_ keybearer.Identity   = (*JWT)(nil)
	_ keybearer.Recognizer = (*JWT)(nil)
)

// Close stops following the issuer's keys.
func (j *JWT) Close() error { return j.Issuer.Close() }

// Recognize implements [keybearer.Recognizer].
func (j *JWT) Recognize(text string) bool { return j.Issuer.Concerns(text) }

// Identify implements [keybearer.Identity]. It looks at JWTs of the issuer that are for our audience; two of different callers are refused.
func (j *JWT) Identify(ctx context.Context, e *keybearer.Evidence) (*keybearer.Caller, error) {
	var proven *keybearer.Caller
	for _, text := range e.Tokens {
		if !j.Issuer.Concerns(text) {
			continue
		}
		c, err := j.Issuer.verify(ctx, text, e.At)
		if err != nil {
			return nil, j.refusal(ctx, err)
		}
		value, ok := c.text(j.Claim)
		name, known := j.Names[value]
		if !ok || !known {
			return nil, keybearer.NewError(keybearer.CallerUnauthenticated, "the JWT is of nobody who is known as a caller").
				WithHint("bind its subject to a caller: map <value of the claim> app:<caller>, in identity jwt")
		}
		caller, err := j.Callers.ByName(ctx, name)
		if err != nil {
			return nil, err
		}
		if proven != nil && proven.ID != caller.ID {
			return nil, keybearer.NewError(keybearer.CallerUnauthenticated, "the request carries JWTs of two callers")
		}
		proven = caller
	}
	return proven, nil
}

func (j *JWT) refusal(ctx context.Context, err error) error {
	f, ok := errors.AsType[*flaw](err)
	switch {
	case ok:
		return keybearer.NewError(keybearer.CallerUnauthenticated, f.Error()).WithHint(strings.TrimSpace(f.hint))
	case ctx.Err() != nil:
		return &keybearer.Error{Code: keybearer.CallerGone, Op: "identify caller", Err: err}
	}
	return keybearer.NewError(keybearer.StoreUnavailable, err.Error()).
		WithHint("try again in a moment; if it stays so, the operator finds the cause in the log and in docs/callers-jwt.md")
}
