package admin

import (
	"context"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func wireCredential(c custody.Credential) Credential {
	v := Credential{
		ID: c.ID, Scope: c.Scope, ScopeID: c.ScopeID, Name: c.Name, Description: c.Description,
		Kind: c.Terms.Kind, Header: c.Terms.Header, Prefix: c.Terms.Prefix, Destinations: wireRules(c.Terms.Rules),
		RequireUser: c.Terms.RequireUser, WebSocket: c.Terms.WebSocket, PassCookies: c.PassCookies, PassTrace: c.PassTrace, ScrubBody: c.ScrubBody,
		State: c.State, ExpiresAt: c.ExpiresAt, Version: c.Version, VersionAt: c.VersionAt,
		Level: c.Level, Usage: wireUsage(c.Usage), CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
		DeletedAt: c.DeletedAt, RestorableTo: c.RestorableTo, Revision: c.Revision,
	}
	v.Trial = wireTrial(c.Trial)
	for _, g := range c.Grants {
		v.Grants = append(v.Grants, Grant(g))
	}
	if p := c.Previous; p != nil {
		v.Previous = &PreviousVersion{
			Version: p.Version, Kind: p.Terms.Kind, Header: p.Terms.Header, Prefix: p.Terms.Prefix, Destinations: wireRules(p.Terms.Rules),
			RequireUser: p.Terms.RequireUser, WebSocket: p.Terms.WebSocket, CreatedAt: p.CreatedAt, KeptTo: p.KeptTo,
		}
	}
	return v
}

func wireRules(rules []keybearer.Rule) []Destination {
	out := make([]Destination, 0, len(rules))
	for _, r := range rules {
		out = append(out, Destination{Rule: r.String(), Methods: r.Methods, Private: r.Private, Clear: r.Scheme == "http"})
	}
	return out
}

func wireUsage(u *keybearer.Usage) *Usage {
	if u == nil {
		return nil
	}
	v := &Usage{
		Count: u.Count, Refused: u.Refused, LastAt: u.LastAt, LastCaller: u.LastCaller, LastUser: u.LastUser,
		LastHost: u.LastHost, LastStatus: u.LastStatus,
	}
	for _, c := range u.Callers {
		v.Callers = append(v.Callers, CallerUsage(c))
	}
	return v
}

func destinations(list []Destination) []custody.Destination {
	out := make([]custody.Destination, 0, len(list))
	for _, d := range list {
		out = append(out, custody.Destination{Rule: d.Rule, Methods: d.Methods, Private: d.Private})
	}
	return out
}

func (s *SecretInput) secret() custody.Secret {
	return custody.Secret{Username: s.Username.Secret, Value: s.Secret.Secret, KeepBlanks: s.KeepBlanks}
}

// credentialReply answers with a credential.
func credentialReply(c custody.Credential, err error) (*reply, error) {
	return &reply{revision: c.Revision, body: wireCredential(c)}, err
}

func listCredentials(x *exchange) (*reply, error) {
	q, err := x.listing()
	if err != nil {
		return nil, err
	}
	scope := x.PathValue("scope")
	if scope == AllScopes {
		scope = ""
	}
	page, err := x.custody.Credentials(x.Context(), x.ask, scope, q)
	return pageReply(page, wireCredential, err)
}

func showCredential(x *exchange) (*reply, error) {
	return credentialReply(x.custody.Credential(x.Context(), x.ask, x.ref()))
}

func createCredential(x *exchange, n NewCredential) (*reply, error) {
	return credentialReply(x.custody.CreateCredential(x.Context(), x.ask, x.PathValue("scope"), custody.NewCredential{
		Name: n.Name, Description: n.Description, Kind: n.Kind, Header: n.Header, Prefix: n.Prefix, Secret: n.secret(), NoSecret: n.NoSecret,
		Rules: destinations(n.Destinations), RequireUser: n.RequireUser, WebSocket: n.WebSocket,
		PassCookies: n.PassCookies, PassTrace: n.PassTrace, ScrubBody: n.ScrubBody, ExpiresAt: n.ExpiresAt,
	}))
}

func editCredential(x *exchange, p CredentialPatch) (*reply, error) {
	var expires *time.Time
	if p.ExpiresAt.Set {
		expires = &p.ExpiresAt.Time
	}
	var rules *[]custody.Destination
	if p.Destinations != nil {
		list := destinations(*p.Destinations)
		rules = &list
	}
	return credentialReply(x.custody.EditCredential(x.Context(), x.ask, x.ref(), custody.Patch{
		Description: p.Description, Kind: p.Kind, Header: p.Header, Prefix: p.Prefix, RequireUser: p.RequireUser, WebSocket: p.WebSocket,
		PassCookies: p.PassCookies, PassTrace: p.PassTrace, ScrubBody: p.ScrubBody, ExpiresAt: expires, Rules: rules, Secret: p.secret(),
	}))
}

func deleteCredential(x *exchange) (*reply, error) {
	force, err := flag(x.query, "force")
	if err != nil {
		return nil, err
	}
	return credentialReply(x.custody.DeleteCredential(x.Context(), x.ask, x.ref(), force))
}

// credentialVerb is one of the verbs that take a credential and nothing else.
func credentialVerb(do func(*custody.Custody, context.Context, custody.Ask, keybearer.Ref) (custody.Credential, error)) handling {
	return bare(func(x *exchange) (*reply, error) { return credentialReply(do(x.custody, x.Context(), x.ask, x.ref())) })
}

func setSecret(x *exchange, s SecretInput) (*reply, error) {
	return credentialReply(x.custody.SetSecret(x.Context(), x.ask, x.ref(), s.secret()))
}

func listGrants(x *exchange) (*reply, error) {
	grants, revision, err := x.custody.Grants(x.Context(), x.ask, x.ref())
	rep, err := pageReply(keybearer.Page[keybearer.Grant]{Items: grants}, func(g keybearer.Grant) Grant { return Grant(g) }, err)
	rep.revision = revision
	return rep, err
}

func setGrant(x *exchange, g Grant) (*reply, error) {
	return credentialReply(x.custody.SetGrant(x.Context(), x.ask, x.ref(), g.Subject, g.Level))
}

func removeGrant(x *exchange) (*reply, error) {
	return credentialReply(x.custody.RemoveGrant(x.Context(), x.ask, x.ref(), keybearer.Subject(x.query.Get("subject"))))
}

func listDestinations(x *exchange) (*reply, error) {
	c, err := x.custody.Credential(x.Context(), x.ask, x.ref())
	return &reply{revision: c.Revision, body: Page[Destination]{Items: wireRules(c.Terms.Rules)}}, err
}

func addDestinations(x *exchange, d DestinationChange) (*reply, error) {
	return credentialReply(x.custody.AddDestinations(x.Context(), x.ask, x.ref(), destinations(d.Destinations), d.secret()))
}

func replaceDestinations(x *exchange, d DestinationChange) (*reply, error) {
	return credentialReply(x.custody.ReplaceDestinations(x.Context(), x.ask, x.ref(), destinations(d.Destinations), d.secret()))
}

func removeDestination(x *exchange) (*reply, error) {
	return credentialReply(x.custody.RemoveDestination(x.Context(), x.ask, x.ref(), x.query.Get("rule")))
}
