package fleet

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load sends requests at a steady rate, whether they are answered or not, as many apps do.
type load struct {
	f       *fleet
	nodes   []*node
	names   []string
	rate    int
	began   time.Time
	next    atomic.Int64
	quit    chan struct{}
	workers sync.WaitGroup

	mu      sync.Mutex
	answers []sample
}

// sample is one request of a load.
type sample struct {
	answer
	at   time.Duration // when it was sent, since the load began
	node *node
}

// workers bounds how many requests of a load are under way.
const workers = 96

// load begins to send so many requests a second for the credentials, node after node.
func (f *fleet) load(rate int, nodes []*node, credentials ...string) *load {
	l := &load{f: f, nodes: nodes, names: credentials, rate: rate, began: time.Now(), quit: make(chan struct{})}
	for range workers {
		l.workers.Go(l.work)
	}
	f.t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) work() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		i := l.next.Add(1) - 1
		timer.Reset(time.Until(l.began.Add(time.Duration(i) * time.Second / time.Duration(l.rate))))
		select {
		case <-l.quit:
			return
		case <-timer.C:
		}
		n := l.nodes[int(i)%len(l.nodes)]
		s := sample{at: time.Since(l.began), node: n}
		s.answer = n.send(l.f.t.Context(), l.names[int(i)/len(l.nodes)%len(l.names)])
		l.mu.Lock()
		l.answers = append(l.answers, s)
		l.mu.Unlock()
	}
}

// now is the time since the load began.
func (l *load) now() time.Duration { return time.Since(l.began) }

// stop ends the load and returns what it saw, in the order in which it was sent.
func (l *load) stop() samples {
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	l.workers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortFunc(l.answers, func(a, b sample) int { return int(a.at - b.at) })
	return l.answers
}

type samples []sample

// between are those that were sent in an interval.
func (s samples) between(from, to time.Duration) (in samples) {
	for _, x := range s {
		if x.at >= from && x.at < to {
			in = append(in, x)
		}
	}
	return in
}

// failed are those that did not end with the destination's answer.
func (s samples) failed() (bad samples) {
	for _, x := range s {
		if x.code != "" {
			bad = append(bad, x)
		}
	}
	return bad
}

// codes counts them by how they ended.
func (s samples) codes() string {
	count := map[string]int{}
	for _, x := range s {
		count[x.code]++
	}
	text := ""
	for _, code := range slices.Sorted(maps.Keys(count)) {
		text += fmt.Sprintf("%d × %q ", count[code], code)
	}
	return text
}

// slowest is the longest that one took.
func (s samples) slowest() (d time.Duration) {
	for _, x := range s {
		d = max(d, x.took)
	}
	return d
}

// quantile is the time within which that part of them, below 1, was answered.
func (s samples) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	took := make([]time.Duration, len(s))
	for i, x := range s {
		took[i] = x.took
	}
	slices.Sort(took)
	return took[int(q*float64(len(took)))]
}
