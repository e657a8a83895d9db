package caddymodule

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// lease lets requests use the parts of an app between its start and the end of its last request. Caddy starts apps in any
// order, so that requests can come before the parts are open; and it cleans an old configuration up while requests
// of it are still under way.
type lease struct {
	started chan struct{} // closed when Start is over
	open    atomic.Bool   // Start went well
	users   sync.RWMutex  // read-held by each request
	leaving atomic.Bool   // another configuration serves, or none will
	left    chan struct{} // closed when leaving
	last    atomic.Int64  // when the leaving began or a request came after it, in Unix nanoseconds
}

func newLease() *lease { return &lease{started: make(chan struct{}), left: make(chan struct{})} }

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
		l.last.Store(time.Now().UnixNano())
	}
	return l.open.Load() && l.users.TryRLock()
}

// lastTaken returns when the last request came since leaving.
func (l *lease) lastTaken() time.Time { return time.Unix(0, l.last.Load()) }

func (l *lease) release() { l.users.RUnlock() }

// leave says that no new connections will be taken, and that clients are to come back on others.
func (l *lease) leave() {
	l.last.Store(time.Now().UnixNano())
	if !l.leaving.Swap(true) {
		close(l.left)
	}
}

// end waits until nobody uses the parts, and lets nobody in from then on.
func (l *lease) end() { l.users.Lock() }
