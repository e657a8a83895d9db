package vaultkv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

// Current returns when the last look at the index began whose result has been told: all that was committed before is known. It stands still
// while Vault does not answer.
func (s *Store) Current() time.Time { return *s.known.Load() }

// flight is one look at the index, for all who wait for it.
type flight struct {
	done chan struct{}
	err  error
}

// view returns the state, confirmed within the last second.
func (s *Store) view(ctx context.Context) (*state, error) {
	for {
		if !s.doubt.Load() && time.Since(s.Current()) < maxUnconfirmed {
			return s.state.Load(), nil
		}
		f := s.ask()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if f.err != nil {
			return nil, f.err
		}
	}
}

// follow looks for changes again and again until Close, and logs when that begins to fail and when it works again.
func (s *Store) follow(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-s.life.Done():
			return
		case <-tick.C:
		}
		f := s.ask()
		<-f.done
		switch {
		case f.err != nil && !failed && s.life.Err() == nil:
			s.logger.Error("what others change in Vault cannot be seen", "error", f.err)
		case f.err == nil && failed:
			s.logger.Info("what others change in Vault can be seen again")
		}
		failed = f.err != nil
	}
}

// ask begins to look for changes, unless somebody has already.
func (s *Store) ask() *flight {
	s.asking.Lock()
	defer s.asking.Unlock()
	if s.flight != nil {
		return s.flight
	}
	f := &flight{done: make(chan struct{})}
	s.flight = f
	s.loops.Go(func() {
		f.err = s.look()
		s.asking.Lock()
		s.flight = nil
		s.asking.Unlock()
		close(f.done)
	})
	return f
}

// look looks for changes. Where there are none, as most often, it does not wait for a commit that is under way.
func (s *Store) look() error {
	ctx, cancel := context.WithTimeout(s.life, pollTimeout)
	defer cancel()
	if !s.doubt.Load() {
		start, told := time.Now(), *s.told.Load()
		at, err := s.engine.current(ctx, indexName)
		if err != nil {
			return err
		}
		if at == told {
			s.confirm(start)
			return nil
		}
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	return s.refresh(ctx)
}

// refresh brings the state up to date and tells the watchers what has changed. The caller has the turn.
func (s *Store) refresh(ctx context.Context) error {
	start := time.Now()
	at, err := s.engine.current(ctx, indexName)
	if err != nil {
		return err
	}
	old := s.state.Load()
	if at == old.at {
		s.doubt.Store(false)
		s.confirm(start)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	next, err := s.load(ctx, old)
	if err == nil {
		s.replace(next, next.news(old), start)
	}
	return err
}

// replace makes next the state, and returns when the watchers have been told. The caller has the turn.
func (s *Store) replace(next *state, changes []keybearer.Change, asOf time.Time) {
	s.state.Store(next) // before the watchers are told: whoever reads because of them reads this
	s.watch.Tell(changes)
	s.told.Store(&next.at)
	s.doubt.Store(false)
	s.confirm(asOf)
}

// confirm moves Current to a moment, unless it is past that.
func (s *Store) confirm(asOf time.Time) {
	for {
		known := s.known.Load()
		if !asOf.After(*known) || s.known.CompareAndSwap(known, &asOf) {
			return
		}
	}
}

// news returns what has changed since the state old.
func (s *state) news(old *state) []keybearer.Change {
	changes, ok := s.index.since(old.index)
	if !ok {
		changes = []keybearer.Change{{Seq: s.index.Seq, Kind: keybearer.AllRecords}}
	}
	return changes
}

// load reads the index and the buckets that old does not have; old may be nil. It returns errAbsent when there is no index.
func (s *Store) load(ctx context.Context, old *state) (*state, error) {
	have := map[string]bucket{} // by the name of the secret
	if old != nil {
		for slot, secret := range old.index.Buckets {
			have[secret] = old.buckets[slot]
		}
	}
	var before version
	for {
		text, at, err := s.engine.read(ctx, indexName)
		if err != nil {
			return nil, err
		}
		x, err := decodeIndex(text)
		if err != nil {
			return nil, errDamaged{err}
		}
		err = s.fetch(ctx, x, have)
		switch {
		case errors.Is(err, errAbsent) && at != before:
			// Deleted because a later index does not name it: read that.
			before = at
			continue
		case errors.Is(err, errAbsent):
			return nil, errDamaged{fmt.Errorf("a bucket that the index names: %w", errMissing)}
		case err != nil:
			return nil, err
		}
		buckets := make(map[string]bucket, len(x.Buckets))
		for slot, secret := range x.Buckets {
			buckets[slot] = have[secret]
		}
		return newState(x, at, buckets, old), nil
	}
}

var errMissing = errors.New("it is not there")

// fetch loads the buckets of an index that are not in have. It returns errAbsent when one is not there.
func (s *Store) fetch(ctx context.Context, x *index, have map[string]bucket) error {
	slotOf := map[string]string{}
	var missing []string
	for slot, secret := range x.Buckets {
		if have[secret] == nil {
			slotOf[secret] = slot
			missing = append(missing, secret)
		}
	}
	var mu sync.Mutex
	return parallel(missing, func(secret string) error {
		text, _, err := s.engine.read(ctx, secret)
		if err != nil {
			return err
		}
		b, err := decodeBucket(slotOf[secret], text)
		if err != nil {
			return errDamaged{err}
		}
		mu.Lock()
		defer mu.Unlock()
		have[secret] = b
		return nil
	})
}
