package manifest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/policy"
)

// credentialPlan compares one credential.
type credentialPlan struct {
	*planner
	Change
	ref        keybearer.Ref
	want, have Credential
	there      admin.Credential // as the server has it; zero when it is not there
	revision   uint64           // as of the last step
}

func (p *planner) credential(ref keybearer.Ref) {
	there, known := p.state.Credentials[ref]
	c := &credentialPlan{
		planner: p, Change: Change{Action: Edit, Kind: "credential", Name: ref.String()},
		ref: ref, want: p.want.Credentials[ref], have: p.have.Credentials[ref], there: there, revision: there.Revision,
	}
	if !there.DeletedAt.IsZero() {
		p.fail(c.want.at, keybearer.Conflict, "keybearer credential restore "+ref.String()+", or leave it out until it is purged", "%s was deleted", ref)
		return
	}
	if !known {
		c.Action = Create
	}
	c.differences()
	c.grantsNameCallers()
	c.warnClear()
	if known {
		c.edit()
	} else {
		c.create()
	}
	p.add(c.Change)
}

// differences notes the fields, but for the secret.
func (c *credentialPlan) differences() {
	want, have := &c.want, &c.have
	c.field("kind", string(have.Terms.Kind), string(want.Terms.Kind))
	c.field("header", have.Terms.Header, want.Terms.Header)
	c.field("prefix", have.Terms.Prefix, want.Terms.Prefix)
	c.field("description", have.Description, want.Description)
	c.items("destination", ruleTexts(have.Terms.Rules), ruleTexts(want.Terms.Rules))
	c.flag("require_user", have.Terms.RequireUser, want.Terms.RequireUser)
	c.flag("websocket", have.Terms.WebSocket, want.Terms.WebSocket)
	c.flag("pass_cookies", have.PassCookies, want.PassCookies)
	c.flag("pass_trace", have.PassTrace, want.PassTrace)
	c.flag("scrub_body", have.ScrubBody, want.ScrubBody)
	c.field("expires_at", momentText(have.ExpiresAt), momentText(want.ExpiresAt))
	c.flag("disabled", have.Disabled, want.Disabled)
	if want.Grants == nil {
		return
	}
	subjects := maps.Clone(have.Grants)
	if subjects == nil {
		subjects = map[keybearer.Subject]keybearer.Level{}
	}
	maps.Copy(subjects, want.Grants)
	for _, s := range sorted(subjects) {
		c.field("grant "+string(s), levelText(have.Grants[s]), levelText(want.Grants[s]))
	}
}

func ruleTexts(rules []keybearer.Rule) []string {
	out := make([]string, 0, len(rules))
	for _, r := range rules {
		out = append(out, ruleText(r))
	}
	return out
}

func levelText(l keybearer.Level) string {
	if l == keybearer.NoLevel {
		return ""
	}
	return l.String()
}

func momentText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func (c *credentialPlan) warnClear() {
	for _, r := range c.want.Terms.Rules {
		if r.Scheme == "http" && !slices.Contains(ruleTexts(c.have.Terms.Rules), ruleText(r)) {
			c.plan.Warnings = append(c.plan.Warnings, c.Name+": the secret is sent in clear to "+r.String())
		}
	}
}

// secret reads what the references stand for. A dry run goes on without it.
func (c *credentialPlan) secret() (admin.SecretInput, bool) {
	var in admin.SecretInput
	for _, x := range []struct {
		from *Reference
		into *admin.Plaintext
	}{{c.want.Username, &in.Username}, {c.want.Secret, &in.Secret}} {
		if x.from == nil {
			continue
		}
		secret, err := x.from.read(c.Getenv)
		switch {
		case err == nil:
			x.into.Secret = secret
		case c.DryRun:
			c.plan.Warnings = append(c.plan.Warnings, keybearer.AsError(err).Message())
		default:
			c.failed = append(c.failed, keybearer.AsError(err))
		}
	}
	return in, c.want.Secret != nil
}

// sources names where the secret is.
func (c *credentialPlan) sources() string {
	switch {
	case c.want.Secret == nil:
		return ""
	case c.want.Username == nil:
		return c.want.Secret.String()
	}
	return "username " + c.want.Username.String() + ", password " + c.want.Secret.String()
}

func (c *credentialPlan) create() {
	want, have := c.want, c.planner.have
	scope, known := have.Scopes[c.ref.Scope]
	listed, comes := c.planner.want.Scopes[c.ref.Scope]
	switch {
	case !known && !comes:
		c.fail(want.at, keybearer.NotFound, "list it under scopes, with key: true", "there is no scope %s, or you are not its admin", c.ref.Scope)
	case !scope.Key && !listed.Key:
		c.fail(want.at, keybearer.ScopeKeyMissing, "write key: true at scope "+c.ref.Scope+" to have one made", "scope %s has no key", c.ref.Scope)
	}
	if !want.ExpiresAt.IsZero() && !want.ExpiresAt.After(c.Now()) {
		c.fail(want.at, keybearer.Invalid, "set a later time, or leave the credential out", "%s has expired already and cannot be made", c.ref)
	}
	in, given := c.secret()
	c.field("secret", "", c.sources())
	if !given {
		c.plan.Notes = append(c.plan.Notes, "credential "+c.Name+" has no secret yet: keybearer credential set-secret "+c.Name)
	}
	c.step("create", "created", "credential "+c.Name, func(ctx context.Context, client *admin.Client) error {
		x, err := client.CreateCredential(ctx, c.ref.Scope, admin.NewCredential{
			Name: c.ref.Name, Description: want.Description, Kind: want.Terms.Kind, Header: want.Terms.Header, Prefix: want.Terms.Prefix,
			SecretInput: in, NoSecret: !given, Destinations: destinations(want.Terms.Rules),
			RequireUser: want.Terms.RequireUser, WebSocket: want.Terms.WebSocket,
			PassCookies: want.PassCookies, PassTrace: want.PassTrace, ScrubBody: want.ScrubBody, ExpiresAt: want.ExpiresAt,
		})
		c.revision = x.Revision
		return err
	})
	if want.Disabled {
		c.toggleStep()
	}
	if want.Grants == nil {
		return
	}
	if c.state.level(want.Grants) < keybearer.Administer {
		c.warnSelf("who creates it")
	}
	c.grantSteps(map[keybearer.Subject]keybearer.Level{c.state.Actor: keybearer.Administer}) // which whoever creates it gets
}

func (c *credentialPlan) edit() {
	want, have := &c.want, &c.have
	if want.Grants != nil && have.Grants == nil {
		c.fail(want.at, keybearer.Forbidden, "ask for administer on it, or leave the grants out", "you may not see the grants of %s", c.ref)
		return
	}
	patch, changed := c.patch()
	wider := policy.Widens(&have.Terms, &want.Terms)
	hasSecret := c.there.State != keybearer.NeedsSecret && c.there.Version > 0
	var in admin.SecretInput
	given := false
	switch {
	case want.Secret != nil && (!hasSecret || len(wider) > 0 || c.Secrets):
		in, given = c.secret()
		old := ""
		if hasSecret {
			old = "the one there is"
		}
		c.field("secret", old, c.sources())
	case hasSecret && len(wider) > 0:
		c.fail(want.at, keybearer.SecretRequired, `say where it is, as in secret: "{env.CRM_TOKEN}" (kind basic: username and password)`,
			"%s changes what its secret may be used for (%s) and needs the secret again", c.ref, strings.Join(wider, ", "))
	case !hasSecret:
		c.plan.Notes = append(c.plan.Notes, "credential "+c.Name+" has no secret yet: keybearer credential set-secret "+c.Name)
	}
	if !want.ExpiresAt.IsZero() && patch.ExpiresAt.Set && !want.ExpiresAt.After(c.Now()) {
		c.fail(want.at, keybearer.Invalid, "to stop use at once, write disabled: true", "%s: the new expires_at lies in the past", c.ref)
	}
	c.mayChange()
	c.grantSelf()
	if want.Disabled && !have.Disabled {
		c.toggleStep()
	}
	what := "credential " + c.Name
	switch {
	case changed:
		patch.SecretInput = in
		c.step("change", "changed", what, func(ctx context.Context, client *admin.Client) error {
			return c.keep(client.EditCredential(admin.IfRevision(ctx, c.revision), c.ref, patch))
		})
	case given:
		c.step("set", "set", "the secret of "+what, func(ctx context.Context, client *admin.Client) error {
			return c.keep(client.SetSecret(admin.IfRevision(ctx, c.revision), c.ref, in))
		})
	}
	if !want.Disabled && have.Disabled {
		c.toggleStep()
	}
	if want.Grants != nil {
		c.grantSteps(have.Grants)
	}
}

// keep remembers the revision that a step made.
func (c *credentialPlan) keep(x admin.Credential, err error) error {
	if err == nil {
		c.revision = x.Revision
	}
	return err
}

func (c *credentialPlan) toggleStep() {
	do, did, run := "enable", "enabled", (*admin.Client).EnableCredential
	if c.want.Disabled {
		do, did, run = "disable", "disabled", (*admin.Client).DisableCredential
	}
	c.step(do, did, "credential "+c.Name, func(ctx context.Context, client *admin.Client) error {
		return c.keep(run(client, admin.IfRevision(ctx, c.revision), c.ref))
	})
}

// patch returns the fields that differ, and whether any does.
func (c *credentialPlan) patch() (p admin.CredentialPatch, changed bool) {
	want, have := &c.want, &c.have
	changed = differs(&p.Kind, have.Terms.Kind, want.Terms.Kind)
	changed = differs(&p.Header, have.Terms.Header, want.Terms.Header) || changed
	changed = differs(&p.Prefix, have.Terms.Prefix, want.Terms.Prefix) || changed
	changed = differs(&p.Description, have.Description, want.Description) || changed
	changed = differs(&p.RequireUser, have.Terms.RequireUser, want.Terms.RequireUser) || changed
	changed = differs(&p.WebSocket, have.Terms.WebSocket, want.Terms.WebSocket) || changed
	changed = differs(&p.PassCookies, have.PassCookies, want.PassCookies) || changed
	changed = differs(&p.PassTrace, have.PassTrace, want.PassTrace) || changed
	changed = differs(&p.ScrubBody, have.ScrubBody, want.ScrubBody) || changed
	if !want.ExpiresAt.Equal(have.ExpiresAt) {
		p.ExpiresAt, changed = admin.Expiry{Set: true, Time: want.ExpiresAt}, true
	}
	if !sameRules(want.Terms.Rules, have.Terms.Rules) {
		rules := destinations(want.Terms.Rules)
		p.Destinations, changed = &rules, true
	}
	return p, changed
}

func differs[T comparable](into **T, have, want T) bool {
	if have == want {
		return false
	}
	*into = &want
	return true
}
