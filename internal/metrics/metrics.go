// Package metrics counts what requests, keyrings and the audit log do, as Prometheus metrics.
//
// It decides their names, labels and buckets, and that the values of a label are few: names of scopes that exist, and words of ours. It does not know
// what a request is, nor where the metrics are served: [Meter.Register] puts them on whatever registry the frame has.
//
// One [Meter] is enough for a process, whatever comes and goes under it. Its methods are safe for concurrent use and, but for those that
// take an exemplar, allocate nothing. All of them do nothing on a nil Meter.
package metrics

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keybearer/keybearer"
)

// Phase is a part of the time that a request takes.
type Phase int

// The phases. Dial lies within Destination, and all of them within Total.
const (
	Decide      Phase = iota // from the request's header until its intent is in the audit log, or it is refused: caller, policy, name resolution, limits
	Open                     // waiting for the secret: next to nothing when it is in memory
	Dial                     // a new connection to a destination, without its TLS handshake
	Destination              // from sending until the header of the answer, with TLS handshake and the body that is sent
	Total                    // from the request's header until the last byte of the answer
	phases
)

var phaseNames = [phases]string{"decide", "open", "dial", "destination", "total"}

// String returns the value of the label.
func (p Phase) String() string { return phaseNames[p] }

// Lookup is what became of looking for an opened secret in memory.
type Lookup int

// The lookups.
const (
	Hit   Lookup = iota // it was there
	Miss                // the keyring had to open it
	Stale               // it was past its time, and served since the keyring cannot answer
	lookups
)

var lookupNames = [lookups]string{"hit", "miss", "stale"}

// OK is the value of the labels code and result when nothing went wrong.
const OK = "ok"

// Exemplar says which request a measurement is an example of. The zero value is none.
type Exemplar struct {
	TraceID   string // in hexadecimal; "": there is no exemplar
	RequestID string
}

func (x Exemplar) labels() prometheus.Labels {
	return prometheus.Labels{"trace_id": x.TraceID, "request_id": x.RequestID}
}

// Meter holds the metrics of a process.
type Meter struct {
	requests *prometheus.CounterVec
	times    *prometheus.HistogramVec
	keyring  *prometheus.CounterVec
	keyTimes *prometheus.HistogramVec
	cache    *prometheus.CounterVec
	build    *prometheus.GaugeVec
	states   *states

	phases  [phases]prometheus.Observer
	lookups [lookups]prometheus.Counter

	mu      sync.RWMutex
	counted map[outcome]prometheus.Counter // those of requests, found without building a key
}

// outcome is what requests are counted by.
type outcome struct {
	scope, decision string
	code            keybearer.Code
}

// Our own work takes microseconds, a destination up to a minute.
var (
	requestBuckets = []float64{
		.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60,
	}
	keyringBuckets = []float64{.0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
)

// New returns the metrics of a build of that version.
func New(version string) *Meter {
	m := &Meter{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keybearer_requests_total",
			Help: "Requests that were answered. code is ok, or why not; scope is empty when the request named no credential that exists.",
		}, []string{"scope", "decision", "code"}),
		times: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "keybearer_request_duration_seconds",
			Help:    "Time of requests, by phase: decide, open, dial (new connections only), destination (until its answer's header) and total.",
			Buckets: requestBuckets,
		}, []string{"phase"}),
		keyring: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keybearer_keyring_operations_total",
			Help: "Operations of the keyring. result is ok, or why not.",
		}, []string{"op", "result"}),
		keyTimes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "keybearer_keyring_operation_duration_seconds",
			Help:    "Time of operations of the keyring, whatever came of them.",
			Buckets: keyringBuckets,
		}, []string{"op"}),
		cache: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keybearer_secret_cache_total",
			Help: "Looks for an opened secret in memory: hit, miss (the keyring was asked), or stale (past its time, since the keyring cannot answer).",
		}, []string{"result"}),
		build: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keybearer_build_info",
			Help: "Always 1, with the version of Keybearer and of Go.",
		}, []string{"version", "goversion"}),
		states:  newStates(),
		counted: map[outcome]prometheus.Counter{},
	}
	for p := range phases {
		m.phases[p] = m.times.WithLabelValues(phaseNames[p])
	}
	for l := range lookups {
		m.lookups[l] = m.cache.WithLabelValues(lookupNames[l])
	}
	m.build.WithLabelValues(version, runtime.Version()).Set(1)
	return m
}

func (m *Meter) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.times, m.keyring, m.keyTimes, m.cache, m.build, m.states}
}

// Register puts the metrics on a registry. Those that are there already stay.
func (m *Meter) Register(r prometheus.Registerer) error {
	if m == nil {
		return nil
	}
	for _, c := range m.collectors() {
		var there prometheus.AlreadyRegisteredError
		if err := r.Register(c); err != nil && !errors.As(err, &there) {
			return err
		}
	}
	return nil
}

// Request counts an answered request. scope is the name of one that exists, or ""; code is "" when nothing went wrong.
func (m *Meter) Request(scope, decision string, code keybearer.Code, x Exemplar) {
	if m == nil {
		return
	}
	c := m.counter(outcome{scope, decision, code})
	if x.TraceID != "" {
		c.(prometheus.ExemplarAdder).AddWithExemplar(1, x.labels())
		return
	}
	c.Inc()
}

func (m *Meter) counter(o outcome) prometheus.Counter {
	m.mu.RLock()
	c := m.counted[o]
	m.mu.RUnlock()
	if c != nil {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c = m.requests.WithLabelValues(o.scope, o.decision, result(o.code))
	m.counted[o] = c
	return c
}

// Observe counts how long a phase took.
func (m *Meter) Observe(p Phase, d time.Duration, x Exemplar) {
	if m == nil {
		return
	}
	if x.TraceID != "" {
		m.phases[p].(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), x.labels())
		return
	}
	m.phases[p].Observe(d.Seconds())
}

// Look counts a look for an opened secret in memory.
func (m *Meter) Look(l Lookup) {
	if m != nil {
		m.lookups[l].Inc()
	}
}

func result(c keybearer.Code) string {
	if c == "" {
		return OK
	}
	return string(c)
}
