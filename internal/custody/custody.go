package custody

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

// Periods that hold when the configuration gives none.
const (
	DefaultKeepPrevious = 24 * time.Hour
	DefaultKeepDeleted  = 7 * 24 * time.Hour
	DefaultWait         = 10 * time.Second
)

// recentUse is how long after its last use a credential is deleted only with force.
const recentUse = 30 * 24 * time.Hour

// Config is what custody works over. Store, Keyring and Auditor are required and stay their owner's to close, after Close.
type Config struct {
	Store   keybearer.Store
	Keyring keybearer.Keyring
	Auditor keybearer.Auditor
	Ledger  keybearer.Ledger // optional: without it nothing is known of use
	Logger  *slog.Logger     // optional: for what happens behind long operations; never gets a secret

	// Current, optional, is for a Keyring over two: it tells whether a key is in the one in which new keys are made. Without it there is
	// nothing to move secrets from.
	Current func(ctx context.Context, key string) (bool, error)

	// Quiet, optional, tells whether no older configuration of this process is left that knows only the former keyring: MoveKey waits for
	// that.
	Quiet func() bool

	// Mover, optional, is for a Store over two: it moves the records from the former one.
	Mover Mover

	// Anchor, optional, knows how far the store's history went. Nothing is committed to a store that it refuses.
	Anchor Anchor

	// Others, optional, are further parts that Status asks.
	Others []Other

	// Tail, optional, reads the audit log back: the last n events for which keep is true. Resume looks there for what a crash left
	// between the log and the mark of delivery, so that it gets no second line.
	Tail func(ctx context.Context, n int, keep func(*keybearer.Event) bool) ([]keybearer.Event, error)

	KeepPrevious time.Duration // how long a replaced secret can be rolled back to; 0: 24 h; negative: not at all
	KeepDeleted  time.Duration // how long a deleted credential can be restored; 0: 7 days
	Wait         time.Duration // how long an operation waits for its long work before it answers with the progress; 0: 10 s
	Now          func() time.Time
}

// Custody performs the operations. It is safe for concurrent use. Run one per store in a process: it delivers the
// store's audit events in order.
//
// Errors of every operation are *[keybearer.Error]. Besides those that it names, each may return
//   - [keybearer.Forbidden], or [keybearer.NotFound] for what the actor may not even see;
//   - [keybearer.Invalid] for a value that is not acceptable;
//   - [keybearer.Stale] when Ask.Revision is not the record's, or when others kept changing it;
//   - [keybearer.StoreUnavailable], [keybearer.KeyringUnavailable], [keybearer.AuditUnavailable]. After the first the change may
//     or may not have been made.
type Custody struct {
	store   keybearer.Store
	keyring keybearer.Keyring
	auditor keybearer.Auditor
	ledger  keybearer.Ledger
	log     *slog.Logger
	tail    func(context.Context, int, func(*keybearer.Event) bool) ([]keybearer.Event, error)
	current func(context.Context, string) (bool, error)
	mover   Mover
	quiet   func() bool
	anchor  Anchor
	others  []Other

	keepPrevious, keepDeleted, wait time.Duration
	now                             func() time.Time

	openOnly bool // the keyring has no right to seal: long operations are left to other servers

	locks  locks
	outbox sync.Mutex // one drain at a time
	works  works
	looks  looks
	sweeps sweeps
	notes  notes

	ctx  context.Context // ends with Close
	stop context.CancelFunc
}

// New returns custody over the parts. It touches none of them: call Resume before the first operation.
func New(cfg Config) (*Custody, error) {
	if cfg.Store == nil || cfg.Keyring == nil || cfg.Auditor == nil {
		return nil, keybearer.NewError(keybearer.Internal, "custody needs a store, a keyring and an audit log")
	}
	c := &Custody{
		store: cfg.Store, keyring: cfg.Keyring, auditor: cfg.Auditor, ledger: cfg.Ledger, log: cfg.Logger, tail: cfg.Tail, current: cfg.Current, mover: cfg.Mover, quiet: cfg.Quiet,
		anchor: cfg.Anchor, others: cfg.Others,
		keepPrevious: cfg.KeepPrevious, keepDeleted: cfg.KeepDeleted, wait: cfg.Wait, now: cfg.Now,
	}
	if k, ok := cfg.Keyring.(keybearer.OpenOnly); ok {
		c.openOnly = k.OpenOnly()
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.anchor == nil {
		c.anchor = noAnchor{}
	}
	switch {
	case c.keepPrevious == 0:
		c.keepPrevious = DefaultKeepPrevious
	case c.keepPrevious < 0:
		c.keepPrevious = 0
	}
	if c.keepDeleted <= 0 {
		c.keepDeleted = DefaultKeepDeleted
	}
	if c.wait <= 0 {
		c.wait = DefaultWait
	}
	c.works.firstRetry, c.works.lastRetry, c.works.page = 100*time.Millisecond, 5*time.Second, 200
	if _, ok := c.store.(keybearer.Follower); ok {
		c.works.learn = learnTime
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// Close stops long operations where they are; Resume goes on with them. It returns when they have stopped.
func (c *Custody) Close() error {
	c.stop()
	c.works.wait()
	c.notes.close()
	return nil
}

// moment is the time in the form that the store keeps.
func (c *Custody) moment() time.Time { return c.now().UTC().Truncate(time.Microsecond) }

// attempts bounds how often an operation is tried against changes by others.
const attempts = 10

// retry runs fn again while it gives Stale because of changes by others, unless the record is not at the revision that was asked for.
func retry[T any](ctx context.Context, fn func() (T, error)) (out T, err error) {
	for i := range attempts {
		out, err = fn()
		if keybearer.CodeOf(err) != keybearer.Stale || errors.Is(err, errRevision) || ctx.Err() != nil {
			return out, err
		}
		time.Sleep(rand.N(time.Millisecond << i)) // so that of two servers that change one record one gets ahead
	}
	return out, err
}

var errRevision = errors.New("another revision was asked for")

// check returns Stale when a revision was asked for and the record has another one.
func (a *Ask) check(revision uint64) error {
	if a.Revision != 0 && a.Revision != revision {
		return keybearer.NewError(keybearer.Stale, "").Wrap(errRevision)
	}
	return nil
}

// locks keeps the changes in one scope in order within this process. Between processes the store's compare-and-swap does.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock waits for the scope's lock. It returns the context's error when that ends first.
func (l *locks) lock(ctx context.Context, id string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	ch := l.held[id]
	if ch == nil {
		ch = make(chan struct{}, 1)
		l.held[id] = ch
	}
	l.mu.Unlock()
	select {
	case ch <- struct{}{}:
		return func() { <-ch }, nil
	case <-ctx.Done():
		return nil, keybearer.NewError(keybearer.StoreUnavailable, "the scope is busy").Wrap(ctx.Err())
	}
}
