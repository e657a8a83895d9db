package vaultkv

import (
	"context"
	"slices"
	"sort"
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
	return list[keybearer.Scope](ctx, s, keybearer.ScopeRecord, &q)
}

// Callers returns a page of callers in order of name.
func (s *Store) Callers(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Caller], error) {
	return list[keybearer.Caller](ctx, s, keybearer.CallerRecord, &q)
}

// Operators returns a page of operators in order of name.
func (s *Store) Operators(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Operator], error) {
	return list[keybearer.Operator](ctx, s, keybearer.OperatorRecord, &q)
}

// Credentials returns a page of credentials in order of scope name, then name; or in order of id.
func (s *Store) Credentials(ctx context.Context, q keybearer.Query) (keybearer.Page[*keybearer.Credential], error) {
	return list[keybearer.Credential](ctx, s, keybearer.CredentialRecord, &q)
}

// list reads one page of one state.
func list[T any](ctx context.Context, s *Store, kind keybearer.RecordKind, q *keybearer.Query) (keybearer.Page[*T], error) {
	var page keybearer.Page[*T]
	op := "list the " + string(kind) + "s"
	st, err := s.view(ctx)
	if err != nil {
		return page, fail(op, err)
	}
	rest := st.ordered[kind]()
	byID := kind == keybearer.CredentialRecord && q.AfterID != ""
	switch {
	case byID:
		rest = st.byID()
		rest = rest[sort.Search(len(rest), func(i int) bool { return rest[i].id > q.AfterID }):]
	case q.Cursor != "":
		after, ok := records.ParseCursor(q.Cursor)
		if !ok || len(rest) > 0 && len(after) != len(st.key(rest[0])) {
			return page, fail(op, keybearer.NewError(keybearer.Invalid, "the cursor is not one that a listing gave").
				WithHint("begin again without a cursor"))
		}
		rest = rest[sort.Search(len(rest), func(i int) bool { return slices.Compare(st.key(rest[i]), after) > 0 }):]
	}
	limit := q.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	text := records.Fold(q.Text)
	var last *entry
	for _, e := range rest {
		if !e.fits(q, text) {
			continue
		}
		if len(page.Items) == limit {
			if page.Next = records.Cursor(st.key(last)...); byID {
				page.Next = last.id
			}
			break
		}
		page.Items, last = append(page.Items, e.record.(*T)), e
	}
	return page, nil
}

// fits reports whether a query selects the record; text is the query's in folded form.
func (e *entry) fits(q *keybearer.Query, text string) bool {
	if e.deleted && !q.Deleted || !strings.Contains(e.search, text) {
		return false
	}
	c, ok := e.record.(*keybearer.Credential)
	return !ok || (q.ScopeID == "" || c.ScopeID == q.ScopeID) &&
		(q.Kind == "" || c.Current.Terms.Kind == q.Kind) &&
		(q.Sight == nil || q.Sight.Holds(c)) &&
		(q.Subject == "" || slices.ContainsFunc(c.Grants, func(g keybearer.Grant) bool { return g.Subject == q.Subject }))
}
