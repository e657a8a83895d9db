package keybearertest

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// TestSpender checks a [keybearer.Spender] against every sentence of its contract. open makes a new, empty store and returns a function that opens it once
// more, as another process does; where one process alone may have a store open, that returns the same one again.
func TestSpender(t *testing.T, open func(t *testing.T) (join func(node string) keybearer.Spender)) {
	for _, part := range []struct {
		name string
		test func(*testing.T, func(string) keybearer.Spender)
	}{
		{"Once", testSpendOnce},
		{"Expired", testSpendExpired},
		{"Concurrent", testSpendConcurrent},
		{"Mixed", testSpendMixed},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

func onceID(text string) keybearer.OnceID { return sha256.Sum256([]byte(text)) }

// testSpendOnce: an id is marked once, for every process, and others are not concerned.
func testSpendOnce(t *testing.T, join func(string) keybearer.Spender) {
	nodes := []keybearer.Spender{join("a"), join("b")}
	until := time.Now().Add(time.Minute)
	for i := range 4 {
		id := onceID(fmt.Sprint(i))
		if err := nodes[i%2].Spend(t.Context(), id, until); err != nil {
			t.Fatalf("id %d: %v", i, err)
		}
		for j, n := range nodes {
			wantCode(t, fmt.Sprintf("id %d once more, by node %d", i, j), n.Spend(t.Context(), id, until), keybearer.AlreadyExists)
			wantCode(t, "with another end", n.Spend(t.Context(), id, until.Add(time.Hour)), keybearer.AlreadyExists)
		}
	}
}

// testSpendExpired: an id is not forgotten as soon as it ends, since clocks differ.
func testSpendExpired(t *testing.T, join func(string) keybearer.Spender) {
	s := join("a")
	for _, until := range []time.Time{time.Now().Add(-time.Second), time.Now()} {
		id := onceID(until.String())
		if err := s.Spend(t.Context(), id, until); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "once more", s.Spend(t.Context(), id, until), keybearer.AlreadyExists)
	}
}

// testSpendConcurrent: of many who mark one id at the same time exactly one does.
func testSpendConcurrent(t *testing.T, join func(string) keybearer.Spender) {
	nodes := []keybearer.Spender{join("a"), join("b")}
	until := time.Now().Add(time.Minute)
	for round := range 5 {
		id := onceID(fmt.Sprint("round", round))
		errs := make([]error, 100)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = nodes[i%2].Spend(t.Context(), id, until) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				wantCode(t, "one that lost", err, keybearer.AlreadyExists)
			}
		}
		if won != 1 {
			t.Errorf("round %d: %d have marked it", round, won)
		}
	}
}

// testSpendMixed: of many ids, each marked by several at the same time, each is marked once.
func testSpendMixed(t *testing.T, join func(string) keybearer.Spender) {
	nodes := []keybearer.Spender{join("a"), join("b")}
	until := time.Now().Add(time.Minute)
	const ids, each = 100, 4
	var mu sync.Mutex
	won := map[int]int{}
	var wg sync.WaitGroup
	for i := range ids * each {
		wg.Go(func() {
			err := nodes[i%2].Spend(t.Context(), onceID(fmt.Sprint(i/each)), until)
			if err != nil {
				wantCode(t, "one that lost", err, keybearer.AlreadyExists)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			won[i/each]++
		})
	}
	wg.Wait()
	for i := range ids {
		if won[i] != 1 {
			t.Errorf("id %d was marked %d times", i, won[i])
		}
	}
}
