package manifest

import (
	"context"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (p *planner) caller(name string) {
	want := p.want.Callers[name]
	there, known := p.state.Callers[name]
	if p.taken(want.at, "caller", name, there.DeletedAt) {
		return
	}
	for _, scope := range want.Scopes {
		if !p.scopeComes(scope) {
			p.fail(want.at, keybearer.NotFound, "list it under scopes, with key: true if it is to hold credentials", "there is no scope %s", scope)
		}
	}
	c := Change{Action: Edit, Kind: "caller", Name: name}
	if !known {
		c.Action = Create
	}
	have, revision := p.have.Callers[name], there.Revision
	c.field("description", have.Description, want.Description)
	c.items("scope", have.Scopes, want.Scopes)
	was, will := limitsEntry(have.Limits), limitsEntry(want.Limits)
	c.field("rate", was.Rate, will.Rate)
	c.field("burst", was.Burst, will.Burst)
	c.field("concurrency", was.Concurrency, will.Concurrency)
	c.flag("disabled", have.Disabled, want.Disabled)
	toggle := c.toggle("caller "+name, &revision, have.Disabled, want.Disabled, known,
		func(ctx context.Context, client *admin.Client, disabled bool) (uint64, error) {
			if disabled {
				x, err := client.DisableCaller(ctx, name)
				return x.Revision, err
			}
			x, err := client.EnableCaller(ctx, name)
			return x.Revision, err
		})
	switch {
	case !known:
		c.step("create", "created", "caller "+name, func(ctx context.Context, client *admin.Client) error {
			x, err := client.CreateCaller(ctx, admin.NewCaller{Name: name, Description: want.Description, Scopes: want.Scopes, NoToken: true, Limits: want.Limits})
			revision = x.Caller.Revision
			return err
		})
		p.plan.Notes = append(p.plan.Notes, "caller "+name+" has no token yet: keybearer caller token add "+name)
	case have.Description != want.Description || !slices.Equal(have.Scopes, want.Scopes) || have.Limits != want.Limits:
		var patch admin.CallerPatch
		if have.Limits != want.Limits {
			patch.Limits = &want.Limits
		}
		if have.Description != want.Description {
			patch.Description = &want.Description
		}
		if !slices.Equal(have.Scopes, want.Scopes) {
			patch.Scopes = &want.Scopes
		}
		c.step("change", "changed", "caller "+name, func(ctx context.Context, client *admin.Client) error {
			x, err := client.EditCaller(admin.IfRevision(ctx, revision), name, patch)
			revision = x.Revision
			return err
		})
	}
	toggle()
	p.add(c)
}

func (p *planner) operator(name string) {
	want := p.want.Operators[name]
	there, known := p.state.Operators[name]
	if p.taken(want.at, "operator", name, there.DeletedAt) {
		return
	}
	for _, role := range want.Roles {
		if scope, of := strings.CutPrefix(role, keybearer.RoleScopeAdmin); of && !p.scopeComes(scope) {
			p.fail(want.at, keybearer.NotFound, "list it under scopes", "there is no scope %s", scope)
		}
	}
	c := Change{Action: Edit, Kind: "operator", Name: name}
	if !known {
		c.Action = Create
	}
	have, revision := p.have.Operators[name], there.Revision
	c.field("description", have.Description, want.Description)
	c.items("group", have.Groups, want.Groups)
	c.items("role", have.Roles, want.Roles)
	c.flag("disabled", have.Disabled, want.Disabled)
	toggle := c.toggle("operator "+name, &revision, have.Disabled, want.Disabled, known,
		func(ctx context.Context, client *admin.Client, disabled bool) (uint64, error) {
			if disabled {
				x, err := client.DisableOperator(ctx, name)
				return x.Revision, err
			}
			x, err := client.EnableOperator(ctx, name)
			return x.Revision, err
		})
	switch {
	case !known:
		c.step("create", "created", "operator "+name, func(ctx context.Context, client *admin.Client) error {
			x, err := client.CreateOperator(ctx, admin.NewOperator{Name: name, Description: want.Description, Groups: want.Groups, Roles: want.Roles, NoToken: true})
			revision = x.Operator.Revision
			return err
		})
		p.plan.Notes = append(p.plan.Notes, "operator "+name+" has no token yet: keybearer operator token add "+name)
	case have.Description != want.Description || !slices.Equal(have.Groups, want.Groups) || !slices.Equal(have.Roles, want.Roles):
		patch := admin.OperatorPatch{Description: &want.Description, Groups: &want.Groups, Roles: &want.Roles}
		c.step("change", "changed", "operator "+name, func(ctx context.Context, client *admin.Client) error {
			x, err := client.EditOperator(admin.IfRevision(ctx, revision), name, patch)
			revision = x.Revision
			return err
		})
	}
	toggle()
	if keybearer.UserSubject(name) == p.state.Actor && len(c.steps) > 0 {
		p.own = append(p.own, c)
		return
	}
	p.add(c)
}

// toggle adds the step that disables what is there, so that it comes before any other, and returns what adds the step that disables
// what is new, or enables: after all others.
func (c *Change) toggle(what string, revision *uint64, have, want, known bool, do func(context.Context, *admin.Client, bool) (uint64, error)) (after func()) {
	add := func() {
		verb, did := "enable", "enabled"
		if want {
			verb, did = "disable", "disabled"
		}
		c.step(verb, did, what, func(ctx context.Context, client *admin.Client) (err error) {
			*revision, err = do(admin.IfRevision(ctx, *revision), client, want)
			return err
		})
	}
	switch {
	case have == want:
		return func() {}
	case want && known:
		add()
		return func() {}
	}
	return add
}
