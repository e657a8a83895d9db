// Package breaker keeps a process from waiting, call after call, for a backend that does not answer, and from storming it when it comes back.
//
// It knows nothing of the backend: who uses it says which errors mean that nobody answered.
package breaker

import (
	"context"
	"sync"
	"time"
)

// Breaker lets calls through until one finds nobody there. From then on, one call is let through in each Pause, and the others get that
// error at once, until a call has been answered. At most Limit calls are under way at a time. It is safe for concurrent use.
type Breaker struct {
	pause time.Duration
	away  func(error) bool
	slots chan struct{}

	mu    sync.Mutex
	err   error     // of the call that found nobody; nil: calls go through
	since time.Time // when the current absence began
	next  time.Time // when the next call is let through
}

// New returns a breaker. away reports whether an error means that the backend did not answer; nil errors and all
// others are answers.
func New(limit int, pause time.Duration, away func(error) bool) *Breaker {
	return &Breaker{pause: pause, away: away, slots: make(chan struct{}, limit)}
}

// Do runs call, or returns the error of a call before. Waiting for a slot, it returns ctx's error when ctx ends first. A call that fails
// because ctx has ended says nothing about the backend, unless its error does.
func (b *Breaker) Do(ctx context.Context, call func(context.Context) error) error {
	probes, err := b.enter()
	if err != nil {
		return err
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.slots }()
	if !probes {
		if err := b.absent(); err != nil { // found while this call waited for its slot
			return err
		}
	}
	err = call(ctx)
	if err == nil || ctx.Err() == nil || b.away(err) {
		b.leave(err)
	}
	return err
}

// enter lets a call through; probes says that it is the one to find out.
func (b *Breaker) enter() (probes bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		return false, nil
	}
	now := time.Now()
	if now.Before(b.next) {
		return false, b.err
	}
	b.next = now.Add(b.pause)
	return true, nil
}

func (b *Breaker) absent() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *Breaker) leave(err error) {
	absent := err != nil && b.away(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !absent:
		b.err = nil
	case b.err == nil:
		b.err, b.since = err, time.Now()
		b.next = b.since.Add(b.pause)
	default:
		b.err = err
	}
}

// Away returns since when nobody has answered; the zero time: the last call was answered.
func (b *Breaker) Away() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		return time.Time{}
	}
	return b.since
}
