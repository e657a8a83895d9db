package keybearer

import (
	"slices"
	"time"
)

// Caller is an app that may be authenticated and holds grants as "app:<name>". Records that came from a Store are
// shared and must not be modified; Clone first.
type Caller struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Scopes      []string  `json:"scopes"` // ids of the scopes it is bound to, sorted; global needs no binding
	Tokens      []Token   `json:"tokens,omitempty"`
	Disabled    bool      `json:"disabled,omitempty"`
	Limits      Limits    `json:"limits,omitzero"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	DeletedAt   time.Time `json:"deleted_at,omitzero"` // its name stays reserved, so that old grants fit nobody new
	Revision    uint64    `json:"-"`
}

// Live reports whether the caller may be authenticated at all.
func (c *Caller) Live() bool { return !c.Disabled && c.DeletedAt.IsZero() }

// BoundTo reports whether the caller is bound to the scope with that id.
func (c *Caller) BoundTo(scopeID string) bool { return slices.Contains(c.Scopes, scopeID) }

// Clone returns a deep copy.
func (c *Caller) Clone() *Caller {
	d := *c
	d.Scopes = slices.Clone(c.Scopes)
	d.Tokens = slices.Clone(c.Tokens)
	return &d
}

// Roles of operators. RoleScopeAdmin is followed by a scope's id.
const (
	RoleInstanceAdmin = "instance-admin"
	RoleScopeAdmin    = "scope-admin:"
)

// Operator is a person or program that uses the admin API; as a subject it is "user:<name>". Records that came
// from a Store are shared and must not be modified; Clone first.
type Operator struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Groups      []string  `json:"groups,omitempty"`
	Roles       []string  `json:"roles,omitempty"` // RoleInstanceAdmin, or RoleScopeAdmin and a scope's id
	Tokens      []Token   `json:"tokens,omitempty"`
	Disabled    bool      `json:"disabled,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	DeletedAt   time.Time `json:"deleted_at,omitzero"`
	Revision    uint64    `json:"-"`
}

// Live reports whether the operator may be authenticated at all.
func (o *Operator) Live() bool { return !o.Disabled && o.DeletedAt.IsZero() }

// Clone returns a deep copy.
func (o *Operator) Clone() *Operator {
	d := *o
	d.Groups = slices.Clone(o.Groups)
	d.Roles = slices.Clone(o.Roles)
	d.Tokens = slices.Clone(o.Tokens)
	return &d
}
