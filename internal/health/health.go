// Package health says in one word whether a server can do its work, and why not.
//
// A server is ready when every part that it rests on works; degraded when one is away and requests are served from memory for now; and unavailable
// when they are refused. The package decides which of these it is. It does not know the parts: a [Check] asks one of them.
package health

import (
	"context"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

// Status is what a server's health amounts to.
type Status string

// The statuses. Ready and Degraded servers take requests.
const (
	Ready       Status = "ready"
	Degraded    Status = "degraded"
	Unavailable Status = "unavailable"
)

// Check asks one part.
type Check struct {
	Part string
	// Ask returns nil when the part works. It returns when ctx ends at the latest.
	Ask func(ctx context.Context) error
	// Grace is how long requests are served although the part does not work any more, for the reason that Ask gave; nil: not at all. One that never
	// worked has left nothing in memory to serve from, and has none.
	Grace func(error) time.Duration
}

// Part is the health of one part that everything rests on: store, keyring, audit or anchor.
type Part struct {
	Name   string         `json:"part"`
	Status Status         `json:"status"`
	Code   keybearer.Code `json:"code,omitempty"`
	Detail string         `json:"detail,omitempty"` // the cause in words
	Hint   string         `json:"hint,omitempty"`   // how to mend it
	Since  time.Time      `json:"since,omitzero"`   // when it was first seen not to work
}

// Report is whether a server takes requests, and how each part is.
type Report struct {
	Status Status `json:"status"`
	Parts  []Part `json:"parts"`
}

// How long a part may take to answer, and how long an answer is given again: who asks often does not load the parts.
const (
	askTime  = 3 * time.Second
	keepTime = time.Second
)

// Checker asks the parts. It is safe for concurrent use.
type Checker struct {
	checks []Check
	now    func() time.Time
	open   context.Context // ends with Close
	shut   context.CancelFunc

	mu    sync.Mutex // held while the parts are asked: who comes meanwhile gets the same answer
	last  Report
	at    time.Time
	since map[string]time.Time // of parts that do not work
	known map[string]bool      // parts that have worked
}

// New returns a Checker of these parts.
func New(checks ...Check) *Checker {
	c := &Checker{checks: checks, now: time.Now, since: map[string]time.Time{}, known: map[string]bool{}}
	c.open, c.shut = context.WithCancel(context.Background())
	return c
}

// Close ends the questions that are under way. When it has returned no part is asked any more, and every report says unavailable.
func (c *Checker) Close() error {
	c.shut()
	c.mu.Lock()
	defer c.mu.Unlock()
	return nil
}

// Report asks all parts side by side, or returns what they said within the last second. The answer is for all who ask at the time, so that it does not
// depend on one of them staying.
func (c *Checker) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open.Err() != nil {
		return Report{Status: Unavailable, Parts: []Part{}}
	}
	if !c.at.IsZero() && c.now().Sub(c.at) < keepTime {
		return c.last
	}
	ctx, cancel := context.WithTimeout(c.open, askTime)
	defer cancel()
	errs := make([]error, len(c.checks))
	var asking sync.WaitGroup
	for i := range c.checks {
		asking.Go(func() { errs[i] = c.checks[i].Ask(ctx) })
	}
	asking.Wait()
	c.at = c.now()
	c.last = Report{Status: Ready, Parts: make([]Part, len(c.checks))}
	for i := range c.checks {
		part := c.judge(&c.checks[i], errs[i])
		c.last.Parts[i] = part
		if part.Status == Unavailable || c.last.Status == Ready {
			c.last.Status = part.Status
		}
	}
	return c.last
}

func (c *Checker) judge(check *Check, err error) Part {
	if err == nil {
		delete(c.since, check.Part)
		c.known[check.Part] = true
		return Part{Name: check.Part, Status: Ready}
	}
	since, before := c.since[check.Part]
	if !before {
		since = c.at
		c.since[check.Part] = since
	}
	e := keybearer.AsError(err)
	part := Part{Name: check.Part, Status: Degraded, Code: e.Code, Detail: e.Message(), Hint: e.Advice(), Since: since.UTC().Truncate(time.Second)}
	if !c.known[check.Part] || check.Grace == nil || c.at.Sub(since) >= check.Grace(err) {
		part.Status = Unavailable
	}
	return part
}
