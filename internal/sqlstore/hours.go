package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// hourKey is the bucket of a credential, by id; of a scope, by name; or, with "", of all together.
type hourKey struct {
	of   string
	hour int64
}

type hourCount struct{ uses, refused, failed int }

func (h *hourCount) add(u *keybearer.UseRecord) {
	switch {
	case u.Refused:
		h.refused++
	case u.Code != "" || u.Status >= 500:
		h.failed++
		h.uses++
	default:
		h.uses++
	}
}

// sums is what a use counts for.
func sums(u *keybearer.UseRecord) []string {
	if u.Scope == "" || keybearer.IsID(u.Scope, keybearer.IDCredential) {
		return []string{u.CredentialID, ""}
	}
	return []string{u.CredentialID, u.Scope, ""}
}

// shared orders what more than one node may want at the same time behind the rest: whoever holds such a row holds the others up.
func shared(of string) int {
	switch {
	case of == "":
		return 2
	case !keybearer.IsID(of, keybearer.IDCredential):
		return 1
	}
	return 0
}

const addHours = `ON CONFLICT (credential_id, hour) DO UPDATE SET uses = usage_hours.uses + excluded.uses,
	refused = usage_hours.refused + excluded.refused, failed = usage_hours.failed + excluded.failed`

// putHours adds to the hourly buckets; to those of all credentials together last, since every node wants them.
func putHours(t *transaction, hours map[hourKey]*hourCount) error {
	keys := slices.SortedFunc(maps.Keys(hours), func(a, b hourKey) int {
		return cmp.Or(cmp.Compare(shared(a.of), shared(b.of)), cmp.Compare(a.of, b.of), cmp.Compare(a.hour, b.hour))
	})
	const head = `INSERT INTO usage_hours (credential_id, hour, uses, refused, failed)`
	var rows [][]any
	together := len(keys)
	for i, k := range keys {
		if k.of == "" {
			together = i
			break
		}
		rows = append(rows, []any{k.of, k.hour, hours[k].uses, hours[k].refused, hours[k].failed})
	}
	if err := putRows(t, head, 5, addHours, rows); err != nil {
		return err
	}
	for _, k := range keys[together:] {
		h := hours[k]
		var uses, refused int
		err := t.row(head+` VALUES (?, ?, ?, ?, ?) `+addHours+` RETURNING uses, refused`,
			[]any{k.of, k.hour, h.uses, h.refused, h.failed}, &uses, &refused)
		if err != nil {
			return err
		}
		if uses != h.uses || refused != h.refused {
			continue
		}
		// The first use in an hour: time to let go of what is too old. A clock that ran ahead must not empty the table.
		old := min(k.hour, micros(time.Now().Truncate(time.Hour))) - keepHours.Microseconds()
		for _, table := range []string{`DELETE FROM usage_hours WHERE hour < ?`, `DELETE FROM refusals WHERE hour < ?`, `DELETE FROM trials WHERE last_at < ?`} {
			if err := t.exec(table, old); err != nil {
				return err
			}
		}
	}
	return nil
}

// UsageHours returns the hourly buckets that began at since or later, and the one that since falls in.
func (s *Store) UsageHours(ctx context.Context, since time.Time, of ...string) (map[string][]keybearer.UsageHour, error) {
	found := make(map[string][]keybearer.UsageHour)
	for part := range slices.Chunk(of, usageChunk) {
		in, args := oneOf(part)
		err := s.reads.each(ctx, `SELECT credential_id, hour, uses, refused, failed FROM usage_hours WHERE credential_id`+in+` AND hour >= ? ORDER BY credential_id, hour`,
			append(args, micros(since.UTC().Truncate(time.Hour))), func(rows *sql.Rows) error {
				var id string
				var hour, uses, refused, failed int64
				err := rows.Scan(&id, &hour, &uses, &refused, &failed)
				found[id] = append(found[id], keybearer.UsageHour{Hour: moment(hour), Uses: uint64(uses), Refused: uint64(refused), Failed: uint64(failed)})
				return err
			})
		if err != nil {
			return nil, s.engine.fail("read the usage", err)
		}
	}
	return found, nil
}

type refusalKey struct {
	of   string // as in hourKey
	code keybearer.Code
	hour int64
}

func putRefusals(t *transaction, refusals map[refusalKey]int) error {
	var rows [][]any
	for _, k := range slices.SortedFunc(maps.Keys(refusals), func(a, b refusalKey) int {
		return cmp.Or(cmp.Compare(shared(a.of), shared(b.of)), cmp.Compare(a.of, b.of), cmp.Compare(a.hour, b.hour), cmp.Compare(a.code, b.code))
	}) {
		rows = append(rows, []any{k.of, k.hour, string(k.code), refusals[k]})
	}
	return putRows(t, `INSERT INTO refusals (credential_id, hour, code, refused)`, 4,
		`ON CONFLICT (credential_id, hour, code) DO UPDATE SET refused = refusals.refused + excluded.refused`, rows)
}

// Refusals sums up refusals by code, those of the hour that since falls in included.
func (s *Store) Refusals(ctx context.Context, since time.Time, of ...string) ([]keybearer.RefusalCount, error) {
	of = slices.Compact(slices.Sorted(slices.Values(of))) // what is given twice may count once only
	counts := make(map[keybearer.Code]uint64)
	for part := range slices.Chunk(of, usageChunk) {
		in, args := oneOf(part)
		err := s.reads.each(ctx, `SELECT code, CAST(SUM(refused) AS BIGINT) FROM refusals WHERE credential_id`+in+` AND hour >= ? GROUP BY code`,
			append(args, micros(since.UTC().Truncate(time.Hour))), func(rows *sql.Rows) error {
				var code string
				var n int64
				err := rows.Scan(&code, &n)
				counts[keybearer.Code(code)] += uint64(n)
				return err
			})
		if err != nil {
			return nil, s.engine.fail("read the refusals", err)
		}
	}
	var found []keybearer.RefusalCount
	for code, n := range counts {
		found = append(found, keybearer.RefusalCount{Code: code, Count: n})
	}
	slices.SortFunc(found, func(a, b keybearer.RefusalCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
	return found, nil
}

// UsedSince returns the ids of the credentials that were used since a time.
func (s *Store) UsedSince(ctx context.Context, since time.Time) ([]string, error) {
	var ids []string
	err := s.reads.each(ctx, `SELECT credential_id FROM usage WHERE uses > 0 AND last_at >= ? ORDER BY credential_id`, []any{micros(since)}, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return nil, s.engine.fail("read the usage", err)
	}
	return ids, nil
}
