package manifest

import (
	"context"
	"maps"
	"slices"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/policy"
)

// State is what a server has of what was asked for, deleted records too: their names are taken.
type State struct {
	Actor       keybearer.Subject   // who asks
	Groups      []keybearer.Subject // under which the actor may hold grants, too
	Scopes      map[string]admin.Scope
	Credentials map[keybearer.Ref]admin.Credential
	Callers     map[string]admin.Caller   // nil when they were not asked for, or may not be seen
	Operators   map[string]admin.Operator // nil when they were not asked for
}

// Selection says what to load. The zero value selects nothing.
type Selection struct {
	Scopes    []string // whose credentials; nil with All
	All       bool     // every scope, and its credentials
	Callers   bool
	Operators bool

	callersIfSeen bool // callers as far as they may be listed
}

// Load reads from the server. A scope that is not there, or may not be seen, has nothing in the state. Errors are those of the
// listings.
func Load(ctx context.Context, client *admin.Client, want Selection) (*State, error) {
	s := &State{Credentials: map[keybearer.Ref]admin.Credential{}}
	who, err := client.Whoami(ctx)
	if err != nil {
		return nil, err
	}
	s.Actor = who.Subject
	for _, g := range who.Groups {
		s.Groups = append(s.Groups, keybearer.GroupSubject(g))
	}
	everything := admin.ListQuery{Deleted: true}
	s.Scopes, err = all(everything, func(q admin.ListQuery) (admin.Page[admin.Scope], error) { return client.Scopes(ctx, q) },
		func(x admin.Scope) string { return x.Name })
	if err != nil {
		return nil, err
	}
	scopes := want.Scopes
	if want.All {
		scopes = []string{admin.AllScopes}
	}
	for _, scope := range scopes {
		found, err := all(everything, func(q admin.ListQuery) (admin.Page[admin.Credential], error) {
			return client.Credentials(ctx, scope, q)
		}, func(x admin.Credential) keybearer.Ref { return x.Ref() })
		if err != nil && keybearer.CodeOf(err) != keybearer.NotFound {
			return nil, err
		}
		maps.Copy(s.Credentials, found)
	}
	if want.Callers || want.callersIfSeen {
		s.Callers, err = all(everything, func(q admin.ListQuery) (admin.Page[admin.Caller], error) { return client.Callers(ctx, q) },
			func(x admin.Caller) string { return x.Name })
		if err != nil && (want.Callers || keybearer.CodeOf(err) != keybearer.Forbidden) {
			return nil, err
		}
	}
	if want.Operators {
		s.Operators, err = all(everything, func(q admin.ListQuery) (admin.Page[admin.Operator], error) { return client.Operators(ctx, q) },
			func(x admin.Operator) string { return x.Name })
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// all reads every page of a listing; nil when it fails.
func all[K comparable, T any](q admin.ListQuery, page func(admin.ListQuery) (admin.Page[T], error), key func(T) K) (map[K]T, error) {
	items := map[K]T{}
	for {
		q.Limit = 1000
		p, err := page(q)
		if err != nil {
			return nil, err
		}
		for _, x := range p.Items {
			items[key(x)] = x
		}
		if p.Next == "" {
			return items, nil
		}
		q.Cursor = p.Next
	}
}

// Select returns what a plan for the manifest has to know.
func (m *Manifest) Select() Selection {
	scopes := map[string]bool{}
	for name := range m.Scopes {
		scopes[name] = true
	}
	want := Selection{Callers: m.Callers != nil, Operators: m.Operators != nil}
	for ref, c := range m.Credentials {
		scopes[ref.Scope] = true
		want.callersIfSeen = want.callersIfSeen || c.Grants != nil
	}
	want.Scopes = sorted(scopes)
	return want
}

// Manifest returns what the server has, without what is deleted and the grants of deleted callers. Grants that may not be seen are left out.
func (s *State) Manifest() (*Manifest, error) {
	m := &Manifest{Scopes: map[string]Scope{}, Credentials: map[keybearer.Ref]Credential{}}
	for name, x := range s.Scopes {
		if x.DeletedAt.IsZero() {
			m.Scopes[name] = scopeOf(x)
		}
	}
	for ref, x := range s.Credentials {
		if !x.DeletedAt.IsZero() {
			continue
		}
		c, err := s.credentialOf(x)
		if err != nil {
			return nil, err
		}
		m.Credentials[ref] = c
	}
	if s.Callers != nil {
		m.Callers = map[string]Caller{}
		for name, x := range s.Callers {
			if x.DeletedAt.IsZero() {
				m.Callers[name] = callerOf(x)
			}
		}
	}
	if s.Operators != nil {
		m.Operators = map[string]Operator{}
		for name, x := range s.Operators {
			if x.DeletedAt.IsZero() {
				m.Operators[name] = operatorOf(x)
			}
		}
	}
	return m, nil
}

func scopeOf(x admin.Scope) Scope { return Scope{Description: x.Description, Key: x.Key != nil} }

func callerOf(x admin.Caller) Caller {
	return Caller{Description: x.Description, Scopes: set(x.Scopes), Disabled: x.Disabled, Limits: x.Limits}
}

func operatorOf(x admin.Operator) Operator {
	return Operator{Description: x.Description, Groups: set(x.Groups), Roles: set(x.Roles), Disabled: x.Disabled}
}

// credentialOf returns what is there in the words of a manifest. It fails only when the server writes rules that this version does not know.
func (s *State) credentialOf(x admin.Credential) (Credential, error) {
	c := Credential{
		Description: x.Description, PassCookies: x.PassCookies, PassTrace: x.PassTrace, ScrubBody: x.ScrubBody,
		Disabled: x.State == keybearer.Disabled, ExpiresAt: x.ExpiresAt.UTC(),
		Terms: keybearer.Terms{
			Kind: x.Kind, Header: x.Header, Prefix: x.Prefix, RequireUser: x.RequireUser, WebSocket: x.WebSocket,
			Rules: make([]keybearer.Rule, 0, len(x.Destinations)),
		},
	}
	for _, d := range x.Destinations {
		r, err := policy.ParseRule(d.Rule, d.Methods, d.Private)
		if err != nil {
			return c, err
		}
		c.Terms.Rules = append(c.Terms.Rules, r)
	}
	c.Terms.Rules = policy.CanonicalRules(c.Terms.Rules)
	_, admins := s.Scopes[x.Scope]
	if admins || x.Level >= keybearer.Administer || len(x.Grants) > 0 {
		c.Grants = map[keybearer.Subject]keybearer.Level{}
		for _, g := range x.Grants {
			if kind, name := g.Subject.Split(); kind == "app" && !s.Callers[name].DeletedAt.IsZero() {
				continue // it fits nobody any more: the name stays reserved
			}
			c.Grants[g.Subject] = g.Level
		}
	}
	return c, nil
}

// self reports whether a grant for the subject is one for the actor.
func (s *State) self(subject keybearer.Subject) bool {
	return subject == s.Actor || slices.Contains(s.Groups, subject)
}

// level is what the grants give the actor.
func (s *State) level(grants map[keybearer.Subject]keybearer.Level) keybearer.Level {
	level := grants[s.Actor]
	for _, g := range s.Groups {
		level = max(level, grants[g])
	}
	return level
}

func sameRules(a, b []keybearer.Rule) bool {
	return slices.EqualFunc(a, b, func(a, b keybearer.Rule) bool { return ruleText(a) == ruleText(b) })
}
