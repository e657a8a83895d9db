package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// postgresSchema brings a database from version n-1 to n with the n-th file, in order of name.
//
//go:embed schema/postgres/*.sql
var postgresSchema embed.FS

// migrationLock is the advisory lock that a process holds while it changes tables ("Keybeare").
const migrationLock = 0x4b65796265617265

// await brings the tables up to date, and waits so long for a server that cannot be reached.
func (e *postgresEngine) await(ctx context.Context, wait time.Duration, log *slog.Logger) error {
	server := "the database at " + strings.Join(hosts(e.config), ", ")
	deadline := time.Now().Add(wait)
	for waits := 0; ; waits++ {
		err := e.migrate(ctx)
		if err == nil {
			return nil
		}
		failure := e.explain("open the store", server, err)
		if !away(err) || strings.HasPrefix(sqlState(err), "28") || sqlState(err) == "3D000" || !time.Now().Before(deadline) {
			return failure
		}
		if waits == 0 {
			log.Warn("waiting for the database", "for", wait, "error", failure)
		}
		select {
		case <-ctx.Done():
			return failure
		case <-time.After(200*time.Millisecond + rand.N(200*time.Millisecond)):
		}
	}
}

// migrate brings the tables up to date. Of several processes that start at once one does it and the others wait.
func (e *postgresEngine) migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errStalled)
	defer cancel()
	files, err := postgresSchema.ReadDir("schema/postgres")
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, e.writes)
	if err != nil {
		return stalled(ctx, err)
	}
	if version == len(files) {
		return nil // whoever may not change tables, or on a server that is read-only, can go on
	}
	tx, err := e.writes.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return stalled(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrationLock)); err != nil {
		return stalled(ctx, err)
	}
	if version, err = schemaVersion(ctx, tx); err != nil {
		return stalled(ctx, err)
	}
	if version > len(files) {
		return tooNew("the tables of the database were made", version, len(files))
	}
	if version == 0 {
		if err := e.create(ctx, tx); err != nil {
			return err
		}
	}
	for ; version < len(files); version++ {
		text, err := postgresSchema.ReadFile("schema/postgres/" + files[version].Name())
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(text)); err != nil {
			return occupied(err)
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE keybearer_schema SET version = $1`, version); err != nil {
		return err
	}
	return stalled(ctx, tx.Commit())
}

// create makes the table that says which version the others have.
func (e *postgresEngine) create(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `CREATE TABLE keybearer_schema (version INTEGER NOT NULL); INSERT INTO keybearer_schema VALUES (0)`)
	if sqlState(err) == "42501" || sqlState(err) == "3F000" {
		return keybearer.NewError(keybearer.StoreUnavailable, "the role may not create tables in the database").
			WithHint("make it the owner: ALTER DATABASE <name> OWNER TO <role>").Wrap(err)
	}
	return err
}

// occupied explains a table that is there before ours.
func occupied(err error) error {
	if sqlState(err) == "42P07" {
		return keybearer.NewError(keybearer.StoreUnavailable, "the database holds tables of another program").
			WithHint("give Keybearer a database of its own; this one was left as it is").Wrap(err)
	}
	return err
}

// schemaVersion returns the version of the tables, 0 when there are none.
func schemaVersion(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row
},
) (version int, err error) {
	// Not to_regclass: it may remember that there was none before the lock was had.
	const exists = `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.relname = 'keybearer_schema' AND pg_catalog.pg_table_is_visible(c.oid))`
	var there bool
	if err := db.QueryRowContext(ctx, exists).Scan(&there); err != nil || !there {
		return 0, err
	}
	err = db.QueryRowContext(ctx, `SELECT version FROM keybearer_schema`).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return version, err
}
