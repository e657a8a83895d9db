package records

import (
	"slices"
	"sync"

	"github.com/keybearer/keybearer"
)

// Watchers are the functions that are told of changes, in the order in which they were registered. The zero value has none; it is safe for
// concurrent use.
type Watchers struct {
	mu  sync.Mutex
	fns []*func([]keybearer.Change)
}

// Watch registers fn. The slices that it is given are its to keep. Once stop has returned fn is not called again; fn must not call stop.
func (w *Watchers) Watch(fn func([]keybearer.Change)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fns = append(w.fns, &fn)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fns = slices.DeleteFunc(w.fns, func(f *func([]keybearer.Change)) bool { return f == &fn })
	}
}

// Tell calls every function with the changes, if there are any, one call at a time.
func (w *Watchers) Tell(changes []keybearer.Change) {
	if len(changes) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fn := range w.fns {
		(*fn)(slices.Clone(changes))
	}
}
