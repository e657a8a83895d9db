package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keybearer/keybearer"
)

// AllScopes lists credentials of every scope.
const AllScopes = "-"

func (q ListQuery) values() url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("q", q.Text)
	set("kind", string(q.Kind))
	set("subject", string(q.Subject))
	set("cursor", q.Cursor)
	if q.Deleted {
		v.Set("deleted", "true")
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Scopes lists the scopes that the actor administers.
func (c *Client) Scopes(ctx context.Context, q ListQuery) (Page[Scope], error) {
	return call[Page[Scope]](ctx, c, http.MethodGet, apiPath("scopes"), q.values(), nil)
}

// Scope shows one.
func (c *Client) Scope(ctx context.Context, scope string) (Scope, error) {
	return call[Scope](ctx, c, http.MethodGet, apiPath("scopes", scope), nil, nil)
}

// CreateScope makes a scope without a key.
func (c *Client) CreateScope(ctx context.Context, n NewScope) (Scope, error) {
	return call[Scope](ctx, c, http.MethodPost, apiPath("scopes"), nil, n)
}

// EditScope changes a scope.
func (c *Client) EditScope(ctx context.Context, scope string, p ScopePatch) (Scope, error) {
	return call[Scope](ctx, c, http.MethodPatch, apiPath("scopes", scope), nil, p)
}

// DeleteScope deletes a scope that holds no live credential, with its key and its tombstones.
func (c *Client) DeleteScope(ctx context.Context, scope string, confirm Confirmation) (Scope, error) {
	return call[Scope](ctx, c, http.MethodPost, apiPath("scopes", scope+":delete"), nil, confirm)
}

// GenerateKey gives a scope its first key.
func (c *Client) GenerateKey(ctx context.Context, scope string) (Scope, error) {
	return call[Scope](ctx, c, http.MethodPost, apiPath("scopes", scope, "key:generate"), nil, nil)
}

// RotateKey makes a new version of the scope's key and rewraps every secret; nothing is lost. With many credentials it
// answers before that is finished: Scope.Work then tells how far it is, and Scope is asked until Work is nil.
func (c *Client) RotateKey(ctx context.Context, scope string) (Scope, error) {
	return call[Scope](ctx, c, http.MethodPost, apiPath("scopes", scope, "key:rotate"), nil, nil)
}

// MoveKey moves a scope's secrets from the former keyring to the current one; nothing is lost. As RotateKey, it may answer before that is
// finished. For a scope that is on the move it waits with it.
func (c *Client) MoveKey(ctx context.Context, scope string) (Scope, error) {
	return call[Scope](ctx, c, http.MethodPost, apiPath("scopes", scope, "key:move"), nil, nil)
}

// RegenerateKey makes a new generation of the scope's key and destroys the old one with everything that it sealed, or
// with DryRun tells what that would be.
func (c *Client) RegenerateKey(ctx context.Context, scope string, r Regenerate) (Regeneration, error) {
	return call[Regeneration](ctx, c, http.MethodPost, apiPath("scopes", scope, "key:regenerate"), nil, r)
}

func credentialPath(ref keybearer.Ref, more ...string) string {
	return apiPath(append([]string{"scopes", ref.Scope, "credentials", ref.Name}, more...)...)
}
