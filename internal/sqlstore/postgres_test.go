package sqlstore_test

import (
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/harness"
)

// openPostgres opens a database as a node.
func openPostgres(t *testing.T, dsn, node string) *sqlstore.Postgres {
	t.Helper()
	return openPostgresConfig(t, sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn), Node: node})
}

func openPostgresConfig(t *testing.T, c sqlstore.PostgresConfig) *sqlstore.Postgres {
	t.Helper()
	s, err := sqlstore.OpenPostgres(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// database gives the test direct access to a database.
func database(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// execute runs SQL and returns how many rows it concerned.
func execute(t *testing.T, db *sql.DB, text string, args ...any) int64 {
	t.Helper()
	result, err := db.ExecContext(t.Context(), text, args...)
	if err != nil {
		t.Fatal(err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// told is what a store has told of changes, and when.
type told struct {
	mu      sync.Mutex
	changes []keybearer.Change
	at      map[uint64]time.Time // by sequence
}

func watch(t *testing.T, s keybearer.Store) *told {
	w := &told{at: make(map[uint64]time.Time)}
	t.Cleanup(s.Watch(func(changes []keybearer.Change) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, c := range changes {
			w.changes = append(w.changes, c)
			w.at[c.Seq] = time.Now()
		}
	}))
	return w
}

func (w *told) all() []keybearer.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.changes)
}

// await returns when the change with that sequence number, or a later one, was told.
func (w *told) await(t *testing.T, seq uint64, within time.Duration) time.Time {
	t.Helper()
	var at time.Time
	harness.Await(t, fmt.Sprintf("word of commit %d", seq), within, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for s, then := range w.at {
			if s >= seq {
				at = then
				return nil
			}
		}
		return fmt.Errorf("%d changes were told", len(w.changes))
	})
	return at
}

// lost reports whether all was to be forgotten.
func (w *told) lost() bool {
	return slices.ContainsFunc(w.all(), func(c keybearer.Change) bool { return c.Kind == keybearer.AllRecords })
}

// addCaller commits a new caller.
func addCaller(t *testing.T, s keybearer.Store, name string) (*keybearer.Caller, uint64) {
	t.Helper()
	c := &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: name}
	c.Revision = must(s.Commit(t.Context(), callers(c)))(t)
	return c, c.Revision
}

func callers(all ...*keybearer.Caller) keybearer.Batch {
	var b keybearer.Batch
	for _, c := range all {
		b.Writes = append(b.Writes, keybearer.Write{Caller: c})
	}
	return b
}

func TestPostgresStore(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	keybearertest.TestStore(t, func(t *testing.T) keybearer.Store { return openPostgres(t, server.Database(t), "a") })
}

func TestPostgresLedger(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	keybearertest.TestLedger(t, func(t *testing.T) keybearer.Ledger { return openPostgres(t, server.Database(t), "a") })
}

func TestPostgresFleet(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	keybearertest.TestFleet(t, func(t *testing.T) func(string) keybearer.Store {
		dsn := server.Database(t)
		return func(node string) keybearer.Store { return openPostgres(t, dsn, node) }
	})
}

// Who caches what a SQLite store says needs no second look: it has one process.
func TestOnlyPostgresFollows(t *testing.T) {
	if _, ok := any(new(sqlstore.Store)).(keybearer.Follower); ok {
		t.Error("the SQLite store claims that others change it")
	}
}
