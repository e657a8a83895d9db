package handover

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// Config of a Store. Current and Former are required and stay their owner's to close, after Close.
type Config struct {
	Current, Former keybearer.Store // as package sqlstore opens them; Former on SQLite
	Quiet           func() bool     // whether nobody else in this process uses Former; nil: always
	Logger          *slog.Logger    // optional
}

// Store is one store over two: the former one, until all records have moved from it, and from then on the current one. Marks in both
// databases say which it is, so that a process that is killed at any moment finds exactly one in use. It is safe for concurrent use.
type Store struct {
	current, former side
	active          atomic.Pointer[side]
	transfer        *sqlstore.Transfer
	quiet           func() bool
	log             *slog.Logger
	drain           time.Duration // how long a hand-over waits for audit events

	commits sync.RWMutex // held for reading by every commit and all that is spent, and for writing while the last records are copied
	uses    sync.RWMutex // the same, for uses and the ledger

	move move
}

// side is one of the two.
type side struct {
	keybearer.Store
	keybearer.Ledger
	keybearer.Spender
}

func sideOf(s keybearer.Store) side { return side{s, s.(keybearer.Ledger), s.(keybearer.Spender)} }

var (
	_ keybearer.Store     = (*Store)(nil)
	_ keybearer.Ledger    = (*Store)(nil)
	_ keybearer.Spender   = (*Store)(nil)
	_ keybearer.Follower  = (*Store)(nil)
	_ keybearer.Diagnoser = (*Store)(nil)
)

// OpenStore puts the two together. It returns [keybearer.Invalid] for stores that records cannot move between, [keybearer.Conflict] for
// two that do not belong together, and what the stores return. Each says how to mend it.
func OpenStore(ctx context.Context, c Config) (*Store, error) {
	current, former := sqlstore.Of(c.Current), sqlstore.Of(c.Former)
	if current == nil || former == nil {
		return nil, keybearer.NewError(keybearer.Invalid, "records move between stores in databases only").
			WithHint("former_store is sqlite, store is postgres or sqlite")
	}
	s := &Store{quiet: c.Quiet, log: c.Logger, drain: drainTime}
	s.current, s.former = sideOf(c.Current), sideOf(c.Former)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.transfer, err = sqlstore.NewTransfer(former, current, s.move.tell); err != nil {
		return nil, err
	}
	active, err := s.transfer.Active(ctx)
	if err != nil {
		return nil, err
	}
	s.move.init()
	s.active.Store(&s.former)
	if active == current {
		if err := s.transfer.Arrive(ctx); err != nil {
			return nil, err
		}
		s.active.Store(&s.current)
		s.move.set(Done, nil)
	}
	return s, nil
}

// Close ends a move where it is. The stores stay open.
func (s *Store) Close() error {
	s.move.stop()
	return nil
}

// Current is now while the former store is in use, which nobody else writes.
func (s *Store) Current() time.Time {
	if f, ok := s.active.Load().Store.(keybearer.Follower); ok {
		return f.Current()
	}
	return time.Now()
}

// Diagnose looks at both stores, as far as they can look at themselves.
func (s *Store) Diagnose(ctx context.Context) []keybearer.Finding {
	var all []keybearer.Finding
	if d, ok := s.current.Store.(keybearer.Diagnoser); ok {
		all = d.Diagnose(ctx)
	}
	if d, ok := s.former.Store.(keybearer.Diagnoser); ok {
		for _, f := range d.Diagnose(ctx) {
			f.Check = "former store: " + f.Check
			all = append(all, f)
		}
	}
	return all
}

// Watch is told of the commits of both.
func (s *Store) Watch(fn func([]keybearer.Change)) (stop func()) {
	var mu sync.Mutex
	one := func(changes []keybearer.Change) {
		mu.Lock()
		defer mu.Unlock()
		fn(changes)
	}
	former, current := s.former.Watch(one), s.current.Watch(one)
	return func() {
		former()
		current()
	}
}

// Commit commits to the store that is in use. While the last records are copied it waits.
func (s *Store) Commit(ctx context.Context, b keybearer.Batch) (uint64, error) {
	s.commits.RLock()
	defer s.commits.RUnlock()
	return s.active.Load().Commit(ctx, b)
}

// Spend marks the id in the store that is in use. While the last records are copied it waits.
func (s *Store) Spend(ctx context.Context, id keybearer.OnceID, until time.Time) error {
	s.commits.RLock()
	defer s.commits.RUnlock()
	return s.active.Load().Spend(ctx, id, until)
}

// RecordUses records in the ledger that is in use. While the ledger is copied it returns [keybearer.StoreUnavailable], and the audit log has
// what is to be recorded later.
func (s *Store) RecordUses(ctx context.Context, uses []keybearer.UseRecord, checkpoint keybearer.Checkpoint) error {
	if !s.uses.TryRLock() {
		return keybearer.NewError(keybearer.StoreUnavailable, "the ledger of uses is on the move to another store")
	}
	defer s.uses.RUnlock()
	return s.active.Load().RecordUses(ctx, uses, checkpoint)
}

// The rest asks the store that is in use, which never has to wait.

// Scope implements [keybearer.Store].
func (s *Store) Scope(ctx context.Context, idOrName string) (*keybearer.Scope, error) {
	return s.active.Load().Scope(ctx, idOrName)
}

// Scopes implements [keybearer.Store].
func (s *Store) Scopes(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Scope], error) {
	return s.active.Load().Scopes(ctx, q)
}

// Credential implements [keybearer.Store].
func (s *Store) Credential(ctx context.Context, ref keybearer.Ref) (*keybearer.Credential, error) {
	return s.active.Load().Credential(ctx, ref)
}

// Credentials implements [keybearer.Store].
func (s *Store) Credentials(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Credential], error) {
	return s.active.Load().Credentials(ctx, q)
}

// CountCredentials implements [keybearer.Store].
func (s *Store) CountCredentials(ctx context.Context, scopeID string) (live, deleted int, err error) {
	return s.active.Load().CountCredentials(ctx, scopeID)
}

// Caller implements [keybearer.Store].
func (s *Store) Caller(ctx context.Context, idOrName string) (*keybearer.Caller, error) {
	return s.active.Load().Caller(ctx, idOrName)
}

// CallerByToken implements [keybearer.Store].
func (s *Store) CallerByToken(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Caller, error) {
	return s.active.Load().CallerByToken(ctx, hash)
}

// Callers implements [keybearer.Store].
func (s *Store) Callers(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Caller], error) {
	return s.active.Load().Callers(ctx, q)
}

// Operator implements [keybearer.Store].
func (s *Store) Operator(ctx context.Context, idOrName string) (*keybearer.Operator, error) {
	return s.active.Load().Operator(ctx, idOrName)
}

// OperatorByToken implements [keybearer.Store].
func (s *Store) OperatorByToken(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Operator, error) {
	return s.active.Load().OperatorByToken(ctx, hash)
}

// Operators implements [keybearer.Store].
func (s *Store) Operators(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Operator], error) {
	return s.active.Load().Operators(ctx, q)
}

// Events implements [keybearer.Store].
func (s *Store) Events(ctx context.Context, limit int) ([]keybearer.PendingEvent, error) {
	return s.active.Load().Events(ctx, limit)
}

// Delivered implements [keybearer.Store].
func (s *Store) Delivered(ctx context.Context, seqs ...uint64) error {
	return s.active.Load().Delivered(ctx, seqs...)
}

// Sequence implements [keybearer.Store].
func (s *Store) Sequence(ctx context.Context) (uint64, error) {
	return s.active.Load().Sequence(ctx)
}

// Changes implements [keybearer.Store].
func (s *Store) Changes(ctx context.Context, after uint64, limit int) ([]keybearer.Change, error) {
	return s.active.Load().Changes(ctx, after, limit)
}

// Checkpoint implements [keybearer.Ledger].
func (s *Store) Checkpoint(ctx context.Context) (keybearer.Checkpoint, error) {
	return s.active.Load().Checkpoint(ctx)
}

// Usage implements [keybearer.Ledger].
func (s *Store) Usage(ctx context.Context, credentialIDs ...string) (map[string]keybearer.Usage, error) {
	return s.active.Load().Usage(ctx, credentialIDs...)
}

// LastUses implements [keybearer.Ledger].
func (s *Store) LastUses(ctx context.Context, subjects ...string) (map[string]time.Time, error) {
	return s.active.Load().LastUses(ctx, subjects...)
}

// Trial implements [keybearer.Ledger].
func (s *Store) Trial(ctx context.Context, id string) ([]keybearer.TrialUse, error) {
	return s.active.Load().Trial(ctx, id)
}

// UsageHours implements [keybearer.Ledger].
func (s *Store) UsageHours(ctx context.Context, since time.Time, of ...string) (map[string][]keybearer.UsageHour, error) {
	return s.active.Load().UsageHours(ctx, since, of...)
}

// Refusals implements [keybearer.Ledger].
func (s *Store) Refusals(ctx context.Context, since time.Time, of ...string) ([]keybearer.RefusalCount, error) {
	return s.active.Load().Refusals(ctx, since, of...)
}

// UsedSince implements [keybearer.Ledger].
func (s *Store) UsedSince(ctx context.Context, since time.Time) ([]string, error) {
	return s.active.Load().UsedSince(ctx, since)
}
