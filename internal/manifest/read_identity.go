package manifest

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer"
)

func (m *Manifest) scope(s *source, key, n *yaml.Node) {
	if !keybearer.ValidScopeName(key.Value) {
		s.bad(key, "the name of a scope is 1 to 63 lower-case letters, digits and '-'")
		return
	}
	x := Scope{at: s.at(key)}
	s.fields(n, "a scope",
		field{"description", func(n *yaml.Node) { x.Description = s.description(n) }},
		field{"key", func(n *yaml.Node) { x.Key = s.truth(n, "key") }},
	)
	keep(s, key, "scope "+key.Value, m.Scopes, key.Value, x, func(x Scope) string { return x.at })
}

func (m *Manifest) caller(s *source, key, n *yaml.Node) {
	if !s.name(key, "a caller", keybearer.IDCaller) {
		return
	}
	x := Caller{Scopes: []string{}, at: s.at(key)}
	s.fields(n, "a caller",
		field{"description", func(n *yaml.Node) { x.Description = s.description(n) }},
		field{"scopes", func(n *yaml.Node) { x.Scopes = set(s.texts(n, "scopes", "the name of a scope")) }},
		field{"disabled", func(n *yaml.Node) { x.Disabled = s.truth(n, "disabled") }},
		field{"limits", func(n *yaml.Node) { x.Limits = s.limits(n) }},
	)
	keep(s, key, "caller "+key.Value, m.Callers, key.Value, x, func(x Caller) string { return x.at })
}

func (m *Manifest) operator(s *source, key, n *yaml.Node) {
	if !keybearer.ValidOperatorName(key.Value) || strings.HasPrefix(key.Value, keybearer.IDOperator) || strings.HasPrefix(key.Value, "uid-") {
		s.bad(key, "the name of an operator is 1 to 63 lower-case letters, digits, '-', '.' and '_', or an e-mail address in lower case, and does not begin with opr_ or uid-")
		return
	}
	x := Operator{Groups: []string{}, Roles: []string{}, at: s.at(key)}
	s.fields(n, "an operator",
		field{"description", func(n *yaml.Node) { x.Description = s.description(n) }},
		field{"groups", func(n *yaml.Node) {
			s.list(n, "groups", func(n *yaml.Node) {
				g := s.text(n, "a group")
				if _, err := keybearer.ParseSubject(string(keybearer.GroupSubject(g))); err != nil && g != "" {
					s.bad(n, "a group's name is 1 to 255 printable characters without blanks")
				}
				x.Groups = append(x.Groups, g)
			})
		}},
		field{"roles", func(n *yaml.Node) {
			s.list(n, "roles", func(n *yaml.Node) {
				role := s.text(n, "a role")
				if scope, of := strings.CutPrefix(role, keybearer.RoleScopeAdmin); !(of && keybearer.ValidScopeName(scope)) && role != keybearer.RoleInstanceAdmin {
					s.bad(n, "a role is instance-admin or scope-admin:<scope>")
				}
				x.Roles = append(x.Roles, role)
			})
		}},
		field{"disabled", func(n *yaml.Node) { x.Disabled = s.truth(n, "disabled") }},
	)
	x.Groups, x.Roles = set(x.Groups), set(x.Roles)
	keep(s, key, "operator "+key.Value, m.Operators, key.Value, x, func(x Operator) string { return x.at })
}

// name checks the name of a record, which may not look like an id.
func (s *source) name(key *yaml.Node, what string, not ...string) bool {
	if keybearer.ValidName(key.Value) && !slices.ContainsFunc(not, func(p string) bool { return strings.HasPrefix(key.Value, p) }) {
		return true
	}
	s.bad(key, "the name of %s is 1 to 63 lower-case letters, digits, '-', '.' and '_', and does not begin with %s", what, strings.Join(not, " or "))
	return false
}

func (s *source) description(n *yaml.Node) string {
	text := s.text(n, "description")
	if len(text) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 }) {
		s.bad(n, "a description is at most 1000 bytes of text without control characters")
	}
	return text
}
