package admin

import (
	"context"
	"net/http"

	"github.com/keybearer/keybearer"
)

// Trial shows the trial of a credential, and what it would have refused so far.
func (c *Client) Trial(ctx context.Context, ref keybearer.Ref) (TrialReport, error) {
	return call[TrialReport](ctx, c, http.MethodGet, credentialPath(ref, "destinations:try"), nil, nil)
}

// TryDestinations puts rules on trial. [keybearer.RuleInvalid] says that one is not within a rule in force.
func (c *Client) TryDestinations(ctx context.Context, ref keybearer.Ref, rules []Destination) (Credential, error) {
	if err := checkRules(rules); err != nil {
		return Credential{}, err
	}
	return call[Credential](ctx, c, http.MethodPut, credentialPath(ref, "destinations:try"), nil, TrialRules{rules})
}

// EnforceTrial puts the rules on trial into force.
func (c *Client) EnforceTrial(ctx context.Context, ref keybearer.Ref) (Credential, error) {
	return call[Credential](ctx, c, http.MethodPost, credentialPath(ref, "destinations:enforce"), nil, nil)
}

// DiscardTrial ends the trial.
func (c *Client) DiscardTrial(ctx context.Context, ref keybearer.Ref) (Credential, error) {
	return call[Credential](ctx, c, http.MethodDelete, credentialPath(ref, "destinations:try"), nil, nil)
}
