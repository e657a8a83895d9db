package admin

import (
	"time"

	"github.com/keybearer/keybearer"
)

// Destination is one destination rule: what it admits, which methods, and whether it reaches private networks.
type Destination struct {
	Rule    string   `json:"rule"`              // "[scheme://]host[:port][/path]"; answered in canonical form
	Methods []string `json:"methods,omitempty"` // empty: every method that Keybearer forwards
	Private bool     `json:"private,omitempty"` // reaches addresses in allow_private, and only those
	Clear   bool     `json:"clear,omitempty"`   // answered only: the secret is sent without TLS
}

// Credential as the API shows it: never its secret.
type Credential struct {
	ID           string           `json:"id"`
	Scope        string           `json:"scope"` // name
	ScopeID      string           `json:"scope_id"`
	Name         string           `json:"name"`
	Description  string           `json:"description,omitempty"`
	Kind         keybearer.Kind   `json:"kind"`
	Header       string           `json:"header,omitempty"` // kind header
	Prefix       string           `json:"prefix,omitempty"` // kind header
	Destinations []Destination    `json:"destinations"`
	Trial        *Trial           `json:"trial,omitempty"` // narrower rules that refuse nothing yet
	RequireUser  bool             `json:"require_user,omitempty"`
	WebSocket    bool             `json:"websocket,omitempty"`
	PassCookies  bool             `json:"pass_cookies,omitempty"`
	PassTrace    bool             `json:"pass_trace,omitempty"`
	ScrubBody    bool             `json:"scrub_body,omitempty"`
	State        keybearer.State  `json:"state"`
	ExpiresAt    time.Time        `json:"expires_at,omitzero"`
	Version      uint64           `json:"version"` // of the secret
	VersionAt    time.Time        `json:"version_at"`
	Previous     *PreviousVersion `json:"previous,omitempty"` // what a rollback goes back to
	Grants       []Grant          `json:"grants,omitempty"`   // shown to those who hold administer and to scope admins
	Level        keybearer.Level  `json:"level,omitzero"`     // of whoever asked; absent: none
	Usage        *Usage           `json:"usage,omitempty"`    // absent when nothing is known
	CreatedAt    time.Time        `json:"created_at"`
	UpdatedAt    time.Time        `json:"updated_at"`
	DeletedAt    time.Time        `json:"deleted_at,omitzero"`
	RestorableTo time.Time        `json:"restorable_to,omitzero"` // of a deleted one
	Revision     uint64           `json:"revision"`
}

// Ref returns "<scope>/<name>".
func (c *Credential) Ref() keybearer.Ref { return keybearer.Ref{Scope: c.Scope, Name: c.Name} }

// PreviousVersion is the secret that a rollback goes back to, and the terms that come with it.
type PreviousVersion struct {
	Version      uint64         `json:"version"`
	Kind         keybearer.Kind `json:"kind"`
	Header       string         `json:"header,omitempty"`
	Prefix       string         `json:"prefix,omitempty"`
	Destinations []Destination  `json:"destinations"`
	RequireUser  bool           `json:"require_user,omitempty"`
	WebSocket    bool           `json:"websocket,omitempty"`
	CreatedAt    time.Time      `json:"created_at"`
	KeptTo       time.Time      `json:"kept_to"`
}

// SecretInput is a new secret, and what is special about it.
type SecretInput struct {
	Username   Plaintext `json:"username,omitzero"`     // kind basic
	Secret     Plaintext `json:"secret,omitzero"`       // for kind basic the password
	KeepBlanks bool      `json:"keep_blanks,omitempty"` // leading or trailing blanks are meant
}

// NewCredential is what a credential is made from.
type NewCredential struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Kind        keybearer.Kind `json:"kind"`
	Header      string         `json:"header,omitempty"` // kind header
	Prefix      string         `json:"prefix,omitempty"` // kind header
	SecretInput
	NoSecret     bool          `json:"no_secret,omitempty"`    // it is made without one, and needs it before it can be used
	Destinations []Destination `json:"destinations,omitempty"` // none: it refuses everything
	RequireUser  bool          `json:"require_user,omitempty"`
	WebSocket    bool          `json:"websocket,omitempty"`
	PassCookies  bool          `json:"pass_cookies,omitempty"`
	PassTrace    bool          `json:"pass_trace,omitempty"`
	ScrubBody    bool          `json:"scrub_body,omitempty"`
	ExpiresAt    time.Time     `json:"expires_at,omitzero"`
}

// CredentialPatch changes a credential; absent fields stay. A change that widens what the secret may be used for, or of the kind,
// needs the secret in the same patch.
type CredentialPatch struct {
	Description  *string         `json:"description,omitempty"`
	Kind         *keybearer.Kind `json:"kind,omitempty"`
	Header       *string         `json:"header,omitempty"`
	Prefix       *string         `json:"prefix,omitempty"`
	RequireUser  *bool           `json:"require_user,omitempty"`
	WebSocket    *bool           `json:"websocket,omitempty"`
	PassCookies  *bool           `json:"pass_cookies,omitempty"`
	PassTrace    *bool           `json:"pass_trace,omitempty"`
	ScrubBody    *bool           `json:"scrub_body,omitempty"`
	ExpiresAt    Expiry          `json:"expires_at,omitzero"`
	Destinations *[]Destination  `json:"destinations,omitempty"` // in the place of all that it has
	SecretInput
}

// DestinationChange adds rules to a credential, or takes the place of all that it has. A widening needs the secret.
type DestinationChange struct {
	Destinations []Destination `json:"destinations"`
	SecretInput
}

// Trial is a set of rules that refuses nothing yet: what it would refuse, of what is allowed, is reported.
type Trial struct {
	ID           string            `json:"id"`
	Destinations []Destination     `json:"destinations"`
	Since        time.Time         `json:"since"`
	By           keybearer.Subject `json:"by"`
}

// TrialRules are rules to be tried, in the place of those that are.
type TrialRules struct {
	Destinations []Destination `json:"destinations"`
}

// TrialReport is the trial of a credential and what it would have refused so far.
type TrialReport struct {
	Trial       *Trial     `json:"trial,omitempty"` // absent: there is none
	WouldRefuse []TrialUse `json:"would_refuse"`    // most often first
	Counted     bool       `json:"counted"`         // false: this store keeps no counts, and the audit log alone knows
}

// TrialUse counts uses of one destination that the trial would have refused. Of very many destinations some are counted together under "".
type TrialUse struct {
	Host   string         `json:"host"`
	Code   keybearer.Code `json:"code"`
	Count  uint64         `json:"count"`
	LastAt time.Time      `json:"last_at"`
}

// Grant gives a subject a level on a credential.
type Grant struct {
	Subject keybearer.Subject `json:"subject"`
	Level   keybearer.Level   `json:"level"`
}
