package sqlstore_test

import (
	"database/sql"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	_ "modernc.org/sqlite" // its driver, to look at a database as another program does

	"github.com/keybearer/keybearer"
)

// window is how many characters of a ciphertext in a file count as its remains.
const window = 12

// windows adds the pieces of a ciphertext, in both forms in which it could be stored, under its name.
func windows(index map[[window]byte]string, name string, sealed []byte) {
	for _, form := range [][]byte{sealed, []byte(base64.StdEncoding.EncodeToString(sealed))} {
		for at := 0; at+window <= len(form); at += window {
			index[[window]byte(form[at:])] = name
		}
	}
}

// sweep looks through the database and the files beside it, byte by byte, for pieces of ciphertexts. It returns what it
// found, and where.
func sweep(t *testing.T, path string, index map[[window]byte]string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	found := make(map[string]string)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for at := range max(len(content)-window+1, 0) {
			if name, ok := index[[window]byte(content[at:])]; ok {
				found[name] = fmt.Sprintf("%s at %d", filepath.Base(file), at)
			}
		}
	}
	return found
}

// ciphertext returns random bytes of a length that makes records of all sizes, from a few to a page to many pages.
func ciphertext(r *rand.Rand) []byte {
	b := make([]byte, 60+r.IntN([]int{200, 900, 900, 2000, 2000, 20_000}[r.IntN(6)]))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestNoOldCiphertextInFiles goes through random creations, replacements, destructions and deletions, and looks for all ciphertext
// that is no longer in a record. With each of these seeds the pragma secure_delete alone leaves some behind.
func TestNoOldCiphertextInFiles(t *testing.T) {
	for _, seed := range []uint64{5, 14, 16} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { noOldCiphertext(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func noOldCiphertext(t *testing.T, r *rand.Rand) {
	path := filepath.Join(t.TempDir(), "home", "keybearer.db")
	s := openAt(t, path)
	scope := &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: "docs"}
	if _, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}}); err != nil {
		t.Fatal(err)
	}
	var live []*keybearer.Credential
	gone := make(map[[window]byte]string)
	count := 0
	drop := func(c *keybearer.Credential, v *keybearer.Version) {
		if v != nil && len(v.Sealed) > 0 {
			windows(gone, fmt.Sprintf("%s version %d", c.Name, v.Number), v.Sealed)
			count++
		}
	}
	for round := range 36 {
		var b keybearer.Batch
		var kept []*keybearer.Credential
		for _, c := range live {
			w := keybearer.Write{Credential: c}
			switch r.IntN(8) {
			case 0: // deleted for good
				drop(c, &c.Current)
				drop(c, c.Previous)
				w.Delete = true
				b.Writes = append(b.Writes, w)
				continue
			case 1: // replaced; the version before the previous one goes
				drop(c, c.Previous)
				previous := c.Current
				c.Previous = &previous
				c.Current = keybearer.Version{Number: previous.Number + 1, Sealed: ciphertext(r)}
				b.Writes = append(b.Writes, w)
			case 2: // destroyed, the shell stays
				drop(c, &c.Current)
				c.Current = keybearer.Version{Number: c.Current.Number + 1}
				b.Writes = append(b.Writes, w)
			}
			kept = append(kept, c)
		}
		live = kept
		for i := range 1 + r.IntN(30) {
			c := &keybearer.Credential{
				ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: fmt.Sprintf("c%d-%d", round, i),
				Current: keybearer.Version{Number: 1, Sealed: ciphertext(r)},
			}
			live = append(live, c)
			b.Writes = append(b.Writes, keybearer.Write{Credential: c})
		}
		seq, err := s.Commit(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range b.Writes {
			w.Credential.Revision = seq
		}
		if round%4 != 3 {
			continue
		}
		if found := sweep(t, path, gone); len(found) > 0 {
			t.Fatalf("round %d, %d live, %d gone: %d found: %v", round, len(live), count, len(found), found)
		}
	}
	// The sweep finds what is there.
	present := make(map[[window]byte]string)
	want := 0
	for _, c := range live {
		if len(c.Current.Sealed) > 0 {
			windows(present, c.Name, c.Current.Sealed)
			want++
		}
	}
	if found := sweep(t, path, present); len(found) != want || count < 200 || want < 50 {
		t.Errorf("the sweep finds %d of %d ciphertexts that are there; %d are gone", len(found), want, count)
	}
	intact(t, path)
}

// intact checks the whole structure of a database with a connection of its own.
func intact(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=rw")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var result string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&result); err != nil || result != "ok" {
		t.Errorf("integrity check: %s, %v", result, err)
	}
}

// TestBackup: another program that reads for long holds up no commit. Once it has gone, old ciphertext goes too: with the
// next commit, by itself, or when the database is opened after a crash.
func TestBackup(t *testing.T) {
	for _, end := range []string{"commit", "wait", "crash"} {
		t.Run(end, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { backup(t, end) }) })
	}
}

func backup(t *testing.T, end string) {
	path := filepath.Join(t.TempDir(), "home", "keybearer.db")
	s := openAtOnce(t, path)
	defer s.Close()
	scope := addScope(t, s, "docs")
	old := ciphertext(rand.New(rand.NewPCG(1, 2)))
	gone := make(map[[window]byte]string)
	windows(gone, "version 1", old)
	c := &keybearer.Credential{ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: "crm", Current: keybearer.Version{Number: 1, Sealed: old}}
	commit := func() {
		t.Helper()
		c.Revision = must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Credential: c}}}))(t)
	}
	commit()

	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	reader, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback()
	read := func() int {
		t.Helper()
		var revision int
		if err := reader.QueryRowContext(t.Context(), "SELECT revision FROM credentials").Scan(&revision); err != nil {
			t.Fatal(err)
		}
		return revision
	}
	first := read()
	c.Current = keybearer.Version{Number: 2, Sealed: []byte("new")}
	for range 5 {
		commit()
	}
	time.Sleep(10 * time.Second) // of the bubble's clock: attempts in vain
	if got := read(); got != first {
		t.Errorf("the backup sees revision %d, it began at %d", got, first)
	}
	if found := sweep(t, path, gone); len(found) == 0 {
		t.Error("the old ciphertext is gone already: the backup did not hold it, and this test shows nothing")
	}
	copied := filepath.Join(filepath.Dir(path), "crash", "keybearer.db")
	if end == "crash" {
		if err := os.Mkdir(filepath.Dir(copied), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"", "-wal"} {
			content, err := os.ReadFile(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(copied+suffix, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	switch end {
	case "commit":
		if err := s.RecordUses(t.Context(), nil, keybearer.Checkpoint{File: "f", Offset: 1}); err != nil {
			t.Fatal(err)
		}
	case "wait":
		time.Sleep(2 * time.Second)
		synctest.Wait()
	case "crash":
		path = copied
		again := openAtOnce(t, path)
		defer again.Close()
	}
	if found := sweep(t, path, gone); len(found) != 0 {
		t.Errorf("the old ciphertext is still there: %v", found)
	}
	intact(t, path)
}
