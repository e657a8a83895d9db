package vaultkv

import (
	"context"
	"time"
)

const (
	streak = 32 // commits in a row, before a gap
	gap    = 4  // times as long as the last commit took, but
	minGap = 50 * time.Millisecond
	maxGap = 250 * time.Millisecond
)

// pace keeps a process that commits without pause from shutting out the others: to read what somebody else has committed and commit on top
// of it takes longer than to commit once more. So now and then it leaves a gap that is long enough for that. It is not safe for concurrent use.
type pace struct {
	row  int           // commits without a gap between them
	last time.Time     // end of the last one
	took time.Duration // by the last one
}

// wait is called before a commit.
func (p *pace) wait(ctx context.Context) {
	if time.Since(p.last) >= minGap {
		p.row = 0
	}
	if p.row++; p.row <= streak {
		return
	}
	p.row = 0
	pause(ctx, min(max(gap*p.took, minGap), maxGap))
}

// done is called after a commit that began at start.
func (p *pace) done(start time.Time) {
	p.last = time.Now()
	p.took = p.last.Sub(start)
}
