package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

const (
	shownCallers = 20
	keepHours    = 90 * 24 * time.Hour // how far back hourly buckets are kept
)

// summary is what a batch of uses adds to one credential.
type summary struct {
	uses, refused int
	last          *keybearer.UseRecord // newest use, refusals not included
	callers       map[string]*callerSummary
}

type callerSummary struct {
	uses int
	last *keybearer.UseRecord
}

// RecordUses adds uses and moves the checkpoint in one transaction. A refusal counts, but is no last use.
func (s *Store) RecordUses(ctx context.Context, uses []keybearer.UseRecord, checkpoint keybearer.Checkpoint) error {
	summaries := make(map[string]*summary)
	hours := make(map[hourKey]*hourCount)
	refusals := make(map[refusalKey]int)
	seen := make(map[string]int64)
	for i := range uses {
		u := &uses[i]
		if u.TokenID != "" {
			seen[u.TokenID] = max(seen[u.TokenID], micros(u.At))
		}
		if u.Caller != "" {
			app := string(keybearer.AppSubject(u.Caller))
			seen[app] = max(seen[app], micros(u.At))
		}
		sum := summaries[u.CredentialID]
		if sum == nil {
			sum = &summary{callers: make(map[string]*callerSummary)}
			summaries[u.CredentialID] = sum
		}
		sum.add(u)
		hour := micros(u.At.UTC().Truncate(time.Hour))
		for _, of := range sums(u) {
			h := hours[hourKey{of, hour}]
			if h == nil {
				h = new(hourCount)
				hours[hourKey{of, hour}] = h
			}
			h.add(u)
			if u.Refused && u.Code != "" {
				refusals[refusalKey{of, u.Code, hour}]++
			}
		}
	}
	return s.write(ctx, "record uses", func(t *transaction) error {
		// In the order of their keys, so that two nodes that record at the same time do not wait for each other.
		if err := putSummaries(t, summaries); err != nil {
			return err
		}
		if err := putTrials(t, trialsOf(uses)); err != nil {
			return err
		}
		if err := putRefusals(t, refusals); err != nil {
			return err
		}
		if err := putHours(t, hours); err != nil {
			return err
		}
		if err := putLastUses(t, seen); err != nil {
			return err
		}
		return t.exec(`INSERT INTO checkpoints (node, file, position) VALUES (?, ?, ?)
			ON CONFLICT (node) DO UPDATE SET file = excluded.file, position = excluded.position`, s.node, checkpoint.File, checkpoint.Offset)
	})
}

func (sum *summary) add(u *keybearer.UseRecord) {
	if u.Refused {
		sum.refused++
		return
	}
	sum.uses++
	if sum.last == nil || !u.At.Before(sum.last.At) {
		sum.last = u
	}
	c := sum.callers[u.Caller]
	if c == nil {
		c = new(callerSummary)
		sum.callers[u.Caller] = c
	}
	c.uses++
	if c.last == nil || !u.At.Before(c.last.At) {
		c.last = u
	}
}

// rowsAtOnce bounds how many rows one statement of the ledger writes. A server under load records hundreds each second, and what
// takes its turn to write holds up every change.
const rowsAtOnce = 100

// putRows runs "head VALUES (…), (…) tail" for rows of as many values as columns.
func putRows(t *transaction, head string, columns int, tail string, rows [][]any) error {
	mark := "(?" + strings.Repeat(", ?", columns-1) + ")"
	for chunk := range slices.Chunk(rows, rowsAtOnce) {
		err := t.exec(head+" VALUES "+mark+strings.Repeat(", "+mark, len(chunk)-1)+" "+tail, slices.Concat(chunk...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

func putSummaries(t *transaction, summaries map[string]*summary) error {
	var usage, callers [][]any
	for _, id := range slices.Sorted(maps.Keys(summaries)) {
		sum := summaries[id]
		last := sum.last
		if last == nil {
			last = new(keybearer.UseRecord)
		}
		usage = append(usage, []any{id, sum.uses, sum.refused, micros(last.At), last.Caller, last.User, last.Host, last.Status})
		for _, name := range slices.Sorted(maps.Keys(sum.callers)) {
			c := sum.callers[name]
			callers = append(callers, []any{id, name, c.uses, micros(c.last.At), c.last.Host})
		}
	}
	// The last use is that of the newest use in the batch, unless the row knows of a newer one. Every right-hand side sees the old row.
	const newer = `CASE WHEN excluded.uses > 0 AND excluded.last_at >= usage.last_at THEN excluded.`
	err := putRows(t, `INSERT INTO usage (credential_id, uses, refused, last_at, last_caller, last_user, last_host, last_status)`, 8,
		`ON CONFLICT (credential_id) DO UPDATE SET uses = usage.uses + excluded.uses, refused = usage.refused + excluded.refused,
			last_at = `+newer+`last_at ELSE usage.last_at END,
			last_caller = `+newer+`last_caller ELSE usage.last_caller END,
			last_user = `+newer+`last_user ELSE usage.last_user END,
			last_host = `+newer+`last_host ELSE usage.last_host END,
			last_status = `+newer+`last_status ELSE usage.last_status END`, usage)
	if err != nil {
		return err
	}
	return putRows(t, `INSERT INTO usage_callers (credential_id, caller, uses, last_at, last_host)`, 5,
		`ON CONFLICT (credential_id, caller) DO UPDATE SET uses = usage_callers.uses + excluded.uses,
			last_at = CASE WHEN excluded.last_at >= usage_callers.last_at THEN excluded.last_at ELSE usage_callers.last_at END,
			last_host = CASE WHEN excluded.last_at >= usage_callers.last_at THEN excluded.last_host ELSE usage_callers.last_host END`, callers)
}

func putLastUses(t *transaction, seen map[string]int64) error {
	var rows [][]any
	for _, subject := range slices.Sorted(maps.Keys(seen)) {
		rows = append(rows, []any{subject, seen[subject]})
	}
	return putRows(t, `INSERT INTO last_uses (subject, at)`, 2,
		`ON CONFLICT (subject) DO UPDATE SET at = CASE WHEN excluded.at >= last_uses.at THEN excluded.at ELSE last_uses.at END`, rows)
}

// LastUses returns when each of these callers and tokens last sent a request.
func (s *Store) LastUses(ctx context.Context, subjects ...string) (map[string]time.Time, error) {
	found := make(map[string]time.Time)
	for part := range slices.Chunk(subjects, usageChunk) {
		in, args := oneOf(part)
		err := s.reads.each(ctx, `SELECT subject, at FROM last_uses WHERE subject`+in, args, func(rows *sql.Rows) error {
			var subject string
			var at int64
			err := rows.Scan(&subject, &at)
			found[subject] = moment(at)
			return err
		})
		if err != nil {
			return nil, s.engine.fail("read the last uses", err)
		}
	}
	return found, nil
}

// Checkpoint returns the position up to which uses of this node were recorded.
func (s *Store) Checkpoint(ctx context.Context) (keybearer.Checkpoint, error) {
	var c keybearer.Checkpoint
	err := s.reads.row(ctx, `SELECT file, position FROM checkpoints WHERE node = ?`, []any{s.node}, &c.File, &c.Offset)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return keybearer.Checkpoint{}, s.engine.fail("read the checkpoint", err)
	}
	return c, nil
}

// usageChunk bounds the parameters of one statement. It is a power of two, as are the numbers of parameters in use, so that
// there are few different statements.
const usageChunk = 256

// Usage returns what is known of the use of each of these credentials.
func (s *Store) Usage(ctx context.Context, credentialIDs ...string) (map[string]keybearer.Usage, error) {
	found := make(map[string]keybearer.Usage)
	for ids := range slices.Chunk(credentialIDs, usageChunk) {
		if err := s.usage(ctx, ids, found); err != nil {
			return nil, s.engine.fail("read the usage", err)
		}
	}
	return found, nil
}

func (s *Store) usage(ctx context.Context, ids []string, found map[string]keybearer.Usage) error {
	in, args := oneOf(ids)
	err := s.reads.each(ctx, `SELECT credential_id, uses, refused, last_at, last_caller, last_user, last_host, last_status
		FROM usage WHERE credential_id`+in, args, func(rows *sql.Rows) error {
		var id string
		var uses, refused, at int64
		var u keybearer.Usage
		err := rows.Scan(&id, &uses, &refused, &at, &u.LastCaller, &u.LastUser, &u.LastHost, &u.LastStatus)
		u.Count, u.Refused, u.LastAt = uint64(uses), uint64(refused), moment(at)
		found[id] = u
		return err
	})
	if err != nil {
		return err
	}
	return s.reads.each(ctx, `SELECT credential_id, caller, uses, last_at, last_host FROM (
			SELECT credential_id, caller, uses, last_at, last_host,
				ROW_NUMBER() OVER (PARTITION BY credential_id ORDER BY last_at DESC, caller) AS place
			FROM usage_callers WHERE credential_id`+in+`) AS placed
		WHERE place <= ? ORDER BY credential_id, place`, append(args, shownCallers), func(rows *sql.Rows) error {
		var id string
		var uses, at int64
		var c keybearer.CallerUsage
		err := rows.Scan(&id, &c.Caller, &uses, &at, &c.Host)
		c.Count, c.LastAt = uint64(uses), moment(at)
		u := found[id]
		u.Callers = append(u.Callers, c)
		found[id] = u
		return err
	})
}

// oneOf returns the condition that a column is one of ids, of which there is one at least, and its parameters.
func oneOf(ids []string) (condition string, args []any) {
	n := 1
	for n < len(ids) {
		n *= 2
	}
	args = make([]any, n)
	for i := range args {
		args[i] = ids[min(i, len(ids)-1)] // the last one again: it is found once all the same
	}
	return ` IN (?` + strings.Repeat(`, ?`, n-1) + `)`, args
}

// micros is the stored form of a time: microseconds since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
