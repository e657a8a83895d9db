package manifest

import (
	"context"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// grantsNameCallers refuses grants to callers that are not there when the grants are made.
func (c *credentialPlan) grantsNameCallers() {
	for _, s := range sorted(c.want.Grants) {
		kind, name := s.Split()
		if kind != "app" || c.have.Grants[s] == c.want.Grants[s] {
			continue
		}
		_, listed := c.planner.want.Callers[name]
		_, there := c.planner.have.Callers[name]
		switch {
		case listed || c.planner.have.Callers == nil: // who may not see callers lets the server judge
		case !there:
			c.fail(c.want.at, keybearer.NotFound, "list it under callers", "%s has a grant for %s, and there is no such caller", c.ref, s)
		case c.Prune && c.planner.want.Callers != nil:
			c.fail(c.want.at, keybearer.Conflict, "list it under callers", "%s has a grant for %s, and --prune would delete that caller", c.ref, s)
		}
	}
}

func (c *credentialPlan) warnSelf(who string) {
	c.plan.Warnings = append(c.plan.Warnings, c.Name+": "+string(c.state.Actor)+", "+who+", cannot change it afterwards; to be able to, list "+string(c.state.Actor)+": administer in its grants")
}

// mayChange refuses what the server would refuse this actor, as far as the level tells.
func (c *credentialPlan) mayChange() {
	if len(c.Fields) == 0 {
		return
	}
	need := keybearer.Edit
	for _, f := range c.Fields {
		name, _, _ := strings.Cut(f.Field, " ")
		if slices.Contains([]string{"destination", "require_user", "websocket", "disabled", "grant"}, name) {
			need = keybearer.Administer
		}
	}
	if max(c.there.Level, c.selfGrant()) < need {
		who := string(c.state.Actor)
		c.fail(c.want.at, keybearer.Forbidden, "an admin of the scope lists "+who+": administer in its grants, or runs keybearer grant add "+c.Name+" "+who+" administer",
			"changing %s needs %s on it", c.ref, need)
	}
	if c.want.Grants != nil && c.state.level(c.have.Grants) == keybearer.Administer && c.state.level(c.want.Grants) < keybearer.Administer {
		c.warnSelf("who applies this")
	}
}

// selfGrant is the level that the actor, as admin of the scope, may and does give themselves.
func (c *credentialPlan) selfGrant() keybearer.Level {
	if _, admins := c.state.Scopes[c.ref.Scope]; !admins {
		return keybearer.NoLevel
	}
	return c.want.Grants[c.state.Actor]
}

// grantSelf comes before all that it is needed for.
func (c *credentialPlan) grantSelf() {
	if level := c.selfGrant(); level > c.there.Level && level > c.have.Grants[c.state.Actor] {
		c.setGrant(c.state.Actor, level)
		c.have.Grants[c.state.Actor] = level
	}
}

// grantSteps make the grants those that are listed: first what is given or changed, then what is taken away, and what is taken from the actor
// last, since the rest needs it.
func (c *credentialPlan) grantSteps(have map[keybearer.Subject]keybearer.Level) {
	var others, own []keybearer.Subject
	lose := func(s keybearer.Subject) {
		if c.state.self(s) {
			own = append(own, s)
		} else {
			others = append(others, s)
		}
	}
	for _, s := range sorted(c.want.Grants) {
		switch level := c.want.Grants[s]; {
		case level == have[s]:
		case level < have[s]:
			lose(s)
		default:
			c.setGrant(s, level)
		}
	}
	for _, s := range sorted(have) {
		if _, stays := c.want.Grants[s]; !stays {
			lose(s)
		}
	}
	for _, s := range append(others, own...) {
		if level, stays := c.want.Grants[s]; stays {
			c.setGrant(s, level)
		} else {
			c.removeGrant(s)
		}
	}
}

func (c *credentialPlan) setGrant(s keybearer.Subject, level keybearer.Level) {
	c.step("grant", "granted", level.String()+" on "+c.Name+" to "+string(s), func(ctx context.Context, client *admin.Client) error {
		return c.keep(client.SetGrant(admin.IfRevision(ctx, c.revision), c.ref, s, level))
	})
}

func (c *credentialPlan) removeGrant(s keybearer.Subject) {
	c.step("remove", "removed", "the grant of "+string(s)+" on "+c.Name, func(ctx context.Context, client *admin.Client) error {
		return c.keep(client.RemoveGrant(admin.IfRevision(ctx, c.revision), c.ref, s))
	})
}
