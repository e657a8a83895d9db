package manifest

import (
	"context"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// Document is a manifest as it is written. Encoded as JSON, or as the same in YAML, its order depends on the names alone; [Read] reads it back.
type Document struct {
	APIVersion  string                     `json:"apiVersion"`
	Scopes      map[string]ScopeEntry      `json:"scopes,omitzero"`
	Credentials map[string]CredentialEntry `json:"credentials,omitzero"`
	Callers     map[string]CallerEntry     `json:"callers,omitzero"`
	Operators   map[string]OperatorEntry   `json:"operators,omitzero"`
}

// ScopeEntry is one scope of a document.
type ScopeEntry struct {
	Description string `json:"description,omitempty"`
	Key         bool   `json:"key,omitempty"`
}

// CredentialEntry is one credential of a document.
type CredentialEntry struct {
	Description  string                                `json:"description,omitempty"`
	Kind         keybearer.Kind                        `json:"kind"`
	Header       string                                `json:"header,omitempty"`
	Prefix       string                                `json:"prefix,omitempty"`
	Username     string                                `json:"username,omitempty"` // references
	Password     string                                `json:"password,omitempty"`
	Secret       string                                `json:"secret,omitempty"`
	Destinations []DestinationEntry                    `json:"destinations"`
	RequireUser  bool                                  `json:"require_user,omitempty"`
	WebSocket    bool                                  `json:"websocket,omitempty"`
	PassCookies  bool                                  `json:"pass_cookies,omitempty"`
	PassTrace    bool                                  `json:"pass_trace,omitempty"`
	ScrubBody    bool                                  `json:"scrub_body,omitempty"`
	ExpiresAt    time.Time                             `json:"expires_at,omitzero"`
	Disabled     bool                                  `json:"disabled,omitempty"`
	Grants       map[keybearer.Subject]keybearer.Level `json:"grants,omitzero"`
}

// DestinationEntry is one rule of a document.
type DestinationEntry struct {
	Rule    string   `json:"rule"`
	Methods []string `json:"methods,omitempty"`
	Private bool     `json:"private,omitempty"`
}

// CallerEntry is one caller of a document.
type CallerEntry struct {
	Description string      `json:"description,omitempty"`
	Scopes      []string    `json:"scopes"`
	Disabled    bool        `json:"disabled,omitempty"`
	Limits      LimitsEntry `json:"limits,omitzero"`
}

// OperatorEntry is one operator of a document.
type OperatorEntry struct {
	Description string   `json:"description,omitempty"`
	Groups      []string `json:"groups"`
	Roles       []string `json:"roles"`
	Disabled    bool     `json:"disabled,omitempty"`
}

// Export returns what the server has: all of it, or the given scopes with their credentials. Callers and operators belong to no scope and are
// only in the former, which takes an instance admin. It returns [keybearer.NotFound] for a scope that is not there or may not be seen.
func Export(ctx context.Context, client *admin.Client, scopes []string) (*Document, error) {
	whole := len(scopes) == 0
	state, err := Load(ctx, client, Selection{Scopes: scopes, All: whole, Callers: whole, Operators: whole, callersIfSeen: true})
	if err != nil {
		if whole && keybearer.CodeOf(err) == keybearer.Forbidden {
			return nil, keybearer.AsError(err).WithHint("who is no instance admin exports scopes: --scope <scope>")
		}
		return nil, err
	}
	if !whole {
		listed := map[string]admin.Scope{}
		for _, name := range scopes {
			x, ok := state.Scopes[name]
			if !ok || !x.DeletedAt.IsZero() {
				return nil, keybearer.NewError(keybearer.NotFound, "there is no scope of that name, or you are not its admin").WithHint("keybearer scope list names them")
			}
			listed[name] = x
		}
		state.Scopes = listed
	}
	m, err := state.Manifest()
	if err != nil {
		return nil, err
	}
	if !whole {
		m.Callers = nil
	}
	return m.Document(), nil
}

// Document returns the manifest as it is written.
func (m *Manifest) Document() *Document {
	d := &Document{APIVersion: APIVersion, Scopes: map[string]ScopeEntry{}, Credentials: map[string]CredentialEntry{}}
	for name, x := range m.Scopes {
		d.Scopes[name] = ScopeEntry{x.Description, x.Key}
	}
	for ref, x := range m.Credentials {
		d.Credentials[ref.String()] = x.entry()
	}
	if m.Callers != nil {
		d.Callers = map[string]CallerEntry{}
		for name, x := range m.Callers {
			d.Callers[name] = CallerEntry{x.Description, x.Scopes, x.Disabled, limitsEntry(x.Limits)}
		}
	}
	if m.Operators != nil {
		d.Operators = map[string]OperatorEntry{}
		for name, x := range m.Operators {
			d.Operators[name] = OperatorEntry{x.Description, x.Groups, x.Roles, x.Disabled}
		}
	}
	return d
}

func (c *Credential) entry() CredentialEntry {
	e := CredentialEntry{
		Description: c.Description, Kind: c.Terms.Kind, Header: c.Terms.Header, Prefix: c.Terms.Prefix,
		Destinations: []DestinationEntry{}, RequireUser: c.Terms.RequireUser, WebSocket: c.Terms.WebSocket,
		PassCookies: c.PassCookies, PassTrace: c.PassTrace, ScrubBody: c.ScrubBody, ExpiresAt: c.ExpiresAt, Disabled: c.Disabled, Grants: c.Grants,
	}
	for _, r := range c.Terms.Rules {
		e.Destinations = append(e.Destinations, DestinationEntry{r.String(), r.Methods, r.Private})
	}
	if c.Secret != nil {
		e.Secret = c.Secret.String()
	}
	if c.Username != nil {
		e.Username, e.Password, e.Secret = c.Username.String(), e.Secret, ""
	}
	return e
}

// destinations are the rules as the API takes them, never nil.
func destinations(rules []keybearer.Rule) []admin.Destination {
	out := make([]admin.Destination, 0, len(rules))
	for _, r := range rules {
		out = append(out, admin.Destination{Rule: r.String(), Methods: r.Methods, Private: r.Private})
	}
	return out
}

// ruleText is a rule with what is special about it: rules are the same when this is.
func ruleText(r keybearer.Rule) string {
	text := r.String()
	if len(r.Methods) > 0 {
		text += " " + strings.Join(r.Methods, ",")
	}
	if r.Private {
		text += " private"
	}
	return text
}
