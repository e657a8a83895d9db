package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/keybearer/keybearer"
)

// get returns the one record that a condition selects, or a [keybearer.NotFound] error.
func get[T any](ctx context.Context, s *Store, t table[T], condition string, args ...any) (*T, error) {
	for _, a := range args {
		if text, ok := a.(string); ok && (!utf8.ValidString(text) || strings.ContainsRune(text, 0)) {
			return nil, keybearer.NewError(keybearer.NotFound, "there is no such "+string(t.kind)) // not a text for every database
		}
	}
	var record []byte
	var revision int64
	err := s.reads.row(ctx, `SELECT r.record, r.revision FROM `+t.name+` r `+condition, args, &record, &revision)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, keybearer.NewError(keybearer.NotFound, "there is no such "+string(t.kind))
	}
	if err == nil {
		var r *T
		if r, err = t.decode(record, revision); err == nil {
			return r, nil
		}
	}
	return nil, s.engine.fail("read a "+string(t.kind), err)
}

// named selects by id or by name: no name begins like an id.
func named(idOrName, prefix string) string {
	if strings.HasPrefix(idOrName, prefix) {
		return `id`
	}
	return `name`
}

// Scope returns the scope with that id or name.
func (s *Store) Scope(ctx context.Context, idOrName string) (*keybearer.Scope, error) {
	return get(ctx, s, scopes, `WHERE `+named(idOrName, keybearer.IDScope)+` = ?`, idOrName)
}

// Credential returns the credential that ref names.
func (s *Store) Credential(ctx context.Context, ref keybearer.Ref) (*keybearer.Credential, error) {
	return get(ctx, s, credentials,
		`WHERE scope_`+named(ref.Scope, keybearer.IDScope)+` = ? AND `+named(ref.Name, keybearer.IDCredential)+` = ?`, ref.Scope, ref.Name)
}

// Caller returns the caller with that id or name.
func (s *Store) Caller(ctx context.Context, idOrName string) (*keybearer.Caller, error) {
	return get(ctx, s, callers, `WHERE `+named(idOrName, keybearer.IDCaller)+` = ?`, idOrName)
}

// Operator returns the operator with that id or name.
func (s *Store) Operator(ctx context.Context, idOrName string) (*keybearer.Operator, error) {
	return get(ctx, s, operators, `WHERE `+named(idOrName, keybearer.IDOperator)+` = ?`, idOrName)
}

const byToken = `JOIN tokens t ON t.owner = r.id WHERE t.hash = ? AND t.kind = ?`

// CallerByToken returns the caller that has the token.
func (s *Store) CallerByToken(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Caller, error) {
	return get(ctx, s, callers, byToken, hashText(hash), string(callers.kind))
}

// OperatorByToken returns the operator that has the token.
func (s *Store) OperatorByToken(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Operator, error) {
	return get(ctx, s, operators, byToken, hashText(hash), string(operators.kind))
}

// CountCredentials counts the live credentials of a scope and its tombstones.
func (s *Store) CountCredentials(ctx context.Context, scopeID string) (live, deleted int, err error) {
	err = s.reads.row(ctx, `SELECT COUNT(*), COALESCE(SUM(deleted), 0) FROM credentials WHERE scope_id = ?`, []any{scopeID}, &live, &deleted)
	if err != nil {
		return 0, 0, s.engine.fail("count credentials", err)
	}
	return live - deleted, deleted, nil
}
