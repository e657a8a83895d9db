package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/keybearer/keybearer"
)

// Transfer copies all that one store holds into another, record by record with revision and number of the last commit, so that the other can
// take its place. It is resumable at any point: what has arrived is noted in the other store, in the same transaction.
//
// Call Begin, then Records as often as there is something new, Ledger while nobody records uses, and Finish while nobody commits. It is
// not safe for concurrent use.
type Transfer struct {
	from, to *Store
	move     string
	tell     func(done, total int) // may be nil
}

// transferPage is how many rows are copied in one transaction.
const transferPage = 100

// NewTransfer returns the transfer. tell, which may be nil, is called as records are copied. It returns [keybearer.Invalid] when the former store is
// one that other processes write, too.
func NewTransfer(from, to *Store, tell func(done, total int)) (*Transfer, error) {
	if _, ok := from.engine.(*sqliteEngine); !ok {
		return nil, keybearer.NewError(keybearer.Invalid, "records move from an SQLite store only: any other may be written by other servers meanwhile")
	}
	if tell == nil {
		tell = func(int, int) {}
	}
	return &Transfer{from: from, to: to, tell: tell}, nil
}

// Active tells which of the two is in use, from their marks; there is exactly one, whenever a process was killed. It returns
// [keybearer.Conflict] when the two do not belong together, with what to do.
func (t *Transfer) Active(ctx context.Context) (*Store, error) {
	from, err := t.from.Mark(ctx)
	if err != nil {
		return nil, err
	}
	to, err := t.to.Mark(ctx)
	if err != nil {
		return nil, err
	}
	seq, err := t.to.Sequence(ctx)
	if err != nil {
		return nil, err
	}
	same := from.Move != "" && from.Move == to.Move
	switch {
	case from.State == Left && same:
		return t.to, nil
	case from.State == Left:
		return nil, keybearer.NewError(keybearer.Conflict, "the records of the former store have moved, but not into this store").
			WithHint("name in store the one that they have moved into, and remove former_store")
	case to.State == Arriving && same, to.State == "" && seq == 0:
		return t.from, nil
	case to.State == Arriving:
		return nil, keybearer.NewError(keybearer.Conflict, "the new store holds a part of another store").
			WithHint("name an empty database in store")
	}
	return nil, keybearer.NewError(keybearer.Conflict, "the new store holds records already").
		WithHint("if they are those of the former store, remove former_store; else name an empty database in store")
}

// Begin marks both stores, the former first, unless they are marked already. It returns what Active returns, and
// [keybearer.Conflict] when the records have moved already.
func (t *Transfer) Begin(ctx context.Context) error {
	active, err := t.Active(ctx)
	if err != nil {
		return err
	}
	if active != t.from {
		return keybearer.NewError(keybearer.Conflict, "the records have moved already")
	}
	from, err := t.from.Mark(ctx)
	if err != nil {
		return err
	}
	to, err := t.to.Mark(ctx)
	if err != nil {
		return err
	}
	seq, err := t.from.Sequence(ctx)
	if err != nil {
		return err
	}
	if to.State == Arriving && from.Move == to.Move {
		t.move = to.Move
		if to.Copied > seq { // a backup of the former store was restored
			return t.restart(ctx)
		}
		return nil
	}
	t.move = keybearer.NewID("mov_")
	if err := t.from.write(ctx, "begin a move", func(x *transaction) error { return x.mark(Mark{Move: t.move, State: Leaving}) }); err != nil {
		return err
	}
	return t.to.write(ctx, "begin a move", func(x *transaction) error { return x.mark(Mark{Move: t.move, State: Arriving}) })
}

// restart has everything copied again.
func (t *Transfer) restart(ctx context.Context) error { return t.arrived(ctx, 0) }

func (t *Transfer) arrived(ctx context.Context, seq uint64) error {
	return t.to.write(ctx, "note what has arrived", func(x *transaction) error { return x.mark(Mark{Move: t.move, State: Arriving, Copied: seq}) })
}

// recordTables are the tables of records; a scope comes before its credentials.
var recordTables = []string{scopes.name, credentials.name, callers.name, operators.name}

// entry says where a record is in the former store.
type entry struct {
	table, id string
	revision  int64
}

// Records copies what was committed since the last call, and returns how many records that was.
func (t *Transfer) Records(ctx context.Context) (int, error) {
	mark, err := t.to.Mark(ctx)
	if err != nil {
		return 0, err
	}
	seq, err := t.from.Sequence(ctx)
	if err != nil || seq == mark.Copied {
		return 0, err
	}
	list, err := t.since(ctx, mark.Copied)
	if err != nil {
		return 0, err
	}
	done := 0
	for page := range slices.Chunk(list, transferPage) {
		done += len(page)
		upTo := seq
		switch {
		case page[len(page)-1].table == scopes.name:
			upTo = mark.Copied // they come first, whatever their revision
		case done < len(list):
			upTo = max(mark.Copied, uint64(list[done].revision)-1)
		}
		if err := t.copyPage(ctx, page, upTo); err != nil {
			return done - len(page), err
		}
		t.tell(done, len(list))
	}
	return done, t.arrived(ctx, seq)
}

// since lists the records of revisions above one: scopes first, the others in order of revision.
func (t *Transfer) since(ctx context.Context, revision uint64) ([]entry, error) {
	var list []entry
	for _, table := range slices.Backward(recordTables) { // no credential is listed without its scope
		err := t.from.reads.each(ctx, `SELECT id, revision FROM `+table+` WHERE revision > ?`, []any{int64(revision)}, func(rows *sql.Rows) error {
			p := entry{table: table}
			err := rows.Scan(&p.id, &p.revision)
			list = append(list, p)
			return err
		})
		if err != nil {
			return nil, t.from.engine.fail("list what is to be copied", err)
		}
	}
	first := func(e entry) int {
		if e.table == scopes.name {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Or(first(a)-first(b), cmp.Compare(a.revision, b.revision)) })
	return list, nil
}

// copyPage copies records as they are now, and notes what has arrived.
func (t *Transfer) copyPage(ctx context.Context, page []entry, upTo uint64) error {
	var rows []*row
	for _, p := range page {
		r, err := t.from.stored(ctx, p.table, p.id)
		if errors.Is(err, sql.ErrNoRows) {
			continue // deleted meanwhile
		}
		if err != nil {
			return t.from.engine.fail("read what is to be copied", err)
		}
		rows = append(rows, r)
	}
	return t.to.write(ctx, "copy records", func(x *transaction) error {
		for _, r := range rows {
			if err := t.put(x, r); err != nil {
				return err
			}
		}
		x.replaces = true
		return x.mark(Mark{Move: t.move, State: Arriving, Copied: upTo})
	})
}

// stored reads a record in the form in which it is stored.
func (s *Store) stored(ctx context.Context, table, id string) (*row, error) {
	var record []byte
	var revision int64
	if err := s.reads.row(ctx, `SELECT record, revision FROM `+table+` WHERE id = ?`, []any{id}, &record, &revision); err != nil {
		return nil, err
	}
	return encoded(table, record, revision)
}

// encoded makes a stored record one that can be stored.
func encoded(table string, record []byte, revision int64) (*row, error) {
	var w keybearer.Write
	var err error
	switch table {
	case scopes.name:
		w.Scope, err = scopes.decode(record, revision)
	case credentials.name:
		w.Credential, err = credentials.decode(record, revision)
	case callers.name:
		w.Caller, err = callers.decode(record, revision)
	case operators.name:
		w.Operator, err = operators.decode(record, revision)
	}
	if err != nil {
		return nil, err
	}
	return rowOf(&w)
}

// put writes a record of the former store with its revision. What stands here under its name or with its token, and is another record, has been
// changed or deleted there since it was copied: it gives way, and is copied again or deleted later.
func (t *Transfer) put(x *transaction, r *row) error {
	var err error
	if r.kind == keybearer.CredentialRecord {
		err = x.exec(`UPDATE credentials SET name = id WHERE scope_id = ? AND name = ? AND id <> ?`, r.scopeID, r.name, r.id)
	} else {
		err = x.exec(`UPDATE `+r.table+` SET name = id WHERE name = ? AND id <> ?`, r.name, r.id)
	}
	for i := range r.tokens {
		if err == nil {
			err = x.exec(`DELETE FROM tokens WHERE hash = ? AND owner <> ?`, hashText(r.tokens[i].Hash), r.id)
		}
	}
	if err == nil {
		err = t.to.put(x, r, r.revision)
	}
	if err == nil && r.kind == keybearer.ScopeRecord {
		err = x.exec(`UPDATE credentials SET scope_name = ? WHERE scope_id = ? AND scope_name <> ?`, r.name, r.id, r.name)
	}
	return err
}

// Waiting returns how many audit events the former store holds that are not delivered. They have to be before Finish.
func (t *Transfer) Waiting(ctx context.Context) (n int, err error) {
	if err := t.from.reads.row(ctx, `SELECT COUNT(*) FROM events`, nil, &n); err != nil {
		return 0, t.from.engine.fail("read the outbox", err)
	}
	return n, nil
}

// Finish copies the rest and what was spent, deletes what was deleted, compares both stores, and marks the former as left: from then on it cannot be
// written, and the other is in use. Nobody may commit to the former, or spend, meanwhile. When it returns an error, Active tells how it ended.
// It returns [keybearer.Conflict] when the stores differ; then all is copied again by the next Records.
func (t *Transfer) Finish(ctx context.Context) error {
	if _, err := t.Records(ctx); err != nil {
		return err
	}
	for _, table := range slices.Backward(recordTables) { // credentials before their scopes
		if err := t.deleteGone(ctx, table); err != nil {
			return err
		}
	}
	if err := t.compare(ctx); err != nil {
		return errors.Join(err, t.restart(ctx))
	}
	if err := t.spent(ctx); err != nil {
		return err
	}
	var seq, event int64
	if err := t.from.reads.row(ctx, `SELECT seq, event FROM instance`, nil, &seq, &event); err != nil {
		return t.from.engine.fail("read the sequence", err)
	}
	// The feed begins anew behind the last commit: who follows it and knows less is told to forget all.
	err := t.to.write(ctx, "take over the sequence", func(x *transaction) error {
		return x.exec(`UPDATE instance SET seq = ?, event = ?, feed_floor = ?`, seq, event, seq)
	})
	if err != nil {
		return err
	}
	return t.from.write(ctx, "leave the store", func(x *transaction) error {
		if err := x.mark(Mark{Move: t.move, State: Left}); err != nil {
			return err
		}
		return x.seal()
	})
}

// Arrive marks the other store as one that can be used alone, once the former has been left. It changes nothing when that was done.
func (t *Transfer) Arrive(ctx context.Context) error {
	m, err := t.to.Mark(ctx)
	if err != nil || m.State != Arriving {
		return err
	}
	return t.to.write(ctx, "end a move", func(x *transaction) error { return x.mark(Mark{Move: m.Move, State: Arrived, Copied: m.Copied}) })
}

// deleteGone deletes the rows that the former store does not have any more.
func (t *Transfer) deleteGone(ctx context.Context, table string) error {
	there := map[string]bool{}
	if err := t.from.ids(ctx, table, func(id string) { there[id] = true }); err != nil {
		return err
	}
	var gone []string
	err := t.to.ids(ctx, table, func(id string) {
		if !there[id] {
			gone = append(gone, id)
		}
	})
	for page := range slices.Chunk(gone, transferPage) {
		if err != nil {
			return err
		}
		err = t.to.write(ctx, "delete what is gone", func(x *transaction) error {
			for _, id := range page {
				if err := t.to.remove(x, &row{table: table, kind: kindOf(table), id: id}); err != nil {
					return err
				}
			}
			x.replaces = true
			return nil
		})
	}
	return err
}

func kindOf(table string) keybearer.RecordKind {
	return map[string]keybearer.RecordKind{
		scopes.name: scopes.kind, credentials.name: credentials.kind, callers.name: callers.kind, operators.name: operators.kind,
	}[table]
}

// pageRows bounds how many rows one query reads.
const pageRows = 1000

// ids calls fn for the id of every row of a table.
func (s *Store) ids(ctx context.Context, table string, fn func(string)) error {
	last := ""
	for n := pageRows; n == pageRows; {
		n = 0
		err := s.reads.each(ctx, `SELECT id FROM `+table+` WHERE id > ? ORDER BY id LIMIT ?`, []any{last, pageRows}, func(rows *sql.Rows) error {
			n++
			err := rows.Scan(&last)
			fn(last)
			return err
		})
		if err != nil {
			return s.engine.fail("list records", err)
		}
	}
	return nil
}
