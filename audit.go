package keybearer

import (
	"context"
	"time"
)

// Event is the one canonical record of a use, a refusal or a change. It never holds a secret, a query string or
// a new value. Empty fields are left out of the line.
type Event struct {
	Time              time.Time `json:"time"`
	ID                string    `json:"id"` // request id; shared by the intent and the outcome of one use
	Phase             Phase     `json:"phase"`
	Kind              EventKind `json:"event"`
	Scope             string    `json:"scope,omitempty"`      // name
	Credential        string    `json:"credential,omitempty"` // name
	CredentialID      string    `json:"credential_id,omitempty"`
	SecretVersion     uint64    `json:"secret_version,omitempty"`
	Caller            string    `json:"caller,omitempty"`      // name
	TokenID           string    `json:"token_id,omitempty"`    // of the caller's token that was presented; empty when another proof was
	ActingUser        string    `json:"acting_user,omitempty"` // id
	Operator          string    `json:"operator,omitempty"`    // id, without "user:"
	Method            string    `json:"method,omitempty"`
	Scheme            string    `json:"scheme,omitempty"`
	Host              string    `json:"host,omitempty"`
	Port              uint16    `json:"port,omitempty"`
	Path              string    `json:"path,omitempty"` // without query
	Decision          string    `json:"decision,omitempty"`
	Code              Code      `json:"code,omitempty"`
	Rule              string    `json:"rule,omitempty"`         // the rule that admitted it
	WouldRefuse       Code      `json:"would_refuse,omitempty"` // what the rules on trial would have refused it with
	Trial             string    `json:"trial,omitempty"`        // id of that trial
	DestinationStatus int       `json:"destination_status,omitempty"`
	DurationMS        float64   `json:"duration_ms,omitempty"`
	BytesOut          int64     `json:"bytes_out,omitempty"` // body bytes sent to the destination
	BytesIn           int64     `json:"bytes_in,omitempty"`  // body bytes received from it
	Action            string    `json:"action,omitempty"`    // of a change: "credential.create"
	Changed           []string  `json:"changed,omitempty"`   // names of the fields that changed; never values
}

// Phase of an event: a use has an intent, written before anything is sent, and an outcome; a refusal and a change are one outcome.
type Phase string

// The phases.
const (
	Intent  Phase = "intent"
	Outcome Phase = "outcome"
)

// EventKind is what an event records.
type EventKind string

// The kinds of event.
const (
	UseEvent     EventKind = "use"
	RefusalEvent EventKind = "refusal"
	ChangeEvent  EventKind = "change"
)

// Decisions as events give them.
const (
	Allow  = "allow"
	Refuse = "refuse"
)

// Auditor keeps events. Implementations are safe for concurrent use, keep the order in which calls began for one
// goroutine, and copy what they need before they return.
type Auditor interface {
	// Record returns nil once the event has been handed to the operating system, together with whatever
	// batch it joined, so that a crash of this process cannot lose it. It returns [AuditUnavailable] when that is not
	// so; then what the event announces must not happen.
	Record(ctx context.Context, e *Event) error
	// Post queues an event that announces nothing, and waits for room in the queue. If it cannot be written later, Ready and
	// Record fail from then on until writing works again.
	Post(e *Event)
	// Offer is Post that drops the event when the queue is full, counts it, and reports false. It never waits: use it
	// where an unauthenticated sender decides how many events there are.
	Offer(e *Event) bool
	// Ready returns nil while events can be written, else [AuditUnavailable].
	Ready() error
	// Close writes what is queued. No other method may be called after it.
	Close() error
}
