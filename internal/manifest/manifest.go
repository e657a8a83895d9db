package manifest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// APIVersion is what every document says of itself.
const APIVersion = "keybearer/v1"

// Manifest is what files say, or what a server has. Reading makes everything canonical, so that equal means the same.
type Manifest struct {
	Scopes      map[string]Scope
	Credentials map[keybearer.Ref]Credential
	Callers     map[string]Caller   // nil: nothing is said of callers
	Operators   map[string]Operator // nil: nothing is said of operators
}

// Scope is one scope. Key says that it has a key, or is to have one.
type Scope struct {
	Description string
	Key         bool

	at string // "file:line", for messages; "" when it comes from a server
}

// Credential is one credential without its secret.
type Credential struct {
	Description            string
	Terms                  keybearer.Terms // with canonical rules
	PassCookies, PassTrace bool
	ScrubBody              bool
	Disabled               bool
	ExpiresAt              time.Time                             // zero: never
	Grants                 map[keybearer.Subject]keybearer.Level // nil: nothing is said of them
	Username, Secret       *Reference                            // where the secret is; Username only of kind basic, and with it Secret is the password

	at string
}

// Caller is one caller without its tokens.
type Caller struct {
	Description string
	Scopes      []string // names, sorted
	Disabled    bool
	Limits      keybearer.Limits

	at string
}

// Operator is one operator without its tokens.
type Operator struct {
	Description string
	Groups      []string // sorted
	Roles       []string // sorted
	Disabled    bool

	at string
}

// sortedRefs returns the names of credentials in order.
func sortedRefs[V any](m map[keybearer.Ref]V) []keybearer.Ref {
	return slices.SortedFunc(maps.Keys(m), func(a, b keybearer.Ref) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Name, b.Name))
	})
}

// sorted returns the keys of a map in order.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// set returns the words sorted and once each, never nil.
func set(words []string) []string {
	return append([]string{}, slices.Compact(slices.Sorted(slices.Values(words)))...)
}
