package sqlstore

import (
	"context"
	"database/sql"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/records"
)

// Sizes of a page.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Scopes returns a page of scopes in order of name.
func (s *Store) Scopes(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Scope], error) {
	return list(ctx, s, scopes, &q, s.filter(&q), "name")
}

// Callers returns a page of callers in order of name.
func (s *Store) Callers(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Caller], error) {
	return list(ctx, s, callers, &q, s.filter(&q), "name")
}

// Operators returns a page of operators in order of name.
func (s *Store) Operators(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Operator], error) {
	return list(ctx, s, operators, &q, s.filter(&q), "name")
}

// Credentials returns a page of credentials in order of scope name, then name; or in order of id.
func (s *Store) Credentials(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Credential], error) {
	f, order := s.credentialFilter(&q)
	return list(ctx, s, credentials, &q, f, order...)
}

// credentialFilter returns the conditions of a listing of credentials and its order.
func (s *Store) credentialFilter(q *keybearer.Query) (f *filter, order []string) {
	f = s.filter(q)
	if q.Kind != "" {
		f.add("kind = ?", string(q.Kind))
	}
	if q.Subject != "" {
		f.any(s.granted("", q.Subject))
	}
	if q.Sight != nil {
		seen := []condition{}
		for _, id := range q.Sight.ScopeIDs {
			seen = append(seen, condition{"scope_name = (SELECT name FROM scopes WHERE id = ?)", id})
		}
		for _, subject := range q.Sight.Subjects {
			seen = append(seen, s.granted("!", subject))
		}
		f.any(seen...)
	}
	switch {
	case q.AfterID != "":
		if q.ScopeID != "" {
			f.add("scope_id = ?", q.ScopeID)
		}
		return f, []string{"id"}
	case q.ScopeID != "":
		// By name, so that the index of listings serves.
		f.add("scope_name = (SELECT name FROM scopes WHERE id = ?)", q.ScopeID)
	}
	return f, []string{"scope_name", "name"}
}

// filter is the conditions of a listing.
type filter struct {
	where []string
	args  []any
}

func (f *filter) add(condition string, args ...any) {
	f.where = append(f.where, condition)
	f.args = append(f.args, args...)
}

// condition is one with one parameter.
type condition struct {
	text string
	arg  string
}

// any adds the condition that one of these holds; of none it never does.
func (f *filter) any(of ...condition) {
	texts := make([]string, len(of))
	for i, c := range of {
		texts[i] = c.text
		f.args = append(f.args, c.arg)
	}
	if len(of) == 0 {
		texts = []string{"1 = 0"}
	}
	f.where = append(f.where, "("+strings.Join(texts, " OR ")+")")
}

// granted is the condition that the subject has a grant; with the mark "!" one of view or more.
func (s *Store) granted(mark string, subject keybearer.Subject) condition {
	c := condition{s.engine.contains("subjects"), "\n" + mark + string(subject) + "\n"}
	if strings.HasPrefix(string(subject), "!") || strings.Contains(string(subject), "\n") { // no subject, and would be taken for a mark
		c.arg = "\n\n"
	}
	return c
}

// filter returns the conditions that all kinds of record share.
func (s *Store) filter(q *keybearer.Query) *filter {
	f := new(filter)
	if !q.Deleted {
		f.add("deleted = 0")
	}
	if q.Text != "" {
		f.add(s.engine.contains("search"), records.Fold(q.Text))
	}
	return f
}

// list reads one page in the order of the given columns, which identify a row: behind the row that the cursor names,
// or AfterID when the order is by id.
func list[T any](ctx context.Context, s *Store, t table[T], q *keybearer.Query, f *filter, order ...string) (keybearer.Page[*T], error) {
	op := "list " + t.name
	limit := q.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	text, err := s.pageText(t.name, q, f, order)
	if err != nil {
		return keybearer.Page[*T]{}, s.engine.fail(op, err)
	}
	var page keybearer.Page[*T]
	key := make([]string, len(order)) // of the last row in the page
	err = s.reads.each(ctx, text, append(f.args, limit+1), func(rows *sql.Rows) error {
		if len(page.Items) == limit {
			if page.Next = records.Cursor(key...); order[0] == "id" {
				page.Next = key[0]
			}
			return nil
		}
		var record sql.RawBytes
		var revision int64
		dest := []any{&record, &revision}
		for i := range key {
			dest = append(dest, &key[i])
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		r, err := t.decode(record, revision)
		if err == nil {
			page.Items = append(page.Items, r)
		}
		return err
	})
	if err != nil {
		return keybearer.Page[*T]{}, s.engine.fail(op, err)
	}
	return page, nil
}

// pageText is the query of a page, whose last parameter is how many rows. It adds to the filter where the page begins.
func (s *Store) pageText(table string, q *keybearer.Query, f *filter, order []string) (string, error) {
	byID := order[0] == "id"
	switch {
	case byID:
		f.add("id > ?", q.AfterID)
	case q.Cursor != "":
		after, ok := records.ParseCursor(q.Cursor)
		if !ok || len(after) != len(order) {
			return "", keybearer.NewError(keybearer.Invalid, "the cursor is not one that a listing gave").WithHint("begin again without a cursor")
		}
		marks := "?" + strings.Repeat(", ?", len(order)-1)
		f.where = append(f.where, "("+strings.Join(order, ", ")+") > ("+marks+")")
		for _, part := range after {
			f.args = append(f.args, part)
		}
	}
	columns := strings.Join(order, ", ")
	end := " ORDER BY " + columns + " LIMIT ?"
	if len(f.where) > 0 {
		end = " WHERE " + strings.Join(f.where, " AND ") + end
	}
	if narrow := s.engine.listing(); narrow != "" && table == credentials.name && !byID {
		columns = "l." + strings.Join(order, ", l.")
		return "SELECT r.record, r.revision, " + columns + " FROM (SELECT id, " + strings.Join(order, ", ") + " FROM " + narrow + end + ") l JOIN " +
			table + " r ON r.id = l.id ORDER BY " + columns, nil
	}
	return "SELECT record, revision, " + columns + " FROM " + table + end, nil
}
