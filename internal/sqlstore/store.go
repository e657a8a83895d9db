package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/records"
)

var (
	_ keybearer.Store   = (*Store)(nil)
	_ keybearer.Ledger  = (*Store)(nil)
	_ keybearer.Spender = (*Store)(nil)
)

// Store keeps records, the usage ledger and what was used and may be used one time in a database. It is safe for concurrent use. Make one with [OpenSQLite] or [OpenPostgres].
type Store struct {
	engine engine
	reads  queries
	node   string        // name of this process among those that share the database
	turn   chan struct{} // holds one token; whoever writes has taken it, until the last watcher has returned
	watch  records.Watchers
	keep   int64 // how many changes stay in the feed
	spends spends

	// These belong to whoever has the turn.
	again  *time.Timer // of a settling that has to be repeated; nil: none
	closed bool
}

// engine is what differs between databases.
type engine interface {
	// begin starts a transaction, which the end of ctx does not cut short. end is called when it has ended.
	begin(ctx context.Context) (t *transaction, end func(), err error)
	// repeat reports whether a transaction that failed with err has had no effect, and may succeed when it is run again.
	repeat(err error) bool
	// announce is called at the end of a transaction that makes changes, tell when it has committed: it tells the watchers of
	// them, and of what others committed before.
	announce(t *transaction) error
	tell(ctx context.Context, w *records.Watchers, t *transaction)
	// fail turns an error of the database into a [keybearer.Error].
	fail(op string, err error) error
	// duplicate reports whether err is the breach of a unique index, and dangling whether of a reference.
	duplicate(err error) bool
	dangling(err error) bool
	// contains returns the condition that a column contains a text, to the letter.
	contains(column string) string
	// listing returns the table that has what listings of credentials in order of name filter by, and no records; "": an index of
	// credentials has it.
	listing() string
	// settle is called after every transaction, by who still has the turn to write. replaced says that content was
	// overwritten or deleted for good: no trace of it may stay in the database's files. It returns false when that cannot
	// be done now, and is then called again.
	settle(ctx context.Context, replaced bool) (done bool)
	// close releases all.
	close() error
}

// queries reads. The marks of parameters are "?" in every text.
type queries interface {
	// row scans the first row of a query. It returns [sql.ErrNoRows] when there is none.
	row(ctx context.Context, text string, args []any, dest ...any) error
	// each calls scan for every row of a query. scan must not query.
	each(ctx context.Context, text string, args []any, scan func(*sql.Rows) error) error
}

// keepChanges is how many changes a follower of the feed may be behind.
const keepChanges = 100_000

// newStore makes a store of which this process is the node.
func newStore(e engine, reads queries, node string) *Store {
	s := &Store{engine: e, reads: reads, node: node, turn: make(chan struct{}, 1), keep: keepChanges}
	s.turn <- struct{}{}
	return s
}

// Close releases the database. No other method may be called after it or while it runs; Close once more does nothing.
func (s *Store) Close() error {
	s.spends.runner.Wait()
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.again != nil {
		s.again.Stop()
	}
	return s.engine.close()
}

// settleAgain is how long to wait before what could not be settled is tried again.
const settleAgain = time.Second

// settle lets the engine clean up, and comes back to it until that is done. The caller has the turn.
func (s *Store) settle(ctx context.Context, replaced bool) {
	if s.engine.settle(ctx, replaced) || s.again != nil {
		return
	}
	s.again = time.AfterFunc(settleAgain, func() {
		<-s.turn
		defer func() { s.turn <- struct{}{} }()
		s.again = nil
		if !s.closed {
			s.settle(context.Background(), false)
		}
	})
}

// transaction runs statements inside one transaction.
type transaction struct {
	ctx      context.Context
	tx       *sql.Tx
	bind     func(string) string  // the form in which the database takes a text; nil: as it is, prepared once
	stmts    map[string]*sql.Stmt // those that are prepared
	changes  []keybearer.Change   // to be told when it has committed
	last     int64                // number of the last of them
	replaces bool                 // ciphertext or key shares are overwritten or deleted for good
}

// attempts is how often a transaction is run at most, when others stand in its way.
const attempts = 5

// write waits for its turn and runs fn in a transaction, all or nothing. Once begun it is not cut short by ctx. fn may be run more
// than once. Watchers are told before the next turn.
func (s *Store) write(ctx context.Context, op string, fn func(*transaction) error) error {
	select {
	case <-ctx.Done():
		return s.engine.fail(op, ctx.Err())
	case <-s.turn:
	}
	defer func() { s.turn <- struct{}{} }()

	ctx = context.WithoutCancel(ctx)
	var t *transaction
	var err error
	for range attempts {
		if t, err = s.attempt(ctx, fn); err == nil || !s.engine.repeat(err) {
			break
		}
	}
	if err != nil {
		return s.engine.fail(op, err)
	}
	if len(t.changes) > 0 {
		s.engine.tell(ctx, &s.watch, t)
	}
	s.settle(ctx, t.replaces)
	return nil
}

func (s *Store) attempt(ctx context.Context, fn func(*transaction) error) (*transaction, error) {
	t, end, err := s.engine.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if err = fn(t); err != nil {
		_ = t.tx.Rollback() // the database rolls back by itself what it cannot be told to
		return nil, err
	}
	return t, t.tx.Commit()
}

func (t *transaction) stmt(text string) (*sql.Stmt, error) {
	if st := t.stmts[text]; st != nil {
		return st, nil
	}
	st, err := t.tx.PrepareContext(t.ctx, text)
	if err == nil {
		t.stmts[text] = st
	}
	return st, err
}

func (t *transaction) exec(text string, args ...any) error {
	if t.bind != nil {
		_, err := t.tx.ExecContext(t.ctx, t.bind(text), args...)
		return err
	}
	st, err := t.stmt(text)
	if err != nil {
		return err
	}
	_, err = st.ExecContext(t.ctx, args...)
	return err
}

// each calls scan for every row of a query. scan must not query.
func (t *transaction) each(text string, args []any, scan func(*sql.Rows) error) error {
	if t.bind != nil {
		text = t.bind(text)
	}
	return each(t.ctx, t.tx, text, scan, args...)
}

func (t *transaction) row(text string, args []any, dest ...any) error {
	if t.bind != nil {
		return t.tx.QueryRowContext(t.ctx, t.bind(text), args...).Scan(dest...)
	}
	st, err := t.stmt(text)
	if err != nil {
		return err
	}
	return st.QueryRowContext(t.ctx, args...).Scan(dest...)
}
