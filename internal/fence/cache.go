// Package fence is a cache whose entries never outlive a change. A load that was under way while a record it
// read was changed is thrown away and done again, so nothing that finishes late revives what was revoked.
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

// entry is one cached value. It is immutable.
type entry[V any] struct {
	value V
	ids   []string
	at    time.Time
}

// Load makes a value and names the records it depends on.
type Load[V any] func(ctx context.Context) (value V, ids []string, err error)

// Cache maps keys to values. It is safe for concurrent use; one load runs for a key at a time, on a context of its own,
// so that an impatient caller does not fail the others. Errors are not cached.
type Cache[K comparable, V any] struct {
	max     int
	maxAge  time.Duration
	timeout time.Duration
	now     func() time.Time

	mu      sync.RWMutex
	entries map[K]*entry[V]
	byID    map[string]map[K]struct{}
	flights map[K]*flight[V]
}

type flight[V any] struct {
	done    chan struct{}
	value   V
	err     error
	touched map[string]struct{} // ids changed while it ran; guarded by Cache.mu
	flushed bool
}

// Config of a Cache. Every field is required.
type Config struct {
	Max     int              // entries kept; beyond it, arbitrary ones are dropped
	MaxAge  time.Duration    // after which an entry is loaded again
	Timeout time.Duration    // of one load
	Now     func() time.Time // clock
}

// New returns an empty cache.
func New[K comparable, V any](c Config) *Cache[K, V] {
	return &Cache[K, V]{
		max: c.Max, maxAge: c.MaxAge, timeout: c.Timeout, now: c.Now,
		entries: map[K]*entry[V]{}, byID: map[string]map[K]struct{}{}, flights: map[K]*flight[V]{},
	}
}

// Get returns the value for key, loading it if need be. It returns ctx's error when ctx ends first, and the load's otherwise.
func (c *Cache[K, V]) Get(ctx context.Context, key K, load Load[V]) (value V, _ error) {
	c.mu.RLock()
	e := c.entries[key]
	c.mu.RUnlock()
	if e != nil && c.now().Sub(e.at) < c.maxAge {
		return e.value, nil
	}
	c.mu.Lock()
	if e = c.entries[key]; e != nil && c.now().Sub(e.at) < c.maxAge {
		c.mu.Unlock()
		return e.value, nil
	}
	f := c.flights[key]
	if f == nil {
		f = &flight[V]{done: make(chan struct{}), touched: map[string]struct{}{}}
		c.flights[key] = f
		go c.fill(context.WithoutCancel(ctx), key, f, load)
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

// fill loads until no change fell into the load.
func (c *Cache[K, V]) fill(ctx context.Context, key K, f *flight[V], load Load[V]) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for {
		at := c.now()
		v, ids, err := load(ctx)
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
		if err != nil {
			f.err = err
		} else {
			f.value = v
			c.put(key, &entry[V]{v, ids, at})
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
	for len(c.entries) >= c.max {
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
	now := c.now()
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
