package museum

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

// outages are what happened when a part was away.
var outages = []exhibit{
	{
		"hashicorp/nomad#28366", "Nomad: while Vault was away, work that ran well was stopped because its secret could not be renewed",
		"what was known serves for its time while nobody answers, and what is known to be revoked does not",
		func(h *hall) {
			synctest.Test(h.T, func(t *testing.T) {
				away, gone := errors.New("away"), errors.New("gone")
				answer := atomic.Pointer[error]{}
				start := time.Now()
				c := fence.New[string, int](fence.Config{Max: 10, MaxAge: time.Minute, Timeout: time.Second, Now: time.Now, Follow: fence.Follow{
					Current: func() time.Time { return start }, Confirm: time.Second, MaxStale: time.Minute, Away: func(err error) bool { return errors.Is(err, away) },
				}})
				load := func(context.Context, string) (int, []string, error) {
					if err := answer.Load(); err != nil {
						return 0, nil, *err
					}
					return 1, []string{"id"}, nil
				}
				get := func() error { _, err := c.Get(t.Context(), "k", load); return err }
				if err := get(); err != nil {
					t.Fatal(err)
				}
				answer.Store(&away)
				time.Sleep(30 * time.Second)
				if err := get(); err != nil {
					t.Errorf("half-way: %v", err)
				}
				c.Changed("id")
				if err := get(); err == nil {
					t.Error("a revocation did not hold")
				}
				answer.Store(nil)
				time.Sleep(2 * time.Second)
				if err := get(); err != nil {
					t.Errorf("back: %v", err)
				}
				answer.Store(&gone)
				time.Sleep(2 * time.Second)
				if err := get(); err == nil {
					t.Error("an answer is no absence")
				}
			})
		},
	},
	{
		"tailscale/tailscale#18919", "Tailscale: all who waited for a secret asked for it at once when it was not there",
		"one asks, on a clock of its own, and the others get the answer",
		func(h *hall) {
			synctest.Test(h.T, func(t *testing.T) {
				var loads atomic.Int32
				c := fence.New[string, int](fence.Config{Max: 10, MaxAge: time.Minute, Timeout: time.Minute, Now: time.Now})
				let := make(chan struct{})
				load := func(context.Context, string) (int, []string, error) {
					loads.Add(1)
					<-let
					return 1, []string{"id"}, nil
				}
				var all sync.WaitGroup
				for range 5000 {
					all.Go(func() {
						if v, err := c.Get(t.Context(), "k", load); v != 1 || err != nil {
							t.Errorf("%d, %v", v, err)
						}
					})
				}
				synctest.Wait()
				close(let)
				all.Wait()
				if n := loads.Load(); n != 1 {
					t.Errorf("asked %d times", n)
				}
			})
		},
	},
}
