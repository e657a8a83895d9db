package upgrade

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/internal/anchor"
	"github.com/keybearer/keybearer/test/harness"
)

// engine is a store that samples are of.
type engine struct {
	name    string
	options []string            // lines for the global option keybearer
	hold    string              // the statement that keeps others from writing until ROLLBACK
	version string              // the statement that tells the version of the schema
	exists  string              // the statement that tells whether a table is there
	server  *harness.Postgres   // nil: SQLite
	mark    func(string) string // writes the parameters of a statement
}

// engines starts what samples are opened in: once for all tests, since it takes longer than most of them.
func engines(t *testing.T) []engine {
	t.Helper()
	return []engine{
		{
			name: "sqlite", hold: "BEGIN IMMEDIATE", version: "PRAGMA user_version", exists: "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1",
			mark: func(text string) string { return strings.ReplaceAll(text, "$", "?") },
		},
		{
			name: "postgres", options: []string{"store postgres {env.KEYBEARER_DSN} {\nnode n1\n}"}, server: harness.StartPostgres(t),
			hold: "BEGIN; SELECT seq FROM instance FOR UPDATE", version: "SELECT version FROM keybearer_schema",
			exists: "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = 'public' AND tablename = $1",
			mark:   func(text string) string { return text },
		},
	}
}

// database makes an empty database where the engine needs one that is there before.
func (e engine) database(t *testing.T) string {
	t.Helper()
	if e.server == nil {
		return ""
	}
	return e.server.Database(t)
}

// connect opens the store beside the server. It is the caller's to close.
func (e engine) connect(t *testing.T, home, dsn string) *sql.DB {
	t.Helper()
	driver := "pgx"
	if e.server == nil {
		driver = "sqlite"
		u := url.URL{Scheme: "file", Path: filepath.Join(home, "keybearer.db"), RawQuery: "_pragma=busy_timeout(2000)"}
		dsn = u.String()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// schema returns the version of the tables.
func (e engine) schema(t *testing.T, db *sql.DB) (version int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), e.version).Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

// ofOneServer are lines of a dump that servers of other versions do not take.
var ofOneServer = regexp.MustCompile(`(?m)^(\\(un)?restrict .*|SET transaction_timeout.*)\n`)

func (e engine) dump(t *testing.T, dsn string) string {
	t.Helper()
	if e.server == nil {
		return ""
	}
	return ofOneServer.ReplaceAllString(e.server.Dump(t, dsn), "")
}

// leftOut ends the names of files that are a process's own.
var leftOut = []string{".sock", ".lock", "-shm", ".tmp"}

// pack returns a sample: what stands in the home, the dump of a store that is elsewhere, and what was told.
func pack(t *testing.T, home, dump string, about *told) []byte {
	t.Helper()
	files := map[string][]byte{}
	entries, err := os.ReadDir(home)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || slices.ContainsFunc(leftOut, func(end string) bool { return strings.HasSuffix(entry.Name(), end) }) {
			continue
		}
		if files["home/"+entry.Name()], err = os.ReadFile(filepath.Join(home, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case strings.HasPrefix(dump, "{"):
		files["dump.json"] = []byte(dump)
	case dump != "":
		files["dump.sql"] = []byte(dump)
	}
	if files["told.json"], err = json.MarshalIndent(about, "", "\t"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	w := tar.NewWriter(z)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(files[name])), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sample is one that lies ready to be opened.
type sample struct {
	*told
	home, dsn string
	schema    int    // version of the tables
	audit     []byte // the audit log
}

// unpack lays a sample out in a new home, and in a new database if it has one.
func unpack(t *testing.T, e engine, archive []byte) *sample {
	t.Helper()
	s := &sample{told: new(told), home: filepath.Join(harness.Dir(t), "home"), dsn: e.database(t)}
	if err := os.Mkdir(s.home, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range members(t, archive) {
		switch file, inHome := strings.CutPrefix(name, "home/"); {
		case inHome:
			harness.WriteFile(t, filepath.Join(s.home, file), text)
		case name == "dump.sql":
			e.server.Restore(t, s.dsn, string(text))
		case name == "told.json":
			if err := json.Unmarshal(text, s.told); err != nil {
				t.Fatal(err)
			}
		}
	}
	var err error
	if s.audit, err = os.ReadFile(filepath.Join(s.home, "audit.jsonl")); err != nil {
		t.Fatal(err)
	}
	db := e.connect(t, s.home, s.dsn)
	defer db.Close()
	s.schema = e.schema(t, db)
	s.rejuvenate(t, e, db)
	s.settleAnchor(t, e)
	return s
}

// members returns what an archive holds, by name.
func members(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// moments finds times in JSON, up to their seconds: to move them by whole hours leaves everything as long as it is.
var moments = regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d`)

func later(text []byte, by time.Duration) []byte {
	return moments.ReplaceAllFunc(text, func(m []byte) []byte {
		at, err := time.Parse("2006-01-02T15:04:05", string(m))
		if err != nil {
			return m
		}
		return at.Add(by).AppendFormat(nil, "2006-01-02T15:04:05")
	})
}

// microseconds are the columns that hold times as numbers.
var microseconds = map[string]string{
	"usage": "last_at", "usage_callers": "last_at", "usage_hours": "hour", "last_uses": "at", "spent": "until", "trials": "last_at", "refusals": "hour",
}

// rejuvenate moves all times of the records, and of what was told of them, so that the sample is less than an hour old.
func (s *sample) rejuvenate(t *testing.T, e engine, db *sql.DB) {
	t.Helper()
	by := time.Since(s.Made).Truncate(time.Hour)
	for command, text := range s.Documents {
		s.Documents[command] = later(text, by)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	exec := func(text string, args ...any) {
		t.Helper()
		if _, err := tx.ExecContext(t.Context(), e.mark(text), args...); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	for _, table := range []string{"scopes", "credentials", "callers", "operators"} {
		rows, err := tx.QueryContext(t.Context(), "SELECT id, record FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		records := map[string]string{}
		for rows.Next() {
			var id, record string
			if err := rows.Scan(&id, &record); err != nil {
				t.Fatal(err)
			}
			records[id] = record
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		for id, record := range records {
			exec("UPDATE "+table+" SET record = $1 WHERE id = $2", string(later([]byte(record), by)), id)
		}
	}
	for table, column := range microseconds {
		var there int
		if err := tx.QueryRowContext(t.Context(), e.exists, table).Scan(&there); err != nil {
			t.Fatal(err)
		}
		if there == 0 {
			continue // of a later schema
		}
		// In two steps, since a row may come to stand where another one still is.
		exec(fmt.Sprintf("UPDATE %s SET %s = -(%[2]s + %d) WHERE %[2]s > 0", table, column, by.Microseconds()))
		exec(fmt.Sprintf("UPDATE %s SET %s = -%[2]s WHERE %[2]s < 0", table, column))
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// anchored is a line of an anchor that tells of a store.
var anchored = regexp.MustCompile(`(?m)^store [0-9a-f]+ `)

// settleAnchor has the anchor of the sample, where it has one, mean the store at its new place.
func (s *sample) settleAnchor(t *testing.T, e engine) {
	t.Helper()
	path := filepath.Join(s.home, "anchor")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	place := "keybearer.stores.sqlite " + filepath.Join(s.home, "keybearer.db")
	if e.server != nil {
		place = "keybearer.stores.postgres {env.KEYBEARER_DSN}"
	}
	body, _, ok := bytes.Cut(text, []byte("sum "))
	if !ok {
		t.Fatalf("the anchor has no sum: %s", text)
	}
	body = anchored.ReplaceAll(body, []byte("store "+anchor.ID(place)+" "))
	sum := sha256.Sum256(body)
	harness.WriteFile(t, path, fmt.Appendf(body, "sum %s\n", hex.EncodeToString(sum[:16])))
}
