package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// Credentials lists the credentials of a scope, or of [AllScopes], that the actor may see.
func (c *Client) Credentials(ctx context.Context, scope string, q ListQuery) (Page[Credential], error) {
	return call[Page[Credential]](ctx, c, http.MethodGet, apiPath("scopes", scope, "credentials"), q.values(), nil)
}

// Credential shows one.
func (c *Client) Credential(ctx context.Context, ref keybearer.Ref) (Credential, error) {
	return call[Credential](ctx, c, http.MethodGet, credentialPath(ref), nil, nil)
}

// CreateCredential makes a credential in a scope that has a key.
func (c *Client) CreateCredential(ctx context.Context, scope string, n NewCredential) (Credential, error) {
	if err := checkRules(n.Destinations); err != nil {
		return Credential{}, err
	}
	return call[Credential](ctx, c, http.MethodPost, apiPath("scopes", scope, "credentials"), nil, n)
}

// EditCredential changes a credential.
func (c *Client) EditCredential(ctx context.Context, ref keybearer.Ref, p CredentialPatch) (Credential, error) {
	if p.Destinations != nil {
		if err := checkRules(*p.Destinations); err != nil {
			return Credential{}, err
		}
	}
	return call[Credential](ctx, c, http.MethodPatch, credentialPath(ref), nil, p)
}

// SetSecret replaces the secret; the terms stay.
func (c *Client) SetSecret(ctx context.Context, ref keybearer.Ref, s SecretInput) (Credential, error) {
	return call[Credential](ctx, c, http.MethodPut, credentialPath(ref, "secret"), nil, s)
}

func (c *Client) verb(ctx context.Context, ref keybearer.Ref, verb string) (Credential, error) {
	ref.Name += ":" + verb
	return call[Credential](ctx, c, http.MethodPost, credentialPath(ref), nil, nil)
}

// DisableCredential refuses every use from now on.
func (c *Client) DisableCredential(ctx context.Context, ref keybearer.Ref) (Credential, error) {
	return c.verb(ctx, ref, "disable")
}

// EnableCredential takes back a disable.
func (c *Client) EnableCredential(ctx context.Context, ref keybearer.Ref) (Credential, error) {
	return c.verb(ctx, ref, "enable")
}

// RollbackCredential goes back to the previous secret and its terms.
func (c *Client) RollbackCredential(ctx context.Context, ref keybearer.Ref) (Credential, error) {
	return c.verb(ctx, ref, "rollback")
}

// RestoreCredential brings a deleted credential back.
func (c *Client) RestoreCredential(ctx context.Context, ref keybearer.Ref) (Credential, error) {
	return c.verb(ctx, ref, "restore")
}

// DeleteCredential refuses every use from now on; the credential can be restored until Credential.RestorableTo. One that was used
// lately gives [keybearer.RecentlyUsed] without force.
func (c *Client) DeleteCredential(ctx context.Context, ref keybearer.Ref, force bool) (Credential, error) {
	var q url.Values
	if force {
		q = url.Values{"force": {"true"}}
	}
	return call[Credential](ctx, c, http.MethodDelete, credentialPath(ref), q, nil)
}

// Grants lists the grants of a credential.
func (c *Client) Grants(ctx context.Context, ref keybearer.Ref) (Page[Grant], error) {
	return call[Page[Grant]](ctx, c, http.MethodGet, credentialPath(ref, "grants"), nil, nil)
}

// SetGrant gives the subject exactly that level.
func (c *Client) SetGrant(ctx context.Context, ref keybearer.Ref, subject keybearer.Subject, level keybearer.Level) (Credential, error) {
	return call[Credential](ctx, c, http.MethodPut, credentialPath(ref, "grants"), nil, Grant{subject, level})
}

// RemoveGrant takes the subject's grant away; [keybearer.NotFound] when there is none.
func (c *Client) RemoveGrant(ctx context.Context, ref keybearer.Ref, subject keybearer.Subject) (Credential, error) {
	return call[Credential](ctx, c, http.MethodDelete, credentialPath(ref, "grants"), url.Values{"subject": {string(subject)}}, nil)
}

// Destinations lists the rules of a credential.
func (c *Client) Destinations(ctx context.Context, ref keybearer.Ref) (Page[Destination], error) {
	return call[Page[Destination]](ctx, c, http.MethodGet, credentialPath(ref, "destinations"), nil, nil)
}

// AddDestinations adds rules. [keybearer.SecretRequired] says that they widen and no secret was given.
func (c *Client) AddDestinations(ctx context.Context, ref keybearer.Ref, d DestinationChange) (Credential, error) {
	if err := checkRules(d.Destinations); err != nil {
		return Credential{}, err
	}
	return call[Credential](ctx, c, http.MethodPost, credentialPath(ref, "destinations"), nil, d)
}

// ReplaceDestinations puts the rules in the place of all that there are.
func (c *Client) ReplaceDestinations(ctx context.Context, ref keybearer.Ref, d DestinationChange) (Credential, error) {
	if err := checkRules(d.Destinations); err != nil {
		return Credential{}, err
	}
	return call[Credential](ctx, c, http.MethodPut, credentialPath(ref, "destinations"), nil, d)
}

// RemoveDestination removes the rules whose text is, in canonical form, the given one, whatever their methods.
func (c *Client) RemoveDestination(ctx context.Context, ref keybearer.Ref, rule string) (Credential, error) {
	if err := checkRules([]Destination{{Rule: rule}}); err != nil {
		return Credential{}, err
	}
	return call[Credential](ctx, c, http.MethodDelete, credentialPath(ref, "destinations"), url.Values{"rule": {rule}}, nil)
}

// checkRules looks for mistakes before they are sent: the server's answers never repeat what was written, and the fix does.
func checkRules(list []Destination) error {
	for _, d := range list {
		if _, err := policy.ParseRule(d.Rule, d.Methods, d.Private); err != nil {
			return err
		}
	}
	return nil
}

// Check tells whether a request would be allowed, and why.
func (c *Client) Check(ctx context.Context, r CheckRequest) (CheckResult, error) {
	return call[CheckResult](ctx, c, http.MethodPost, apiPath("check"), nil, r)
}

func seconds(d time.Duration) *int64 {
	s := int64(d / time.Second)
	return &s
}

func limitValue(n int) string { return strconv.Itoa(n) }
