package keybearer

import (
	"context"
	"time"
)

// Event is the one canonical record of a use, a refusal or a change. It never holds a secret, a query string or
// a new value. Empty fields are left out of the line.
//
// Each comment tells what the field means and, behind "In", in which lines it stands.
type Event struct {
	// When the request came (intent), when it ended (outcome, refusal) or when the change was made. In every line.
	Time time.Time `json:"time"`
	// Request id, as in Keybearer-Request-Id; the intent and the outcome of a use share it. In every line.
	ID string `json:"id"`
	// A use has an intent, written before anything is sent, and an outcome; everything else is one outcome. In every line.
	Phase Phase `json:"phase"`
	// What the line records. In every line.
	Kind EventKind `json:"event"`
	// Name of the scope. In uses; refusals that named a credential; changes in a scope.
	Scope string `json:"scope,omitempty"`
	// Name of the credential. In uses; refusals that named one, whether it is there or not; changes of one.
	Credential string `json:"credential,omitempty"`
	// Id of the credential, which no other ever has. In uses; refusals and changes of a credential that is there.
	CredentialID string `json:"credential_id,omitempty"`
	// Number of the secret's version that was used, or is the current one. In lines with credential_id, once it has a secret.
	SecretVersion uint64 `json:"secret_version,omitempty"`
	// Name of the app that asked; of a change, of the app whose record was changed. In uses; refusals whose caller was proved; changes of a caller.
	Caller string `json:"caller,omitempty"`
	// Id of the caller's token that was presented. In uses and refusals where the proof was a token.
	TokenID string `json:"token_id,omitempty"`
	// Id of the person for whom the app asked, as proved. In uses and refusals with a valid assertion.
	ActingUser string `json:"acting_user,omitempty"`
	// Id of the operator, without "user:": who made the change, or sent a test request. In changes, but for those that the server makes itself; test requests.
	Operator string `json:"operator,omitempty"`
	// Method of the request. In uses and refusals of requests.
	Method string `json:"method,omitempty"`
	// Scheme of the destination. In uses; refusals whose destination was understood.
	Scheme string `json:"scheme,omitempty"`
	// Host of the destination, canonical. In uses; refusals whose destination was understood.
	Host string `json:"host,omitempty"`
	// Port of the destination. In uses; refusals whose destination was understood.
	Port uint16 `json:"port,omitempty"`
	// Path of the request, without query. In uses; refusals whose destination was understood.
	Path string `json:"path,omitempty"`
	// Allow or refuse. In every line.
	Decision string `json:"decision,omitempty"`
	// Why it was refused, or why a use that was allowed failed. In refusals; outcomes of uses that failed.
	Code Code `json:"code,omitempty"`
	// The rule that admitted it. In uses; refusals that came after a rule had admitted it.
	Rule string `json:"rule,omitempty"`
	// What the rules on trial would have refused it with. In uses, while rules are on trial.
	WouldRefuse Code `json:"would_refuse,omitempty"`
	// Id of that trial. In lines with would_refuse.
	Trial string `json:"trial,omitempty"`
	// Status that the destination answered with. In outcomes of uses that it answered.
	DestinationStatus int `json:"destination_status,omitempty"`
	// Milliseconds from the request's arrival to its end. In outcomes and refusals of requests.
	DurationMS float64 `json:"duration_ms,omitempty"`
	// Body bytes sent to the destination. In outcomes of uses.
	BytesOut int64 `json:"bytes_out,omitempty"`
	// Body bytes received from it. In outcomes of uses.
	BytesIn int64 `json:"bytes_in,omitempty"`
	// What was done, or was refused to an operator. In changes; refusals of the admin API.
	Action string `json:"action,omitempty"`
	// Names of the fields that changed; never values. In changes of what was there.
	Changed []string `json:"changed,omitempty"`
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
