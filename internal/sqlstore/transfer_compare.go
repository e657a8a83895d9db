package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/keybearer/keybearer"
)

// holding sums up what a store holds.
type holding struct {
	count map[string]int
	hash  [sha256.Size]byte
}

// compare returns [keybearer.Conflict] unless both stores hold the same records and tokens.
func (t *Transfer) compare(ctx context.Context) error {
	a, err := t.from.holding(ctx)
	if err != nil {
		return err
	}
	b, err := t.to.holding(ctx)
	if err != nil {
		return err
	}
	for table, n := range a.count {
		if b.count[table] != n {
			return keybearer.NewError(keybearer.Conflict, fmt.Sprintf("the stores differ: %d %s in the former one, %d in the new one", n, table, b.count[table])).
				WithHint("run keybearer migrate store again: it copies everything anew")
		}
	}
	if a.hash != b.hash {
		return keybearer.NewError(keybearer.Conflict, "the stores differ in what they hold").
			WithHint("run keybearer migrate store again: it copies everything anew")
	}
	return nil
}

// holding counts all rows, and hashes the records and tokens.
func (s *Store) holding(ctx context.Context) (*holding, error) {
	h := &holding{count: map[string]int{}}
	sum := sha256.New()
	e := json.NewEncoder(sum)
	for _, table := range recordTables {
		last := ""
		for n := pageRows; n == pageRows; {
			n = 0
			text := `SELECT id, name, deleted, revision, record FROM ` + table + ` WHERE id > ? ORDER BY id LIMIT ?`
			err := s.reads.each(ctx, text, []any{last, pageRows}, func(rows *sql.Rows) error {
				n++
				var name string
				var deleted, revision int64
				var record []byte
				if err := rows.Scan(&last, &name, &deleted, &revision, &record); err != nil {
					return err
				}
				r, err := encoded(table, record, revision) // as this version writes it, whoever wrote it
				if err != nil {
					return err
				}
				return e.Encode([]any{table, last, name, deleted, revision, r.record})
			})
			if err != nil {
				return nil, s.engine.fail("compare the stores", err)
			}
			h.count[table] += n
		}
	}
	last := ""
	for n := pageRows; n == pageRows; {
		n = 0
		text := `SELECT hash, kind, owner FROM tokens WHERE hash > ? ORDER BY hash LIMIT ?`
		err := s.reads.each(ctx, text, []any{last, pageRows}, func(rows *sql.Rows) error {
			n++
			var kind, owner string
			if err := rows.Scan(&last, &kind, &owner); err != nil {
				return err
			}
			return e.Encode([]string{last, kind, owner})
		})
		if err != nil {
			return nil, s.engine.fail("compare the stores", err)
		}
		h.count["tokens"] += n
	}
	sum.Sum(h.hash[:0])
	return h, nil
}
