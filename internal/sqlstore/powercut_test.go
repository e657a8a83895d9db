package sqlstore_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/keybearer/keybearer"
)

// TestPragmas: what durability and the removal of old content rest on is in force on the connection that writes.
func TestPragmas(t *testing.T) {
	s := open(t)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "secure_delete": "1", "foreign_keys": "1", "temp_store": "2", "wal_autocheckpoint": "0", "busy_timeout": "5000",
	} {
		var got string
		if err := s.Writer().QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", pragma, got, err, want)
		}
	}
	if _, err := s.Reader().ExecContext(t.Context(), "DELETE FROM scopes"); err == nil {
		t.Error("a connection for reading writes")
	}
}

// TestPowerCut opens what a power cut can leave behind: a log whose last writes, which were not yet acknowledged, are torn
// at any byte, or a database file into which only some parts of the log's pages were copied. All that was acknowledged
// is there.
func TestPowerCut(t *testing.T) {
	cuts := 150
	if large {
		cuts = 5000
	}
	r := rand.New(rand.NewPCG(3, 4))
	_, path := home(t)
	closed(t, path)
	s := openAtOnce(t, path)
	scope := must(s.Scope(t.Context(), "docs"))(t)
	read := func(suffix string) []byte {
		t.Helper()
		content, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	before := read("")
	const commits = 40
	var sizes []int // of the log when the commit was acknowledged
	for i := range commits {
		b := keybearer.Batch{Events: []keybearer.Event{{ID: fmt.Sprint("req_", i)}}}
		for j := range 1 + r.IntN(4) {
			b.Writes = append(b.Writes, keybearer.Write{Credential: &keybearer.Credential{
				ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: fmt.Sprintf("c%d-%d", i, j),
				Current: keybearer.Version{Number: 1, Sealed: ciphertext(r)},
			}})
		}
		if _, err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(read("-wal")))
	}
	log := read("-wal")
	if !bytes.Equal(before, read("")) {
		t.Fatal("the log was copied back already: this test shows nothing")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after := read("")
	garbled := func(b []byte) []byte {
		for i := range b {
			if r.IntN(3) > 0 {
				b[i] = byte(r.Uint32())
			}
		}
		return b
	}
	for cut := range cuts {
		database, wal, want := before, log, commits
		if cut%3 > 0 {
			at := sizes[0] + r.IntN(len(log)-sizes[0]+1)
			wal = bytes.Clone(log[:at])
			if cut%3 == 2 {
				wal = append(wal, garbled(bytes.Clone(log[at:at+r.IntN(len(log)-at+1)]))...)
			}
			for want > 0 && sizes[want-1] > at {
				want--
			}
		} else {
			database = bytes.Clone(after)
			if n := len(before) + r.IntN(len(after)-len(before)); r.IntN(2) == 0 {
				database = database[:n] // it had not grown to its full size
			}
			for sector := 0; sector < len(database); sector += 512 {
				part := database[sector:min(sector+512, len(database))]
				switch {
				case r.IntN(2) == 0:
				case sector+len(part) <= len(before):
					copy(part, before[sector:])
				default:
					clear(part)
				}
			}
		}
		torn := filepath.Join(t.TempDir(), "home", "keybearer.db")
		if err := os.Mkdir(filepath.Dir(torn), 0o700); err != nil {
			t.Fatal(err)
		}
		for suffix, content := range map[string][]byte{"": database, "-wal": wal} {
			if err := os.WriteFile(torn+suffix, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := openAtOnce(t, torn)
		seq := must(s.Sequence(t.Context()))(t)
		if seq < uint64(want)+1 {
			t.Errorf("cut %d: the last commit is %d, %d was acknowledged", cut, seq, want+1)
		}
		found := len(must(s.Events(t.Context(), 1000))(t))
		for i := range commits {
			_, err := s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: fmt.Sprintf("c%d-0", i)})
			if there := err == nil; there != (uint64(i)+2 <= seq) || err != nil && keybearer.CodeOf(err) != keybearer.NotFound {
				t.Errorf("cut %d: commit %d of %d: %v", cut, i+2, seq, err)
			}
		}
		if uint64(found)+1 != seq {
			t.Errorf("cut %d: %d events, the last commit is %d", cut, found, seq)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		intact(t, torn)
		if t.Failed() {
			return
		}
	}
}
