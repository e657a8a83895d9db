package admin

import (
	"time"

	"github.com/keybearer/keybearer"
)

// Usage of a credential, as far as the audit log has told.
type Usage struct {
	Count      uint64        `json:"count"`
	Refused    uint64        `json:"refused"`
	LastAt     time.Time     `json:"last_at,omitzero"`
	LastCaller string        `json:"last_caller,omitempty"`
	LastUser   string        `json:"last_user,omitempty"`
	LastHost   string        `json:"last_host,omitempty"`
	LastStatus int           `json:"last_status,omitempty"`
	Callers    []CallerUsage `json:"callers,omitempty"` // newest first, at most 20
}

// CallerUsage is the last use by one caller.
type CallerUsage struct {
	Caller string    `json:"caller"`
	Count  uint64    `json:"count"`
	LastAt time.Time `json:"last_at"`
	Host   string    `json:"host"`
}

// UsageReport is the use of one credential, or of all together, and its hourly counts.
type UsageReport struct {
	Usage *Usage      `json:"usage,omitempty"` // absent for all together, and for a credential never used
	Hours []UsageHour `json:"hours"`           // oldest first; hours without use are left out
}

// UsageHour counts one hour.
type UsageHour struct {
	Hour    time.Time `json:"hour"`
	Uses    uint64    `json:"uses"`
	Refused uint64    `json:"refused"`
	Failed  uint64    `json:"failed"`
}

// Activity is the use since a time of all that the asker may see: admins of everything, or of their scopes, others of the credentials on which
// they hold view.
type Activity struct {
	Since       time.Time            `json:"since"`
	Hours       []UsageHour          `json:"hours"`       // of all together, oldest first; hours without use are left out
	Scopes      []ScopeActivity      `json:"scopes"`      // where all scopes were asked for: those that the asker administers and that were used, in order of name
	Credentials []CredentialActivity `json:"credentials"` // of those asked for, those that the asker may see and that were used
	Refusals    []RefusalCount       `json:"refusals"`    // by code, most first
	Whole       bool                 `json:"whole"`       // false: the asker may see more credentials than are summed up
	Counted     bool                 `json:"counted"`     // false: this store keeps no counts
}

// ScopeActivity sums up all that is or was in a scope.
type ScopeActivity struct {
	Scope   string `json:"scope"` // name
	Uses    uint64 `json:"uses"`
	Refused uint64 `json:"refused"`
	Failed  uint64 `json:"failed"`
}

// CredentialActivity is the use of one credential.
type CredentialActivity struct {
	ID    string      `json:"id"`
	Hours []UsageHour `json:"hours"` // oldest first; hours without use are left out
}

// RefusalCount counts refusals with one code.
type RefusalCount struct {
	Code  keybearer.Code `json:"code"`
	Count uint64         `json:"count"`
}

// Attention is what somebody should look at, of the credentials that the asker may see. Each is in one list at most.
type Attention struct {
	Disabled    Noted `json:"disabled"`
	NeedsSecret Noted `json:"needs_secret"`
	Expiring    Noted `json:"expiring"` // ended already, or end within 30 days; those that end first come first
	Unused      Noted `json:"unused"`   // good for use and not used for 30 days, or never; those made first come first
	Counted     bool  `json:"counted"`  // false: this store keeps no counts, so that unused is empty
}

// Noted are the first 20 credentials of a kind, and how many there are.
type Noted struct {
	Total       int          `json:"total"`
	Credentials []Credential `json:"credentials"`
}
