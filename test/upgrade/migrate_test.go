package upgrade

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// oldest returns the sample of the first schema of an engine.
func oldest(t *testing.T, e engine) *sample {
	t.Helper()
	archives, err := filepath.Glob("testdata/schema-*/" + e.name + ".tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no sample: %v", err)
	}
	archive, err := os.ReadFile(slices.Min(archives))
	if err != nil {
		t.Fatal(err)
	}
	return unpack(t, e, archive)
}

// A server that is killed while it migrates leaves the tables as some version had them, and the next one goes on: nothing is lost.
func aMigrationIsKilled(t *testing.T, all []engine) {
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			l, s := newLab(t), oldest(t, e)
			u := under(t, e, l, s)
			db := u.connect(t)
			before, rows := e.schema(t, db), content(t, db)
			for range 3 {
				// Nobody else may write: it comes as far as the first statement that does, or the first that needs this lock.
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				hold := e.hold
				if e.server != nil { // in the middle of the one transaction that changes all
					hold = "BEGIN; LOCK TABLE credentials IN ROW EXCLUSIVE MODE"
				}
				if _, err := conn.ExecContext(t.Context(), hold); err != nil {
					t.Fatal(err)
				}
				p := u.launch(t)
				harness.Await(t, "the migration waits", 30*time.Second, func() error { return u.migrating(t, db, p) })
				p.Kill()
				if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
					t.Fatal(err)
				}
				_ = conn.Close()
				if got := e.schema(t, db); got != before {
					t.Fatalf("killed before anything was done, and yet the schema is %d, not %d", got, before)
				}
			}
			// Killed as soon as it has come further, and again, until there is nowhere further to come.
			for at := before; at < latest(t, e); {
				p := u.launch(t)
				harness.Await(t, "the migration comes further", 30*time.Second, func() error {
					if now := e.schema(t, db); now == at {
						return fmt.Errorf("still at version %d", at)
					}
					return nil
				})
				p.Kill()
				at = e.schema(t, db)
			}
			if got := content(t, db); got != rows {
				t.Errorf("records before %s\nand after %s", rows, got)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			intact(t, e, l, s).again(t)
		})
	}
}

// launch starts the server and does not wait for it.
func (u *upgraded) launch(t *testing.T) *harness.Process {
	t.Helper()
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return harness.Start(t, harness.Command{
		Name: "keybearer", Path: binary, Args: []string{"run", "--config", u.Config, "--adapter", "caddyfile"},
		Env: append(u.Env(), "KEYBEARER_DSN="+u.dsn), Dir: filepath.Dir(u.Config),
	})
}

// migrating returns nil when the server waits for a lock: in PostgreSQL that is told, and with SQLite the lock file names the process.
func (u *upgraded) migrating(t *testing.T, db *sql.DB, p *harness.Process) error {
	t.Helper()
	if p.Ended() {
		t.Fatal("it ended by itself")
	}
	if u.e.server == nil {
		if text, err := os.ReadFile(filepath.Join(u.home, "keybearer.db.lock")); err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(p.PID()) {
			return fmt.Errorf("the lock says %s: %v", text, err)
		}
		return nil
	}
	var waits int
	err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waits)
	if err == nil && waits == 0 {
		err = fmt.Errorf("nobody waits")
	}
	return err
}

// content is what the four tables of records hold.
func content(t *testing.T, db *sql.DB) string {
	t.Helper()
	all := map[string][]string{}
	for _, table := range []string{"scopes", "credentials", "callers", "operators"} {
		rows, err := db.QueryContext(t.Context(), "SELECT id, revision, record FROM "+table+" WHERE id NOT IN (SELECT id FROM scopes WHERE name = 'busy') ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id, record string
			var revision int
			if err := rows.Scan(&id, &revision, &record); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(record, `"name":"c`) { // those of busy, which the server goes on to rotate
				all[table] = append(all[table], fmt.Sprint(id, revision, record))
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Several servers of a new version start at once on a database of the old one: one migrates, the others wait for it, and all serve.
func severalServersMigrateTogether(t *testing.T, all []engine) {
	e := all[1]
	l, s := newLab(t), oldest(t, e)
	var servers []*harness.Keybearer
	for i := range 3 {
		o := harness.KeybearerOptions{Options: l.options(fmt.Sprintf("store postgres {env.KEYBEARER_DSN} {\nnode n%d\n}", i+1)), Env: []string{"KEYBEARER_DSN=" + s.dsn}}
		k := harness.NewKeybearer(t, o)
		lend(t, s, k)
		servers = append(servers, k)
	}
	errs := make([]error, len(servers))
	var group sync.WaitGroup
	for i, k := range servers {
		group.Go(func() { errs[i] = k.TryStart(t) })
	}
	group.Wait()
	for i, k := range servers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		l.send(t, k, s.Tokens["billing"], sending{"billing", "docs/crm", "GET", "http://api.example.com/", "Authorization", "Bearer crm-second", ""})
	}
	db := e.connect(t, s.home, s.dsn)
	defer db.Close()
	var rows int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM keybearer_schema").Scan(&rows); err != nil || rows != 1 || e.schema(t, db) != latest(t, e) {
		t.Errorf("%d rows, version %d, %v", rows, e.schema(t, db), err)
	}
	// Whoever comes with a new binary is told who is connected.
	r := doctor(t, servers[0], s.dsn)
	if f := r.find(t, "fleet"); f.Health != "ok" || !strings.Contains(f.Detail, "n1") || !strings.Contains(f.Detail, "n3") {
		t.Errorf("fleet: %+v", f)
	}
}

// A store of a later version is refused by this one, with a sentence that says so and what to do; nothing in it is changed.
func aLaterSchemaIsRefused(t *testing.T, all []engine) {
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			l, s := newLab(t), oldest(t, e)
			u := under(t, e, l, s)
			db := u.connect(t)
			set := "PRAGMA user_version = 99"
			if e.server != nil {
				set = "UPDATE keybearer_schema SET version = 99"
			}
			if _, err := db.ExecContext(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			before := content(t, db)
			p := u.launch(t)
			select {
			case <-p.Done():
			case <-time.After(60 * time.Second):
				t.Fatal("it goes on")
			}
			out := p.Output(t)
			for _, word := range []string{"by a newer version of Keybearer", fmt.Sprintf("version 99, this binary knows %d", latest(t, e)), "install that version again, or restore the backup"} {
				if !strings.Contains(out, word) {
					t.Errorf("it does not say %q: %s", word, out)
				}
			}
			if code := p.ExitCode(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if e.schema(t, db) != 99 || content(t, db) != before {
				t.Error("it has changed something")
			}
			r := doctor(t, u.Keybearer, s.dsn)
			if f := r.find(t, "schema"); r.code != 1 || f.Health != "failure" || f.Code != "store_unavailable" || !strings.Contains(f.Detail, "it is too old") {
				t.Errorf("doctor: exit code %d, %+v", r.code, f)
			}
		})
	}
}
