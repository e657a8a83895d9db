package vaultkv

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
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
	if r := w.Scope; r != nil {
		n, kind, record, revision = n+1, keybearer.ScopeRecord, trimScope(r.Clone()), r.Revision
	}
	if r := w.Credential; r != nil {
		n, kind, record, revision = n+1, keybearer.CredentialRecord, trimCredential(r.Clone()), r.Revision
	}
	if r := w.Caller; r != nil {
		n, kind, record, revision = n+1, keybearer.CallerRecord, trimCaller(r.Clone()), r.Revision
	}
	if r := w.Operator; r != nil {
		n, kind, record, revision = n+1, keybearer.OperatorRecord, trimOperator(r.Clone()), r.Revision
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
		e.id, e.name, e.record, deleted, words = r.ID, r.Name, r, r.DeletedAt, []string{r.Description}
		e.scopeID = r.ScopeID
		for i := range r.Current.Terms.Rules {
			words = append(words, r.Current.Terms.Rules[i].Host)
		}
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
	e.deleted, e.search = !deleted.IsZero(), searchText(append(words, e.name))
	return e, err
}

// The functions below are given a clone and bring its times into the stored form.

func trimScope(r *keybearer.Scope) *keybearer.Scope {
	trim(&r.CreatedAt, &r.UpdatedAt, &r.DeletedAt)
	for _, k := range []*keybearer.ScopeKey{r.Key, r.Former} {
		if k != nil {
			trim(&k.CreatedAt, &k.RotatedAt)
		}
	}
	if r.Work != nil {
		trim(&r.Work.StartedAt)
	}
	return r
}

func trimCredential(r *keybearer.Credential) *keybearer.Credential {
	trim(&r.ExpiresAt, &r.CreatedAt, &r.UpdatedAt, &r.DeletedAt)
	for _, v := range []*keybearer.Version{&r.Current, r.Previous} {
		if v != nil {
			trim(&v.CreatedAt, &v.RetiredAt)
		}
	}
	return r
}

func trimCaller(r *keybearer.Caller) *keybearer.Caller {
	trim(&r.CreatedAt, &r.UpdatedAt, &r.DeletedAt)
	trimTokens(r.Tokens)
	return r
}

func trimOperator(r *keybearer.Operator) *keybearer.Operator {
	trim(&r.CreatedAt, &r.UpdatedAt, &r.DeletedAt)
	trimTokens(r.Tokens)
	return r
}

func trimTokens(tokens []keybearer.Token) {
	for i := range tokens {
		trim(&tokens[i].CreatedAt, &tokens[i].ExpiresAt)
	}
}

// trim brings times into UTC and cuts them to the microsecond.
func trim(times ...*time.Time) {
	for _, t := range times {
		*t = t.UTC().Truncate(time.Microsecond)
	}
}

// between keeps a search from matching across the end of one word and the start of the next.
const between = "\x1f"

func searchText(words []string) string {
	for i := range words {
		words[i] = fold(words[i])
	}
	return strings.Join(words, between)
}

// fold is the form in which texts are compared. It never holds what stands between words.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.ToLower(strings.ToValidUTF8(s, "\uFFFD")))
}
