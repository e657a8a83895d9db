package fence_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer/internal/fence"
)

func newCache(maxEntries int) *fence.Cache[string, int] {
	return fence.New[string, int](fence.Config{Max: maxEntries, MaxAge: time.Minute, Timeout: time.Second, Now: time.Now})
}

func constant(v int, ids ...string) fence.Load[string, int] {
	return func(context.Context, string) (int, []string, error) { return v, ids, nil }
}

func TestALoadThatAChangeFellIntoIsDoneAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fence.Cache[string, int])
		ids    []string
		again  bool
	}{
		"same id":           {func(c *fence.Cache[string, int]) { c.Changed("a") }, []string{"a"}, true},
		"one of two ids":    {func(c *fence.Cache[string, int]) { c.Changed("b") }, []string{"a", "b"}, true},
		"other id":          {func(c *fence.Cache[string, int]) { c.Changed("z") }, []string{"a"}, false},
		"absent, any id":    {func(c *fence.Cache[string, int]) { c.Changed("z") }, []string{fence.Any}, true},
		"feed lost":         {func(c *fence.Cache[string, int]) { c.Flush() }, []string{"a"}, true},
		"nothing in change": {func(c *fence.Cache[string, int]) { c.Changed() }, []string{fence.Any}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(10)
			paused, resume := make(chan struct{}), make(chan struct{})
			var loads atomic.Int32
			load := func(context.Context, string) (int, []string, error) {
				n := int(loads.Add(1))
				if n == 1 {
					close(paused)
					<-resume
				}
				return n, tc.ids, nil
			}
			got := make(chan int)
			go func() {
				v, err := c.Get(t.Context(), "k", load)
				if err != nil {
					t.Error(err)
					got <- -1
					return
				}
				got <- v
			}()
			<-paused
			tc.change(c)
			close(resume)
			want := 1
			if tc.again {
				want = 2
			}
			if v := <-got; v != want {
				t.Fatalf("got the value of load %d, want %d", v, want)
			}
			if v, _ := c.Get(t.Context(), "k", load); v != want {
				t.Fatalf("cached load %d, want %d", v, want)
			}
		})
	}
}

func TestAChangeDropsWhatDependsOnIt(t *testing.T) {
	c := newCache(10)
	_, _ = c.Get(t.Context(), "k", constant(1, "a", "b"))
	_, _ = c.Get(t.Context(), "o", constant(7, "z"))
	c.Changed("b")
	if v, _ := c.Get(t.Context(), "k", constant(2, "a", "b")); v != 2 {
		t.Fatal("the old value came back")
	}
	if v, _ := c.Get(t.Context(), "o", constant(8, "z")); v != 7 {
		t.Fatal("a change of something else dropped it")
	}
	if c.Len() != 2 {
		t.Fatalf("%d entries, want 2", c.Len())
	}
}

func TestOneLoadServesAllWhoWaitAndOutlivesTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(10)
		release := make(chan struct{})
		var loads atomic.Int32
		load := func(ctx context.Context, _ string) (int, []string, error) {
			loads.Add(1)
			<-release
			return 5, []string{"a"}, ctx.Err()
		}
		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Get(first, "k", load); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller that left got %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			wg.Go(func() {
				if v, err := c.Get(t.Context(), "k", load); err != nil || v != 5 {
					t.Errorf("got %v, %v", v, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		wg.Wait()
		if n := loads.Load(); n != 1 {
			t.Fatalf("%d loads, want 1", n)
		}
	})
}

func TestErrorsAreNotCachedAndAgeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(10)
		boom := errors.New("boom")
		if _, err := c.Get(t.Context(), "k", func(context.Context, string) (int, []string, error) { return 0, nil, boom }); !errors.Is(err, boom) {
			t.Fatalf("got %v", err)
		}
		if v, _ := c.Get(t.Context(), "k", constant(1, "a")); v != 1 {
			t.Fatal("the error stuck")
		}
		time.Sleep(59 * time.Second) // the bubble's clock
		if v, _ := c.Get(t.Context(), "k", constant(2, "a")); v != 1 {
			t.Fatal("loaded again too early")
		}
		time.Sleep(time.Second)
		if v, _ := c.Get(t.Context(), "k", constant(2, "a")); v != 2 {
			t.Fatal("an expired entry was served")
		}
		time.Sleep(3 * time.Minute)
		c.Sweep(2 * time.Minute)
		if c.Len() != 0 {
			t.Fatal("an idle entry was kept")
		}
	})
}

func TestTheNumberOfEntriesIsBounded(t *testing.T) {
	c := newCache(8)
	for i := range 100 {
		if _, err := c.Get(t.Context(), fmt.Sprint(i), constant(i, fmt.Sprint("id", i), "shared")); err != nil {
			t.Fatal(err)
		}
	}
	if c.Len() != 8 {
		t.Fatalf("%d entries, want 8", c.Len())
	}
	c.Changed("shared")
	if c.Len() != 0 {
		t.Fatalf("%d entries left that depend on what changed", c.Len())
	}
}

// Whatever the interleaving, a Get that begins after Changed has returned gives a value loaded after the change.
func TestNoGetAfterAChangeGivesAnOlderValue(t *testing.T) {
	c := newCache(4)
	var stored atomic.Int64
	load := func(context.Context, string) (int, []string, error) { return int(stored.Load()), []string{"a"}, nil }
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := c.Get(t.Context(), "k", load); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 2000 {
		stored.Store(int64(i))
		c.Changed("a")
		v, err := c.Get(t.Context(), "k", load)
		if err != nil || v < i {
			t.Fatalf("after change %d: %v, %v", i, v, err)
		}
	}
	close(done)
	wg.Wait()
}
