package upgrade

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// finding is one of doctor's, as -o json writes it.
type finding struct{ Check, Health, Detail, Code, Fix string }

type report struct {
	code     int
	findings []finding
}

func doctor(t *testing.T, k *harness.Keybearer, dsn string) report {
	t.Helper()
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	r := harness.Run(t, harness.Command{
		Path: binary, Args: []string{"doctor", "--at-rest", "--config", k.Config, "--adapter", "caddyfile", "-o", "json"},
		Env: append(k.Env(), "KEYBEARER_DSN="+dsn), Dir: filepath.Dir(k.Config),
	}, "")
	out := report{code: r.Code}
	if err := json.Unmarshal([]byte(r.Stdout), &out.findings); err != nil {
		t.Fatalf("%v: %s%s", err, r.Stdout, r.Stderr)
	}
	return out
}

func (r report) find(t *testing.T, check string) finding {
	t.Helper()
	for _, f := range r.findings {
		if f.Check == check {
			return f
		}
	}
	t.Errorf("doctor says nothing of %s: %+v", check, r.findings)
	return finding{}
}

// files are the contents of what lies in a home, by name; but for what SQLite makes beside a database that somebody reads.
func files(t *testing.T, home string) map[string][32]byte {
	t.Helper()
	all := map[string][32]byte{}
	entries, err := os.ReadDir(home)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-shm") || !e.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(home, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = sha256.Sum256(text)
	}
	return all
}

// Before a new binary starts on an old home doctor tells what it will do, and changes nothing.
func doctorTellsWhatAnUpgradeNeeds(t *testing.T, all []engine) {
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			s := oldest(t, e)
			u := under(t, e, newLab(t), s)
			before := files(t, s.home)
			r := doctor(t, u.Keybearer, s.dsn)
			if !maps.Equal(before, files(t, s.home)) {
				t.Error("it has changed something in the home")
			}
			schema := r.find(t, "schema")
			backup := map[string]string{"sqlite": "keybearer backup", "postgres": "pg_dump"}[e.name]
			if r.code != 0 || schema.Health != "warning" || !strings.Contains(schema.Fix, backup) ||
				!strings.Contains(schema.Detail, fmt.Sprintf("makes it version %d", latest(t, e))) || !strings.Contains(schema.Detail, "refusals by reason") {
				t.Errorf("exit code %d, %+v", r.code, schema)
			}
			for _, check := range []string{"configuration", "space", "keys", "audit log", "anchor"} {
				if f := r.find(t, check); f.Health != "ok" {
					t.Errorf("%+v", f)
				}
			}
			if db := u.connect(t); e.schema(t, db) != s.schema {
				t.Error("it has migrated")
			}
			for _, c := range mistakes {
				if c.engine == "" || c.engine == e.name {
					t.Run(c.name, func(t *testing.T) {
						file := filepath.Join(s.home, c.file)
						text, err := os.ReadFile(file)
						if err != nil {
							t.Fatal(err)
						}
						harness.WriteFile(t, file, c.damage(t, text))
						r := doctor(t, u.Keybearer, s.dsn)
						if f := r.find(t, c.check); r.code != c.code || f.Health == "ok" || f.Fix == "" || !strings.Contains(f.Detail, c.says) {
							t.Errorf("exit code %d, %+v", r.code, f)
						}
						harness.WriteFile(t, file, text)
					})
				}
			}
		})
	}
}

// mistakes are what doctor finds before an upgrade fails on it.
var mistakes = []struct {
	name, engine, file string
	damage             func(t *testing.T, text []byte) []byte
	check, says        string
	code               int
}{
	{
		"a keyring of another store", "", "keyring.key.ring",
		func(t *testing.T, _ []byte) []byte { return another(t) }, "keys", "is not the one that the scope keys", 1,
	},
	{"a ring that was cut", "", "keyring.key.ring", func(_ *testing.T, b []byte) []byte { return b[:len(b)/2] }, "keys", "is damaged", 1},
	{
		"a line that is no event", "", "audit.jsonl",
		func(_ *testing.T, b []byte) []byte { return append(bytes.Clone(b), "hello\n"...) }, "audit log", "1 of its", 0,
	},
	{
		"an audit log that was begun anew", "sqlite", "audit.jsonl",
		func(_ *testing.T, b []byte) []byte { return b[bytes.IndexByte(b, '\n')+1:] }, "audit log", "up to which uses were counted", 0,
	},
	{
		"a damaged database", "sqlite", "keybearer.db",
		func(_ *testing.T, b []byte) []byte {
			b = bytes.Clone(b)
			for i := 5 * 4096; i < 12*4096; i++ {
				b[i] ^= 0x55
			}
			return b
		}, "schema", "is damaged", 1,
	},
}

// another returns the ring of another sample.
func another(t *testing.T) []byte {
	t.Helper()
	archive, err := os.ReadFile("testdata/schema-8/sqlite.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	return members(t, archive)["home/keyring.key.ring"]
}

// A store and a keyring that were restored from different moments do not belong together: the keyring lacks a key, though it opens.
func doctorFindsAKeyringThatLacksAKey(t *testing.T, _ []engine) {
	k := harness.StartKeybearer(t, harness.KeybearerOptions{})
	k.Do(t, "", "scope", "create", "docs")
	ring, err := os.ReadFile(filepath.Join(k.Home, "keyring.key.ring"))
	if err != nil {
		t.Fatal(err)
	}
	k.Do(t, "", "scope", "generate-key", "docs")
	if f := doctor(t, k, "").find(t, "keys"); f.Health != "ok" { // beside a server that runs
		t.Errorf("%+v", f)
	}
	k.Stop(t)
	harness.WriteFile(t, filepath.Join(k.Home, "keyring.key.ring"), ring)
	r := doctor(t, k, "")
	if f := r.find(t, "keys"); r.code != 1 || f.Code != "keyring_unavailable" || !strings.Contains(f.Detail, "the keyring lacks the key of docs") {
		t.Errorf("exit code %d, %+v", r.code, f)
	}
	if r := k.CLI(t, "", "backup", filepath.Join(harness.Dir(t), "b")); r.Code == 0 || !strings.Contains(r.Stderr, "lacks the key of scope docs") {
		t.Errorf("backup: exit code %d: %s", r.Code, r.Stderr)
	}
	// Without a server the same is told by plain doctor, behind the socket that is not there.
	if r := k.CLI(t, "", "doctor"); r.Code != 6 || !strings.Contains(r.Stdout, "the keyring lacks the key of docs") {
		t.Errorf("doctor: exit code %d: %s", r.Code, r.Stdout)
	}
}

// A backup that is made while a server takes changes is one moment of it, and a way back to before an upgrade.
func aBackupLeadsBack(t *testing.T, all []engine) {
	e := all[0]
	l, s := newLab(t), oldest(t, e)
	u := under(t, e, l, s)
	dir := filepath.Join(harness.Dir(t), "backup")
	if r := u.CLI(t, "", "backup", dir, "--config", u.Config, "--adapter", "caddyfile"); r.Code != 0 || !strings.Contains(r.Stderr, "keyring.key is not in it") {
		t.Fatalf("exit code %d: %s", r.Code, r.Stderr)
	}
	if info, err := os.Stat(filepath.Join(dir, "keybearer.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "keyring.key")); err == nil {
		t.Error("the key-encryption key is in the backup")
	}
	if err := u.TryStart(t); err != nil { // the upgrade
		t.Fatal(err)
	}
	u.Do(t, "of the new version", "credential", "set-secret", "docs/crm")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = u.api.RotateKey(t.Context(), "ops") // some find one under way
			}
		}
	}()
	for i := range 3 {
		again := filepath.Join(harness.Dir(t), "backup")
		if r := u.CLI(t, "", "backup", again, "--config", u.Config, "--adapter", "caddyfile", "-o", "json"); r.Code != 0 || !strings.Contains(r.Stdout, fmt.Sprintf(`"schema": %d`, latest(t, e))) {
			t.Errorf("backup %d: exit code %d: %s%s", i, r.Code, r.Stdout, r.Stderr)
		}
	}
	close(stop)
	<-done
	u.Stop(t)

	// Back: the files of the backup stand in their places, and the server of before finds the schema of before.
	for _, name := range []string{"keybearer.db", "keyring.key.ring"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		harness.WriteFile(t, filepath.Join(s.home, name), text)
	}
	for _, end := range []string{"-wal", "-shm"} {
		_ = os.Remove(filepath.Join(s.home, "keybearer.db"+end)) // gone after a clean stop
	}
	if db := u.connect(t); e.schema(t, db) != s.schema {
		t.Errorf("the schema is %d, not %d", e.schema(t, db), s.schema)
	} else if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r := doctor(t, u.Keybearer, "")
	if f := r.find(t, "anchor"); r.code != 1 || !strings.Contains(f.Detail, "older than what this server has seen") || !strings.Contains(f.Fix, "keybearer anchor accept") {
		t.Errorf("exit code %d, %+v", r.code, f)
	}
	if err := u.TryStart(t); err == nil {
		t.Fatal("a store that is behind its anchor is served from")
	}
	u.Do(t, "", "anchor", "accept", "--config", u.Config, "--adapter", "caddyfile")
	intact(t, e, l, s).again(t)
}
