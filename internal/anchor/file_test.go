package anchor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/anchor"
)

// No file that was cut short, and none in which a single byte is another one, is taken for an anchor: it could be a lower one.
func TestADamagedFileIsRefused(t *testing.T) {
	l := newLab(t)
	s, a, done := l.open(t)
	for range 12 {
		commit(t, s, a)
	}
	done()
	text := must(os.ReadFile(l.path))(t)
	path := filepath.Join(l.dir, "damaged")
	refused := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := anchor.Read(path)
		e := keybearer.AsError(err)
		if e == nil || e.Code != keybearer.StoreUnavailable || !strings.Contains(e.Detail, path+" is damaged") || !strings.Contains(e.Hint, "remove the file") {
			t.Errorf("%q is taken for %+v, %v", text, entries, err)
		}
	}
	for i := range text {
		refused(text[:i])
		for _, flip := range []byte{1, 0x20, 0x80} {
			other := append([]byte{}, text...)
			other[i] ^= flip
			refused(other)
		}
	}
	refused(append(text[:len(text):len(text)], text...))
	refused(append(text[:len(text):len(text)], '\n'))
	// And the store is not opened with it.
	if err := os.WriteFile(l.path, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := anchor.Open(t.Context(), l.config(l.store(t))); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("opened: %v", err)
	}
	if got := must(os.ReadFile(l.path))(t); len(got) != len(text)/2 {
		t.Error("the damaged file was written over")
	}
}

// What others may write is not believed, nor is what is no file.
func TestAFileOfOthersIsRefused(t *testing.T) {
	l := newLab(t)
	_, _, done := l.open(t)
	done()
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o640: true, 0o644: true, 0o660: false, 0o602: false} {
		if err := os.Chmod(l.path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := anchor.Read(l.path); ok != (err == nil) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if _, err := anchor.Read(l.dir); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("a directory: %v", err)
	}
}

// What a process left that was killed while it wrote is in nobody's way.
func TestAHalfWrittenFileIsInNobodysWay(t *testing.T) {
	l := newLab(t)
	s, a, done := l.open(t)
	seq := commit(t, s, a)
	done()
	if err := os.WriteFile(l.path+".tmp", []byte("keybearer anch"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, a, done = l.open(t)
	defer done()
	if next := commit(t, s, a); next != seq+1 || l.entry(t).Sequence != next {
		t.Errorf("commit %d, the anchor is %+v", next, l.entry(t))
	}
}

// Of several stores that are refused one has to be named.
func TestAcceptNamesTheStore(t *testing.T) {
	l := newLab(t)
	places := []string{"one", "two"}
	for _, place := range places {
		l.database = filepath.Join(l.dir, "home", place+".db")
		s := l.store(t)
		c := l.config(s)
		c.Place = place
		a := must(anchor.Open(t.Context(), c))(t)
		commit(t, s, a)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		l.database = filepath.Join(l.dir, "home", place+"-empty.db")
		c.Store = l.store(t)
		if _, err := anchor.Open(t.Context(), c); err == nil {
			t.Fatal("an empty store is taken for", place)
		}
	}
	for _, id := range []string{"", "zz", anchor.ID("one") + "0"} {
		if _, err := anchor.Accept(l.path, id); keybearer.CodeOf(err) != keybearer.Conflict {
			t.Errorf("accept %q: %v", id, err)
		}
	}
	was := must(anchor.Accept(l.path, anchor.ID("two")[:6]))(t)
	if diff := cmp.Diff(anchor.Entry{ID: anchor.ID("two"), Kind: "sqlite", Sequence: 1, Refused: true}, was); diff != "" {
		t.Error(diff)
	}
	refused := map[string]bool{}
	for _, e := range must(anchor.Read(l.path))(t) {
		refused[e.ID] = e.Refused
	}
	if diff := cmp.Diff(map[string]bool{anchor.ID("one"): true, anchor.ID("two"): false}, refused); diff != "" {
		t.Error(diff)
	}
}
