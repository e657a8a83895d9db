package caddymodule

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// maxWaiting is how many connections of apps and operators may wait at a time, on all listeners together. A quarter of the files that the process may
// open, should that be less: the others are for destinations, store, keyring and audit log. A new connection waits until its first request has been
// read, so a burst of thousands of apps that start together must find room.
const maxWaiting = 8192

// crowd holds the connections on which no request is being served: new, idle, or in the middle of a head. Anybody can open such, and needs to
// prove nothing. When there are too many the one that has waited longest is closed: who connects to ask something does so at
// once, and who connects to hold the place finds that it is not held.
type crowd struct {
	mu      sync.Mutex
	limit   int
	waiting list.List // of *visitor, the longest waiting first
	all     map[net.Conn]*visitor
}

var visitors = &crowd{limit: min(maxWaiting, max(1, openFiles()/4)), all: map[net.Conn]*visitor{}}

// visitor is a connection of an app.
type visitor struct {
	crowd *crowd
	conn  net.Conn
	busy  int           // requests being served
	place *list.Element // among the waiting; nil: none
	gone  bool
}

type visitorKey struct{}

// watch makes the connections of a server part of the crowd.
func (c *crowd) watch(server *caddyhttp.Server) {
	server.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, visitorKey{}, c.join(conn))
	})
	server.RegisterConnState(func(conn net.Conn, s http.ConnState) {
		if s == http.StateClosed || s == http.StateHijacked { // a tunnel's caller has proved who it is
			c.leave(conn)
		}
	})
}

// join returns the visitor of a connection, which is one however many handlers have its server watched.
func (c *crowd) join(conn net.Conn) *visitor {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.all[conn]; v != nil { // another handler of the same server has seen it come
		return v
	}
	v := &visitor{crowd: c, conn: conn}
	c.all[conn] = v
	c.wait(v)
	return v
}

func (c *crowd) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.all[conn]; v != nil {
		c.unplace(v)
		v.gone = true
		delete(c.all, conn)
	}
}

// wait puts a visitor at the end, and closes the first if there are too many.
func (c *crowd) wait(v *visitor) {
	v.place = c.waiting.PushBack(v)
	if c.waiting.Len() > c.limit {
		first := c.waiting.Front().Value.(*visitor)
		c.unplace(first)
		go first.conn.Close() // over TLS it says farewell, which can take a while; its server notices and lets it leave
	}
}

func (c *crowd) unplace(v *visitor) {
	if v.place != nil {
		c.waiting.Remove(v.place)
		v.place = nil
	}
}

// attended returns the visitor on whose connection a request came; nil when it is not known. Nil serves.
func attended(ctx context.Context) *visitor {
	v, _ := ctx.Value(visitorKey{}).(*visitor)
	return v
}

// begin notes that a request is being served; end, that it was.
func (v *visitor) begin() {
	if v == nil {
		return
	}
	v.crowd.mu.Lock()
	defer v.crowd.mu.Unlock()
	v.busy++
	v.crowd.unplace(v)
}

func (v *visitor) end() {
	if v == nil {
		return
	}
	v.crowd.mu.Lock()
	defer v.crowd.mu.Unlock()
	if v.busy--; v.busy == 0 && !v.gone {
		v.crowd.wait(v)
	}
}
