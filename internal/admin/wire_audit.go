package admin

import (
	"time"

	"github.com/keybearer/keybearer"
)

// AuditQuery selects events of the audit log. Fields that are zero select nothing.
type AuditQuery struct {
	Limit       int                 // newest so many, oldest of them first; 0: 100; at most 1000
	Follow      bool                // go on with new events until the context ends
	Before      string              // place of an event, or RFC 3339 time: only what stands before it; the place of an event is "<request id>.<phase>"
	Since       time.Time           // of this time and later
	Until       time.Time           // before this time
	Text        string              // in a name, host, path, rule, action or code, whatever its case
	Scope       string              // name
	Credential  string              // name or id, or "<scope>/<name>"
	Caller      string              // name
	User        string              // id of the acting user
	Operator    string              // id
	Host        string              // of the destination
	ID          string              // request id
	Kind        keybearer.EventKind // use, refusal or change
	Action      string              // of a change
	Decision    string              // [keybearer.Allow] or [keybearer.Refuse]
	Code        keybearer.Code
	WouldRefuse bool // only what a trial would have refused
}
