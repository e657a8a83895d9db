package sqlstore_test

import (
	"fmt"
	"testing"

	"github.com/keybearer/keybearer"
)

// TestPrune: the feed stays short; who is too far behind is told, and who is not misses nothing.
func TestPrune(t *testing.T) {
	s := open(t)
	const keep = 300
	s.KeepChanges(keep)
	var seqs []uint64 // of each change
	for i := 0; len(seqs) < 5000; i++ {
		var b keybearer.Batch
		for j := range 1 + i%7*13 {
			b.Writes = append(b.Writes, keybearer.Write{Caller: &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: fmt.Sprintf("c%d-%d", i, j)}})
		}
		seq, err := s.Commit(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for range b.Writes {
			seqs = append(seqs, seq)
		}
		if i%10 != 0 {
			continue
		}
		stale := 0
		for after := max(seq, 50) - 50; after <= seq; after++ { // 50 commits are more than the feed keeps
			missed := 0 // that a follower who knows after has not seen
			for _, s := range seqs {
				if s > after {
					missed++
				}
			}
			changes, err := s.Changes(t.Context(), after, 10_000)
			switch {
			case keybearer.CodeOf(err) == keybearer.Stale:
				stale++
				if missed <= keep {
					t.Fatalf("commit %d: stale after %d, %d changes behind", seq, after, missed)
				}
			case err != nil:
				t.Fatal(err)
			case len(changes) != missed:
				t.Fatalf("commit %d: %d changes after %d, want %d", seq, len(changes), after, missed)
			}
		}
		if len(seqs) > keep+2000 && stale == 0 {
			t.Fatalf("commit %d: the feed was never shortened", seq)
		}
	}
	var rows int
	if err := s.Reader().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM changes").Scan(&rows); err != nil || rows > keep+1100 {
		t.Errorf("%d changes are kept, %v", rows, err)
	}
}

// TestReopen: numbers go on where they were, whatever has been pruned or delivered before.
func TestReopen(t *testing.T) {
	_, path := home(t)
	s := openAtOnce(t, path)
	event := keybearer.Event{ID: "req_x", Phase: keybearer.Outcome, Kind: keybearer.ChangeEvent}
	first := must(s.Commit(t.Context(), keybearer.Batch{Events: []keybearer.Event{event, event}}))(t)
	pending := must(s.Events(t.Context(), 10))(t)
	if err := s.Delivered(t.Context(), pending[0].Seq, pending[1].Seq); err != nil {
		t.Fatal(err)
	}
	use := keybearer.UseRecord{CredentialID: "crd_a", Caller: "billing"}
	if err := s.RecordUses(t.Context(), []keybearer.UseRecord{use}, keybearer.Checkpoint{File: "f", Offset: 9}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	if got := must(s.Sequence(t.Context()))(t); got != first {
		t.Errorf("sequence: got %d, want %d", got, first)
	}
	if got := must(s.Checkpoint(t.Context()))(t); got.File != "f" || got.Offset != 9 {
		t.Errorf("checkpoint: %+v", got)
	}
	second := must(s.Commit(t.Context(), keybearer.Batch{Events: []keybearer.Event{event}}))(t)
	next := must(s.Events(t.Context(), 10))(t)
	if second <= first || len(next) != 1 || next[0].Seq <= pending[1].Seq {
		t.Errorf("commit %d after %d, events %+v after %+v", second, first, next, pending)
	}
}
