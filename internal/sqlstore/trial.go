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

// trialRows bounds how many hosts and codes are told apart for one trial: an app chooses the hosts that a wildcard admits.
const trialRows = 1000

type trialKey struct {
	trial, host string
	code        keybearer.Code
}

type trialCount struct {
	uses int
	last time.Time
}

// trialsOf sums up what the uses say of trials.
func trialsOf(uses []keybearer.UseRecord) map[trialKey]trialCount {
	var sums map[trialKey]trialCount
	for i := range uses {
		u := &uses[i]
		if u.Trial == "" || u.WouldRefuse == "" || u.Refused {
			continue
		}
		if sums == nil {
			sums = make(map[trialKey]trialCount)
		}
		k := trialKey{u.Trial, u.Host, u.WouldRefuse}
		n := sums[k]
		n.uses++
		if u.At.After(n.last) {
			n.last = u.At
		}
		sums[k] = n
	}
	return sums
}

func putTrials(t *transaction, sums map[trialKey]trialCount) error {
	have := map[string]int{}
	var rows [][]any
	for _, k := range slices.SortedFunc(maps.Keys(sums), func(a, b trialKey) int {
		return cmp.Or(cmp.Compare(a.trial, b.trial), cmp.Compare(a.host, b.host), cmp.Compare(a.code, b.code))
	}) {
		n, known := have[k.trial]
		if !known {
			if err := t.row(`SELECT count(*) FROM trials WHERE trial = ?`, []any{k.trial}, &n); err != nil {
				return err
			}
		}
		sum := sums[k]
		if have[k.trial] = n + 1; n < trialRows {
			rows = append(rows, []any{k.trial, k.host, string(k.code), sum.uses, micros(sum.last)})
			continue
		}
		// One by one: several of a batch come to the same row.
		if err := t.exec(addTrial+` VALUES (?, '', ?, ?, ?) `+onTrial, k.trial, string(k.code), sum.uses, micros(sum.last)); err != nil {
			return err
		}
	}
	return putRows(t, addTrial, 5, onTrial, rows)
}

const (
	addTrial = `INSERT INTO trials (trial, host, code, uses, last_at)`
	onTrial  = `ON CONFLICT (trial, host, code) DO UPDATE SET uses = trials.uses + excluded.uses,
		last_at = CASE WHEN excluded.last_at >= trials.last_at THEN excluded.last_at ELSE trials.last_at END`
)

// Trial returns what the trial would have refused.
func (s *Store) Trial(ctx context.Context, id string) ([]keybearer.TrialUse, error) {
	var found []keybearer.TrialUse
	err := s.reads.each(ctx, `SELECT host, code, uses, last_at FROM trials WHERE trial = ? ORDER BY uses DESC, host, code`, []any{id}, func(rows *sql.Rows) error {
		var u keybearer.TrialUse
		var uses, at int64
		err := rows.Scan(&u.Host, &u.Code, &uses, &at)
		u.Count, u.LastAt = uint64(uses), moment(at)
		found = append(found, u)
		return err
	})
	if err != nil {
		return nil, s.engine.fail("read the trial", err)
	}
	return found, nil
}
