package anchor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/anchor"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		commitForever(dir)
	}
	os.Exit(m.Run())
}

// must returns a function that gives the value, or ends the test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// lab is a store in a file, and the place of an anchor.
type lab struct{ dir, database, path string }

func newLab(t *testing.T) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{dir: dir, database: filepath.Join(dir, "home", "keybearer.db"), path: filepath.Join(dir, "elsewhere", "anchor")}
	for _, d := range []string{filepath.Dir(l.database), filepath.Dir(l.path)} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *lab) store(t *testing.T) *sqlstore.Store {
	t.Helper()
	s := must(sqlstore.OpenSQLite(t.Context(), l.database))(t)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (l *lab) config(s keybearer.Store) anchor.Config {
	return anchor.Config{Path: l.path, Place: "here", Kind: "sqlite", Store: s}
}

// open opens store and anchor; close closes both.
func (l *lab) open(t *testing.T) (s *sqlstore.Store, a *anchor.Anchor, done func()) {
	t.Helper()
	s = l.store(t)
	a = must(anchor.Open(t.Context(), l.config(s)))(t)
	return s, a, func() {
		t.Helper()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// commit commits once, as custody does.
func commit(t *testing.T, s keybearer.Store, a *anchor.Anchor) uint64 {
	t.Helper()
	if err := a.Ready(); err != nil {
		t.Fatal(err)
	}
	seq := must(s.Commit(t.Context(), newCaller()))(t)
	if err := a.Advance(seq); err != nil {
		t.Fatal(err)
	}
	return seq
}

func newCaller() keybearer.Batch {
	id := keybearer.NewID(keybearer.IDCaller)
	return keybearer.Batch{Writes: []keybearer.Write{{Caller: &keybearer.Caller{ID: id, Name: "c" + id[4:]}}}}
}

// entry returns the one entry of the file.
func (l *lab) entry(t *testing.T) anchor.Entry {
	t.Helper()
	entries := must(anchor.Read(l.path))(t)
	if len(entries) != 1 {
		t.Fatalf("the file holds %+v", entries)
	}
	return entries[0]
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text := must(os.ReadFile(from))(t)
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// listener hears of changes, and notes for each whether the anchor held when it was told.
type listener struct {
	a  *anchor.Anchor
	mu sync.Mutex
	// heard are the kinds of what was told, "*" with the word whether the anchor held.
	heard []string
}

func (l *listener) told(changes []keybearer.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		l.heard = append(l.heard, fmt.Sprint(c.Kind, l.a.Holds() == nil))
	}
}

func (l *listener) has(word string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.heard, word)
}
