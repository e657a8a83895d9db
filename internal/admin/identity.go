package admin

import (
	"context"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func wireTokens(tokens []custody.Token) []Token {
	out := make([]Token, 0, len(tokens))
	for _, t := range tokens {
		out = append(out, Token(t))
	}
	return out
}

func wireCaller(c custody.Caller) Caller {
	return Caller{
		ID: c.ID, Name: c.Name, Description: c.Description, Scopes: c.Scopes, Tokens: wireTokens(c.Tokens), Disabled: c.Disabled, Limits: c.Limits,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, DeletedAt: c.DeletedAt, LastUsedAt: c.LastUsedAt, Revision: c.Revision,
	}
}

func callerReply(c custody.Caller, err error) (*reply, error) {
	return &reply{revision: c.Revision, body: wireCaller(c)}, err
}

func issuedCaller(c custody.Caller, token keybearer.Secret, err error) (*reply, error) {
	return &reply{revision: c.Revision, body: IssuedCaller{wireCaller(c), Plaintext{token}}}, err
}

func listCallers(x *exchange) (*reply, error) {
	q, err := x.listing()
	if err != nil {
		return nil, err
	}
	page, err := x.custody.Callers(x.Context(), x.ask, q)
	return pageReply(page, wireCaller, err)
}

func showCaller(x *exchange) (*reply, error) {
	return callerReply(x.custody.Caller(x.Context(), x.ask, x.PathValue("name")))
}

func createCaller(x *exchange, n NewCaller) (*reply, error) {
	return issuedCaller(x.custody.CreateCaller(x.Context(), x.ask, custody.NewCaller(n)))
}

func editCaller(x *exchange, p CallerPatch) (*reply, error) {
	return callerReply(x.custody.EditCaller(x.Context(), x.ask, x.PathValue("name"), custody.CallerPatch(p)))
}

// callerVerb is one of the operations that take a caller and nothing else.
func callerVerb(do func(*custody.Custody, context.Context, custody.Ask, string) (custody.Caller, error)) handling {
	return bare(func(x *exchange) (*reply, error) {
		return callerReply(do(x.custody, x.Context(), x.ask, x.PathValue("name")))
	})
}

func bindCaller(x *exchange) (*reply, error)   { return binding(x, true) }
func unbindCaller(x *exchange) (*reply, error) { return binding(x, false) }

func binding(x *exchange, bind bool) (*reply, error) {
	return callerReply(x.custody.BindCaller(x.Context(), x.ask, x.PathValue("name"), x.PathValue("scope"), bind))
}

// overlap is how long older tokens stay good; nil: until they are revoked.
func (n *NewToken) overlap() (*time.Duration, error) {
	if n.OverlapSeconds == nil {
		return nil, nil
	}
	if s := *n.OverlapSeconds; s < 0 || s > int64(maxOverlap/time.Second) {
		return nil, keybearer.NewError(keybearer.Invalid, "an overlap is from 0 to 366 days")
	}
	d := time.Duration(*n.OverlapSeconds) * time.Second
	return &d, nil
}

const maxOverlap = 366 * 24 * time.Hour

func newCallerToken(x *exchange, n NewToken) (*reply, error) {
	overlap, err := n.overlap()
	if err != nil {
		return nil, err
	}
	return issuedCaller(x.custody.RotateCallerToken(x.Context(), x.ask, x.PathValue("name"), n.ExpiresAt, overlap))
}

func revokeCallerTokens(x *exchange) (*reply, error) {
	return callerReply(x.custody.RevokeCallerToken(x.Context(), x.ask, x.PathValue("name"), x.PathValue("token")))
}
