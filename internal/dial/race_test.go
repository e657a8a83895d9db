package dial

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

// conn is a connection that only knows whether it was closed.
type conn struct {
	net.Conn
	closed bool
}

func (c *conn) Close() error { c.closed = true; return nil }

// runner is what becomes of an address that is tried: after some time it fails, or is connected to.
type runner struct {
	after time.Duration
	err   error
	stays bool // and does not mind that nobody wants it any more
}

func TestARaceOfAddresses(t *testing.T) {
	never := time.Hour
	refused, other := errors.New("refused"), errors.New("other")
	for why, c := range map[string]struct {
		runners []runner
		gone    time.Duration // when the caller goes; 0: it does not
		winner  int           // -1: none
		err     error
		began   string // when each was tried
	}{
		"one":                            {[]runner{{}}, 0, 0, nil, "0s"},
		"the first is quick enough":      {[]runner{{after: stagger - 1}, {}}, 0, 0, nil, "0s"},
		"the first is slow":              {[]runner{{after: time.Second}, {}}, 0, 1, nil, "0s 250ms"},
		"one alone is slow":              {[]runner{{after: time.Second}}, 0, 0, nil, "0s"},
		"each is slow":                   {[]runner{{after: never}, {after: never}, {after: 100 * time.Millisecond}}, 0, 2, nil, "0s 250ms 500ms"},
		"the first fails":                {[]runner{{after: 100 * time.Millisecond, err: refused}, {after: never}, {}}, 0, 2, nil, "0s 100ms 350ms"},
		"the last fails, one goes on":    {[]runner{{after: time.Second}, {err: refused}}, 0, 0, nil, "0s 250ms"},
		"all fail":                       {[]runner{{err: refused}, {err: other}}, 0, -1, refused, "0s 0s"},
		"the first is denied":            {[]runner{{err: denied()}, {}}, 0, -1, denied(), "0s"},
		"the second is denied":           {[]runner{{err: refused}, {err: denied()}, {}}, 0, -1, denied(), "0s 0s"},
		"denied while another goes on":   {[]runner{{after: time.Second}, {err: denied()}}, 0, -1, denied(), "0s 250ms"},
		"the caller goes":                {[]runner{{after: never}, {}}, 100 * time.Millisecond, -1, context.Canceled, "0s"},
		"the winner is not the only one": {[]runner{{after: time.Second, stays: true}, {after: never}, {after: 200 * time.Millisecond}}, 0, 2, nil, "0s 250ms 500ms"},
	} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.gone > 0 {
					time.AfterFunc(c.gone, cancel)
				}
				var mu sync.Mutex
				var began []string
				conns := make([]*conn, len(c.runners))
				got, err := race(ctx, len(c.runners), func(ctx context.Context, i int) (net.Conn, error) {
					r := c.runners[i]
					mu.Lock()
					began = append(began, time.Since(start).String())
					mu.Unlock()
					if r.stays {
						ctx = context.WithoutCancel(ctx)
					}
					select {
					case <-time.After(r.after):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					if r.err != nil {
						return nil, r.err
					}
					mu.Lock()
					defer mu.Unlock()
					conns[i] = &conn{}
					return conns[i], nil
				})
				time.Sleep(2 * time.Second) // those behind come in
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				if diff := cmp.Diff(c.began, strings.Join(began, " ")); diff != "" {
					t.Error("tried at other times", diff)
				}
				if c.winner < 0 {
					denied := keybearer.CodeOf(c.err) == keybearer.AddressDenied
					if got != nil || keybearer.CodeOf(err) != keybearer.CodeOf(c.err) || !denied && !errors.Is(err, c.err) {
						t.Error(got, err)
					}
				} else if err != nil || got != conns[c.winner] {
					t.Error(got, err)
				}
				for i, other := range conns {
					if other != nil && other.closed == (i == c.winner) {
						t.Errorf("connection %d: closed is %t", i, other.closed)
					}
				}
			})
		})
	}
}
