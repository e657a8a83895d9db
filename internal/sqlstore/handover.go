package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/keybearer/keybearer"
)

// State says what part a store has in a move of all records to another store.
type State string

// The states. A store without one has never been part of a move.
const (
	Leaving  State = "leaving"  // records are copied from it; it is in use
	Left     State = "left"     // they are in the other store; this one is not used any more, and cannot be written
	Arriving State = "arriving" // records are copied into it; it is of no use without the other
	Arrived  State = "arrived"  // it holds them all, and is in use
)

// Mark is a store's part in a move.
type Mark struct {
	Move   string // names the move; both stores have the same
	State  State  // "": none
	Copied uint64 // Arriving: what was committed up to here has arrived
}

// Of returns the store in a database that s is; nil for a store of another kind.
func Of(s keybearer.Store) *Store {
	switch s := s.(type) {
	case *Store:
		return s
	case *Postgres:
		return s.Store
	}
	return nil
}

// Mark returns the store's part in a move. It returns [keybearer.StoreUnavailable].
func (s *Store) Mark(ctx context.Context) (Mark, error) {
	var m Mark
	var copied int64
	err := s.reads.row(ctx, `SELECT move, state, copied FROM handover`, nil, &m.Move, &m.State, &copied)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Mark{}, s.engine.fail("read the mark of a move", err)
	}
	m.Copied = uint64(copied)
	return m, nil
}

// mark writes the store's part in a move.
func (t *transaction) mark(m Mark) error {
	return t.exec(`INSERT INTO handover (one, move, state, copied) VALUES (1, ?, ?, ?)
		ON CONFLICT (one) DO UPDATE SET move = excluded.move, state = excluded.state, copied = excluded.copied`, m.Move, string(m.State), int64(m.Copied))
}

// seal makes an SQLite database refuse commits and uses from now on, by whatever program: its records are elsewhere.
func (t *transaction) seal() error {
	for _, on := range []string{"UPDATE ON instance", "INSERT ON checkpoints", "UPDATE ON checkpoints", "INSERT ON events", "INSERT ON spent"} {
		name := `"left: ` + on + `"`
		if err := t.exec(`CREATE TRIGGER IF NOT EXISTS ` + name + ` BEFORE ` + on + ` BEGIN SELECT RAISE(ABORT, 'the records have moved to another store'); END`); err != nil {
			return err
		}
	}
	return nil
}

// Alone returns nil when the store may be used without another one, and [keybearer.StoreUnavailable] with what to do when it may not:
// since its records have moved, or have not all arrived.
func (s *Store) Alone(ctx context.Context) error {
	m, err := s.Mark(ctx)
	if err != nil {
		return err
	}
	switch m.State {
	case Left:
		return keybearer.NewError(keybearer.StoreUnavailable, "the records of this store have moved to another one").
			WithHint("name the new store in store; this one is only kept as it was")
	case Arriving:
		return keybearer.NewError(keybearer.StoreUnavailable, "records are on the move into this store, and have not all arrived").
			WithHint("put the line former_store back and run keybearer migrate store, or name the former store in store")
	}
	return nil
}
