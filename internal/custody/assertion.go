package custody

import (
	"context"
	"strings"

	"github.com/keybearer/keybearer"
)

// Assertion is what an identity provider said of a person when they signed in, and which roles the configuration gives them for it. The zero value
// is nobody's.
type Assertion struct {
	Name   string   // id, as in "user:<id>"
	Groups []string // names, as in "group:<name>"; those of another form count for nothing
	Roles  []string // keybearer.RoleInstanceAdmin, or RoleScopeAdmin and a scope's name
}

// ActorByAssertion returns the person as an operator. The names of scopes are looked up now: a role for a scope that is not there is no role. The record of an
// operator of the same name adds its groups and roles. It returns [keybearer.Unauthenticated] when that record is disabled or was deleted, whatever the
// capitals in the name, and for names that belong to others: of the admin socket's users, and ids.
func (c *Custody) ActorByAssertion(ctx context.Context, a Assertion) (Actor, error) {
	if err := c.anchor.Holds(); err != nil {
		return Actor{}, keybearer.AsError(err)
	}
	subject, err := keybearer.ParseSubject(string(keybearer.UserSubject(a.Name)))
	folded := strings.ToLower(a.Name)
	if err != nil || strings.HasPrefix(folded, socketPrefix) || strings.HasPrefix(folded, keybearer.IDOperator) {
		return Actor{}, keybearer.NewError(keybearer.Unauthenticated, "the id that the identity provider gives is none that an operator may have")
	}
	actor := Actor{Subject: subject}
	for _, g := range a.Groups {
		if _, err := keybearer.ParseSubject(string(keybearer.GroupSubject(g))); err == nil {
			actor.Groups = append(actor.Groups, g)
		}
	}
	for _, r := range a.Roles {
		name, of := strings.CutPrefix(r, keybearer.RoleScopeAdmin)
		if !of {
			actor.Roles = append(actor.Roles, r)
			continue
		}
		s, err := c.liveScope(ctx, name)
		if err != nil {
			return Actor{}, err
		}
		if s != nil && s.Name == name {
			actor.Roles = append(actor.Roles, keybearer.RoleScopeAdmin+s.ID)
		}
	}
	if !keybearer.ValidOperatorName(folded) {
		return actor, nil // no record can have it
	}
	o, err := missing(c.store.Operator(ctx, folded))
	switch {
	case err != nil:
		return Actor{}, err
	case o == nil:
	case !o.Live():
		return Actor{}, keybearer.NewError(keybearer.Unauthenticated, "this operator is disabled or was deleted").
			WithHint("ask an instance admin")
	case o.Name == a.Name:
		actor.Groups = append(actor.Groups, o.Groups...)
		actor.Roles = append(actor.Roles, o.Roles...)
	}
	return actor, nil
}
