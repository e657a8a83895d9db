package caddymodule

import (
	"net"
	"testing"

	"pgregory.net/rapid"
)

// closing is a connection that tells when it was closed.
type closing struct {
	net.Conn
	closed chan struct{}
}

func (c *closing) Close() error { close(c.closed); return nil }

// Whatever connections come, ask and leave: those on which a request is served stay, no more than the limit wait, and who is sent away
// has waited longest.
func TestTheLongestWaitingLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &crowd{limit: rapid.IntRange(1, 5).Draw(t, "limit"), all: map[net.Conn]*visitor{}}
		var waiting, busy []*visitor // the model, in the order of their waiting
		check := func() {
			for len(waiting) > c.limit {
				first := waiting[0]
				<-first.conn.(*closing).closed
				waiting = waiting[1:]
				c.leave(first.conn)
			}
			if n := c.waiting.Len(); n != len(waiting) {
				t.Fatalf("%d wait, not %d", n, len(waiting))
			}
			for _, g := range append(append([]*visitor{}, waiting...), busy...) {
				select {
				case <-g.conn.(*closing).closed:
					t.Fatal("a visitor was sent away who should have stayed")
				default:
				}
			}
			if len(c.all) != len(waiting)+len(busy) {
				t.Fatalf("%d visitors, not %d", len(c.all), len(waiting)+len(busy))
			}
		}
		take := func(from *[]*visitor) *visitor {
			i := rapid.IntRange(0, len(*from)-1).Draw(t, "visitor")
			g := (*from)[i]
			*from = append((*from)[:i:i], (*from)[i+1:]...)
			return g
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"join": func(*rapid.T) {
				waiting = append(waiting, c.join(&closing{closed: make(chan struct{})}))
			},
			"begin": func(*rapid.T) {
				if len(waiting) > 0 {
					g := take(&waiting)
					g.begin()
					busy = append(busy, g)
				}
			},
			"end": func(*rapid.T) {
				if len(busy) > 0 {
					g := take(&busy)
					g.end()
					waiting = append(waiting, g)
				}
			},
			"leave": func(*rapid.T) {
				if len(waiting) > 0 {
					c.leave(take(&waiting).conn)
				}
			},
			"leave while served": func(*rapid.T) {
				if len(busy) > 0 {
					g := take(&busy)
					c.leave(g.conn)
					g.end()
				}
			},
		})
	})
}
