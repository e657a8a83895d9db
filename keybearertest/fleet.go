package keybearertest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

// TestFleet checks a [keybearer.Store] that several processes share, against the sentences of its contract that concern them. open makes new, empty
// records and returns a function that opens them once more, as another process does. Every Store must be a [keybearer.Follower].
func TestFleet(t *testing.T, open func(t *testing.T) (join func(node string) keybearer.Store)) {
	for _, part := range []struct {
		name string
		test func(*testing.T, func(string) keybearer.Store)
	}{
		{"Told", testFleetTold},
		{"Current", testFleetCurrent},
		{"Winner", testFleetWinner},
		{"Outbox", testFleetOutbox},
		{"Checkpoints", testFleetCheckpoints},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// word collects what is told to one who watches.
type word struct {
	mu   sync.Mutex
	told []keybearer.Change
}

func listen(t *testing.T, s keybearer.Store) *word {
	w := new(word)
	t.Cleanup(s.Watch(func(changes []keybearer.Change) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, changes...)
	}))
	return w
}

func (w *word) all() []keybearer.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told)
}

// until waits for something that another process learns a little later, 2 s at most.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(2 * time.Second); !holds(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within 2 s: %s", what)
		}
	}
}

// testFleetTold: each commit is told by every process, in order, with nothing missed, and its record is there when it is told.
func testFleetTold(t *testing.T, join func(string) keybearer.Store) {
	nodes := []keybearer.Store{join("a"), join("b"), join("c")}
	var words []*word
	for _, n := range nodes {
		words = append(words, listen(t, n))
	}
	for i := range 30 {
		c := newCaller(fmt.Sprintf("c%d", i))
		seq := commit(t, nodes[i%3], puts(c))
		want := keybearer.Change{Seq: seq, Kind: keybearer.CallerRecord, ID: c.ID}
		for j, n := range nodes {
			until(t, fmt.Sprintf("word of commit %d on node %d", seq, j), func() bool { return slices.Contains(words[j].all(), want) })
			if _, err := n.Caller(t.Context(), c.Name); err != nil {
				t.Errorf("node %d: told, and not there: %v", j, err)
			}
		}
	}
	want := must(nodes[0].Changes(t.Context(), 0, 1000))(t)
	for j, w := range words {
		got := slices.Compact(w.all()) // a change may be told more than once
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("node %d (-feed +told):\n%s", j, d)
		}
	}
}

// testFleetCurrent: what was acknowledged before the moment of Current has been told.
func testFleetCurrent(t *testing.T, join func(string) keybearer.Store) {
	a, b := join("a"), join("b")
	f, ok := b.(keybearer.Follower)
	if !ok {
		t.Fatal("the store is not a Follower")
	}
	if f.Current().After(time.Now()) {
		t.Error("current as of a moment to come")
	}
	w := listen(t, b)
	for i := range 50 {
		c := newCaller(fmt.Sprintf("c%d", i))
		seq := commit(t, a, puts(c))
		acknowledged := time.Now()
		until(t, "current as of the commit", func() bool { return f.Current().After(acknowledged) })
		if !slices.Contains(w.all(), keybearer.Change{Seq: seq, Kind: keybearer.CallerRecord, ID: c.ID}) {
			t.Fatalf("commit %d was acknowledged before the moment of Current and not told", seq)
		}
	}
}

// testFleetWinner: of two processes that change a record from one revision one wins, and the other is told.
func testFleetWinner(t *testing.T, join func(string) keybearer.Store) {
	nodes := []keybearer.Store{join("a"), join("b")}
	c := newCaller("billing")
	c.Revision = commit(t, nodes[0], puts(c))
	for round := range 20 {
		var wg sync.WaitGroup
		var errs [2]error
		var seqs [2]uint64
		for i, n := range nodes {
			wg.Go(func() {
				next := c.Clone()
				next.Description = fmt.Sprintf("%d by %d", round, i)
				seqs[i], errs[i] = n.Commit(t.Context(), puts(next))
			})
		}
		wg.Wait()
		won := slices.Index(errs[:], nil)
		if won < 0 {
			t.Fatalf("round %d: nobody won: %v", round, errs)
		}
		wantCode(t, "the one that lost", errs[1-won], keybearer.Stale)
		for j, n := range nodes {
			got := must(n.Caller(t.Context(), "billing"))(t)
			if got.Revision != seqs[won] || got.Description != fmt.Sprintf("%d by %d", round, won) {
				t.Fatalf("round %d, node %d: %+v, and %d had won", round, j, got, won)
			}
			c = got
		}
	}
}

// testFleetOutbox: each process gets the events that it committed itself.
func testFleetOutbox(t *testing.T, join func(string) keybearer.Store) {
	nodes := []keybearer.Store{join("a"), join("b")}
	for i := range 6 {
		commit(t, nodes[i%2], keybearer.Batch{Events: []keybearer.Event{{ID: fmt.Sprintf("req_%d", i), Kind: keybearer.ChangeEvent}}})
	}
	for j, n := range nodes {
		var ids []string
		var seqs []uint64
		for _, e := range must(n.Events(t.Context(), 100))(t) {
			ids = append(ids, e.Event.ID)
			seqs = append(seqs, e.Seq)
		}
		if want := []string{fmt.Sprintf("req_%d", j), fmt.Sprintf("req_%d", j+2), fmt.Sprintf("req_%d", j+4)}; !slices.Equal(ids, want) {
			t.Errorf("node %d: got %v, want %v", j, ids, want)
		}
		if err := n.Delivered(t.Context(), seqs...); err != nil {
			t.Fatal(err)
		}
		if left := must(n.Events(t.Context(), 100))(t); len(left) != 0 {
			t.Errorf("node %d: delivered, and still there: %v", j, left)
		}
	}
}

// testFleetCheckpoints: each process has its own place in its own audit log, also after it was opened again; the uses are all processes'.
func testFleetCheckpoints(t *testing.T, join func(string) keybearer.Store) {
	stores := []keybearer.Store{join("a"), join("b")}
	use := keybearer.UseRecord{CredentialID: "crd_a", Caller: "billing", Status: 200, At: epoch}
	for i, s := range stores {
		l, ok := s.(keybearer.Ledger)
		if !ok {
			return // it keeps none
		}
		if c := must(l.Checkpoint(t.Context()))(t); c != (keybearer.Checkpoint{}) {
			t.Errorf("node %d: %+v before the first", i, c)
		}
		if err := l.RecordUses(t.Context(), []keybearer.UseRecord{use}, keybearer.Checkpoint{File: fmt.Sprint(i), Offset: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	stores = append(stores, join("a"))
	for i, s := range stores {
		want := keybearer.Checkpoint{File: fmt.Sprint(i % 2), Offset: int64(i%2 + 1)}
		l := s.(keybearer.Ledger)
		if c := must(l.Checkpoint(t.Context()))(t); c != want {
			t.Errorf("store %d: got %+v, want %+v", i, c, want)
		}
		if n := must(l.Usage(t.Context(), "crd_a"))(t)["crd_a"].Count; n != 2 {
			t.Errorf("store %d: %d uses", i, n)
		}
	}
}
