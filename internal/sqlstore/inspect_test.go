package sqlstore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// Each file of the schema is told of in words, so that nobody is surprised by an upgrade.
func TestEveryVersionOfTheSchemaIsToldInWords(t *testing.T) {
	for database, steps := range map[string][]string{"sqlite": sqlstore.SQLiteSteps, "postgres": sqlstore.PostgresSteps} {
		files, err := filepath.Glob("schema/" + database + "/*.sql")
		if err != nil || len(files) != len(steps) {
			t.Errorf("%s: %d files and %d steps, %v: say in sqlstore/inspect.go what the new file brings", database, len(files), len(steps), err)
		}
		for _, s := range steps {
			if s == "" || strings.HasSuffix(s, ".") {
				t.Errorf("%s: %q", database, s)
			}
		}
	}
}

// Looking changes nothing: not the file, and no file beside it.
func TestLookingIntoADatabaseChangesNothing(t *testing.T) {
	dir, path := home(t)
	s := openAt(t, path)
	scope := &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: "docs"}
	if _, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}}); err != nil {
		t.Fatal(err)
	}
	look := func() *sqlstore.Inspection { return must(sqlstore.InspectSQLite(t.Context(), path))(t) }
	if i := look(); !i.Found || i.Schema != i.Wanted || len(i.Scopes) != 1 || i.Scopes[0].Name != "docs" || i.Sequence == 0 || i.Bytes == 0 || len(i.Steps) != 0 { // beside its server
		t.Errorf("%+v", i)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list := func() map[string]string {
		all := map[string]string{}
		for _, e := range must(os.ReadDir(dir))(t) {
			all[e.Name()] = string(must(os.ReadFile(filepath.Join(dir, e.Name())))(t))
		}
		return all
	}
	before := list()
	look()
	if diff := cmp.Diff(before, list()); diff != "" {
		t.Error(diff)
	}
	none := filepath.Join(dir, "none.db")
	if i := must(sqlstore.InspectSQLite(t.Context(), none))(t); i.Found || i.Wanted == 0 {
		t.Errorf("%+v", i)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("it has made a database")
	}
}

// A copy is whole, is nobody else's, and never takes the place of another file.
func TestACopyOfADatabase(t *testing.T) {
	dir, path := home(t)
	s := openAt(t, path)
	scope := &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: "docs"}
	if _, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}}); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "copy.db")
	if err := sqlstore.CopySQLite(t.Context(), path, to); err != nil { // while it is in use
		t.Fatal(err)
	}
	if info := must(os.Stat(to))(t); info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := sqlstore.CopySQLite(t.Context(), path, to); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("over another one: %v", err)
	}
	if got := must(openAt(t, to).Scope(t.Context(), "docs"))(t); got.ID != scope.ID {
		t.Errorf("%+v", got)
	}
	if err := sqlstore.CopySQLite(t.Context(), path, filepath.Join(dir, "nowhere", "copy.db")); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("into no directory: %v", err)
	}
	// What cannot be copied leaves nothing behind.
	text := must(os.ReadFile(path))(t)
	for i := 4096; i < len(text); i++ {
		text[i] ^= 0x55
	}
	broken, part := filepath.Join(dir, "broken.db"), filepath.Join(dir, "part.db")
	if err := os.WriteFile(broken, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sqlstore.CopySQLite(t.Context(), broken, part); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("a damaged one: %v", err)
	}
	if _, err := os.Stat(part); err == nil {
		t.Error("a part of a copy is left")
	}
}
