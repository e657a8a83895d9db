package keybearertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

// testOneWinner: of many commits that start from one revision, or that want one name, one succeeds.
func testOneWinner(t *testing.T, s keybearer.Store) {
	const workers, rounds = 8, 25
	scope := newScope("docs")
	c := newCredential(scope, "crm")
	c.Current.Number = 0
	commit(t, s, puts(scope, c))

	// Each worker counts up; a lost update would leave the count short.
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < rounds; {
				old, err := s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"})
				if err != nil {
					t.Error(err)
					return
				}
				next := old.Clone()
				next.Current.Number++
				switch _, err := s.Commit(t.Context(), puts(next)); keybearer.CodeOf(err) {
				case "":
					done++
				case keybearer.Stale:
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := must(s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"}))(t).Current.Number; got != workers*rounds {
		t.Errorf("%d of %d updates are there", got, workers*rounds)
	}

	for round := range rounds {
		wins := make(chan string, workers)
		for range workers {
			wg.Go(func() {
				n := newCredential(scope, fmt.Sprintf("name%d", round))
				switch _, err := s.Commit(t.Context(), puts(n)); keybearer.CodeOf(err) {
				case "":
					wins <- n.ID
				case keybearer.AlreadyExists:
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(wins) != 1 {
			t.Fatalf("%d commits took one name", len(wins))
		}
		if got := must(s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: fmt.Sprintf("name%d", round)}))(t); got.ID != <-wins {
			t.Error("the stored record is not the winner's")
		}
	}
}

// testWholeCommits: no reader sees half of a commit.
func testWholeCommits(t *testing.T, s keybearer.Store) {
	const n, rounds = 20, 25
	scope := newScope("docs")
	b := puts(scope)
	for i := range n {
		b.Writes = append(b.Writes, write(newCredential(scope, fmt.Sprintf("c%02d", i))))
	}
	seq := commit(t, s, b)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				page, err := s.Credentials(t.Context(), keybearer.Query{})
				if err != nil || len(page.Items) != n {
					t.Errorf("list: %d records, %v", len(page.Items), err)
					return
				}
				for _, c := range page.Items {
					if c.Revision != page.Items[0].Revision {
						t.Errorf("one page shows revisions %d and %d of one commit", page.Items[0].Revision, c.Revision)
						return
					}
				}
			}
		})
	}
	for range rounds {
		for i := range b.Writes[1:] {
			b.Writes[i+1].Credential.Revision = seq
		}
		var err error
		if seq, err = s.Commit(t.Context(), keybearer.Batch{Writes: b.Writes[1:]}); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

// testCancelled: a context that is done gives StoreUnavailable, or the answer; never half a commit.
func testCancelled(t *testing.T, s keybearer.Store) {
	scope := newScope("docs")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Scope(ctx, "docs"); err != nil && keybearer.CodeOf(err) != keybearer.StoreUnavailable && keybearer.CodeOf(err) != keybearer.NotFound {
		t.Errorf("read: %v", err)
	}
	_, err := s.Commit(ctx, puts(scope, newCredential(scope, "crm")))
	if err != nil {
		wantCode(t, "commit", err, keybearer.StoreUnavailable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("commit: %v does not wrap the cause", err)
		}
	}
	got := everything(t, s)
	if n := len(got.Scopes) + len(got.Credentials); n != 0 && n != 2 {
		t.Errorf("%d of 2 records are there", n)
	}

	// A deadline that passes somewhere within a run of commits.
	for i := range 30 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		scope := newScope(fmt.Sprintf("scope%d", i))
		_, err := s.Commit(ctx, puts(scope, newCredential(scope, "crm")))
		cancel()
		if err != nil {
			wantCode(t, "commit", err, keybearer.StoreUnavailable)
		}
		_, errScope := s.Scope(t.Context(), scope.ID)
		_, errCredential := s.Credential(t.Context(), keybearer.Ref{Scope: scope.ID, Name: "crm"})
		if diff := cmp.Diff(keybearer.CodeOf(errScope), keybearer.CodeOf(errCredential)); diff != "" {
			t.Errorf("half a commit is there: %s", diff)
		}
		if err == nil && errScope != nil {
			t.Errorf("an acknowledged commit is not there: %v", errScope)
		}
	}
}
