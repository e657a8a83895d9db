package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// A backup from before a revocation is put in the place of the store: the server does not start with it, until the operator accepts what is lost. The
// anchor lies elsewhere, as the documentation advises.
func TestARestoredBackupRevivesNoRevokedCredential(t *testing.T) {
	elsewhere := harness.Dir(t)
	file := filepath.Join(elsewhere, "anchor")
	w := newWorld(t, "anchor "+file)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.serves(t, api)
	w.Stop(t)
	database := filepath.Join(w.Home, "keybearer.db")
	backup, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	w.must("", "caller", "revoke", "billing")
	get := request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+w.tokens["billing"])
	isRefusal(t, w.ask(t, get), keybearer.CallerUnauthenticated, 407)
	w.Stop(t)
	arrived := api.Len()

	replace(database, string(backup))(t)
	for range 2 { // it does not help to start it again
		w.refuses(t, "the store is older than what this server has seen of it", "keybearer anchor accept")
	}
	show := w.must("", "anchor", "show", "--config", w.Config, "--adapter", "caddyfile")
	if !strings.Contains(show, "ends with change") {
		t.Errorf("anchor show says %s", show)
	}
	if api.Len() != arrived {
		t.Error("a revoked token was of use")
	}

	kept := filepath.Join(t.TempDir(), "anchor")
	copyTree(t, elsewhere, kept)
	for _, c := range []struct {
		name   string
		damage func(*testing.T)
		words  []string
	}{
		{"cut", cut(file, 0.7), []string{file, "is damaged"}},
		{"edited", edit(file), []string{file, "is damaged"}},
		{"empty", replace(file, ""), []string{file, "is damaged"}},
		{"writable for others", mode(file, 0o666), []string{"chmod 600 " + file}},
		{"in a directory that is gone", func(t *testing.T) {
			replaceDirectory(t, elsewhere)
		}, []string{"anchor: ", elsewhere, "not a directory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.damage(t)
			w.refuses(t, c.words...)
			if err := os.RemoveAll(elsewhere); err != nil {
				t.Fatal(err)
			}
			copyTree(t, kept, elsewhere)
		})
	}

	if err := os.Chown(file, int(nobody.Uid), int(nobody.Gid)); err != nil { // as where the server is not root, and who accepts is
		t.Fatal(err)
	}
	r := w.CLI(t, "", "anchor", "accept", "--config", w.Config, "--adapter", "caddyfile")
	if r.Code != 0 || !strings.Contains(r.Stderr, "revoke again what was revoked in") {
		t.Fatalf("anchor accept: exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if info, err := os.Stat(file); err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody.Uid || info.Mode() != 0o600 {
		t.Errorf("root took the server's file: %v, %v", info, err)
	}
	w.start()
	w.serves(t, api) // as the backup says
	w.must("", "caller", "revoke", "billing")
	isRefusal(t, w.ask(t, get), keybearer.CallerUnauthenticated, 407)
	if doctor := w.must("", "doctor"); !strings.Contains(doctor, file+" is at change") {
		t.Errorf("doctor says nothing of the anchor:\n%s", doctor)
	}
}

// replaceDirectory leaves a file where a directory was.
func replaceDirectory(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	replace(path, "")(t)
}

// While the anchor cannot be written no change is acknowledged, and requests are served on. When it can be again, all goes on without a restart.
func TestAnAnchorThatCannotBeWritten(t *testing.T) {
	elsewhere := filepath.Join(harness.Dir(t), "elsewhere")
	w := newWorld(t, "anchor "+filepath.Join(elsewhere, "anchor"))
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.serves(t, api)
	if err := os.Rename(elsewhere, elsewhere+"-away"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lost", "never-begun"} {
		r := w.CLI(t, "", "scope", "create", name)
		if r.Code != 1 || !strings.Contains(r.Stderr, string(keybearer.StoreUnavailable)) || !strings.Contains(r.Stderr, "the anchor") {
			t.Errorf("a change that cannot be anchored: exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
		}
	}
	w.serves(t, api)
	if r := w.CLI(t, "", "doctor"); r.Code == 0 || !strings.Contains(r.Stdout, "anchor") {
		t.Errorf("doctor: exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if err := os.Rename(elsewhere+"-away", elsewhere); err != nil {
		t.Fatal(err)
	}
	w.must("", "scope", "create", "kept")
	if r := w.CLI(t, "", "scope", "show", "never-begun"); r.Code != 3 {
		t.Errorf("a change was begun that could not be anchored: exit code %d, %s", r.Code, r.Stdout)
	}
	w.must("", "doctor")
	w.Restart(t)
	w.serves(t, api)
}
