package admin

import (
	"time"

	"github.com/keybearer/keybearer"
)

// Caller as the API shows it.
type Caller struct {
	ID          string           `json:"id"`
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Scopes      []string         `json:"scopes"` // names of the scopes it is bound to, sorted
	Tokens      []Token          `json:"tokens"`
	Disabled    bool             `json:"disabled,omitempty"`
	Limits      keybearer.Limits `json:"limits,omitzero"` // in the place of the instance's
	CreatedAt   time.Time        `json:"created_at"`
	UpdatedAt   time.Time        `json:"updated_at"`
	DeletedAt   time.Time        `json:"deleted_at,omitzero"`
	LastUsedAt  time.Time        `json:"last_used_at,omitzero"` // when it last sent a request for a known credential
	Revision    uint64           `json:"revision"`
}

// Token as the API shows it: never the token, nor its hash.
type Token struct {
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"` // of a caller's: when it was last presented with a request for a known credential
}

// NewCaller is what a caller is made from.
type NewCaller struct {
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Scopes      []string         `json:"scopes,omitempty"`   // names or ids
	NoToken     bool             `json:"no_token,omitempty"` // it proves itself in another way
	Limits      keybearer.Limits `json:"limits,omitzero"`    // what is zero is the instance's; -1 is no limit
	ExpiresAt   time.Time        `json:"token_expires_at,omitzero"`
}

// CallerPatch changes a caller; absent fields stay.
type CallerPatch struct {
	Description *string           `json:"description,omitempty"`
	Scopes      *[]string         `json:"scopes,omitempty"` // names or ids: all that it is bound to from now on
	Limits      *keybearer.Limits `json:"limits,omitempty"` // all of them: what is zero is the instance's, -1 no limit
}

// IssuedCaller is a caller and its new token, which is shown this once.
type IssuedCaller struct {
	Caller Caller    `json:"caller"`
	Token  Plaintext `json:"token,omitzero"`
}

// Operator as the API shows it.
type Operator struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Groups      []string  `json:"groups"`
	Roles       []string  `json:"roles"` // "instance-admin", "scope-admin:<scope name>"
	Tokens      []Token   `json:"tokens"`
	Disabled    bool      `json:"disabled,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	DeletedAt   time.Time `json:"deleted_at,omitzero"`
	Revision    uint64    `json:"revision"`
}

// NewOperator is what an operator is made from.
type NewOperator struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Groups      []string  `json:"groups,omitempty"`
	Roles       []string  `json:"roles,omitempty"`
	NoToken     bool      `json:"no_token,omitempty"`
	ExpiresAt   time.Time `json:"token_expires_at,omitzero"`
}

// OperatorPatch changes an operator; absent fields stay.
type OperatorPatch struct {
	Description *string   `json:"description,omitempty"`
	Groups      *[]string `json:"groups,omitempty"`
	Roles       *[]string `json:"roles,omitempty"`
}

// IssuedOperator is an operator and its new token, which is shown this once.
type IssuedOperator struct {
	Operator Operator  `json:"operator"`
	Token    Plaintext `json:"token,omitzero"`
}

// NewToken asks for one more token.
type NewToken struct {
	ExpiresAt      time.Time `json:"expires_at,omitzero"`       // of the new one; absent: never
	OverlapSeconds *int64    `json:"overlap_seconds,omitempty"` // how long older tokens stay good; 0: revoked at once; absent: until they are revoked
}
