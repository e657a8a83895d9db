package keybearertest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

// testOutbox: events of commits stay until they are marked as delivered, in order.
func testOutbox(t *testing.T, s keybearer.Store) {
	event := func(n int) keybearer.Event {
		return keybearer.Event{
			Time: epoch, ID: fmt.Sprintf("req_%d", n), Phase: keybearer.Outcome, Kind: keybearer.ChangeEvent, Scope: "docs", Credential: "crm",
			Operator: "ann", Action: "credential.create", Changed: []string{"rules", "grants"}, Decision: keybearer.Allow,
		}
	}
	scope := newScope("docs")
	var want []keybearer.Event
	for i := range 10 {
		b := keybearer.Batch{Events: []keybearer.Event{event(2 * i), event(2*i + 1)}}
		if i == 0 {
			b.Writes = puts(scope).Writes
		}
		want = append(want, b.Events...)
		before := must(s.Sequence(t.Context()))(t)
		if seq := commit(t, s, b); seq <= before {
			t.Errorf("sequence %d after %d", seq, before)
		}
	}
	refuses(t, s, keybearer.Batch{Writes: puts(renewed(scope)).Writes, Events: []keybearer.Event{event(99)}}, keybearer.AlreadyExists)

	check := func(limit int, want []keybearer.Event) []keybearer.PendingEvent {
		t.Helper()
		got := must(s.Events(t.Context(), limit))(t)
		var events []keybearer.Event
		for i, e := range got {
			events = append(events, e.Event)
			if i > 0 && e.Seq <= got[i-1].Seq {
				t.Errorf("number %d follows %d", e.Seq, got[i-1].Seq)
			}
		}
		if diff := cmp.Diff(want, events, same); diff != "" {
			t.Errorf("pending events (-want +got):\n%s", diff)
		}
		return got
	}
	deliver := func(seqs ...uint64) {
		t.Helper()
		if err := s.Delivered(t.Context(), seqs...); err != nil {
			t.Fatal(err)
		}
	}
	pending := check(1000, want)
	check(3, want[:3])
	deliver()
	check(1000, want)
	deliver(pending[1].Seq, pending[3].Seq)
	check(1000, slices.Concat(want[:1], want[2:3], want[4:]))
	check(2, []keybearer.Event{want[0], want[2]})
	deliver(pending[1].Seq) // again, and unknown ones: nothing happens
	deliver(1 << 40)
	var seqs []uint64
	for _, e := range pending {
		seqs = append(seqs, e.Seq)
	}
	deliver(seqs...)
	check(1000, nil)

	// A number is not used again.
	commit(t, s, keybearer.Batch{Events: []keybearer.Event{event(100)}})
	next := check(1000, []keybearer.Event{event(100)})
	if len(next) == 1 && next[0].Seq <= seqs[len(seqs)-1] {
		t.Errorf("number %d was given again", next[0].Seq)
	}
}

// testFeed: every write is a change, in order, and a follower that asks page by page misses none.
func testFeed(t *testing.T, s keybearer.Store) {
	scope := newScope("docs")
	c, billing, ann := newCredential(scope, "crm"), newCaller("billing"), newOperator("ann")
	var want []keybearer.Change
	expect := func(seq uint64, records ...any) {
		for _, r := range records {
			change := keybearer.Change{Seq: seq}
			switch r := r.(type) {
			case *keybearer.Scope:
				change.Kind, change.ID = keybearer.ScopeRecord, r.ID
			case *keybearer.Credential:
				change.Kind, change.ID, change.ScopeID = keybearer.CredentialRecord, r.ID, r.ScopeID
			case *keybearer.Caller:
				change.Kind, change.ID = keybearer.CallerRecord, r.ID
			case *keybearer.Operator:
				change.Kind, change.ID = keybearer.OperatorRecord, r.ID
			}
			want = append(want, change)
		}
	}
	seq := commit(t, s, puts(scope, c, billing, ann))
	expect(seq, scope, c, billing, ann)
	c.Revision = seq
	c.Revision = commit(t, s, puts(c))
	expect(c.Revision, c)
	for i := range 5 {
		batch := []any{newCredential(scope, fmt.Sprintf("a%d", i)), newCredential(scope, fmt.Sprintf("b%d", i)), newCaller(fmt.Sprintf("c%d", i))}
		expect(commit(t, s, puts(batch...)), batch...)
	}
	expect(commit(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(c)}}), c)

	if diff := cmp.Diff(want, must(s.Changes(t.Context(), 0, 1000))(t)); diff != "" {
		t.Errorf("the feed (-want +got):\n%s", diff)
	}
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []keybearer.Change
		for after := uint64(0); ; {
			page := must(s.Changes(t.Context(), after, limit))(t)
			if len(page) == 0 {
				break
			}
			// It stops with the commit in which the limit is reached.
			if n := len(page); n > limit && page[limit-1].Seq != page[n-1].Seq {
				t.Errorf("limit %d: a page of %d changes ends in a later commit", limit, n)
			}
			got = append(got, page...)
			after = page[len(page)-1].Seq
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the feed, limit %d (-want +got):\n%s", limit, diff)
		}
	}
	last := must(s.Sequence(t.Context()))(t)
	if got := must(s.Changes(t.Context(), last, 10))(t); len(got) != 0 {
		t.Errorf("changes behind the last commit: %v", got)
	}
	_, err := s.Changes(t.Context(), last+1, 10)
	wantCode(t, "changes after a commit that was never made", err, keybearer.Stale)
}

// testWatch: a commit has been told when it returns, to all who watch, whole and once.
func testWatch(t *testing.T, s keybearer.Store) {
	var first, second []keybearer.Change
	stopFirst := s.Watch(func(c []keybearer.Change) { first = append(first, c...) })
	all := records()
	seq := commit(t, s, puts(all...))
	want := must(s.Changes(t.Context(), 0, 100))(t)
	if len(want) != len(all) || want[0].Seq != seq {
		t.Fatalf("changes: %v", want)
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("told before commit returned (-want +got):\n%s", diff)
	}
	stopSecond := s.Watch(func(c []keybearer.Change) { second = append(second, c...) })
	bob := newOperator("bob")
	bob.Revision = commit(t, s, puts(bob))
	stopFirst()
	stopFirst() // once more does no harm
	commit(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(bob)}})
	stopSecond()
	commit(t, s, puts(newOperator("cid")))
	want = must(s.Changes(t.Context(), 0, 100))(t)
	if diff := cmp.Diff(want[:len(all)+1], first); diff != "" {
		t.Errorf("told until stop (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[len(all):len(all)+2], second); diff != "" {
		t.Errorf("told from Watch until stop (-want +got):\n%s", diff)
	}
}

// testWatchConcurrent: of concurrent commits each is told before it returns, one call at a time, in order of sequence.
func testWatchConcurrent(t *testing.T, s keybearer.Store) {
	const workers, rounds = 6, 20
	var mu sync.Mutex
	var told []keybearer.Change
	busy := false
	stop := s.Watch(func(changes []keybearer.Change) {
		mu.Lock()
		if busy {
			t.Error("two calls at a time")
		}
		busy = true
		mu.Unlock()
		runtime.Gosched() // let another call begin, if it can
		defer func() {
			mu.Lock()
			busy = false
			told = append(told, changes...)
			mu.Unlock()
		}()
	})
	defer stop()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				c := newCaller(fmt.Sprintf("w%d-%d", w, i))
				seq, err := s.Commit(t.Context(), puts(c))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ok := slices.Contains(told, keybearer.Change{Seq: seq, Kind: keybearer.CallerRecord, ID: c.ID})
				mu.Unlock()
				if !ok {
					t.Errorf("commit %d returned before it was told", seq)
				}
			}
		})
	}
	wg.Wait()
	want := must(s.Changes(t.Context(), 0, 1000))(t)
	if len(want) != workers*rounds {
		t.Errorf("%d changes, want %d", len(want), workers*rounds)
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told in another order than that of the feed (-feed +told):\n%s", diff)
	}
}
