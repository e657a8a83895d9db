package sqlstore_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// TestDamage: a damaged database gives errors that say so, never a wrong record; and what is still whole can be read.
func TestDamage(t *testing.T) {
	_, path := home(t)
	s := openAtOnce(t, path)
	scope := addScope(t, s, "docs")
	var b keybearer.Batch
	for i := range 400 {
		b.Writes = append(b.Writes, keybearer.Write{Credential: &keybearer.Credential{
			ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: fmt.Sprintf("c%03d", i), Description: "as it was",
			Current: keybearer.Version{Number: 1, Sealed: bytes.Repeat([]byte{1}, 100)},
		}})
	}
	if _, err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for page := 0; page < len(whole)/4096; page += 5 {
		for _, damage := range []func(p []byte){
			func(p []byte) { clear(p) },
			func(p []byte) { copy(p, bytes.Repeat([]byte{0xff}, 64)) },
			func(p []byte) { p[3], p[4] = 0xff, 0xff },
		} {
			content := bytes.Clone(whole)
			damage(content[page*4096:][:4096])
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := sqlstore.OpenSQLite(t.Context(), path)
			if err != nil {
				if e := keybearer.AsError(err); e.Code != keybearer.StoreUnavailable || !strings.Contains(e.Detail, path) || e.Hint == "" {
					t.Fatalf("page %d: open: %v", page, err)
				}
				damaged++
				continue
			}
			for i := 0; i < len(b.Writes); i += 9 {
				want := b.Writes[i].Credential
				got, err := s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: want.Name})
				switch {
				case err == nil && (got.ID != want.ID || got.Description != want.Description):
					t.Fatalf("page %d: %s: a wrong record: %+v", page, want.Name, got)
				case err != nil && keybearer.CodeOf(err) == keybearer.StoreUnavailable:
					if e := keybearer.AsError(err); !strings.Contains(e.Detail, "keybearer.db") || !strings.Contains(e.Hint, "backup") {
						t.Fatalf("page %d: %q, hint %q", page, e.Detail, e.Hint)
					}
					damaged++
				case err != nil && keybearer.CodeOf(err) != keybearer.NotFound:
					t.Fatalf("page %d: %v", page, err)
				}
			}
			_ = s.Close() // it may well complain
		}
	}
	if damaged < 20 {
		t.Errorf("the damage was noticed %d times only", damaged)
	}
}

// TestFullDatabase: the error that SQLite itself gives when there is no room.
func TestFullDatabase(t *testing.T) {
	_, path := home(t)
	s := openAt(t, path)
	scope := addScope(t, s, "docs")
	if _, err := s.Writer().ExecContext(t.Context(), "PRAGMA max_page_count = 1"); err != nil { // no more than there are
		t.Fatal(err)
	}
	c := &keybearer.Credential{
		ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: "crm",
		Current: keybearer.Version{Number: 1, Sealed: make([]byte, 20_000)},
	}
	_, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Credential: c}}})
	if e := keybearer.AsError(err); e == nil || e.Code != keybearer.StoreUnavailable || e.Detail != "there is no space left for keybearer.db" {
		t.Errorf("got %v", err)
	}
	if seq, err := s.Sequence(t.Context()); err != nil || seq != scope.Revision {
		t.Errorf("sequence: %d, %v", seq, err)
	}
	if _, err := s.Writer().ExecContext(t.Context(), "PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Credential: c}}}); err != nil {
		t.Error(err)
	}
}

// TestUnreadableRecord: a row that does not hold a record is an error, not an empty record.
func TestUnreadableRecord(t *testing.T) {
	_, path := home(t)
	closed(t, path)
	sqlite(t, path, "UPDATE scopes SET record = '{\"id\": 7}'")
	s := openAt(t, path)
	_, err := s.Scope(t.Context(), "docs")
	if e := keybearer.AsError(err); e == nil || e.Code != keybearer.StoreUnavailable || !strings.Contains(e.Detail, "keybearer.db holds a record") {
		t.Errorf("scope: %v", err)
	}
	_, err = s.Scopes(t.Context(), keybearer.Query{})
	if keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("scopes: %v", err)
	}
}
