package keybearer

import (
	"context"
	"slices"
	"time"
)

// Store keeps scopes, credentials, callers and operators. Implementations are safe for concurrent use.
//
// Reads return records that may be shared: callers must not modify them. A record that is not there is a
// [NotFound] error; a store that cannot answer gives [StoreUnavailable]. Both may wrap a cause. Times
// are stored to the microsecond, in UTC.
//
// Tombstones (DeletedAt set) are records like any other and are returned; who calls decides what they mean.
type Store interface {
	// Scope returns the scope with that id or name. A name finds the live scope or its tombstone.
	Scope(ctx context.Context, idOrName string) (*Scope, error)
	// Scopes returns a page of scopes in order of name.
	Scopes(ctx context.Context, q Query) (Page[*Scope], error)

	// Credential returns the credential with that id or name in the scope with that id or name. The match is exact:
	// an id of another scope is not found.
	Credential(ctx context.Context, ref Ref) (*Credential, error)
	// Credentials returns a page of credentials in order of scope name, then name.
	Credentials(ctx context.Context, q Query) (Page[*Credential], error)
	// CountCredentials returns how many credentials of the scope are live and how many are tombstones.
	CountCredentials(ctx context.Context, scopeID string) (live, deleted int, err error)

	// Caller returns the caller with that id or name; CallerByToken the one that has the token.
	Caller(ctx context.Context, idOrName string) (*Caller, error)
	CallerByToken(ctx context.Context, hash TokenHash) (*Caller, error)
	// Callers returns a page of callers in order of name.
	Callers(ctx context.Context, q Query) (Page[*Caller], error)

	// Operator returns the operator with that id or name; OperatorByToken the one that has the token.
	Operator(ctx context.Context, idOrName string) (*Operator, error)
	OperatorByToken(ctx context.Context, hash TokenHash) (*Operator, error)
	// Operators returns a page of operators in order of name.
	Operators(ctx context.Context, q Query) (Page[*Operator], error)

	// Commit applies all writes and keeps all events, or nothing. It returns the sequence number of the commit,
	// which is also the new Revision of every record written; the records passed in are not modified.
	// Once it has returned nil the change survives a crash of the process or the machine, and every function
	// registered with Watch through this Store has been told of it.
	//
	// Errors: [Stale] when a record's Revision is not the stored one; [AlreadyExists] when Revision is 0 and the id is
	// taken, or the name (in its scope) or a token's hash is another record's; [NotFound] when a record to change or delete, or
	// the scope of a credential, is gone; [ScopeNotEmpty] when a scope is deleted for good that has credentials; [Invalid] for a
	// Write that does not hold exactly one record; [StoreUnavailable] otherwise. After StoreUnavailable the commit may
	// or may not have happened. Writes are applied in the order given.
	Commit(ctx context.Context, b Batch) (seq uint64, err error)

	// Events returns, in order of commit, up to limit events that were committed and not yet marked as
	// delivered to the audit log; Delivered marks them. Together they make an outbox: a change and its audit line
	// are kept or lost as one. Where several processes share the records, each gets the events that it committed itself, so that a
	// change has its line in one log; and those of a process that has not delivered them for a minute, since it may be gone
	// for good. Then, rarely, a line is written twice.
	Events(ctx context.Context, limit int) ([]PendingEvent, error)
	Delivered(ctx context.Context, seqs ...uint64) error

	// Sequence returns the sequence number of the last commit.
	Sequence(ctx context.Context) (uint64, error)
	// Changes returns the changes with a sequence number above after, in order: those of one whole commit after the other until
	// limit is reached, so that there can be more than limit. A [Stale] error says that the feed no longer reaches back
	// so far, or that after lies ahead of it (a backup was restored): whoever follows it must forget all that it knows.
	Changes(ctx context.Context, after uint64, limit int) ([]Change, error)
	// Watch registers fn to be called with each committed change, in order of sequence, one call at a time. For a commit made
	// through this Store it is called before Commit returns; for others' as soon as the store learns of them. A change may be told more than
	// once; one of kind [AllRecords] says that some may have been missed.
	// fn must be quick and must not call the Store. stop unregisters it.
	Watch(fn func([]Change)) (stop func())

	// Close releases what the store holds. No other method may be called after it or while it runs.
	Close() error
}

// Batch is what one commit does.
type Batch struct {
	Writes []Write
	Events []Event // audit events of kind change; see Store.Events
}

// Write puts or deletes one record: exactly one of the pointers is set. The record's Revision must be the stored
// one; 0 creates it. Delete removes the row for good (a tombstone is a put with DeletedAt).
type Write struct {
	Scope      *Scope
	Credential *Credential
	Caller     *Caller
	Operator   *Operator
	Delete     bool
}

// PendingEvent is an event of a commit that the audit log may not have yet.
type PendingEvent struct {
	Seq   uint64 // identifies it for Delivered; unique, not the commit's sequence number
	Event Event
}

// RecordKind says which table a change concerns.
type RecordKind string

// The kinds of record.
const (
	ScopeRecord      RecordKind = "scope"
	CredentialRecord RecordKind = "credential"
	CallerRecord     RecordKind = "caller"
	OperatorRecord   RecordKind = "operator"

	// AllRecords is told to those who watch when the store cannot say what has changed: forget everything.
	AllRecords RecordKind = "*"
)

// Follower is a Store whose records other processes change too, and that learns of it a little later. A Store that does not implement it
// tells of every change before it is acknowledged.
type Follower interface {
	// Current returns a moment, on this machine's monotonic clock, as of which the functions registered with Watch have been told of all that was
	// committed by anyone before. It stands still while the store cannot be asked: who knows something of an earlier
	// moment asks again before relying on it. The zero time says that nothing has been learned yet.
	Current() time.Time
}

// Change says that a record was written or deleted. Consumers drop what they know of it and read it again.
type Change struct {
	Seq     uint64
	Kind    RecordKind
	ID      string
	ScopeID string // of a credential
}

// Query selects and pages records. Fields that do not apply to a kind of record are ignored. The zero value
// selects the first page of all that is not deleted.
type Query struct {
	ScopeID string  // credentials of this scope
	Text    string  // case-insensitive part of name, description or, for credentials, a rule's host
	Kind    Kind    // credentials of this kind
	Subject Subject // credentials that have a grant for it
	Sight   *Sight  // credentials that lie in it; nil: all
	Deleted bool    // include tombstones
	AfterID string  // credentials only: order by id instead, start behind this id ("0" for the first); ignores Cursor; Page.Next is the next AfterID
	Cursor  string  // Page.Next of the page before; opaque; a malformed one is [Invalid]
	Limit   int     // 0: 100; at most 1000
}

// Sight is what somebody may see of the credentials: those on which one of the subjects holds view or a higher level, and all of some
// scopes. The zero value holds none.
type Sight struct {
	Subjects []Subject
	ScopeIDs []string
}

// Holds reports whether the credential lies in the sight.
func (s *Sight) Holds(c *Credential) bool {
	return slices.Contains(s.ScopeIDs, c.ScopeID) ||
		slices.ContainsFunc(c.Grants, func(g Grant) bool { return g.Level >= View && slices.Contains(s.Subjects, g.Subject) })
}

// Page is one page of a listing.
type Page[T any] struct {
	Items []T
	Next  string // cursor of the next page; "" on the last
}

// Ledger keeps who used which credential, for where, and when. It is derived from the audit log and can be
// rebuilt from it. A Store may implement it; implementations are safe for concurrent use.
type Ledger interface {
	// RecordUses adds uses and moves the checkpoint in one transaction, so that after a crash the audit log
	// is read again from the checkpoint and nothing counts twice.
	RecordUses(ctx context.Context, uses []UseRecord, checkpoint Checkpoint) error
	// Checkpoint returns the position up to which uses were recorded; zero before the first. Where several processes share the ledger
	// each has a checkpoint of its own, for its own log.
	Checkpoint(ctx context.Context) (Checkpoint, error)
	// Usage returns what is known of the use of each of these credentials; those never used are absent.
	Usage(ctx context.Context, credentialIDs ...string) (map[string]Usage, error)
	// UsageHours returns hourly buckets since a time for each of these, oldest first; hours without use are left out, and so is what has none. Each is
	// the id of a credential, the name of a scope for all that was ever in it together, or "" for everything together.
	UsageHours(ctx context.Context, since time.Time, of ...string) (map[string][]UsageHour, error)
	// Refusals returns how many requests for these, as for UsageHours and summed up, were refused since a time, by code: those that came most
	// often first.
	Refusals(ctx context.Context, since time.Time, of ...string) ([]RefusalCount, error)
	// UsedSince returns, sorted, the ids of the credentials whose last use was at a time or later. Refusals are no use.
	UsedSince(ctx context.Context, since time.Time) ([]string, error)
	// LastUses returns when each of these callers (as "app:<name>") and tokens (by id) last sent a request that concerned a known credential,
	// refusals included: whoever rotates tokens wants to know that nobody presents the old one any more. Those that never did are absent.
	LastUses(ctx context.Context, subjects ...string) (map[string]time.Time, error)
	// Trial returns what a trial would have refused, by destination and code, those that came most often first. Of very many destinations some
	// may be counted together under "".
	Trial(ctx context.Context, id string) ([]TrialUse, error)
}

// Checkpoint is a position in an audit log.
type Checkpoint struct {
	File   string // identifies the file across renames
	Offset int64  // bytes
}

// UseRecord is one finished use or refusal of a known credential.
type UseRecord struct {
	CredentialID string
	Scope        string // name; empty: it counts for no scope
	Caller       string // name
	TokenID      string // of the token that proved the caller, may be empty
	User         string // acting user, may be empty
	Host         string // host:port of the destination
	Status       int    // the destination's; 0 when there was none
	Code         Code   // empty for a use that reached the destination
	Refused      bool
	At           time.Time
	WouldRefuse  Code   // what the trial of the credential would have refused it with; empty: it would not, or there was none
	Trial        string // id, when WouldRefuse is there
}

// TrialUse counts the uses of one destination that a trial would have refused with one code.
type TrialUse struct {
	Host   string // host:port
	Code   Code
	Count  uint64
	LastAt time.Time
}

// Usage is the summary for one credential.
type Usage struct {
	Count      uint64 // uses, refusals not included
	Refused    uint64
	LastAt     time.Time // of the last use, as all that follows; zero when there were only refusals
	LastCaller string
	LastUser   string
	LastHost   string
	LastStatus int
	Callers    []CallerUsage // by last use, newest first, at most 20
}

// CallerUsage is the last use by one caller.
type CallerUsage struct {
	Caller string
	Count  uint64
	LastAt time.Time
	Host   string // of the last use
}

// RefusalCount counts refusals with one code.
type RefusalCount struct {
	Code  Code
	Count uint64
}

// UsageHour counts one hour.
type UsageHour struct {
	Hour    time.Time // start, UTC
	Uses    uint64
	Refused uint64
	Failed  uint64 // uses whose outcome had a code or a destination status of 500 or more
}
