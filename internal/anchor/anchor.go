package anchor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keybearer/keybearer"
)

const (
	every   = time.Second     // how often what others committed is written, and a store that is behind is looked at
	askTime = 2 * time.Second // for the number of the last commit
)

// Config says which store is anchored, and where. All but Logger is required. The store stays its owner's to close, after Close.
type Config struct {
	Path   string // of the file; its directory must exist
	Place  string // which store it is: whatever tells its place from others'
	Kind   string // one word for people
	Store  keybearer.Store
	Logger *slog.Logger // nil: silent
}

// Anchor follows one store. It is safe for concurrent use. Make one with [Open] before anything else follows the store: then nobody learns
// that everything is to be read again before the anchor has looked at what it is read from.
type Anchor struct {
	path, id, kind string
	store          keybearer.Store
	log            *slog.Logger
	unwatch        func()

	behind atomic.Pointer[keybearer.Error] // the store holds less than was seen; nil: it does not

	mu   sync.Mutex
	seen uint64 // highest number of a commit that is known

	writing sync.Mutex // held by whoever writes the file; guards what follows
	kept    uint64     // what the file holds
	dirty   bool       // it has a mark that is not true any more
	failed  error      // of the last attempt to write it
	marked  bool       // the file says that the store is refused

	wake  chan struct{} // holds one token when there is something to look at
	life  context.Context
	end   context.CancelFunc
	loops sync.WaitGroup
}

// Open compares the store with its anchor, and follows it until Close. A store without one gets it, at what the store holds now.
//
// Every error is [keybearer.StoreUnavailable] and says how to mend it: the store is behind, which the file notes for [Accept]; the file is
// damaged or cannot be written; the store cannot be asked.
func Open(ctx context.Context, c Config) (*Anchor, error) {
	a := &Anchor{path: c.Path, id: ID(c.Place), kind: c.Kind, store: c.Store, log: c.Logger, wake: make(chan struct{}, 1)}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.unwatch = c.Store.Watch(a.told) // first, so that nothing falls in between
	if err := a.begin(ctx); err != nil {
		a.unwatch()
		return nil, err
	}
	a.life, a.end = context.WithCancel(context.Background())
	a.loops.Go(a.run)
	return a, nil
}

func (a *Anchor) begin(ctx context.Context) error {
	// The file is read first: what others commit while the store is asked, such as the configuration that a reload replaces, may be in the file
	// and not in the answer.
	before, _, err := find(a.path, a.id)
	if err != nil {
		return err
	}
	seq, err := a.store.Sequence(ctx)
	if err != nil {
		return err
	}
	var behind *keybearer.Error
	err = update(a.path, a.id, func(e *Entry, fresh bool) {
		e.Kind = a.kind
		if seq < min(before.Sequence, e.Sequence) {
			e.Refused, e.Found = true, seq
			behind = isBehind(seq, e.Sequence)
			return
		}
		if fresh && seq > 0 {
			a.log.Info("the store has no anchor yet: it begins with what the store holds", "path", a.path, "sequence", seq)
		}
		e.atLeast(seq)
	})
	switch {
	case behind != nil && err == nil:
		return behind
	case behind != nil:
		return errors.Join(behind, err)
	case err != nil:
		return err
	}
	a.note(seq)
	a.kept = seq
	return nil
}

// isBehind is the error of a store that holds less than was seen.
func isBehind(found, seen uint64) *keybearer.Error {
	return keybearer.NewError(keybearer.StoreUnavailable,
		fmt.Sprintf("the store is older than what this server has seen of it: it ends with change %d, and the anchor is at %d", found, seen)).
		WithHint("a backup was restored, or a standby took over that lacked them: put the newest state back; if it is lost, run keybearer anchor accept, " +
			"and revoke again what was revoked since")
}

// Close writes what is known and stops following.
func (a *Anchor) Close() error {
	a.unwatch()
	a.end()
	a.loops.Wait()
	if a.Holds() != nil {
		return nil
	}
	return a.keep()
}

// Holds returns nil while the store holds all that was seen of it, and [keybearer.StoreUnavailable] while it does not: then none of its records may
// be relied on. It is cheap.
func (a *Anchor) Holds() error {
	if e := a.behind.Load(); e != nil {
		return e
	}
	return nil
}

// Ready returns nil when a change may be committed, and else [keybearer.StoreUnavailable]: the store is behind, or the file cannot be written, which
// is tried once more.
func (a *Anchor) Ready() error {
	if err := a.Holds(); err != nil {
		return err
	}
	a.writing.Lock()
	failed := a.failed
	a.writing.Unlock()
	if failed == nil {
		return nil
	}
	return a.keep()
}

// Advance is called with the number of a commit that was made through this process, before it is acknowledged. When it returns nil the anchor is at
// that number or above, and survives a power failure. It returns what Ready returns.
func (a *Anchor) Advance(seq uint64) error {
	a.note(seq)
	return a.keep()
}

func (a *Anchor) note(seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = max(a.seen, seq)
}

func (a *Anchor) highest() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen
}

// told is called with every change, before anybody else. It neither asks the store nor touches the file.
func (a *Anchor) told(changes []keybearer.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range changes {
		if c.Kind == keybearer.AllRecords && c.Seq < a.seen {
			a.behind.Store(isBehind(c.Seq, a.seen))
			select {
			case a.wake <- struct{}{}:
			default:
			}
			continue
		}
		a.seen = max(a.seen, c.Seq)
	}
}

// keep has the file hold what was seen.
func (a *Anchor) keep() error {
	a.writing.Lock()
	defer a.writing.Unlock()
	if err := a.Holds(); err != nil {
		return err
	}
	seen := a.highest()
	if a.kept >= seen && !a.dirty && a.failed == nil {
		return nil
	}
	a.failed = update(a.path, a.id, func(e *Entry, _ bool) {
		e.Kind = a.kind
		e.atLeast(seen)
	})
	if a.failed == nil {
		a.kept, a.dirty = seen, false
	}
	return a.failed
}

// run writes what others committed, and looks at a store that is behind, again and again until Close.
func (a *Anchor) run() {
	tick := time.NewTicker(every)
	defer tick.Stop()
	well := true
	for {
		select {
		case <-a.life.Done():
			return
		case <-tick.C:
		case <-a.wake:
		}
		var err error
		if a.Holds() != nil {
			err = a.look()
		} else {
			err = a.keep()
		}
		if err != nil && well && a.life.Err() == nil {
			a.log.Error("the anchor of the store", "path", a.path, "error", err, "hint", keybearer.AsError(err).Advice())
		}
		well = err == nil
	}
}

// look finds out whether a store that was behind holds all again, or its loss was accepted. It returns why not.
func (a *Anchor) look() error {
	ctx, cancel := context.WithTimeout(a.life, askTime)
	defer cancel()
	before := a.behind.Load()
	seq, err := a.store.Sequence(ctx)
	if err != nil {
		return err
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	e, ok, err := find(a.path, a.id)
	if err != nil {
		return err
	}
	if a.marked && ok && !e.Refused {
		a.marked = false
		a.back(e.Sequence) // accepted
	}
	seen := a.highest()
	if seq >= seen {
		a.note(seq)
		if !a.behind.CompareAndSwap(before, nil) {
			return nil // told of again meanwhile: look again
		}
		a.marked, a.dirty = false, true // keep takes the mark away
		a.log.Warn("the store is served from again", "sequence", seq)
		return nil
	}
	behind := isBehind(seq, seen)
	a.behind.Store(behind)
	if a.marked && ok && e.Found == seq && e.Sequence >= seen {
		return behind // as the file says
	}
	err = update(a.path, a.id, func(e *Entry, fresh bool) {
		if a.marked && !fresh && !e.Refused {
			return // accepted a moment ago
		}
		e.Kind, e.Sequence, e.Refused, e.Found = a.kind, max(e.Sequence, seen), true, seq
	})
	if err != nil {
		return err
	}
	a.marked = true
	return behind
}

// back takes what an operator has accepted for all that was seen. The caller holds writing.
func (a *Anchor) back(seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen, a.kept = seq, seq
}
