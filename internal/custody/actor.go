package custody

import (
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Actor is who asks, as authenticated. The zero value may do nothing.
type Actor struct {
	Subject keybearer.Subject // "user:<id>"; of a caller "app:<name>"
	Groups  []string
	Roles   []string          // keybearer.RoleInstanceAdmin, or RoleScopeAdmin and a scope's id; a caller has none
	Caller  *keybearer.Caller // set when a caller's token asks: it may list, show and check what it holds view on
}

// Ask is one asking for an operation.
type Ask struct {
	Actor    Actor
	ID       string // request id, for the audit log; "" makes one
	Revision uint64 // of the record to be changed, as it was read; 0: whatever it is now

	Patience time.Duration // how long to wait for long work before the answer tells how far it is; 0: as long as the configuration says
}

// subjects under which the actor may hold grants.
func (a *Actor) subjects() []keybearer.Subject {
	if a.Subject == "" {
		return nil
	}
	s := []keybearer.Subject{a.Subject}
	if a.Caller == nil {
		for _, g := range a.Groups {
			s = append(s, keybearer.GroupSubject(g))
		}
	}
	return s
}

// InstanceAdmin reports whether the actor administers everything.
func (a *Actor) InstanceAdmin() bool {
	return a.Caller == nil && a.Subject != "" && slices.Contains(a.Roles, keybearer.RoleInstanceAdmin)
}

// ScopeAdmin reports whether the actor administers the scope; instance admins administer all.
func (a *Actor) ScopeAdmin(scopeID string) bool {
	return a.InstanceAdmin() ||
		a.Caller == nil && a.Subject != "" && scopeID != "" && slices.Contains(a.Roles, keybearer.RoleScopeAdmin+scopeID)
}

// scopeIDs are the ids of the scopes that the actor administers by name.
func (a *Actor) scopeIDs() []string {
	var ids []string
	if a.Caller == nil {
		for _, r := range a.Roles {
			if id, ok := strings.CutPrefix(r, keybearer.RoleScopeAdmin); ok {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
