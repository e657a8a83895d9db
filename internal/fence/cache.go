// Package fence is a cache whose entries never outlive a change. A load that was under way while a record it
// read was changed is thrown away and done again, so nothing that finishes late revives what was revoked.
//
// Where others change the records too, and word of it can be late or lost, an entry is relied on for a moment only after it was last known to
// be current, and is loaded again then; while that cannot be done it serves as long as it may, unless a change is known.
//
// It knows nothing of what it caches: an entry depends on the ids of the records that it was made from.
package fence

import (
	"context"
	"sync"
	"time"
)

// Any is the id to depend on when an entry says that something is absent: every change drops it.
const Any = "*"

// entry is one cached value. What stands above retry is immutable.
type entry[V any] struct {
	value V
	ids   []string
	at    time.Time // when its load began

	retry time.Time // after a load that failed: not before then again; guarded by Cache.mu
	err   error     // of that load; guarded by Cache.mu
}

// Load makes the value of a key and names the records it depends on.
type Load[K comparable, V any] func(ctx context.Context, key K) (value V, ids []string, err error)

// Cache maps keys to values. It is safe for concurrent use; one load runs for a key at a time, on a context of its own,
// so that an impatient caller does not fail the others. Errors are not cached.
type Cache[K comparable, V any] struct {
	Config

	mu      sync.RWMutex
	entries map[K]*entry[V]
	byID    map[string]map[K]struct{}
	flights map[K]*flight[V]
}

type flight[V any] struct {
	done    chan struct{}
	late    bool // begun long after the load before failed: what is known may be too old to serve meanwhile
	value   V
	err     error
	touched map[string]struct{} // ids changed while it ran; guarded by Cache.mu
	flushed bool
}

// Config of a Cache. Max, MaxAge, Timeout and Now are required.
type Config struct {
	Max     int              // entries kept; beyond it, arbitrary ones are dropped
	MaxAge  time.Duration    // after which an entry is loaded again
	Timeout time.Duration    // of one load
	Now     func() time.Time // clock

	// Follow is for records that others change too.
	Follow
}

// Follow says how far entries may be relied on when changes are learned of late. The zero value is for those who learn of every change before it
// is acknowledged.
type Follow struct {
	Current  func() time.Time // moment as of which every change has been told; nil: always now
	Confirm  time.Duration    // how long after the later of its load and Current an entry is relied on without asking
	MaxStale time.Duration    // how long after that it serves while it cannot be loaded
	Away     func(error) bool // whether a load's error says that nobody could be asked; any other is an answer, and ends the entry
}

// retryAfter is how long an entry that could not be loaded serves before that is tried again.
const retryAfter = time.Second

// New returns an empty cache.
func New[K comparable, V any](c Config) *Cache[K, V] {
	return &Cache[K, V]{Config: c, entries: map[K]*entry[V]{}, byID: map[string]map[K]struct{}{}, flights: map[K]*flight[V]{}}
}

// known returns since when nothing newer of the entry can have been missed.
func (c *Cache[K, V]) known(e *entry[V]) time.Time {
	if current := c.Current(); current.After(e.at) {
		return current
	}
	return e.at
}

// fresh reports whether the entry may be relied on without asking.
func (c *Cache[K, V]) fresh(e *entry[V], now time.Time) bool {
	return e != nil && now.Sub(e.at) < c.MaxAge && (c.Current == nil || now.Sub(c.known(e)) < c.Confirm)
}

// serves reports whether the entry may be relied on while nobody can be asked.
func (c *Cache[K, V]) serves(e *entry[V], now time.Time) bool {
	return e != nil && c.Current != nil && now.Sub(c.known(e)) < c.MaxStale
}

// Get returns the value for key, loading it if need be. It returns ctx's error when ctx ends first, and the load's otherwise.
func (c *Cache[K, V]) Get(ctx context.Context, key K, load Load[K, V]) (value V, _ error) {
	c.mu.RLock()
	e := c.entries[key]
	c.mu.RUnlock()
	now := c.Now()
	if c.fresh(e, now) {
		return e.value, nil
	}
	c.mu.Lock()
	if e = c.entries[key]; c.fresh(e, now) {
		c.mu.Unlock()
		return e.value, nil
	}
	failed := e != nil && e.err != nil
	f := c.flights[key]
	switch {
	case f != nil:
	case failed && now.Before(e.retry):
		f = &flight[V]{done: closed, err: e.err}
	default:
		f = &flight[V]{done: make(chan struct{}), touched: map[string]struct{}{}}
		f.late = failed && !now.Before(e.retry.Add(retryAfter))
		c.flights[key] = f
		go c.fill(context.WithoutCancel(ctx), key, f, load)
	}
	c.mu.Unlock()
	if failed && !f.late && c.serves(e, now) {
		return e.value, nil // nobody waits for what did not answer the last time, a moment ago
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return value, ctx.Err()
	}
	if f.err == nil {
		return f.value, nil
	}
	c.mu.RLock()
	e = c.entries[key] // gone if a change or an answer ended it meanwhile
	c.mu.RUnlock()
	if c.serves(e, c.Now()) {
		return e.value, nil
	}
	return value, f.err
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// fill loads until no change fell into the load.
func (c *Cache[K, V]) fill(ctx context.Context, key K, f *flight[V], load Load[K, V]) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	for {
		at := c.Now()
		v, ids, err := load(ctx, key)
		c.mu.Lock()
		if err == nil && f.fenced(ids) && ctx.Err() == nil {
			clear(f.touched)
			f.flushed = false
			c.mu.Unlock()
			continue
		}
		if err == nil {
			err = ctx.Err()
		}
		delete(c.flights, key)
		old := c.entries[key]
		switch {
		case err == nil:
			f.value = v
			c.put(key, &entry[V]{value: v, ids: ids, at: at})
		case old != nil && c.Away != nil && c.Away(err):
			f.err = err
			old.err, old.retry = err, c.Now().Add(retryAfter)
		default:
			f.err = err
			if old != nil {
				c.drop(key, old)
			}
		}
		c.mu.Unlock()
		close(f.done)
		return
	}
}

// fenced reports whether a change fell into the load of a value made from ids.
func (f *flight[V]) fenced(ids []string) bool {
	if f.flushed {
		return true
	}
	for _, id := range ids {
		if _, hit := f.touched[id]; hit || id == Any && len(f.touched) > 0 {
			return true
		}
	}
	return false
}

func (c *Cache[K, V]) put(key K, e *entry[V]) {
	if old := c.entries[key]; old != nil {
		c.drop(key, old)
	}
	for len(c.entries) >= c.Max {
		for k, victim := range c.entries { // map order is arbitrary
			c.drop(k, victim)
			break
		}
	}
	c.entries[key] = e
	for _, id := range e.ids {
		keys := c.byID[id]
		if keys == nil {
			keys = map[K]struct{}{}
			c.byID[id] = keys
		}
		keys[key] = struct{}{}
	}
}

func (c *Cache[K, V]) drop(key K, e *entry[V]) {
	delete(c.entries, key)
	for _, id := range e.ids {
		keys := c.byID[id]
		delete(keys, key)
		if len(keys) == 0 {
			delete(c.byID, id)
		}
	}
}

// Changed drops every entry that depends on one of the ids. When it returns, no later Get gives
// a value made before the change.
func (c *Cache[K, V]) Changed(ids ...string) {
	if len(ids) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flights {
		for _, id := range ids {
			f.touched[id] = struct{}{}
		}
	}
	c.invalidate(Any)
	for _, id := range ids {
		c.invalidate(id)
	}
}

func (c *Cache[K, V]) invalidate(id string) {
	for key := range c.byID[id] {
		if e := c.entries[key]; e != nil {
			c.drop(key, e)
		}
	}
}

// Flush drops everything, as when a change may have been missed.
func (c *Cache[K, V]) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flights {
		f.flushed = true
	}
	for key, e := range c.entries {
		c.drop(key, e)
	}
}

// Sweep drops entries that have not been loaded again for so long, so that memory grows with what is in use.
func (c *Cache[K, V]) Sweep(idle time.Duration) {
	now := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		if now.Sub(e.at) > idle {
			c.drop(key, e)
		}
	}
}

// Len returns the number of entries.
func (c *Cache[K, V]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries)
}
