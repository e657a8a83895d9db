package fence

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer"
)

func fixed(v int, ids ...string) Load[string, int] {
	return func(context.Context, string) (int, []string, error) { return v, ids, nil }
}

func plain() *Cache[string, int] {
	return New[string, int](Config{Max: 10, MaxAge: time.Minute, Timeout: time.Second, Now: time.Now})
}

// What says that something is absent ends with any change at all, and with no change lives on.
func TestAnAbsenceEndsWithAnyChange(t *testing.T) {
	c := plain()
	get := func(next int) int {
		v, err := c.Get(t.Context(), "k", fixed(next, Any))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	get(1)
	c.Changed()
	if v := get(2); v != 1 {
		t.Errorf("a change of nothing dropped it: %d", v)
	}
	c.Changed("something")
	if v := get(3); v != 3 {
		t.Errorf("it outlived a change: %d", v)
	}
}

// The index holds what there is and nothing else: it would grow for ever.
func TestTheIndexFollowsTheEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := plain()
		indexed := func(want ...string) {
			t.Helper()
			if len(c.byID) != len(want) {
				t.Errorf("the index has %d ids, want %v", len(c.byID), want)
			}
			for _, id := range want {
				if len(c.byID[id]) != 1 {
					t.Errorf("%d entries depend on %s, want 1", len(c.byID[id]), id)
				}
			}
		}
		_, _ = c.Get(t.Context(), "k", fixed(1, "a", "b"))
		indexed("a", "b")
		time.Sleep(time.Minute) // the bubble's clock: it is loaded again, from another record
		_, _ = c.Get(t.Context(), "k", fixed(2, "b", "c"))
		indexed("b", "c")
		c.Changed("a")
		if v, _ := c.Get(t.Context(), "k", fixed(3, "b")); v != 2 {
			t.Errorf("a change of what it no longer depends on dropped it: %d", v)
		}
		time.Sleep(time.Hour)
		c.Sweep(time.Hour)
		if c.Len() != 1 {
			t.Error("it was swept a moment too early")
		}
		time.Sleep(time.Second)
		c.Sweep(time.Hour)
		indexed()
		_, _ = c.Get(t.Context(), "k", fixed(1, "a"))
		c.Flush()
		indexed()
	})
}

// Without a feed to follow there is nobody to be away: an error ends what is too old.
func TestWithoutAFeedAnErrorEndsWhatIsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := plain()
		_, _ = c.Get(t.Context(), "k", fixed(1, "a"))
		time.Sleep(time.Minute)
		boom := errors.New("boom")
		if _, err := c.Get(t.Context(), "k", func(context.Context, string) (int, []string, error) { return 0, nil, boom }); !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
		if c.Len() != 0 {
			t.Error("it was kept")
		}
	})
}

func TestALoadThatTookTooLongIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := plain()
		late := func(ctx context.Context, _ string) (int, []string, error) { <-ctx.Done(); return 1, []string{"a"}, nil }
		if v, err := c.Get(t.Context(), "k", late); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %d, %v", v, err)
		}
		if c.Len() != 0 {
			t.Error("it was kept")
		}
	})
}

// A load that changes keep falling into ends with its time, and one that failed is not done again.
func TestALoadIsNotDoneAgainForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := plain()
		loads := 0
		restless := func(context.Context, string) (int, []string, error) {
			loads++
			time.Sleep(300 * time.Millisecond)
			c.Changed("a")
			return loads, []string{"a"}, nil
		}
		if v, err := c.Get(t.Context(), "k", restless); !errors.Is(err, context.DeadlineExceeded) || loads != 4 {
			t.Errorf("got %d, %v after %d loads", v, err, loads)
		}
		loads = 0
		boom := errors.New("boom")
		failing := func(context.Context, string) (int, []string, error) {
			loads++
			c.Changed("a")
			return 0, []string{"a"}, boom
		}
		if _, err := c.Get(t.Context(), "k", failing); !errors.Is(err, boom) || loads != 1 {
			t.Errorf("%v after %d loads", err, loads)
		}
	})
}

type shared struct{ keybearer.Store }

func (shared) Current() time.Time { return time.Unix(7, 0) }

type alone struct{ keybearer.Store }

func TestACacheFollowsWhatOthersChange(t *testing.T) {
	c := ForStore(alone{}, 9, 3*time.Hour, time.Now)
	if c.Max != 9 || c.MaxAge != 3*time.Hour || c.Timeout != lookupTimeout || c.Now == nil || c.Current != nil || c.Away != nil {
		t.Errorf("a store of one process: %+v", c)
	}
	c = ForStore(shared{}, 9, 3*time.Hour, time.Now)
	if c.Max != 9 || c.MaxAge != reload || c.Confirm != confirm || c.MaxStale != 3*time.Hour || c.Current == nil || !c.Current().Equal(time.Unix(7, 0)) {
		t.Errorf("a shared store: %+v", c)
	}
	if c.Away(keybearer.NewError(keybearer.NotFound, "")) || !c.Away(keybearer.NewError(keybearer.StoreUnavailable, "")) || !c.Away(errors.New("broken pipe")) {
		t.Error("only an answer is an answer")
	}
}
