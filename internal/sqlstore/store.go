package sqlstore

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

var (
	_ keybearer.Store  = (*Store)(nil)
	_ keybearer.Ledger = (*Store)(nil)
)

// Store keeps records and the usage ledger in a database. It is safe for concurrent use. Make one with [OpenSQLite].
type Store struct {
	engine engine
	reads  reader
	writes *sql.DB
	turn   chan struct{} // holds one token; whoever writes has taken it, until the last watcher has returned
	watch  watchers
	keep   int64 // how many changes stay in the feed

	// These belong to whoever has the turn.
	again  *time.Timer // of a settling that has to be repeated; nil: none
	closed bool
}

// engine is what differs between databases.
type engine interface {
	// fail turns an error of the database into a [keybearer.Error].
	fail(op string, err error) error
	// duplicate reports whether err is the breach of a unique index, and dangling whether of a reference.
	duplicate(err error) bool
	dangling(err error) bool
	// contains returns the condition that a column contains a text, to the letter.
	contains(column string) string
	// settle is called after every transaction, by who still has the turn to write. replaced says that content was
	// overwritten or deleted for good: no trace of it may stay in the database's files. It returns false when that cannot
	// be done now, and is then called again.
	settle(ctx context.Context, replaced bool) (done bool)
	// close releases all.
	close() error
}

// keepChanges is how many changes a follower of the feed may be behind.
const keepChanges = 100_000

// newStore makes a store on two pools, the second of one connection. gate is held by every query on the first.
func newStore(e engine, reads, writes *sql.DB, gate *sync.RWMutex) *Store {
	s := &Store{
		engine: e,
		reads:  reader{db: reads, gate: gate, stmts: make(map[string]*sql.Stmt)},
		writes: writes,
		turn:   make(chan struct{}, 1),
		keep:   keepChanges,
	}
	s.turn <- struct{}{}
	return s
}

// Close releases the database. No other method may be called after it or while it runs; Close once more does nothing.
func (s *Store) Close() error {
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

// reader runs queries on a pool of connections and prepares each statement once for each of them.
type reader struct {
	db    *sql.DB
	gate  *sync.RWMutex
	mu    sync.RWMutex // of stmts
	stmts map[string]*sql.Stmt
}

func (r *reader) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	r.mu.RLock()
	st := r.stmts[text]
	r.mu.RUnlock()
	if st != nil {
		return st, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if st = r.stmts[text]; st != nil {
		return st, nil
	}
	st, err := r.db.PrepareContext(ctx, text)
	if err == nil {
		r.stmts[text] = st
	}
	return st, err
}

// row scans the first row of a query. It returns [sql.ErrNoRows] when there is none.
func (r *reader) row(ctx context.Context, text string, args []any, dest ...any) error {
	r.gate.RLock()
	defer r.gate.RUnlock()
	st, err := r.stmt(ctx, text)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(dest...)
}

// each calls scan for every row of a query. scan must not query.
func (r *reader) each(ctx context.Context, text string, args []any, scan func(*sql.Rows) error) error {
	r.gate.RLock()
	defer r.gate.RUnlock()
	st, err := r.stmt(ctx, text)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// transaction runs statements inside one transaction and prepares each once.
type transaction struct {
	ctx      context.Context
	tx       *sql.Tx
	stmts    map[string]*sql.Stmt
	changes  []keybearer.Change // to be told when it has committed
	replaces bool               // ciphertext or key shares are overwritten or deleted for good
}

// write waits for its turn and runs fn in a transaction, all or nothing. Once begun it is not cut short by ctx.
// Watchers are told before the next turn.
func (s *Store) write(ctx context.Context, op string, fn func(*transaction) error) error {
	select {
	case <-ctx.Done():
		return s.engine.fail(op, ctx.Err())
	case <-s.turn:
	}
	defer func() { s.turn <- struct{}{} }()

	ctx = context.WithoutCancel(ctx)
	tx, err := s.writes.BeginTx(ctx, nil)
	if err != nil {
		return s.engine.fail(op, err)
	}
	t := &transaction{ctx: ctx, tx: tx, stmts: make(map[string]*sql.Stmt)}
	if err = fn(t); err != nil {
		_ = tx.Rollback() // the database rolls back by itself what it cannot be told to
		return s.engine.fail(op, err)
	}
	if err = tx.Commit(); err != nil {
		return s.engine.fail(op, err)
	}
	if len(t.changes) > 0 {
		s.watch.tell(t.changes)
	}
	s.settle(ctx, t.replaces)
	return nil
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
	st, err := t.stmt(text)
	if err != nil {
		return err
	}
	_, err = st.ExecContext(t.ctx, args...)
	return err
}

func (t *transaction) row(text string, args []any, dest ...any) error {
	st, err := t.stmt(text)
	if err != nil {
		return err
	}
	return st.QueryRowContext(t.ctx, args...).Scan(dest...)
}
