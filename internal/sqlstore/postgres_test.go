package sqlstore_test

import (
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/harness"
)

// openPostgres opens a database as a node.
func openPostgres(t *testing.T, dsn, node string) *sqlstore.Postgres {
	t.Helper()
	s, err := sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn), Node: node})
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

func TestPostgresStore(t *testing.T) {
	server := harness.StartPostgres(t, "fsync=off")
	keybearertest.TestStore(t, func(t *testing.T) keybearer.Store { return openPostgres(t, server.Database(t), "a") })
}

func TestPostgresLedger(t *testing.T) {
	server := harness.StartPostgres(t, "fsync=off")
	keybearertest.TestLedger(t, func(t *testing.T) keybearer.Ledger { return openPostgres(t, server.Database(t), "a") })
}
