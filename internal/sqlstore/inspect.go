package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/keybearer/keybearer"
)

// sqliteSteps and postgresSteps say what the n-th file of the schema brings: for whoever is about to upgrade.
var (
	sqliteSteps = []string{
		"the first tables", "an outbox and a place in the audit log for each node", "moves from and to other stores", "when callers and tokens were last used",
		"assertions that count once", "trials of narrower rules", "refusals by reason and hour", "who may see which credential, in the index of listings",
	}
	postgresSteps = []string{
		"the first tables", "moves from and to other stores", "when callers and tokens were last used", "assertions that count once", "trials of narrower rules",
		"refusals by reason and hour", "a narrow table for listings and searches",
	}
)

// Inspection is what a store is found to hold by somebody who only reads it. There is one whatever version wrote the store.
type Inspection struct {
	Found     bool                   // there is a store; otherwise the rest is zero, but for Wanted
	Schema    int                    // version of its tables
	Wanted    int                    // that of this binary
	Steps     []string               // what a migration brings, in words; none when Schema is not less than Wanted
	Bytes     int64                  // what it takes on disk, as far as that can be told
	Sequence  uint64                 // number of the last commit
	Scopes    []*keybearer.Scope     // deleted ones too
	Positions []keybearer.Checkpoint // how far the audit log of each node was read; the nodes' own names do not matter here
	Nodes     []Node                 // connected at the moment; PostgreSQL only
}

// Node is a process that uses a shared store.
type Node struct {
	Name    string
	Version string // of its binary; "": it does not tell
}

// source is a pool or a connection that is read from.
type source interface {
	querier
	QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row
}

// look reads what is the same in both databases, whatever the version of their tables.
func (i *Inspection) look(ctx context.Context, db source, steps []string) error {
	i.Found, i.Wanted = true, len(steps)
	if i.Schema < len(steps) {
		i.Steps = slices.Clone(steps[i.Schema:])
	}
	if err := db.QueryRowContext(ctx, "SELECT seq FROM instance").Scan(&i.Sequence); err != nil {
		return err
	}
	if err := each(ctx, db, "SELECT record FROM scopes ORDER BY name", func(rows *sql.Rows) error {
		var record string
		if err := rows.Scan(&record); err != nil {
			return err
		}
		s := new(keybearer.Scope)
		if err := json.Unmarshal([]byte(record), s); err != nil {
			return errUnreadable{err}
		}
		i.Scopes = append(i.Scopes, s)
		return nil
	}); err != nil {
		return err
	}
	positions := "SELECT file, position FROM checkpoints"
	var former int // the first version of SQLite's had one in instance
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM ("+positions+") c").Scan(&former); err != nil {
		positions = "SELECT checkpoint_file, checkpoint_offset FROM instance"
	}
	return each(ctx, db, positions, func(rows *sql.Rows) error {
		var p keybearer.Checkpoint
		err := rows.Scan(&p.File, &p.Offset)
		i.Positions = append(i.Positions, p)
		return err
	})
}

// each calls scan for every row of a query.
func each(ctx context.Context, db querier, text string, scan func(*sql.Rows) error, args ...any) error {
	rows, err := db.QueryContext(ctx, text, args...)
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

// tooNew is the error of a store whose tables a newer version has made.
func tooNew(what string, found, known int) error {
	return keybearer.NewError(keybearer.StoreUnavailable,
		fmt.Sprintf("%s by a newer version of Keybearer: its schema is version %d, this binary knows %d", what, found, known)).
		WithHint("install that version again, or restore the backup that was made before the upgrade")
}
