package custody_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"

	"github.com/keybearer/keybearer"
)

// This file is a second opinion: CONTRACT sections 4 and 6 as policies of Cedar (cedarpolicy.com), judged by its own engine. Levels, bindings and
// roles are memberships there: whoever holds edit on a credential is in Level::"<id>/edit", which is in Level::"<id>/view".

const policies = `
// ---- who may send, and what a refusal may tell

permit (principal is App, action in Action::"reach", resource is Credential)
when { principal.live && !resource.scope.deleted && (resource.scope.global || principal in resource.scope.bound) }
when { principal in resource.use && !resource.deleted }
when { if context has user then context.user in resource.use else action == Action::"learn" || !resource.require_user };

forbid (principal, action == Action::"send", resource)
when { resource.disabled || resource.scope.regenerating || !resource.has_secret || (resource has expires && context.now >= resource.expires) };

permit (principal is App, action == Action::"learn of its end", resource is Credential)
when { principal.live && (resource.scope.global || principal in resource.scope.bound) && principal in resource.view && resource.deleted };

// ---- what needs a level on the credential

permit (principal is App, action in Action::"look", resource is Credential)
when { principal.live && (resource.scope.global || principal in resource.scope.bound) && principal in resource.view };

permit (principal is User, action in Action::"look", resource is Credential) when { principal in resource.view };
permit (principal is User, action in Action::"look", resource is Credential) when { principal in resource.scope.admins };
permit (principal is User, action in Action::"fill", resource is Credential) when { principal in resource.edit };
permit (principal is User, action in Action::"rule", resource is Credential) when { principal in resource.administer };
permit (principal is User, action == Action::"grant.list", resource is Credential) when { principal in resource.administer };
permit (principal is User, action == Action::"grant.list", resource is Credential) when { principal in resource.scope.admins };
permit (principal is User, action == Action::"grant.set", resource is Credential)
when { principal in resource.scope.admins && context.subject == principal };

// ---- what needs a role

permit (principal is User, action in Action::"keep", resource is Scope) when { principal in resource.admins };
forbid (principal, action in [Action::"scope.regenerate-key", Action::"scope.delete"], resource is Scope)
when { resource.global } unless { principal in Role::"instance-admin" };

permit (principal in Role::"instance-admin", action in Action::"run", resource is Instance);

// An instance admin is told that something is not there.
permit (principal in Role::"instance-admin", action in [Action::"keep", Action::"look", Action::"grant.list"], resource is Nothing);
permit (principal in Role::"instance-admin", action == Action::"grant.set", resource is Nothing) when { context.subject == principal };
`

// kinds are the groups of actions in the policies.
var kinds = map[string][]string{
	"reach": {"send", "learn"},
	"look":  {"see", "credential.list", "credential.show", "credential.check"},
	"fill":  {"credential.edit", "credential.set-secret", "credential.rollback"},
	"rule": {
		"credential.edit/terms", "credential.test", "credential.disable", "credential.enable", "credential.delete", "credential.restore",
		"grant.set", "grant.remove", "destination.add", "destination.replace", "destination.remove",
		"destination.try", "destination.enforce", "destination.discard",
	},
	"keep": {
		"scope.list", "scope.show", "scope.edit", "scope.delete", "scope.generate-key", "scope.rotate-key", "scope.regenerate-key", "scope.move-key",
		"credential.create", "audit.read",
	},
	"run": {
		"scope.create", "caller.list", "caller.show", "caller.create", "caller.edit", "caller.token", "caller.revoke", "caller.disable", "caller.enable", "caller.delete",
		"operator.list", "operator.show", "operator.create", "operator.edit", "operator.token", "operator.revoke", "operator.disable", "operator.enable", "operator.delete", "operator.set-up-link",
		"usage.show", "status.show", "migration.show", "store.move",
	},
}

// kindOf is the group of an action. Grants are listed and set by policies of their own.
func kindOf(action string) string {
	for kind, actions := range kinds {
		for _, a := range actions {
			if a == action {
				return kind
			}
		}
	}
	return ""
}

// oracle asks Cedar about a world.
type oracle struct {
	w        *world
	policies *cedar.PolicySet
	actions  map[cedar.EntityUID]cedar.Entity
	known    map[cedar.EntityUID]cedar.Entity // of the world as it is
}

func newOracle(t testing.TB, w *world) *oracle {
	t.Helper()
	set, err := cedar.NewPolicySetFromBytes("policies", []byte(policies))
	if err != nil {
		t.Fatal(err)
	}
	o := &oracle{w, set, map[cedar.EntityUID]cedar.Entity{}, map[cedar.EntityUID]cedar.Entity{}}
	for kind, actions := range kinds {
		for _, a := range actions {
			o.actions[uid("Action", a)] = cedar.Entity{UID: uid("Action", a), Parents: cedar.NewEntityUIDSet(uid("Action", kind))}
		}
	}
	return o
}

func uid(kind, id string) cedar.EntityUID {
	return cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(id))
}

// person is a user with what the request says of them.
type person struct {
	name   string
	groups []string
	roles  []cedar.EntityUID
}

func (p person) uid() cedar.EntityUID { return uid("User", p.name) }

// question is one that Cedar can answer.
type question struct {
	principal cedar.EntityUID
	action    string
	resource  cedar.EntityUID
	people    []person // that the request tells of
	context   cedar.RecordMap
}

func (o *oracle) allows(q question) bool {
	d, _ := cedar.Authorize(o.policies, getter{o, q.people}, cedar.Request{
		Principal: q.principal, Action: uid("Action", q.action), Resource: q.resource, Context: cedar.NewRecord(q.context),
	})
	return d == cedar.Allow
}

// getter makes the entities of the world as they are asked for.
type getter struct {
	*oracle
	people []person
}

var levels = []string{"use", "view", "edit", "administer"}

// Get implements cedar.EntityGetter.
func (g getter) Get(id cedar.EntityUID) (cedar.Entity, bool) {
	if e, ok := g.known[id]; ok {
		return e, true
	}
	e, ok := g.make(id)
	if ok && id.Type != "User" {
		g.known[id] = e
	}
	return e, ok
}

// changed says that the world is another one.
func (o *oracle) changed() { clear(o.known) }

func (g getter) make(id cedar.EntityUID) (cedar.Entity, bool) {
	e := cedar.Entity{UID: id}
	name := string(id.ID)
	var parents []cedar.EntityUID
	attributes := cedar.RecordMap{}
	switch id.Type {
	case "Action":
		a, ok := g.actions[id]
		return a, ok
	case "App":
		c := g.w.caller(name)
		if c == nil {
			return e, false
		}
		attributes["live"] = cedar.Boolean(!c.disabled && !c.deleted)
		for scope := range c.bound {
			parents = append(parents, uid("Bound", scope))
		}
		parents = append(parents, g.held("app:"+name)...)
	case "User":
		parents = g.held("user:" + name)
		for _, p := range g.people {
			if p.name == name {
				parents = append(parents, p.roles...)
				for _, group := range p.groups {
					parents = append(parents, uid("Group", group))
				}
			}
		}
	case "Group":
		parents = g.held("group:" + name)
	case "Role": // an admin of the instance is an admin of every scope
		for _, s := range g.w.scopes {
			parents = append(parents, uid("Admins", s.id))
		}
	case "Level": // "<id>/edit" is in "<id>/view"
		for i, level := range levels[1:] {
			if id, ok := strings.CutSuffix(name, "/"+level); ok {
				parents = append(parents, uid("Level", id+"/"+levels[i]))
			}
		}
	case "Scope":
		s := g.w.scopeByID(name)
		if s == nil {
			return e, false
		}
		attributes = cedar.RecordMap{
			"global": cedar.Boolean(s.name == keybearer.GlobalScope), "deleted": cedar.Boolean(s.deleted), "regenerating": cedar.Boolean(s.regenerating),
			"bound": uid("Bound", s.id), "admins": uid("Admins", s.id),
		}
	case "Credential":
		if scope, ok := strings.CutPrefix(name, absent); ok { // there is only the scope
			attributes["scope"] = uid("Scope", scope)
			break
		}
		c := g.w.credentialByID(name)
		if c == nil {
			return e, false
		}
		attributes = cedar.RecordMap{
			"scope": uid("Scope", c.scope.id), "require_user": cedar.Boolean(c.requireUser), "disabled": cedar.Boolean(c.disabled),
			"deleted": cedar.Boolean(!c.deletedAt.IsZero()), "has_secret": cedar.Boolean(c.sealed),
		}
		if !c.expires.IsZero() {
			attributes["expires"] = moment(c.expires)
		}
		for _, level := range levels {
			attributes[cedar.String(level)] = uid("Level", c.id+"/"+level)
		}
	default:
		return e, false
	}
	e.Parents, e.Attributes = cedar.NewEntityUIDSet(parents...), cedar.NewRecord(attributes)
	return e, true
}

// held are the levels that the subject was granted.
func (g getter) held(subject string) []cedar.EntityUID {
	var held []cedar.EntityUID
	for _, c := range g.w.credentials {
		if level := c.grants[keybearer.Subject(subject)]; level != keybearer.NoLevel {
			held = append(held, uid("Level", c.id+"/"+level.String()))
		}
	}
	return held
}

// absent begins the id of a credential that is not in its scope.
const absent = "absent from "

func moment(t time.Time) cedar.Long { return cedar.Long(t.UnixMicro()) }
