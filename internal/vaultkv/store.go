package vaultkv

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/records"
	"github.com/keybearer/keybearer/internal/vaultclient"
)

var (
	_ keybearer.Store     = (*Store)(nil)
	_ keybearer.Follower  = (*Store)(nil)
	_ keybearer.Diagnoser = (*Store)(nil)
)

// Config says where the store is and how it is followed.
type Config struct {
	Client *vaultclient.Client // is the store's from then on, also when it cannot be opened
	Mount  string              // of a KV engine, version 2; "": secret
	Path   string              // on it; "": keybearer
	Node   string              // who this process is among those that share the store, across restarts; required
	Poll   time.Duration       // how often others' changes are looked for; 0: 300 ms
	Wait   time.Duration       // how long Open waits for a Vault that does not answer yet
	Logger *slog.Logger        // nil: silent
}

const (
	indexName = "index"

	defaultPoll    = 300 * time.Millisecond
	pollTimeout    = time.Second            // of looking for changes
	loadTimeout    = 10 * time.Second       // of reading them
	commitTimeout  = 10 * time.Second       // of a commit, with all that has to be tried anew
	maxUnconfirmed = time.Second            // how long what is in memory is relied on without asking
	retry          = 500 * time.Millisecond // of opening
	sweepEvery     = time.Minute
	adoptAfter     = time.Minute // how long an event waits for its own process
)

// Store keeps records in Vault. It is safe for concurrent use. Make one with [Open].
type Store struct {
	engine *engine
	node   string
	logger *slog.Logger
	watch  records.Watchers

	state   atomic.Pointer[state]
	told    atomic.Pointer[version]   // of the index, up to which the watchers have been told
	known   atomic.Pointer[time.Time] // see Current
	doubt   atomic.Bool               // a commit's outcome is not known: the state is not to be relied on
	turn    chan struct{}             // holds one token; whoever replaces the state has taken it, until the last watcher has returned
	asking  sync.Mutex                // of flight
	flight  *flight
	pace    pace            // belongs to whoever has the turn
	unnamed map[string]bool // secrets that the last sweep found unnamed; belongs to whoever has the turn
	adopt   time.Duration   // adoptAfter

	life  context.Context // ends with Close
	end   context.CancelFunc
	loops sync.WaitGroup
}

// Open logs in, loads all records, and follows what others change until Close. The first one makes the index. It returns
// [keybearer.Invalid] for a configuration that cannot be right, and [keybearer.StoreUnavailable] otherwise.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		engine: &engine{c.Client, strings.Trim(cmp.Or(c.Mount, "secret"), "/"), strings.Trim(cmp.Or(c.Path, "keybearer"), "/")},
		node:   c.Node, logger: c.Logger, turn: make(chan struct{}, 1), adopt: adoptAfter,
	}
	if err := s.begin(ctx, c.Wait); err != nil {
		_ = c.Client.Close()
		return nil, fail("open the store", err)
	}
	s.turn <- struct{}{}
	s.life, s.end = context.WithCancel(context.Background())
	s.loops.Go(func() { s.follow(cmp.Or(c.Poll, defaultPoll)) })
	s.loops.Go(func() {
		for s.sweep() && s.life.Err() == nil {
			pause(s.life, sweepEvery)
		}
	})
	return s, nil
}

// begin sets the first state, and waits for a Vault that does not answer yet.
func (s *Store) begin(ctx context.Context, wait time.Duration) error {
	if s.node == "" {
		return keybearer.NewError(keybearer.Invalid, "the node has no name").WithHint("give each process that shares the store one of its own")
	}
	for deadline := time.Now().Add(wait); ; pause(ctx, retry) {
		start := time.Now()
		st, err := s.first(ctx)
		if err == nil {
			s.known.Store(&start)
			s.replace(st, nil, start)
			return nil
		}
		if !vaultclient.Away(err) || start.After(deadline) || ctx.Err() != nil {
			return err
		}
	}
}

// first loads what is stored, and makes an empty index where nothing is.
func (s *Store) first(ctx context.Context) (*state, error) {
	for {
		st, err := s.load(ctx, nil)
		if !errors.Is(err, errAbsent) {
			return st, err
		}
		if err := s.engine.check(ctx); err != nil {
			return nil, err
		}
		// Buckets without an index are what is left of a store, not the beginning of one.
		names, err := s.engine.list(ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if isBucketName(name) {
				return nil, errIndexGone
			}
		}
		if err := s.engine.guard(ctx, indexName); err != nil {
			return nil, err
		}
		x := &index{Format: format}
		text, err := x.encode()
		if err != nil {
			return nil, err
		}
		if _, err := s.engine.write(ctx, indexName, text, 0); err != nil && !errors.Is(err, errConflict) {
			return nil, err
		}
	}
}

// Close stops following and logs out. No other method may be called after it or while it runs; Close once more does nothing.
func (s *Store) Close() error {
	s.end()
	s.loops.Wait()
	return s.engine.client.Close()
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// take waits for the turn; give passes it on.
func (s *Store) take(ctx context.Context) error {
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) give() { s.turn <- struct{}{} }
