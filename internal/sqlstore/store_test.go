package sqlstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/keybearertest"
)

// open makes a store of its own for a test.
func open(t *testing.T) *sqlstore.Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "home", "keybearer.db"))
}

func openAt(t *testing.T, path string) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	keybearertest.TestStore(t, func(t *testing.T) keybearer.Store { return open(t) })
}

func TestLedger(t *testing.T) {
	keybearertest.TestLedger(t, func(t *testing.T) keybearer.Ledger { return open(t) })
}

// schemas is how many versions the schema of a database has had.
func schemas(t *testing.T, database string) int {
	t.Helper()
	files, err := os.ReadDir(filepath.Join("schema", database))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return len(files)
}
