package metrics

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keybearer/keybearer"
)

// Source is asked for what is measured when somebody looks, and not when it happens. A nil function has nothing to say, as one that fails: then the
// metric is absent. All are safe for concurrent use.
type Source struct {
	// Audit returns how many events wait to be written, and how many were given up since the start.
	Audit func() (queue int, dropped uint64)
	// Credentials counts the credentials.
	Credentials func(context.Context) ([]Count, error)
	// FeedLag returns how long ago the changes of the store were last known to be complete.
	FeedLag func() time.Duration
	// Parts returns whether each of the parts that everything rests on works.
	Parts func(context.Context) map[string]bool
}

// Count is how many credentials of a scope are in a state. Beside the states of a credential there is [Expiring], which counts active ones
// once more.
type Count struct {
	Scope string // name
	State keybearer.State
	N     int
}

// Expiring is the state of active credentials that will end within 14 days.
const Expiring keybearer.State = "expiring"

// lookTime is how long a scrape waits for a source. The first count of very many credentials takes longer: it goes on, for countTime, and a later scrape has
// it.
const (
	lookTime  = 5 * time.Second
	countTime = 5 * time.Minute
)

// states asks the newest source.
type states struct {
	queue, dropped, credentials, expiring, lag, part *prometheus.Desc

	mu      sync.Mutex
	sources []*Source // of cores that are open; the newest is last
	looking *look     // for credentials, that took longer than a scrape waits; nil: none is
}

// look is one count of the credentials under way.
type look struct {
	of     *Source
	cancel context.CancelFunc
	done   chan struct{}
	counts []Count
	err    error
}

func newStates() *states {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &states{
		queue:       desc("keybearer_audit_queue", "Events that wait to be written to the audit log."),
		dropped:     desc("keybearer_audit_dropped_total", "Audit events that nobody waited for and that were given up: sampled refusals, and outcomes while the log cannot be written."),
		credentials: desc("keybearer_credentials", "Credentials by state: active, disabled, expired or needs_secret.", "scope", "state"),
		expiring:    desc("keybearer_credentials_expiring", "Active credentials that end within 14 days.", "scope"),
		lag:         desc("keybearer_feed_lag_seconds", "How long ago the store's changes were last known to be complete here; absent where the store tells of each change itself."),
		part:        desc("keybearer_part_up", "Whether a part that everything rests on works: store, keyring, audit, anchor.", "part"),
	}
}

// Follow asks the source from now on, in place of the one before, until stop is called.
func (m *Meter) Follow(s *Source) (stop func()) {
	if m == nil {
		return func() {}
	}
	m.states.mu.Lock()
	defer m.states.mu.Unlock()
	m.states.sources = append(m.states.sources, s)
	return func() {
		m.states.mu.Lock()
		m.states.sources = slices.DeleteFunc(m.states.sources, func(other *Source) bool { return other == s })
		l := m.states.looking
		m.states.mu.Unlock()
		if l != nil && l.of == s { // nothing is asked of it any more when this returns
			l.cancel()
			<-l.done
		}
	}
}

// Describe implements [prometheus.Collector].
func (s *states) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.queue, s.dropped, s.credentials, s.expiring, s.lag, s.part} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (s *states) Collect(out chan<- prometheus.Metric) {
	s.mu.Lock()
	if len(s.sources) == 0 {
		s.mu.Unlock()
		return
	}
	source := s.sources[len(s.sources)-1]
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if source.Audit != nil {
		queue, dropped := source.Audit()
		gauge(s.queue, float64(queue))
		out <- prometheus.MustNewConstMetric(s.dropped, prometheus.CounterValue, float64(dropped))
	}
	if source.FeedLag != nil {
		gauge(s.lag, source.FeedLag().Seconds())
	}
	if source.Parts != nil {
		for part, up := range source.Parts(ctx) {
			v := 0.0
			if up {
				v = 1
			}
			gauge(s.part, v, part)
		}
	}
	if source.Credentials == nil {
		return
	}
	for _, c := range s.count(ctx, source) {
		if c.State == Expiring {
			gauge(s.expiring, float64(c.N), c.Scope)
		} else {
			gauge(s.credentials, float64(c.N), c.Scope, string(c.State))
		}
	}
}

// count asks the source for its credentials, or waits for the answer to an earlier question. Nil says that there is none in time, or that it failed: then
// the store is away, which part_up says.
func (s *states) count(ctx context.Context, source *Source) []Count {
	s.mu.Lock()
	l := s.looking
	if l == nil || l.of != source {
		l = &look{of: source, done: make(chan struct{})}
		s.looking = l
		var ctx context.Context
		ctx, l.cancel = context.WithTimeout(context.Background(), countTime)
		go func() {
			defer l.cancel()
			l.counts, l.err = source.Credentials(ctx)
			close(l.done)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.looking == l {
				s.looking = nil
			}
		}()
	}
	s.mu.Unlock()
	select {
	case <-l.done:
		if l.err == nil {
			return l.counts
		}
	case <-ctx.Done():
	}
	return nil
}
