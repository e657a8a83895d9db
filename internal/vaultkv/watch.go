package vaultkv

import (
	"slices"
	"sync"

	"github.com/keybearer/keybearer"
)

// watchers are the functions that are told of changes, in the order in which they were registered.
type watchers struct {
	mu  sync.Mutex
	fns []*func([]keybearer.Change)
}

// Watch registers fn to be told of every commit: of those made through s before Commit returns, of others' once the index has been read
// again. The slice is fn's to keep. Once stop has returned fn is not called again; fn must not call stop.
func (s *Store) Watch(fn func([]keybearer.Change)) (stop func()) {
	w := &s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fns = append(w.fns, &fn)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fns = slices.DeleteFunc(w.fns, func(f *func([]keybearer.Change)) bool { return f == &fn })
	}
}

func (w *watchers) tell(changes []keybearer.Change) {
	if len(changes) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fn := range w.fns {
		(*fn)(slices.Clone(changes))
	}
}
