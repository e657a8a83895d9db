package caddymodule

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// The store is opened as the node that the home directory names, and follows other processes; what tells it from another
// store, and is shown with the configuration, does not hold the password.
func TestPostgresIsOpenedAsThisNode(t *testing.T) {
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	home := t.TempDir()
	t.Setenv("KEYBEARER_HOME", home)
	file := filepath.Join(home, "dsn")
	if err := os.WriteFile(file, []byte(dsn+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() keybearer.Store {
		t.Helper()
		p := &Postgres{DSN: "{file." + file + "}"}
		if err := p.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		if key := guestKey(p); strings.Contains(key, password) || !strings.Contains(key, file) {
			t.Errorf("it is told apart by %s", key)
		}
		s, err := p.OpenStore(t.Context(), logs.logger())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if _, ok := s.(keybearer.Follower); !ok {
		t.Error("nothing follows the changes of other processes")
	}
	ledger := s.(keybearer.Ledger)
	place := keybearer.Checkpoint{File: "f", Offset: 7}
	if err := ledger.RecordUses(t.Context(), nil, place); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if got, err := s.(keybearer.Ledger).Checkpoint(t.Context()); err != nil || got != place {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	node, err := os.ReadFile(filepath.Join(home, "node"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn), Node: strings.TrimSpace(string(node))})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got, err := other.Checkpoint(t.Context()); err != nil || got != place {
		t.Errorf("by the name in the file: %+v, %v", got, err)
	}
}
