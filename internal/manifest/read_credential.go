package manifest

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

func (m *Manifest) credential(s *source, key, n *yaml.Node) {
	ref, err := keybearer.ParseRef(key.Value)
	if err != nil || keybearer.IsID(ref.Scope, keybearer.IDScope) || strings.HasPrefix(ref.Name, keybearer.IDCredential) {
		s.bad(key, "a credential is named <scope>/<name>, in lower-case letters, digits and '-', as in docs/crm")
		return
	}
	x := Credential{at: s.at(key)}
	x.Terms.Rules = []keybearer.Rule{}
	var username, password, secret *Reference
	place := map[string]*yaml.Node{}
	reference := func(name string, into **Reference) field {
		return field{name, func(n *yaml.Node) { place[name], *into = n, s.reference(n, name) }}
	}
	s.fields(n, "a credential",
		field{"kind", func(n *yaml.Node) {
			place["kind"], x.Terms.Kind = n, keybearer.Kind(s.text(n, "kind"))
		}},
		field{"description", func(n *yaml.Node) { x.Description = s.description(n) }},
		field{"header", func(n *yaml.Node) { x.Terms.Header = s.text(n, "header") }},
		field{"prefix", func(n *yaml.Node) { x.Terms.Prefix = s.text(n, "prefix") }},
		reference("secret", &secret), reference("username", &username), reference("password", &password),
		field{"destinations", func(n *yaml.Node) {
			s.list(n, "destinations", func(n *yaml.Node) {
				if rule, ok := s.destination(n); ok {
					x.Terms.Rules = append(x.Terms.Rules, rule)
				}
			})
		}},
		field{"require_user", func(n *yaml.Node) { x.Terms.RequireUser = s.truth(n, "require_user") }},
		field{"websocket", func(n *yaml.Node) { x.Terms.WebSocket = s.truth(n, "websocket") }},
		field{"pass_cookies", func(n *yaml.Node) { x.PassCookies = s.truth(n, "pass_cookies") }},
		field{"pass_trace", func(n *yaml.Node) { x.PassTrace = s.truth(n, "pass_trace") }},
		field{"scrub_body", func(n *yaml.Node) { x.ScrubBody = s.truth(n, "scrub_body") }},
		field{"expires_at", func(n *yaml.Node) { x.ExpiresAt = s.moment(n) }},
		field{"disabled", func(n *yaml.Node) { x.Disabled = s.truth(n, "disabled") }},
		field{"grants", func(n *yaml.Node) { x.Grants = s.grants(n) }},
	)
	if x.Terms.Rules = policy.CanonicalRules(x.Terms.Rules); len(x.Terms.Rules) > 200 {
		s.bad(key, "a credential has at most 200 rules")
	}
	switch at := place["kind"]; {
	case at == nil:
		s.bad(key, "%s has no kind: basic, bearer or header", ref)
	default:
		if x.Terms.Header, err = policy.CheckHeader(x.Terms.Kind, x.Terms.Header, x.Terms.Prefix); err != nil {
			s.bad(at, "%s", said(err))
		}
	}
	x.Username, x.Secret = username, secret
	switch basic := x.Terms.Kind == keybearer.Basic; {
	case !basic:
		for _, name := range []string{"username", "password"} {
			if at := place[name]; at != nil {
				s.bad(at, "only kind basic has %s; the others have secret", name)
			}
		}
	case place["secret"] != nil:
		s.bad(place["secret"], "kind basic has username and password in the place of secret")
	case (place["username"] == nil) != (place["password"] == nil):
		s.bad(key, "%s needs both username and password, or neither", ref)
	default:
		x.Secret = password
	}
	keep(s, key, "credential "+ref.String(), m.Credentials, ref, x, func(x Credential) string { return x.at })
}

// reference reads where a secret is. What is there in its place is never repeated.
func (s *source) reference(n *yaml.Node, name string) *Reference {
	if n.Kind == yaml.MappingNode {
		s.bad(n, `%s is a reference in quotes, as in "{file./run/secrets/crm}" or "{env.CRM_TOKEN}"`, name)
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		if r, ok := parseReference(n.Value); ok {
			r.at = s.at(n)
			return r
		}
	}
	s.bad(n, `%s never stands in a manifest: write where it is, "{file./run/secrets/crm}" or "{env.CRM_TOKEN}"; if this was a real one, replace it, since whoever sees the file knows it`, name)
	return nil
}

func (s *source) destination(n *yaml.Node) (keybearer.Rule, bool) {
	if n.Kind != yaml.MappingNode {
		s.bad(n, "a destination is a mapping: write - rule: https://api.example.com")
		return keybearer.Rule{}, false
	}
	var text string
	var methods []string
	var private bool
	before := len(*s.problems)
	s.fields(n, "a destination",
		field{"rule", func(n *yaml.Node) { text = s.text(n, "rule") }},
		field{"methods", func(n *yaml.Node) { methods = s.texts(n, "methods", "a method") }},
		field{"private", func(n *yaml.Node) { private = s.truth(n, "private") }},
	)
	if len(*s.problems) > before {
		return keybearer.Rule{}, false
	}
	rule, err := policy.ParseRule(text, methods, private)
	if err != nil {
		s.bad(n, "%s", said(err))
	}
	return rule, err == nil
}

func (s *source) grants(n *yaml.Node) map[keybearer.Subject]keybearer.Level {
	grants := map[keybearer.Subject]keybearer.Level{}
	if isNull(n) {
		s.bad(n, "grants is empty: write {} if there are none, or leave it out to leave them as they are")
		return grants
	}
	s.mapping(n, "grants", func(key, value *yaml.Node) {
		subject, err := keybearer.ParseSubject(key.Value)
		if err != nil {
			s.bad(key, "%s", said(err))
			return
		}
		level, err := keybearer.ParseLevel(value.Value)
		if err != nil || value.Kind != yaml.ScalarNode {
			s.bad(value, "a level is one of use, view, edit, administer")
			return
		}
		grants[subject] = level
	})
	if len(grants) > 1000 {
		s.bad(n, "a credential has at most 1000 grants; grant to a group")
	}
	return grants
}

// moment reads a time, to the microsecond as stores keep it.
func (s *source) moment(n *yaml.Node) time.Time {
	t, err := time.Parse(time.RFC3339, n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		s.bad(n, "expires_at is an RFC 3339 time, as in 2027-01-31T18:00:00Z; leave it out for never")
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}
