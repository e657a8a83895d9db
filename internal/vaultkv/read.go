package vaultkv

import (
	"context"

	"github.com/keybearer/keybearer"
)

// read returns the record that pick selects, or a [keybearer.NotFound] error.
func read[T any](ctx context.Context, s *Store, kind keybearer.RecordKind, pick func(*state) *entry) (*T, error) {
	st, err := s.view(ctx)
	if err != nil {
		return nil, fail("read a "+string(kind), err)
	}
	if e := pick(st); e != nil {
		return e.record.(*T), nil
	}
	return nil, keybearer.NewError(keybearer.NotFound, "there is no such "+string(kind))
}

// Scope returns the scope with that id or name.
func (s *Store) Scope(ctx context.Context, idOrName string) (*keybearer.Scope, error) {
	return read[keybearer.Scope](ctx, s, keybearer.ScopeRecord, func(st *state) *entry {
		return st.find(keybearer.ScopeRecord, keybearer.IDScope, "", idOrName)
	})
}

// Credential returns the credential that ref names.
func (s *Store) Credential(ctx context.Context, ref keybearer.Ref) (*keybearer.Credential, error) {
	return read[keybearer.Credential](ctx, s, keybearer.CredentialRecord, func(st *state) *entry {
		scope := st.find(keybearer.ScopeRecord, keybearer.IDScope, "", ref.Scope)
		if scope == nil {
			return nil
		}
		return st.find(keybearer.CredentialRecord, keybearer.IDCredential, scope.id, ref.Name)
	})
}

// Caller returns the caller with that id or name.
func (s *Store) Caller(ctx context.Context, idOrName string) (*keybearer.Caller, error) {
	return read[keybearer.Caller](ctx, s, keybearer.CallerRecord, func(st *state) *entry {
		return st.find(keybearer.CallerRecord, keybearer.IDCaller, "", idOrName)
	})
}

// Operator returns the operator with that id or name.
func (s *Store) Operator(ctx context.Context, idOrName string) (*keybearer.Operator, error) {
	return read[keybearer.Operator](ctx, s, keybearer.OperatorRecord, func(st *state) *entry {
		return st.find(keybearer.OperatorRecord, keybearer.IDOperator, "", idOrName)
	})
}

// CallerByToken returns the caller that has the token.
func (s *Store) CallerByToken(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Caller, error) {
	return read[keybearer.Caller](ctx, s, keybearer.CallerRecord, byToken(keybearer.CallerRecord, hash))
}

// OperatorByToken returns the operator that has the token.
func (s *Store) OperatorByToken(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Operator, error) {
	return read[keybearer.Operator](ctx, s, keybearer.OperatorRecord, byToken(keybearer.OperatorRecord, hash))
}

func byToken(kind keybearer.RecordKind, hash keybearer.TokenHash) func(*state) *entry {
	return func(st *state) *entry {
		if e := st.tokens[hash]; e != nil && e.kind == kind {
			return e
		}
		return nil
	}
}

// CountCredentials counts the live credentials of a scope and its tombstones.
func (s *Store) CountCredentials(ctx context.Context, scopeID string) (live, deleted int, err error) {
	st, err := s.view(ctx)
	if err != nil {
		return 0, 0, fail("count credentials", err)
	}
	all, deleted := st.count(scopeID)
	return all - deleted, deleted, nil
}

// Sequence returns the number of the last commit.
func (s *Store) Sequence(ctx context.Context) (uint64, error) {
	st, err := s.view(ctx)
	if err != nil {
		return 0, fail("read the sequence", err)
	}
	return st.index.Seq, nil
}

// Changes returns the changes of commits above after, in order. The feed reaches back over the last 512 changes.
func (s *Store) Changes(ctx context.Context, after uint64, limit int) ([]keybearer.Change, error) {
	const op = "read the feed"
	st, err := s.view(ctx)
	if err != nil {
		return nil, fail(op, err)
	}
	changes, ok := st.index.changes(after, limit)
	if !ok {
		return nil, fail(op, keybearer.NewError(keybearer.Stale, "the feed of changes does not reach back so far"))
	}
	return changes, nil
}
