package dial

import (
	"context"
	"net"
	"time"

	"github.com/keybearer/keybearer"
)

// stagger is how long one address may take before the next is tried beside it (RFC 8305 section 5).
const stagger = 250 * time.Millisecond

// race connects to one of n addresses, in their order: the next is tried when one has failed, or when the last has taken stagger. It returns the
// first connection that is made, and closes those that are made behind it. An error is the first that there was; but one that denies an address
// ends the race and is returned. No other address is tried once ctx is done.
func race(ctx context.Context, n int, connect func(ctx context.Context, i int) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, n)
	waiting, started := 0, 0
	start := func() {
		i := started
		waiting, started = waiting+1, started+1
		go func() {
			conn, err := connect(ctx, i)
			results <- result{conn, err}
		}()
	}
	defer func() {
		go func(late int) {
			for range late {
				if r := <-results; r.err == nil {
					_ = r.conn.Close()
				}
			}
		}(waiting)
	}()

	start()
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	var first error
	for {
		select {
		case r := <-results:
			waiting--
			if r.err == nil {
				return r.conn, nil
			}
			isDenied := keybearer.CodeOf(r.err) == keybearer.AddressDenied
			if first == nil || isDenied {
				first = r.err
			}
			if isDenied || ctx.Err() != nil || waiting == 0 && started == n {
				return nil, first
			}
		case <-timer.C:
		}
		if started < n {
			start()
			timer.Reset(stagger)
		}
	}
}
