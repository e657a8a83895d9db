package fence

import (
	"time"

	"github.com/keybearer/keybearer"
)

const (
	lookupTimeout = 2 * time.Second
	reload        = time.Minute // defence in depth: a record is read again so often, even if nobody said that it changed
	confirm       = time.Second // half of what a change may take to hold everywhere
)

// ForStore returns the configuration of a cache over a store's records, of so many entries. Metadata may serve for maxStale while the store cannot
// answer; zero or less: not at all. When others change the store's records too, the cache follows what it learns of them.
func ForStore(store keybearer.Store, entries int, maxStale time.Duration, now func() time.Time) Config {
	c := Config{Max: entries, MaxAge: maxStale, Timeout: lookupTimeout, Now: now}
	if f, ok := store.(keybearer.Follower); ok {
		c.MaxAge = reload
		c.Follow = Follow{
			Current: f.Current, Confirm: confirm, MaxStale: maxStale,
			Away: func(err error) bool { return keybearer.CodeOf(err) != keybearer.NotFound },
		}
	}
	return c
}
