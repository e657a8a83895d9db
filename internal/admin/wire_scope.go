package admin

import (
	"time"

	"github.com/keybearer/keybearer"
)

// Scope as the API shows it.
type Scope struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Key         *ScopeKey `json:"key,omitempty"`  // absent until generated
	Work        *Work     `json:"work,omitempty"` // an unfinished rotate, regenerate, move or delete
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	DeletedAt   time.Time `json:"deleted_at,omitzero"`
	Revision    uint64    `json:"revision"`
}

// ScopeKey as the API shows it.
type ScopeKey struct {
	Generation uint32    `json:"generation"` // grows with each regenerate, and when the secrets move to another keyring
	Version    uint32    `json:"version"`    // grows with each rotate
	CreatedAt  time.Time `json:"created_at"`
	RotatedAt  time.Time `json:"rotated_at,omitzero"`
}

// Work is the progress of a long operation.
type Work struct {
	Kind      keybearer.WorkKind `json:"kind"`
	Done      int                `json:"done"`
	Total     int                `json:"total"`
	By        keybearer.Subject  `json:"by"`
	StartedAt time.Time          `json:"started_at"`
	Waiting   keybearer.Code     `json:"waiting,omitempty"` // why it does not get on just now; it is tried again
	Stuck     []string           `json:"stuck,omitempty"`   // move: credentials whose secrets do not open with the former key, at most 20; delete them or set their secrets anew
}

// NewScope is what a scope is made from.
type NewScope struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// ScopePatch changes a scope; absent fields stay.
type ScopePatch struct {
	Description *string `json:"description,omitempty"`
}

// Confirmation is asked for before anything is destroyed.
type Confirmation struct {
	Confirm             string `json:"confirm,omitempty"`              // the scope's name
	ExpectedCredentials int    `json:"expected_credentials,omitempty"` // live and tombstoned ones together, as the dry run counts them
}

// Regenerate asks for a new generation of a scope's key.
type Regenerate struct {
	Confirmation
	DryRun     bool `json:"dry_run,omitempty"`     // only tell what would be destroyed
	KeepShells bool `json:"keep_shells,omitempty"` // credentials stay, without their secrets
}

// Regeneration is what a regenerate destroys or, after a dry run, would destroy.
type Regeneration struct {
	DryRun      bool         `json:"dry_run"`
	Scope       Scope        `json:"scope"`
	Live        int          `json:"live"`        // credentials whose secrets die
	Tombstoned  int          `json:"tombstoned"`  // deleted ones that could have been restored
	Credentials []Credential `json:"credentials"` // the first 1000 of them, in a dry run
}

// ExpectedCredentials is the count that a regenerate wants to hear.
func (r Regeneration) ExpectedCredentials() int { return r.Live + r.Tombstoned }
