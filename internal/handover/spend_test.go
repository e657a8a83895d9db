package handover_test

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// What was spent before a move, or while it went on, cannot be spent once more behind it.
func TestWhatWasSpentMovesToo(t *testing.T) {
	kinds(t, func(t *testing.T, open func(*testing.T) keybearer.Store) {
		current, old := open(t), former(t)
		s := both(t, current, old)
		until := time.Now().Add(time.Minute)
		var mu sync.Mutex
		var spent []keybearer.OnceID
		spend := func(worker, n int) {
			id := keybearer.OnceID(sha256.Sum256(fmt.Appendf(nil, "%d/%d", worker, n)))
			if err := s.Spend(t.Context(), id, until); err != nil {
				t.Errorf("spend: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			spent = append(spent, id)
		}
		var wg sync.WaitGroup
		for n := range 2500 { // more than are copied at once
			wg.Go(func() { spend(0, n) })
		}
		wg.Wait()
		stop := make(chan struct{})
		for worker := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
						spend(worker+1, n)
					}
				}
			})
		}
		moveAll(t, s)
		close(stop)
		wg.Wait()
		for _, id := range spent {
			wg.Go(func() {
				if code := keybearer.CodeOf(s.Spend(t.Context(), id, until)); code != keybearer.AlreadyExists {
					t.Errorf("one of %d could be spent again: %q", len(spent), code)
				}
			})
		}
		wg.Wait()
		if err := old.Spend(t.Context(), keybearer.OnceID{1}, until); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
			t.Errorf("the former store still takes what is spent: %v", err)
		}
	})
}
