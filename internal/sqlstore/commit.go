package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/records"
)

// Commit applies the batch. Beyond the errors that [keybearer.Store] lists it returns [keybearer.Invalid] for a write that
// does not hold exactly one record, [keybearer.NotFound] for a credential whose scope is not stored, and
// [keybearer.ScopeNotEmpty] when a scope is deleted for good that has credentials. Writes are applied in the order given. An
// empty batch changes nothing and returns the number of the last commit.
func (s *Store) Commit(ctx context.Context, b keybearer.Batch) (uint64, error) {
	const op = "commit"
	if len(b.Writes) == 0 && len(b.Events) == 0 {
		return s.Sequence(ctx)
	}
	rows := make([]*row, len(b.Writes))
	changes := make([]keybearer.Change, len(b.Writes))
	for i := range b.Writes {
		r, err := rowOf(&b.Writes[i])
		if err != nil {
			return 0, s.engine.fail(op, err)
		}
		rows[i] = r
		changes[i] = keybearer.Change{Kind: r.kind, ID: r.id, ScopeID: r.scopeID}
	}
	events := make([][]byte, len(b.Events))
	for i := range b.Events {
		e := b.Events[i]
		records.Trim(&e.Time)
		var err error
		if events[i], err = json.Marshal(&e); err != nil {
			return 0, s.engine.fail(op, keybearer.NewError(keybearer.Invalid, "an event holds a value that cannot be stored").Wrap(err))
		}
	}

	var seq int64
	err := s.write(ctx, op, func(t *transaction) error {
		var change, event int64
		err := t.row(`UPDATE instance SET seq = seq + 1, change = change + ?, event = event + ? RETURNING seq, change, event`,
			[]any{len(changes), len(events)}, &seq, &change, &event)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := s.apply(t, r, seq); err != nil {
				return err
			}
		}
		first := change - int64(len(changes)) + 1
		for i := range changes {
			c := &changes[i]
			c.Seq = uint64(seq)
			err := t.exec(`INSERT INTO changes (number, seq, kind, id, scope_id) VALUES (?, ?, ?, ?, ?)`,
				first+int64(i), seq, string(c.Kind), c.ID, c.ScopeID)
			if err != nil {
				return err
			}
		}
		for i, e := range events {
			if err := t.exec(`INSERT INTO events (number, node, event) VALUES (?, ?, ?)`, event-int64(len(events)-i-1), s.node, string(e)); err != nil {
				return err
			}
		}
		t.changes, t.last = changes, change
		if err := s.prune(t, first, change); err != nil {
			return err
		}
		return s.engine.announce(t)
	})
	if err != nil {
		return 0, err
	}
	return uint64(seq), nil
}

// apply writes or removes one row after comparing its revision.
func (s *Store) apply(t *transaction, r *row, seq int64) error {
	var stored int64
	var name string
	err := t.row(`SELECT revision, name FROM `+r.table+` WHERE id = ?`, []any{r.id}, &stored, &name)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if r.revision != 0 || r.remove {
			return keybearer.NewError(keybearer.NotFound, "the record to change is gone")
		}
	case err != nil:
		return err
	case r.revision == 0 && !r.remove:
		return keybearer.NewError(keybearer.AlreadyExists, "the id is taken")
	case r.revision != stored:
		return keybearer.NewError(keybearer.Stale, "")
	}
	if stored != 0 && (r.kind == keybearer.ScopeRecord || r.kind == keybearer.CredentialRecord) {
		t.replaces = true
	}
	if r.remove {
		return s.remove(t, r)
	}
	if err := s.put(t, r, seq); err != nil {
		return err
	}
	if r.kind == keybearer.ScopeRecord && stored != 0 && name != r.name {
		return t.exec(`UPDATE credentials SET scope_name = ? WHERE scope_id = ?`, r.name, r.id)
	}
	return nil
}

func (s *Store) put(t *transaction, r *row, seq int64) error {
	deleted := 0
	if r.deleted {
		deleted = 1
	}
	var err error
	if r.kind == keybearer.CredentialRecord {
		var scope string
		err = t.row(`SELECT name FROM scopes WHERE id = ?`, []any{r.scopeID}, &scope)
		if errors.Is(err, sql.ErrNoRows) {
			return keybearer.NewError(keybearer.NotFound, "the scope of the credential is not there")
		}
		if err != nil {
			return err
		}
		err = t.exec(`INSERT INTO credentials (id, scope_id, scope_name, name, deleted, kind, subjects, search, revision, record)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET scope_id = excluded.scope_id, scope_name = excluded.scope_name, name = excluded.name,
				deleted = excluded.deleted, kind = excluded.kind, subjects = excluded.subjects, search = excluded.search,
				revision = excluded.revision, record = excluded.record`,
			r.id, r.scopeID, scope, r.name, deleted, string(r.format), r.subjects, r.search, seq, string(r.record))
	} else {
		err = t.exec(`INSERT INTO `+r.table+` (id, name, deleted, search, revision, record) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, deleted = excluded.deleted, search = excluded.search,
				revision = excluded.revision, record = excluded.record`,
			r.id, r.name, deleted, r.search, seq, string(r.record))
	}
	if s.engine.duplicate(err) {
		return keybearer.NewError(keybearer.AlreadyExists, "").Wrap(err)
	}
	if err != nil {
		return err
	}
	return s.putTokens(t, r)
}

// putTokens makes the tokens of a caller or operator those of its record.
func (s *Store) putTokens(t *transaction, r *row) error {
	if r.kind != keybearer.CallerRecord && r.kind != keybearer.OperatorRecord {
		return nil
	}
	if err := t.exec(`DELETE FROM tokens WHERE owner = ? AND kind = ?`, r.id, string(r.kind)); err != nil {
		return err
	}
	if r.remove {
		return nil
	}
	for i := range r.tokens {
		err := t.exec(`INSERT INTO tokens (hash, kind, owner) VALUES (?, ?, ?)`, hashText(r.tokens[i].Hash), string(r.kind), r.id)
		if s.engine.duplicate(err) {
			return keybearer.NewError(keybearer.AlreadyExists, "the token is taken").Wrap(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove deletes a row, and with a credential what the ledger knows of it.
func (s *Store) remove(t *transaction, r *row) error {
	err := t.exec(`DELETE FROM `+r.table+` WHERE id = ?`, r.id)
	if s.engine.dangling(err) {
		return keybearer.NewError(keybearer.ScopeNotEmpty, "").Wrap(err)
	}
	if err != nil {
		return err
	}
	if r.kind == keybearer.CredentialRecord {
		for _, table := range []string{"usage", "usage_callers", "usage_hours", "refusals"} {
			if err := t.exec(`DELETE FROM `+table+` WHERE credential_id = ?`, r.id); err != nil {
				return err
			}
		}
	}
	return s.putTokens(t, r)
}

// pruneEvery is how many changes may pass between two prunings of the feed.
const pruneEvery = 1000

// prune shortens the feed now and then. first and last are the numbers of this commit's changes.
func (s *Store) prune(t *transaction, first, last int64) error {
	old := last - s.keep
	if old <= 0 || last/pruneEvery == (first-1)/pruneEvery {
		return nil
	}
	if err := t.exec(`UPDATE instance SET feed_floor = COALESCE((SELECT seq FROM changes WHERE number = ?), feed_floor)`, old); err != nil {
		return err
	}
	return t.exec(`DELETE FROM changes WHERE number <= ?`, old)
}
