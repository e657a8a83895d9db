package keybearer

import (
	"encoding/json"
	"slices"
	"time"
)

// Kind says how a secret becomes a header.
type Kind string

// The kinds of credential.
const (
	Basic  Kind = "basic"  // Authorization: Basic base64(username:password), RFC 7617
	Bearer Kind = "bearer" // Authorization: Bearer <secret>, RFC 6750
	Header Kind = "header" // <any header>: <prefix><secret>
)

// Terms are what a secret was given for: how it is written and where it may go. They are sealed together
// with the secret, so that an edited row, a stale cache or a rollback never sends it elsewhere. The
// zero value admits nothing.
type Terms struct {
	Kind        Kind   `json:"kind"`
	Header      string `json:"header,omitempty"` // kind header: canonical field name
	Prefix      string `json:"prefix,omitempty"` // kind header: written before the secret, blanks included
	Rules       []Rule `json:"rules"`            // in canonical order; empty refuses everything
	RequireUser bool   `json:"require_user,omitempty"`
	WebSocket   bool   `json:"websocket,omitempty"`
}

// Clone returns a deep copy.
func (t Terms) Clone() Terms {
	t.Rules = slices.Clone(t.Rules)
	for i := range t.Rules {
		t.Rules[i].Methods = slices.Clone(t.Rules[i].Methods)
	}
	return t
}

// Version is one sealed secret of a credential.
type Version struct {
	Number     uint64    `json:"number"` // from 1, grows with each new secret, never reused
	Generation uint32    `json:"generation"`
	Sealed     []byte    `json:"sealed,omitempty"` // ciphertext as the keyring gave it; empty: needs a secret
	Terms      Terms     `json:"terms"`            // those in force when this version was last current
	CreatedAt  time.Time `json:"created_at"`
	RetiredAt  time.Time `json:"retired_at,omitzero"` // when a newer version took its place
}

// Credential is the stored record. It holds ciphertext only. Records that came from a Store are shared
// and must not be modified; Clone first.
type Credential struct {
	ID          string    `json:"id"`
	ScopeID     string    `json:"scope_id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Disabled    bool      `json:"disabled,omitempty"`
	PassCookies bool      `json:"pass_cookies,omitempty"` // Cookie reaches the destination
	PassTrace   bool      `json:"pass_trace,omitempty"`   // traceparent, tracestate and baggage do
	ScrubBody   bool      `json:"scrub_body,omitempty"`   // bodies of answers come back without the secret
	ExpiresAt   time.Time `json:"expires_at,omitzero"`    // zero: never
	Grants      []Grant   `json:"grants"`                 // sorted by subject, one for each
	Current     Version   `json:"current"`                // Current.Terms are the terms in force
	Previous    *Version  `json:"previous,omitempty"`     // kept sealed for rollback
	Trial       *Trial    `json:"trial,omitempty"`        // narrower rules that report only; nil: there are none
	LastVersion uint64    `json:"last_version"`           // highest version number ever given; Current has a lower one after a rollback
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	DeletedAt   time.Time `json:"deleted_at,omitzero"` // tombstone: refuses at once, restorable until purged

	Revision uint64 `json:"-"` // the store's sequence number at the last change; 0: not stored yet
}

// Trial is a set of rules that refuses nothing yet. What it would refuse, of that which the rules in force admit, is reported. It is not sealed, since
// it never admits anything; each of its rules lies within one that is in force.
type Trial struct {
	ID    string    `json:"id"`
	Rules []Rule    `json:"rules"` // in canonical order, never empty
	Since time.Time `json:"since"`
	By    Subject   `json:"by"`
}

// Clone returns a deep copy; nil of nil.
func (t *Trial) Clone() *Trial {
	if t == nil {
		return nil
	}
	d := *t
	d.Rules = Terms{Rules: t.Rules}.Clone().Rules
	return &d
}

// Clone returns a deep copy.
func (c *Credential) Clone() *Credential {
	d := *c
	d.Trial = c.Trial.Clone()
	d.Grants = slices.Clone(c.Grants)
	d.Current = c.Current.clone()
	if c.Previous != nil {
		p := c.Previous.clone()
		d.Previous = &p
	}
	return &d
}

func (v Version) clone() Version {
	v.Sealed = slices.Clone(v.Sealed)
	v.Terms = v.Terms.Clone()
	return v
}

// State is what a credential can be used for at a moment.
type State string

// The states of a credential.
const (
	Active      State = "active"
	Disabled    State = "disabled"
	Expired     State = "expired"
	NeedsSecret State = "needs_secret"
	Deleted     State = "deleted"
)

// State returns the state at the given time. Deleted hides disabled, which hides expired, which hides needs_secret.
func (c *Credential) State(now time.Time) State {
	switch {
	case !c.DeletedAt.IsZero():
		return Deleted
	case c.Disabled:
		return Disabled
	case !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt):
		return Expired
	case len(c.Current.Sealed) == 0:
		return NeedsSecret
	}
	return Active
}

// Bundle is the plaintext that a keyring seals: the secret and the terms that it was given for.
type Bundle struct {
	Terms    Terms
	Username string // kind basic
	Secret   Secret
}

type bundleJSON struct {
	V        int    `json:"v"`
	Terms    Terms  `json:"terms"`
	Username string `json:"username,omitempty"`
	Secret   string `json:"secret"`
}

// MaxBundle bounds an encoded bundle, in bytes.
const MaxBundle = 64 << 10

// Encode returns the plaintext to be sealed. The caller owns it and clears it after use. It returns
// [SecretInvalid] when the bundle exceeds [MaxBundle].
func (b *Bundle) Encode() ([]byte, error) {
	p, err := json.Marshal(bundleJSON{1, b.Terms, b.Username, b.Secret.Reveal()})
	if err != nil {
		return nil, &Error{Code: Internal, Op: "encode bundle", Err: err}
	}
	if len(p) > MaxBundle {
		clear(p)
		return nil, NewError(SecretInvalid, "the secret and its rules exceed 64 KiB")
	}
	return p, nil
}

// DecodeBundle reads what Encode wrote. It keeps no reference to p. It returns [KeyringUnavailable] for anything else.
func DecodeBundle(p []byte) (*Bundle, error) {
	var j bundleJSON
	if err := json.Unmarshal(p, &j); err != nil || j.V != 1 {
		// The decoder's message could quote plaintext: it is dropped.
		return nil, NewError(KeyringUnavailable, "the opened secret has an unknown form")
	}
	return &Bundle{j.Terms, j.Username, NewSecret(j.Secret)}, nil
}
