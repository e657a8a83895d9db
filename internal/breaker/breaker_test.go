package breaker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer/internal/breaker"
)

var (
	errAway    = errors.New("nobody there")
	errRefused = errors.New("refused")
)

func away(err error) bool { return errors.Is(err, errAway) }

func TestOneCallInEachPauseFindsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(64, time.Second, away)
		var calls atomic.Int32
		answer := errAway
		call := func(context.Context) error { calls.Add(1); return answer }
		if err := b.Do(t.Context(), call); !errors.Is(err, errAway) || b.Away().IsZero() {
			t.Fatalf("%v, away since %v", err, b.Away())
		}
		for range 5 { // seconds
			for range 1000 {
				if err := b.Do(t.Context(), call); !errors.Is(err, errAway) {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
		}
		if n := calls.Load(); n != 5 {
			t.Errorf("%d calls in 5 pauses", n)
		}
		answer = errRefused // an answer, if no good one
		if err := b.Do(t.Context(), call); !errors.Is(err, errRefused) || !b.Away().IsZero() {
			t.Errorf("%v, away since %v", err, b.Away())
		}
		answer = nil
		if err := b.Do(t.Context(), call); err != nil {
			t.Error(err)
		}
	})
}

func TestNoMoreThanTheLimitAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(3, time.Second, away)
		var now, most atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				_ = b.Do(t.Context(), func(context.Context) error {
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(time.Millisecond)
					now.Add(-1)
					return nil
				})
			})
		}
		all.Wait()
		if n := most.Load(); n != 3 {
			t.Errorf("%d at a time, want 3", n)
		}
		hold := make(chan struct{})
		for range 3 {
			go b.Do(t.Context(), func(context.Context) error { <-hold; return nil })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Do(ctx, func(context.Context) error { t.Error("it ran"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		close(hold)
	})
}

// Those who wait for a slot when nobody is found do not find out again, one after the other.
func TestWhoWaitedDoesNotFindOutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(2, time.Second, away)
		var calls atomic.Int32
		var wg sync.WaitGroup
		began := time.Now()
		for range 100 {
			wg.Go(func() {
				err := b.Do(t.Context(), func(context.Context) error {
					calls.Add(1)
					time.Sleep(500 * time.Millisecond) // the bubble's clock
					return errAway
				})
				if !errors.Is(err, errAway) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n, took := calls.Load(), time.Since(began); n != 2 || took != 500*time.Millisecond {
			t.Errorf("%d calls in %v", n, took)
		}
	})
}

// A call that its caller gave up neither opens nor closes.
func TestAnImpatientCallerSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(2, time.Second, away)
		giveUp := func() {
			ctx, cancel := context.WithCancel(t.Context())
			_ = b.Do(ctx, func(ctx context.Context) error {
				cancel()
				return ctx.Err()
			})
		}
		giveUp()
		if !b.Away().IsZero() {
			t.Error("it opened")
		}
		_ = b.Do(t.Context(), func(context.Context) error { return errAway })
		time.Sleep(2 * time.Second) // the bubble's clock
		giveUp()
		if b.Away().IsZero() {
			t.Error("it closed")
		}
	})
}
