package sqlstore

import (
	"context"
	"database/sql"
	"sync"
)

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
