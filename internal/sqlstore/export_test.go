package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/keybearer/keybearer"
)

// KeepChanges sets how many changes stay in the feed.
func (s *Store) KeepChanges(n int64) { s.keep = n }

// Writer returns the connection that writes.
func (s *Store) Writer() *sql.DB { return s.engine.(*sqliteEngine).writes }

// Reader returns the connections that read.
func (s *Store) Reader() *sql.DB { return s.engine.(*sqliteEngine).reads }

// Statements returns the texts of the queries that were prepared for reading.
func (s *Store) Statements() []string {
	var texts []string
	for text := range s.reads.(*reader).stmts {
		texts = append(texts, text)
	}
	return texts
}

// CredentialsText returns the query of a page of ten credentials, and its parameters.
func (s *Store) CredentialsText(q keybearer.Query) (text string, args []any, err error) {
	f, order := s.credentialFilter(&q)
	text, err = s.pageText(credentials.name, &q, f, order)
	return bind(text), append(f.args, 11), err
}

// Remark gives a store the mark that it would have in a backup.
func (s *Store) Remark(ctx context.Context, m Mark) error {
	return s.write(ctx, "mark", func(t *transaction) error { return t.mark(m) })
}

// Forget deletes some of what was spent, as it is done now and then.
func (s *Store) Forget(now time.Time) bool { return s.forget(now) }

// SQLiteSteps and PostgresSteps say what each version of the schema brings.
var (
	SQLiteSteps   = sqliteSteps
	PostgresSteps = postgresSteps
)
