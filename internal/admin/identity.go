package admin

import (
	"net/http"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func (h *handler) callerRoutes() {
	const all, one = "/api/v1/callers", "/api/v1/callers/{name}"
	h.route("GET "+all, listCallers)
	h.route("POST "+all, createCaller)
	h.route("GET "+one, showCaller)
	h.route("PATCH "+one, editCaller)
	h.route("DELETE "+one, deleteCaller)
	h.route("POST "+one, callerVerb) // {name}:{disable|enable}
	h.route("PUT "+one+"/scopes/{scope}", bindCaller)
	h.route("DELETE "+one+"/scopes/{scope}", unbindCaller)
	h.route("POST "+one+"/tokens", newCallerToken)
	h.route("DELETE "+one+"/tokens", revokeCallerTokens)
	h.route("DELETE "+one+"/tokens/{token}", revokeCallerTokens)
}

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
	return &reply{status: http.StatusCreated, revision: c.Revision, body: IssuedCaller{wireCaller(c), Plaintext{token}}}, err
}

func listCallers(x *exchange) (*reply, error) {
	q, err := x.query()
	if err != nil {
		return nil, err
	}
	page, err := x.custody.Callers(x.Context(), x.ask, q)
	return pageReply(page, wireCaller, err)
}

func showCaller(x *exchange) (*reply, error) {
	return callerReply(x.custody.Caller(x.Context(), x.ask, x.PathValue("name")))
}

func createCaller(x *exchange) (*reply, error) {
	n, err := decode[NewCaller](x)
	if err != nil {
		return nil, err
	}
	return issuedCaller(x.custody.CreateCaller(x.Context(), x.ask, custody.NewCaller(n)))
}

func editCaller(x *exchange) (*reply, error) {
	p, err := changing[CallerPatch](x)
	if err != nil {
		return nil, err
	}
	return callerReply(x.custody.EditCaller(x.Context(), x.ask, x.PathValue("name"), custody.CallerPatch(p)))
}

func deleteCaller(x *exchange) (*reply, error) {
	if err := x.bare(); err != nil {
		return nil, err
	}
	return callerReply(x.custody.DeleteCaller(x.Context(), x.ask, x.PathValue("name")))
}

func callerVerb(x *exchange) (*reply, error) {
	name, verb := x.verb("name")
	do := x.custody.DisableCaller
	switch verb {
	case "disable":
	case "enable":
		do = x.custody.EnableCaller
	default:
		return noOperation(x)
	}
	if err := x.bare(); err != nil {
		return nil, err
	}
	return callerReply(do(x.Context(), x.ask, name))
}

func bindCaller(x *exchange) (*reply, error)   { return binding(x, true) }
func unbindCaller(x *exchange) (*reply, error) { return binding(x, false) }

func binding(x *exchange, bind bool) (*reply, error) {
	if err := x.bare(); err != nil {
		return nil, err
	}
	return callerReply(x.custody.BindCaller(x.Context(), x.ask, x.PathValue("name"), x.PathValue("scope"), bind))
}

// tokenTerms reads the body that asks for a token: when it ends, and how long older ones stay good.
func tokenTerms(x *exchange) (expires time.Time, overlap *time.Duration, err error) {
	n, err := decode[NewToken](x)
	if err != nil || n.OverlapSeconds == nil {
		return n.ExpiresAt, nil, err
	}
	if s := *n.OverlapSeconds; s < 0 || s > int64(maxOverlap/time.Second) {
		return expires, nil, keybearer.NewError(keybearer.Invalid, "an overlap is from 0 to 366 days")
	}
	d := time.Duration(*n.OverlapSeconds) * time.Second
	return n.ExpiresAt, &d, nil
}

const maxOverlap = 366 * 24 * time.Hour

func newCallerToken(x *exchange) (*reply, error) {
	expires, overlap, err := tokenTerms(x)
	if err != nil {
		return nil, err
	}
	return issuedCaller(x.custody.RotateCallerToken(x.Context(), x.ask, x.PathValue("name"), expires, overlap))
}

func revokeCallerTokens(x *exchange) (*reply, error) {
	if err := x.bare(); err != nil {
		return nil, err
	}
	return callerReply(x.custody.RevokeCallerToken(x.Context(), x.ask, x.PathValue("name"), x.PathValue("token")))
}
