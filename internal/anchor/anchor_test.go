package anchor_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/anchor"
)

// A backup that is put in the place of the store is refused, again and again, until it is accepted; then what comes next is anchored.
func TestARestoredBackupIsRefusedUntilItIsAccepted(t *testing.T) {
	l := newLab(t)
	s, a, done := l.open(t)
	commit(t, s, a)
	old := commit(t, s, a)
	done()
	backup := filepath.Join(l.dir, "backup")
	copyFile(t, l.database, backup)
	s, a, done = l.open(t)
	commit(t, s, a)
	seen := commit(t, s, a)
	done()

	copyFile(t, backup, l.database)
	for range 2 {
		s := l.store(t)
		_, err := anchor.Open(t.Context(), l.config(s))
		e := keybearer.AsError(err)
		if e == nil || e.Code != keybearer.StoreUnavailable || !strings.Contains(e.Detail, "ends with change 2, and the anchor is at 4") ||
			!strings.Contains(e.Hint, "keybearer anchor accept") {
			t.Fatalf("opened on a backup: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		want := anchor.Entry{ID: anchor.ID("here"), Kind: "sqlite", Sequence: seen, Refused: true, Found: old}
		if diff := cmp.Diff(want, l.entry(t)); diff != "" {
			t.Fatal(diff)
		}
	}
	was := must(anchor.Accept(l.path, ""))(t)
	if first, last := was.Lost(); first != old+1 || last != seen {
		t.Errorf("lost: %d to %d", first, last)
	}
	if _, err := anchor.Accept(l.path, ""); keybearer.CodeOf(err) != keybearer.Conflict {
		t.Errorf("accepted twice: %v", err)
	}
	s, a, done = l.open(t)
	if seq := commit(t, s, a); seq != old+1 || l.entry(t).Sequence != seq {
		t.Errorf("commit %d, the anchor is %+v", seq, l.entry(t))
	}
	done()
}

// The newest state put back is served at once, and what was accepted meanwhile is of no consequence.
func TestTheNewestStatePutBackNeedsNoAcceptance(t *testing.T) {
	l := newLab(t)
	s, a, done := l.open(t)
	commit(t, s, a)
	done()
	old, newest := filepath.Join(l.dir, "old"), filepath.Join(l.dir, "newest")
	copyFile(t, l.database, old)
	s, a, done = l.open(t)
	commit(t, s, a)
	done()
	copyFile(t, l.database, newest)
	copyFile(t, old, l.database)
	s = l.store(t)
	if _, err := anchor.Open(t.Context(), l.config(s)); err == nil {
		t.Fatal("opened on a backup")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, newest, l.database)
	_, _, done = l.open(t)
	done()
	if e := l.entry(t); e.Refused || e.Sequence != 2 {
		t.Errorf("%+v", e)
	}
}

// An empty database in the place of one that had records is a store that lost them all.
func TestAnEmptiedStoreIsRefused(t *testing.T) {
	l := newLab(t)
	s, a, done := l.open(t)
	commit(t, s, a)
	done()
	if err := os.Remove(l.database); err != nil {
		t.Fatal(err)
	}
	if _, err := anchor.Open(t.Context(), l.config(l.store(t))); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("opened: %v", err)
	}
}

// Whatever is acknowledged while many commit at once is in the file by then, and the anchors of other stores in it stay.
func TestWhatIsAcknowledgedIsInTheFile(t *testing.T) {
	l := newLab(t)
	other := newLab(t)
	other.path = l.path
	s, a, done := l.open(t)
	defer done()
	config := other.config(other.store(t))
	config.Place = "there"
	b := must(anchor.Open(t.Context(), config))(t)
	defer b.Close()
	at := func(place string) uint64 {
		for _, e := range must(anchor.Read(l.path))(t) {
			if e.ID == anchor.ID(place) {
				return e.Sequence
			}
		}
		return 0
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				if seq := commit(t, s, a); at("here") < seq {
					t.Errorf("commit %d is acknowledged, and the anchor is at %d", seq, at("here"))
				}
			}
		})
		all.Go(func() {
			if seq := commit(t, config.Store, b); at("there") < seq {
				t.Errorf("commit %d of the other store is acknowledged, and its anchor is at %d", seq, at("there"))
			}
		})
	}
	all.Wait()
	if at("here") != 80 || at("there") != 8 {
		t.Errorf("the anchors are at %d and %d", at("here"), at("there"))
	}
}

// While the file cannot be written no change is begun, the one that found it out is not acknowledged, and the records are served on; when it can be
// written again all goes on.
func TestNothingIsCommittedThatCannotBeAnchored(t *testing.T) {
	l := newLab(t)
	s, a, done := l.open(t)
	defer done()
	commit(t, s, a)
	dir := filepath.Dir(l.path)
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	seq := must(s.Commit(t.Context(), newCaller()))(t)
	for what, err := range map[string]error{"advance": a.Advance(seq), "ready": a.Ready()} {
		e := keybearer.AsError(err)
		if e == nil || e.Code != keybearer.StoreUnavailable || !strings.Contains(e.Detail, l.path) || e.Hint == "" {
			t.Errorf("%s without a directory: %v", what, err)
		}
	}
	if err := a.Holds(); err != nil {
		t.Errorf("the store is refused: %v", err)
	}
	if f := a.Diagnose(t.Context()); len(f) != 1 || f[0].Err == nil {
		t.Errorf("diagnosed: %+v", f)
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	if err := a.Ready(); err != nil || l.entry(t).Sequence != seq {
		t.Errorf("after the directory is back: %v, %+v", err, l.entry(t))
	}
	if f := a.Diagnose(t.Context()); len(f) != 1 || f[0].Err != nil {
		t.Errorf("diagnosed: %+v", f)
	}
}

// A store is not opened with a file that cannot be written.
func TestAFileThatCannotBeWrittenIsFoundOutAtTheStart(t *testing.T) {
	l := newLab(t)
	l.path = filepath.Join(l.dir, "nowhere", "anchor")
	_, err := anchor.Open(t.Context(), l.config(l.store(t)))
	if e := keybearer.AsError(err); e == nil || e.Code != keybearer.StoreUnavailable || !strings.Contains(e.Hint, "mkdir -m 700 "+filepath.Dir(l.path)) {
		t.Errorf("%v", err)
	}
}
