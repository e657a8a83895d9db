package handover

import (
	"context"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// Phase says how far a move of records is.
type Phase string

// The phases. Until Done the former store is in use.
const (
	Ready       Phase = "ready" // not begun, or interrupted
	Copying     Phase = "copying"
	HandingOver Phase = "handing over" // commits wait
	Done        Phase = "done"
)

const (
	few         = 50                     // so few changes are copied while commits wait
	rounds      = 20                     // of catching up, at most, before commits wait
	holdTime    = 20 * time.Second       // how long commits wait at most
	drainTime   = 3 * time.Second        // of that: for audit events to be delivered
	quietTime   = 2 * time.Minute        // how long an older configuration may use the former store
	handOvers   = 5                      // attempts
	lookAgain   = 20 * time.Millisecond  // at what somebody else is about to finish
	breathe     = 500 * time.Millisecond // between attempts
	arriveTries = 20
)

// move is the work of moving the records, and how far it is.
type move struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu          sync.Mutex
	running     chan struct{} // closed when the work ends; nil: there is none
	phase       Phase
	done, total int
	err         error
}

func (m *move) init() {
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.phase = Ready
}

func (m *move) stop() {
	m.cancel()
	m.group.Wait()
}

func (m *move) set(phase Phase, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase, m.err = phase, err
}

// tell notes the progress of one round; later ones copy what changed during the first.
func (m *move) tell(done, total int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if total >= m.total {
		m.done, m.total = done, total
	}
}

// Progress returns the phase, how many records of how many were copied, and what went wrong last; nil: nothing.
func (s *Store) Progress() (phase Phase, done, total int, err error) {
	m := &s.move
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.phase, m.done, m.total, m.err
}

// Move begins to move the records in the background, or goes on with it. The channel is closed when that has ended, well or not: Progress tells.
func (s *Store) Move() <-chan struct{} {
	m := &s.move
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil {
		return m.running
	}
	done := make(chan struct{})
	if m.phase == Done || m.ctx.Err() != nil {
		close(done)
		return done
	}
	m.running, m.phase, m.err, m.done, m.total = done, Copying, nil, 0, 0
	m.group.Go(func() {
		err := s.run(m.ctx)
		phase := Done
		if s.active.Load() != &s.current {
			phase = Ready
		}
		if err != nil {
			s.log.Warn("the move to another store does not get on", "error", err)
		}
		m.mu.Lock()
		m.phase, m.err, m.running = phase, err, nil
		m.mu.Unlock()
		close(done)
	})
	return done
}

// run copies everything and hands over.
func (s *Store) run(ctx context.Context) error {
	active, err := s.transfer.Active(ctx)
	if err != nil {
		return err
	}
	if active == sqlstore.Of(s.current.Store) { // an earlier attempt ended without knowing so
		s.commits.Lock()
		s.flip()
		s.commits.Unlock()
		return s.arrive(ctx)
	}
	if err := s.transfer.Begin(ctx); err != nil {
		return err
	}
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	if err := s.awaitQuiet(ctx); err != nil {
		return err
	}
	s.uses.Lock()
	defer s.uses.Unlock()
	if err := s.transfer.Ledger(ctx); err != nil {
		return err
	}
	for range handOvers {
		if err = s.catchUp(ctx); err != nil {
			return err
		}
		if err = s.handOver(ctx); err == nil {
			return s.arrive(ctx)
		}
		if keybearer.CodeOf(err) != keybearer.AuditUnavailable {
			return err
		}
		s.move.set(Copying, err)
		if err := pause(ctx, breathe); err != nil {
			return err
		}
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return keybearer.NewError(keybearer.StoreUnavailable, "the server stops").Wrap(ctx.Err())
	}
}

// catchUp copies until there is little left.
func (s *Store) catchUp(ctx context.Context) error {
	for range rounds {
		n, err := s.transfer.Records(ctx)
		if err != nil || n <= few {
			return err
		}
	}
	return nil
}

// awaitQuiet waits until no older configuration uses the former store: it would not learn that another one is in use.
func (s *Store) awaitQuiet(ctx context.Context) error {
	if s.quiet == nil {
		return nil
	}
	for end := time.Now().Add(quietTime); !s.quiet(); {
		if time.Now().After(end) {
			return keybearer.NewError(keybearer.Conflict, "an older configuration still uses the former store").
				WithHint("it ends with its last request; run keybearer migrate store again then, or restart the server")
		}
		if err := pause(ctx, breathe); err != nil {
			return err
		}
	}
	return nil
}

// handOver holds commits, copies and compares the rest, and goes over to the current store. It returns [keybearer.AuditUnavailable] when
// audit events remain in the former one.
func (s *Store) handOver(ctx context.Context) error {
	s.move.set(HandingOver, nil)
	s.commits.Lock()
	defer s.commits.Unlock()
	ctx, cancel := context.WithTimeout(ctx, holdTime)
	defer cancel()
	for end := time.Now().Add(s.drain); ; {
		n, err := s.transfer.Waiting(ctx)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			return keybearer.NewError(keybearer.AuditUnavailable, "audit events of changes wait to be written")
		}
		if err := pause(ctx, lookAgain); err != nil {
			return err
		}
	}
	err := s.transfer.Finish(ctx)
	if err != nil {
		// It may have happened all the same. If that cannot be told now, the former store refuses to be written, or is in use as before.
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdTime)
		defer cancel()
		if active, unknown := s.transfer.Active(asking); unknown != nil || active != sqlstore.Of(s.current.Store) {
			return err
		}
	}
	s.flip()
	return nil
}

// flip goes over to the current store. The caller holds commits.
func (s *Store) flip() {
	s.active.Store(&s.current)
	s.log.Info("the records have moved to another store, which is in use now")
}

// arrive lets the current store be used alone. Until that is done it needs the former one beside it.
func (s *Store) arrive(ctx context.Context) (err error) {
	for range arriveTries {
		if err = s.transfer.Arrive(ctx); err == nil {
			return nil
		}
		if stopped := pause(ctx, breathe); stopped != nil {
			return err
		}
	}
	return err
}
