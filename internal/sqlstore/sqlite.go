package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"sync"

	sqlite "modernc.org/sqlite"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/records"
)

const (
	lockSuffix  = ".lock"
	busyTimeout = "5000" // milliseconds to wait for another program that writes

	// applicationID marks a database as ours in its header ("Keyb").
	applicationID = 0x4b657962
)

// sqliteSchema brings a database from version n-1 to n with the n-th file, in order of name.
//
//go:embed schema/sqlite/*.sql
var sqliteSchema embed.FS

// OpenSQLite opens the database in the file path and makes it when it is not there, its directory included. The context
// bounds the opening only. The Store is the caller's, to be closed.
//
// Every error is [keybearer.StoreUnavailable], names the file and says how to mend it: a directory or file that others may
// read or write, a file in use by another process, no database, another program's, a damaged one, one that a newer version
// wrote, or one that cannot be written. None of them changes the file.
func OpenSQLite(ctx context.Context, path string) (*Store, error) {
	path, err := place(path)
	if err != nil {
		return nil, err
	}
	lock, err := lock(path + lockSuffix)
	if err != nil {
		return nil, err
	}
	fresh, err := inspect(path)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	// The syncs that acknowledge a commit need not write the file's timestamps. Where there is no such call, fsync stays.
	_, _ = sqlite.Fdatasync(true)
	e := &sqliteEngine{path: path, lock: lock}
	e.writes = e.connect(1, fresh)
	e.reads = e.connect(max(4, runtime.GOMAXPROCS(0)), false)
	if err := e.open(ctx); err != nil {
		_ = e.close()
		return nil, err
	}
	return newStore(e, &reader{db: e.reads, gate: &e.gate, stmts: make(map[string]*sql.Stmt)}, ""), nil
}

// sqliteEngine is the engine of one SQLite file.
type sqliteEngine struct {
	path          string
	lock          *os.File
	reads, writes *sql.DB
	gate          sync.RWMutex // held for reading by every query on reads
	lingering     bool         // the log may hold what rows no longer hold; the writer's
}

// connect returns a pool of n connections; one is for writing. It opens nothing yet.
func (e *sqliteEngine) connect(n int, fresh bool) *sql.DB {
	q := url.Values{
		"_busy_timeout": {busyTimeout},
		"_dqs":          {"0"},
		"_error_rc":     {"1"},
		"_foreign_keys": {"1"},
		"_pragma":       {"cell_size_check(1)", "temp_store(2)", "trusted_schema(0)", "secure_delete(1)", "wal_autocheckpoint(0)"},
		"_synchronous":  {"FULL"},
		"mode":          {"rw"},
	}
	if n == 1 {
		q.Set("_journal_mode", "WAL")
		q.Set("_txlock", "immediate")
		q.Add("_pragma", "cache_size(-16000)") // KiB; large batches touch many pages
		if fresh {
			// First of all statements, so that no file of ours is without it.
			q.Add("_pragma", fmt.Sprintf("application_id(%d)", applicationID))
		}
	} else {
		q.Set("_query_only", "1")
	}
	dsn := url.URL{Scheme: "file", Path: e.path, RawQuery: q.Encode()}
	c, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		panic(err) // the text above is at fault, whatever the path
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db
}

// open brings the schema up to date and empties the log of a process that was killed.
func (e *sqliteEngine) open(ctx context.Context) error {
	const op = "open the store"
	var version int
	if err := e.writes.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return e.explain(op, e.path, err)
	}
	var mode string
	if err := e.writes.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return e.explain(op, e.path, err)
	}
	if mode != "wal" {
		return keybearer.NewError(keybearer.StoreUnavailable, "the file system of "+e.path+" does not allow SQLite's write-ahead log").
			WithHint("put the store on a local disk")
	}
	files, err := sqliteSchema.ReadDir("schema/sqlite")
	if err != nil {
		return e.explain(op, e.path, err)
	}
	if version > len(files) {
		return tooNew(e.path+" was written", version, len(files))
	}
	for version < len(files) {
		text, err := sqliteSchema.ReadFile("schema/sqlite/" + files[version].Name())
		if err != nil {
			return e.explain(op, e.path, err)
		}
		version++
		if err := e.migrate(ctx, string(text), version); err != nil {
			return e.explain(op, e.path, err)
		}
	}
	e.settle(ctx, true) // what hinders it will be met again by the first commit
	// Open one reader now, so that what hinders reading is told here.
	var seq int64
	if err := e.reads.QueryRowContext(ctx, "SELECT seq FROM instance").Scan(&seq); err != nil {
		return e.explain(op, e.path, err)
	}
	return nil
}

func (e *sqliteEngine) migrate(ctx context.Context, text string, version int) error {
	tx, err := e.writes.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, text); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		return err
	}
	return tx.Commit()
}

func (e *sqliteEngine) begin(ctx context.Context) (*transaction, func(), error) {
	tx, err := e.writes.BeginTx(ctx, nil)
	return &transaction{ctx: ctx, tx: tx, stmts: make(map[string]*sql.Stmt)}, func() {}, err
}

func (e *sqliteEngine) repeat(error) bool { return false }

// announce does nothing: nobody else has this file.
func (e *sqliteEngine) announce(*transaction) error { return nil }

func (e *sqliteEngine) tell(_ context.Context, w *records.Watchers, t *transaction) {
	w.Tell(t.changes)
}

func (e *sqliteEngine) listing() string { return "" }

func (e *sqliteEngine) contains(column string) string { return "instr(" + column + ", ?) > 0" }

// close empties the log, closes the database and lets go of the lock.
func (e *sqliteEngine) close() error {
	e.settle(context.Background(), true)
	err := e.reads.Close()
	if err2 := e.writes.Close(); err == nil {
		err = err2
	}
	if err2 := e.lock.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return e.fail("close the store", err)
	}
	return nil
}
