package caddymodule

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// lease lets requests use the parts of an app between its start and the end of its last request. Caddy starts apps in any
// order, so that requests can come before the parts are open; and it cleans an old configuration up while requests
// of it are still under way.
type lease struct {
	started chan struct{} // closed when Start is over
	open    atomic.Bool   // Start went well
	users   sync.RWMutex  // read-held by each request
	leaving atomic.Bool   // another configuration serves, or none will
	arrived chan struct{} // closed when all of the configuration has started, so that connections may be taken
	left    chan struct{} // closed when leaving

	taking atomic.Int64 // connections that were accepted, and that their server does not know yet
	heard  atomic.Bool  // something came since the last look
	mu     sync.Mutex
	fresh  map[net.Conn]struct{} // connections on which nothing has come yet
}

func newLease() *lease {
	return &lease{started: make(chan struct{}), arrived: make(chan struct{}), left: make(chan struct{}), fresh: map[net.Conn]struct{}{}}
}

// start lets requests in, or tells those that wait that there will be nothing.
func (l *lease) start(ok bool) {
	l.open.Store(ok)
	close(l.started)
}

// take waits for the start and reports whether the parts may be used until release is called.
func (l *lease) take(ctx context.Context) bool {
	if !l.open.Load() {
		select {
		case <-l.started:
		case <-ctx.Done():
			return false
		}
	}
	if l.leaving.Load() {
		l.heard.Store(true)
	}
	return l.open.Load() && l.users.TryRLock()
}

func (l *lease) release() { l.users.RUnlock() }

// arrive says that connections may be taken.
func (l *lease) arrive() { close(l.arrived) }

// leave says that no new connections will be taken, and that clients are to come back on others.
func (l *lease) leave() {
	if !l.leaving.Swap(true) {
		close(l.left)
	}
}

// watch is a server's hook for the states of its connections (net/http).
func (l *lease) watch(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateIdle:
		return
	case http.StateActive:
		if l.leaving.Load() {
			l.heard.Store(true)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if state == http.StateNew {
		l.fresh[conn] = struct{}{}
	} else {
		delete(l.fresh, conn)
	}
}

// quiet reports whether nothing has come since it was asked last, and no connection waits for its first request: who has just connected
// did so to send one, and would not send it again.
func (l *lease) quiet() bool {
	heard, taking := l.heard.Swap(false), l.taking.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	return !heard && taking == 0 && len(l.fresh) == 0
}

// end waits until nobody uses the parts, and lets nobody in from then on.
func (l *lease) end() { l.users.Lock() }
