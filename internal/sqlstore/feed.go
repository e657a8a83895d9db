package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/keybearer/keybearer"
)

// Events returns up to limit events of this node that are not marked as delivered, in order of commit.
func (s *Store) Events(ctx context.Context, limit int) ([]keybearer.PendingEvent, error) {
	const op = "read the outbox"
	var events []keybearer.PendingEvent
	err := s.reads.each(ctx, `SELECT number, event FROM events WHERE node = ? ORDER BY number LIMIT ?`, []any{s.node, max(limit, 0)}, func(rows *sql.Rows) error {
		var number int64
		var text []byte
		if err := rows.Scan(&number, &text); err != nil {
			return err
		}
		e := keybearer.PendingEvent{Seq: uint64(number)}
		if err := json.Unmarshal(text, &e.Event); err != nil {
			return errUnreadable{err}
		}
		events = append(events, e)
		return nil
	})
	if err != nil {
		return nil, s.engine.fail(op, err)
	}
	return events, nil
}

// Delivered takes events out of the outbox. Numbers that are not there are passed over.
func (s *Store) Delivered(ctx context.Context, seqs ...uint64) error {
	if len(seqs) == 0 {
		return nil
	}
	return s.write(ctx, "empty the outbox", func(t *transaction) error {
		for _, n := range seqs {
			if err := t.exec(`DELETE FROM events WHERE number = ?`, int64(n)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Sequence returns the number of the last commit.
func (s *Store) Sequence(ctx context.Context) (uint64, error) {
	var seq int64
	if err := s.reads.row(ctx, `SELECT seq FROM instance`, nil, &seq); err != nil {
		return 0, s.engine.fail("read the sequence", err)
	}
	return uint64(seq), nil
}

// Changes returns the changes of commits above after, in order.
func (s *Store) Changes(ctx context.Context, after uint64, limit int) ([]keybearer.Change, error) {
	const op = "read the feed"
	// The whole of the commit that holds the last change within the limit: otherwise a follower that goes on behind
	// its sequence number would miss the rest of it.
	const text = `SELECT seq, kind, id, scope_id FROM changes WHERE seq > ?
		AND seq <= COALESCE((SELECT seq FROM changes WHERE seq > ? ORDER BY seq, number LIMIT 1 OFFSET ?), (SELECT seq FROM instance))
		ORDER BY seq, number`
	var changes []keybearer.Change
	err := s.reads.each(ctx, text, []any{int64(after), int64(after), max(limit, 1) - 1}, func(rows *sql.Rows) error {
		var seq int64
		var c keybearer.Change
		if err := rows.Scan(&seq, &c.Kind, &c.ID, &c.ScopeID); err != nil {
			return err
		}
		c.Seq = uint64(seq)
		changes = append(changes, c)
		return nil
	})
	if err != nil {
		return nil, s.engine.fail(op, err)
	}
	// Read after the changes: had they been pruned in between, the floor tells.
	var seq, floor int64
	if err := s.reads.row(ctx, `SELECT seq, feed_floor FROM instance`, nil, &seq, &floor); err != nil {
		return nil, s.engine.fail(op, err)
	}
	if after < uint64(floor) || after > uint64(seq) {
		return nil, s.engine.fail(op, keybearer.NewError(keybearer.Stale, "the feed of changes does not reach back so far"))
	}
	return changes, nil
}
