package sqlstore

import "database/sql"

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
