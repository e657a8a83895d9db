package sqlstore

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/records"
)

// table says where a kind of record is kept.
type table[T any] struct {
	name   string
	kind   keybearer.RecordKind
	revise func(*T, uint64) // sets the Revision
}

var (
	scopes      = table[keybearer.Scope]{"scopes", keybearer.ScopeRecord, func(r *keybearer.Scope, n uint64) { r.Revision = n }}
	credentials = table[keybearer.Credential]{"credentials", keybearer.CredentialRecord, func(r *keybearer.Credential, n uint64) { r.Revision = n }}
	callers     = table[keybearer.Caller]{"callers", keybearer.CallerRecord, func(r *keybearer.Caller, n uint64) { r.Revision = n }}
	operators   = table[keybearer.Operator]{"operators", keybearer.OperatorRecord, func(r *keybearer.Operator, n uint64) { r.Revision = n }}
)

// decode reads a stored record.
func (t table[T]) decode(record []byte, revision int64) (*T, error) {
	r := new(T)
	if err := json.Unmarshal(record, r); err != nil {
		return nil, errUnreadable{err}
	}
	t.revise(r, uint64(revision))
	return r, nil
}

// row is a record in the form in which it is stored.
type row struct {
	table    string
	kind     keybearer.RecordKind
	remove   bool
	id, name string
	revision int64 // that the stored one must have; 0: there must be none
	deleted  bool
	search   string
	record   []byte
	tokens   []keybearer.Token

	// of a credential
	scopeID  string
	format   keybearer.Kind
	subjects string
}

// row encodes a record. The words are what a search looks through.
func (t table[T]) row(record *T, id, name string, revision uint64, deletedAt time.Time, words ...string) (*row, error) {
	b, err := json.Marshal(record)
	if err != nil {
		return nil, keybearer.NewError(keybearer.Invalid, "the record holds a value that cannot be stored").Wrap(err)
	}
	return &row{
		table: t.name, kind: t.kind, id: id, name: name, revision: int64(revision), deleted: !deletedAt.IsZero(),
		search: records.SearchText(append(words, name)...), record: b,
	}, nil
}

// rowOf encodes a write. It returns [keybearer.Invalid] when the write does not hold exactly one record, or one that
// could not be read back.
func rowOf(w *keybearer.Write) (r *row, err error) {
	n := 0
	if w.Scope != nil {
		n++
		r, err = scopeRow(w.Scope.Clone())
	}
	if w.Credential != nil {
		n++
		r, err = credentialRow(w.Credential.Clone())
	}
	if w.Caller != nil {
		n++
		r, err = callerRow(w.Caller.Clone())
	}
	if w.Operator != nil {
		n++
		r, err = operatorRow(w.Operator.Clone())
	}
	if n != 1 {
		return nil, keybearer.NewError(keybearer.Invalid, "a write holds exactly one record")
	}
	if err != nil {
		return nil, err
	}
	r.remove = w.Delete
	return r, nil
}

// The functions below are given a clone and bring its times into the stored form.

func scopeRow(c *keybearer.Scope) (*row, error) {
	records.TrimScope(c)
	return scopes.row(c, c.ID, c.Name, c.Revision, c.DeletedAt, c.Description)
}

func credentialRow(c *keybearer.Credential) (*row, error) {
	records.TrimCredential(c)
	subjects := new(strings.Builder) // as the schema describes it
	subjects.WriteString("\n")
	for _, g := range c.Grants {
		if g.Level < keybearer.Use || g.Level > keybearer.Administer {
			return nil, keybearer.NewError(keybearer.Invalid, "a grant has a level that does not exist")
		}
		subjects.WriteString(string(g.Subject) + "\n")
		if g.Level >= keybearer.View {
			subjects.WriteString("!" + string(g.Subject) + "\n")
		}
	}
	r, err := credentials.row(c, c.ID, c.Name, c.Revision, c.DeletedAt, records.CredentialWords(c)...)
	if err != nil {
		return nil, err
	}
	r.scopeID, r.format, r.subjects = c.ScopeID, c.Current.Terms.Kind, subjects.String()
	return r, nil
}

func callerRow(c *keybearer.Caller) (*row, error) {
	records.TrimCaller(c)
	r, err := callers.row(c, c.ID, c.Name, c.Revision, c.DeletedAt, c.Description)
	if err != nil {
		return nil, err
	}
	r.tokens = c.Tokens
	return r, nil
}

func operatorRow(c *keybearer.Operator) (*row, error) {
	records.TrimOperator(c)
	r, err := operators.row(c, c.ID, c.Name, c.Revision, c.DeletedAt, c.Description)
	if err != nil {
		return nil, err
	}
	r.tokens = c.Tokens
	return r, nil
}

func hashText(h keybearer.TokenHash) string { return hex.EncodeToString(h[:]) }
