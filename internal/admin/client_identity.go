package admin

import (
	"context"
	"net/http"
	"time"
)

// Callers lists callers.
func (c *Client) Callers(ctx context.Context, q ListQuery) (Page[Caller], error) {
	return call[Page[Caller]](ctx, c, http.MethodGet, apiPath("callers"), q.values(), nil)
}

// Caller shows one.
func (c *Client) Caller(ctx context.Context, name string) (Caller, error) {
	return call[Caller](ctx, c, http.MethodGet, apiPath("callers", name), nil, nil)
}

// CreateCaller makes a caller and shows its token this once.
func (c *Client) CreateCaller(ctx context.Context, n NewCaller) (IssuedCaller, error) {
	return call[IssuedCaller](ctx, c, http.MethodPost, apiPath("callers"), nil, n)
}

// EditCaller changes a caller.
func (c *Client) EditCaller(ctx context.Context, name string, p CallerPatch) (Caller, error) {
	return call[Caller](ctx, c, http.MethodPatch, apiPath("callers", name), nil, p)
}

// BindCaller lets a caller be granted credentials of the scope.
func (c *Client) BindCaller(ctx context.Context, name, scope string) (Caller, error) {
	return call[Caller](ctx, c, http.MethodPut, apiPath("callers", name, "scopes", scope), nil, nil)
}

// UnbindCaller refuses the caller every credential of the scope.
func (c *Client) UnbindCaller(ctx context.Context, name, scope string) (Caller, error) {
	return call[Caller](ctx, c, http.MethodDelete, apiPath("callers", name, "scopes", scope), nil, nil)
}

// RotateCallerToken makes one more token, which ends at expires unless that is zero, and shows it this once; older ones stay good for the overlap.
func (c *Client) RotateCallerToken(ctx context.Context, name string, expires time.Time, overlap time.Duration) (IssuedCaller, error) {
	return call[IssuedCaller](ctx, c, http.MethodPost, apiPath("callers", name, "tokens"), nil, NewToken{expires, seconds(overlap)})
}

// AddCallerToken makes one more token, which ends at expires unless that is zero, and shows it this once; those there are stay.
func (c *Client) AddCallerToken(ctx context.Context, name string, expires time.Time) (IssuedCaller, error) {
	return call[IssuedCaller](ctx, c, http.MethodPost, apiPath("callers", name, "tokens"), nil, NewToken{ExpiresAt: expires})
}

// RevokeCallerToken revokes one token by its id; with "" all of them.
func (c *Client) RevokeCallerToken(ctx context.Context, name, tokenID string) (Caller, error) {
	return call[Caller](ctx, c, http.MethodDelete, tokenPath("callers", name, tokenID), nil, nil)
}

func tokenPath(collection, name, tokenID string) string {
	if tokenID == "" {
		return apiPath(collection, name, "tokens")
	}
	return apiPath(collection, name, "tokens", tokenID)
}

// DisableCaller refuses the caller from now on.
func (c *Client) DisableCaller(ctx context.Context, name string) (Caller, error) {
	return call[Caller](ctx, c, http.MethodPost, apiPath("callers", name+":disable"), nil, nil)
}

// EnableCaller takes back a disable.
func (c *Client) EnableCaller(ctx context.Context, name string) (Caller, error) {
	return call[Caller](ctx, c, http.MethodPost, apiPath("callers", name+":enable"), nil, nil)
}

// DeleteCaller deletes a caller for good; its name stays reserved.
func (c *Client) DeleteCaller(ctx context.Context, name string) (Caller, error) {
	return call[Caller](ctx, c, http.MethodDelete, apiPath("callers", name), nil, nil)
}

// Operators lists operators.
func (c *Client) Operators(ctx context.Context, q ListQuery) (Page[Operator], error) {
	return call[Page[Operator]](ctx, c, http.MethodGet, apiPath("operators"), q.values(), nil)
}

// Operator shows one.
func (c *Client) Operator(ctx context.Context, name string) (Operator, error) {
	return call[Operator](ctx, c, http.MethodGet, apiPath("operators", name), nil, nil)
}

// CreateOperator makes an operator and shows its token this once.
func (c *Client) CreateOperator(ctx context.Context, n NewOperator) (IssuedOperator, error) {
	return call[IssuedOperator](ctx, c, http.MethodPost, apiPath("operators"), nil, n)
}

// EditOperator changes an operator, its groups and roles.
func (c *Client) EditOperator(ctx context.Context, name string, p OperatorPatch) (Operator, error) {
	return call[Operator](ctx, c, http.MethodPatch, apiPath("operators", name), nil, p)
}

// RotateOperatorToken makes one more token, which ends at expires unless that is zero, and shows it this once; older ones stay good for the overlap.
func (c *Client) RotateOperatorToken(ctx context.Context, name string, expires time.Time, overlap time.Duration) (IssuedOperator, error) {
	return call[IssuedOperator](ctx, c, http.MethodPost, apiPath("operators", name, "tokens"), nil, NewToken{expires, seconds(overlap)})
}

// AddOperatorToken makes one more token, which ends at expires unless that is zero, and shows it this once; those there are stay.
func (c *Client) AddOperatorToken(ctx context.Context, name string, expires time.Time) (IssuedOperator, error) {
	return call[IssuedOperator](ctx, c, http.MethodPost, apiPath("operators", name, "tokens"), nil, NewToken{ExpiresAt: expires})
}

// RevokeOperatorToken revokes one token by its id; with "" all of them.
func (c *Client) RevokeOperatorToken(ctx context.Context, name, tokenID string) (Operator, error) {
	return call[Operator](ctx, c, http.MethodDelete, tokenPath("operators", name, tokenID), nil, nil)
}

// DisableOperator refuses the operator from now on.
func (c *Client) DisableOperator(ctx context.Context, name string) (Operator, error) {
	return call[Operator](ctx, c, http.MethodPost, apiPath("operators", name+":disable"), nil, nil)
}

// EnableOperator takes back a disable.
func (c *Client) EnableOperator(ctx context.Context, name string) (Operator, error) {
	return call[Operator](ctx, c, http.MethodPost, apiPath("operators", name+":enable"), nil, nil)
}

// DeleteOperator deletes an operator for good; its name stays reserved.
func (c *Client) DeleteOperator(ctx context.Context, name string) (Operator, error) {
	return call[Operator](ctx, c, http.MethodDelete, apiPath("operators", name), nil, nil)
}
