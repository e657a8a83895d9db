package vaultkv

import (
	"encoding/json"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/records"
)

// entry is a record with what look-ups, listings and searches need of it. It is immutable.
type entry struct {
	kind     keybearer.RecordKind
	id, name string
	scopeID  string // of a credential
	revision uint64
	deleted  bool
	search   string
	tokens   []keybearer.Token
	record   any // *keybearer.Scope and so on, with its Revision
}

// named returns the name that no other record may have.
func (e *entry) named() name { return name{e.kind, e.scopeID, e.name} }

// name identifies a record by its name: for a credential with the id of its scope.
type name struct {
	kind        keybearer.RecordKind
	scope, name string
}

// write is one write of a batch in the form in which it is applied.
type write struct {
	entry
	remove bool
	text   json.RawMessage // the record as it is stored
}

// newWrite copies a record into its stored form. It returns [keybearer.Invalid] when the write does not hold exactly one
// record, or one that could not be read back.
func newWrite(w *keybearer.Write) (*write, error) {
	n := 0
	var kind keybearer.RecordKind
	var record any
	var revision uint64
	if w.Scope != nil {
		r := w.Scope.Clone()
		records.TrimScope(r)
		n, kind, record, revision = n+1, keybearer.ScopeRecord, r, r.Revision
	}
	if w.Credential != nil {
		r := w.Credential.Clone()
		records.TrimCredential(r)
		n, kind, record, revision = n+1, keybearer.CredentialRecord, r, r.Revision
	}
	if w.Caller != nil {
		r := w.Caller.Clone()
		records.TrimCaller(r)
		n, kind, record, revision = n+1, keybearer.CallerRecord, r, r.Revision
	}
	if w.Operator != nil {
		r := w.Operator.Clone()
		records.TrimOperator(r)
		n, kind, record, revision = n+1, keybearer.OperatorRecord, r, r.Revision
	}
	if n != 1 {
		return nil, keybearer.NewError(keybearer.Invalid, "a write holds exactly one record")
	}
	// What is kept in memory is what anyone else will read.
	text, err := json.Marshal(record)
	var e *entry
	if err == nil {
		e, err = newEntry(kind, text, revision)
	}
	if err != nil {
		return nil, keybearer.NewError(keybearer.Invalid, "the record holds a value that cannot be stored").Wrap(err)
	}
	return &write{entry: *e, remove: w.Delete, text: text}, nil
}

// stored returns the entry that a commit makes of the write.
func (w *write) stored(seq uint64) (*entry, error) { return newEntry(w.kind, w.text, seq) }

// newEntry reads the stored form of a record.
func newEntry(kind keybearer.RecordKind, text []byte, revision uint64) (*entry, error) {
	e := &entry{kind: kind, revision: revision}
	var err error
	var deleted time.Time
	var words []string
	switch kind {
	case keybearer.ScopeRecord:
		r := new(keybearer.Scope)
		err = json.Unmarshal(text, r)
		r.Revision = revision
		e.id, e.name, e.record, deleted, words = r.ID, r.Name, r, r.DeletedAt, []string{r.Description}
	case keybearer.CredentialRecord:
		r := new(keybearer.Credential)
		err = json.Unmarshal(text, r)
		r.Revision = revision
		e.id, e.name, e.record, deleted, words = r.ID, r.Name, r, r.DeletedAt, records.CredentialWords(r)
		e.scopeID = r.ScopeID
	case keybearer.CallerRecord:
		r := new(keybearer.Caller)
		err = json.Unmarshal(text, r)
		r.Revision = revision
		e.id, e.name, e.record, deleted, words = r.ID, r.Name, r, r.DeletedAt, []string{r.Description}
		e.tokens = r.Tokens
	case keybearer.OperatorRecord:
		r := new(keybearer.Operator)
		err = json.Unmarshal(text, r)
		r.Revision = revision
		e.id, e.name, e.record, deleted, words = r.ID, r.Name, r, r.DeletedAt, []string{r.Description}
		e.tokens = r.Tokens
	}
	e.deleted, e.search = !deleted.IsZero(), records.SearchText(append(words, e.name)...)
	return e, err
}
