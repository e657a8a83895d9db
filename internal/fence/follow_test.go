package fence_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer/internal/fence"
)

var (
	errAway = errors.New("nobody there")
	errGone = errors.New("no such record")
)

// backend is what the loads of a test ask: it counts them, answers what it is told to, and has a feed that can fall silent.
type backend struct {
	loads   atomic.Int32
	value   atomic.Int32
	err     atomic.Pointer[error]
	stall   chan struct{} // nil: it answers at once
	current atomic.Pointer[time.Time]
}

func (b *backend) fail(err error) { b.err.Store(&err) }

// hear says that the feed was heard just now.
func (b *backend) hear() { b.current.Store(new(time.Now())) }

func (b *backend) load(ctx context.Context, _ string) (int, []string, error) {
	b.loads.Add(1)
	if b.stall != nil {
		select {
		case <-b.stall:
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
	}
	if err := b.err.Load(); err != nil && *err != nil {
		return 0, nil, *err
	}
	return int(b.value.Load()), []string{"a"}, nil
}

func (b *backend) cache(maxStale time.Duration) *fence.Cache[string, int] {
	b.hear()
	b.value.Store(1)
	return fence.New[string, int](fence.Config{
		Max: 10, MaxAge: time.Minute, Timeout: 2 * time.Second, Now: time.Now,
		Follow: fence.Follow{
			Current: func() time.Time { return *b.current.Load() }, Confirm: time.Second, MaxStale: maxStale,
			Away: func(err error) bool { return !errors.Is(err, errGone) },
		},
	})
}

func TestWhatASilentFeedMayHaveMissedIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		c := b.cache(time.Minute)
		get := func(want int, loads int32) {
			t.Helper()
			if v, err := c.Get(t.Context(), "k", b.load); err != nil || v != want {
				t.Fatalf("got %d, %v, want %d", v, err, want)
			}
			if n := b.loads.Load(); n != loads {
				t.Fatalf("%d loads, want %d", n, loads)
			}
		}
		get(1, 1)
		for range 20 { // the feed is heard: nothing is asked
			time.Sleep(500 * time.Millisecond)
			b.hear()
			get(1, 1)
		}
		b.value.Store(2) // and now it is silent
		time.Sleep(999 * time.Millisecond)
		get(1, 1)
		time.Sleep(time.Millisecond)
		get(2, 2)
		get(2, 2) // relied on for as long again
		time.Sleep(time.Second)
		get(2, 3)
		b.hear()
		time.Sleep(51 * time.Second) // heard all the time, and read again after a minute all the same
		b.hear()
		get(2, 3)
		time.Sleep(9 * time.Second)
		b.hear()
		get(2, 4)
	})
}

func TestWhatWasKnownServesForItsTimeWhileNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		c := b.cache(time.Minute)
		get := func(want error) {
			t.Helper()
			if v, err := c.Get(t.Context(), "k", b.load); !errors.Is(err, want) || err == nil && v != 1 {
				t.Fatalf("got %d, %v, want 1, %v", v, err, want)
			}
		}
		get(nil)
		b.fail(errAway)
		for range 590 { // for just less than a minute after the feed was last heard
			time.Sleep(100 * time.Millisecond)
			get(nil)
		}
		if n := b.loads.Load(); n > 60 {
			t.Errorf("%d loads in a minute of absence, want one a second", n)
		}
		time.Sleep(time.Second)
		get(errAway)
		before := b.loads.Load()
		for range 1000 {
			get(errAway)
		}
		if n := b.loads.Load() - before; n > 1 {
			t.Errorf("%d loads at one moment", n)
		}
		b.fail(nil)
		time.Sleep(time.Second)
		get(nil)
	})
}

// An entry that nobody asks for has nobody to find out that the backend is back: who comes much later must not get what was known in the absence.
func TestWhoComesLongAfterAFailureWaitsForTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		c := b.cache(time.Minute)
		_, _ = c.Get(t.Context(), "k", b.load)
		time.Sleep(2 * time.Second)
		b.fail(errAway)
		if v, err := c.Get(t.Context(), "k", b.load); err != nil || v != 1 {
			t.Fatalf("got %d, %v", v, err)
		}
		b.fail(nil)
		b.value.Store(2) // and the feed is silent still
		time.Sleep(2 * time.Second)
		if v, err := c.Get(t.Context(), "k", b.load); err != nil || v != 2 {
			t.Fatalf("got %d, %v, want 2: the change is two seconds old, and the backend answers", v, err)
		}
	})
}

func TestAnAnswerEndsWhatWasKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		c := b.cache(time.Minute)
		_, _ = c.Get(t.Context(), "k", b.load)
		time.Sleep(2 * time.Second)
		b.fail(errGone)
		if _, err := c.Get(t.Context(), "k", b.load); !errors.Is(err, errGone) {
			t.Fatal(err)
		}
		b.fail(errAway)
		if v, err := c.Get(t.Context(), "k", b.load); !errors.Is(err, errAway) {
			t.Fatalf("what is gone came back: %d, %v", v, err)
		}
	})
}

func TestAKnownChangeHoldsThroughAnyAbsence(t *testing.T) {
	for what, change := range map[string]func(*fence.Cache[string, int]){
		"a change":       func(c *fence.Cache[string, int]) { c.Changed("a") },
		"the feed broke": func(c *fence.Cache[string, int]) { c.Flush() },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := new(backend)
				c := b.cache(time.Hour)
				_, _ = c.Get(t.Context(), "k", b.load)
				b.fail(errAway)
				time.Sleep(2 * time.Second)
				if _, err := c.Get(t.Context(), "k", b.load); err != nil {
					t.Fatal(err)
				}
				change(c)
				if v, err := c.Get(t.Context(), "k", b.load); !errors.Is(err, errAway) {
					t.Fatalf("a revoked value served: %d, %v", v, err)
				}
			})
		})
	}
}

// A change that is told while a load waits for a backend that will not answer ends what was known all the same.
func TestAChangeDuringALoadThatFailsHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		c := b.cache(time.Hour)
		_, _ = c.Get(t.Context(), "k", b.load)
		b.stall = make(chan struct{})
		time.Sleep(2 * time.Second)
		got := make(chan error)
		go func() {
			_, err := c.Get(t.Context(), "k", b.load)
			got <- err
		}()
		synctest.Wait()
		c.Changed("a")
		if err := <-got; !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestNobodyWaitsForABackendThatStallsButTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		c := b.cache(time.Minute)
		_, _ = c.Get(t.Context(), "k", b.load)
		b.stall = make(chan struct{})
		time.Sleep(2 * time.Second)
		slow := 0
		began := time.Now()
		for time.Since(began) < 30*time.Second {
			at := time.Now()
			if _, err := c.Get(t.Context(), "k", b.load); err != nil {
				t.Fatal(err)
			}
			if time.Since(at) > 0 {
				slow++
			}
			time.Sleep(10 * time.Millisecond)
		}
		if slow != 1 {
			t.Errorf("%d requests waited, want the first alone", slow)
		}
		if n := b.loads.Load(); n > 16 {
			t.Errorf("%d loads in 30 s of loads that take 2 s", n)
		}
	})
}

func TestFiveThousandWhoWaitAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		c := b.cache(time.Minute)
		_, _ = c.Get(t.Context(), "k", b.load)
		for _, answer := range []error{nil, errAway, nil} {
			time.Sleep(2 * time.Second)
			b.fail(answer)
			b.stall = make(chan struct{})
			before := b.loads.Load()
			var all sync.WaitGroup
			for range 5000 {
				all.Go(func() {
					if v, err := c.Get(t.Context(), "k", b.load); err != nil || v != 1 {
						t.Errorf("got %d, %v", v, err)
					}
				})
			}
			synctest.Wait()
			close(b.stall)
			all.Wait()
			if n := b.loads.Load() - before; n != 1 {
				t.Errorf("%d loads, want one", n)
			}
		}
	})
}
