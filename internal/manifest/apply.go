package manifest

import (
	"context"
	"fmt"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// Unfinished is the error of an apply that ended before its end: what was done holds, what follows was not begun.
type Unfinished struct {
	Failed string   // "change credential docs/crm"
	Left   []string // steps that were not begun, in order
	Done   int      // steps that were made
	Err    error    // of the step that failed
}

// Error tells which step failed, and why.
func (u *Unfinished) Error() string { return u.Failed + ": " + u.Err.Error() }

// Unwrap returns the step's error.
func (u *Unfinished) Unwrap() error { return u.Err }

// Apply takes the steps in order and reports each that is done, in words. It ends at the first that fails, with an *[Unfinished] whose
// error has the step's code; [keybearer.Stale] says that the record was changed by someone else since the plan was made. Nothing is taken
// back. A plan is applied once.
func (p *Plan) Apply(ctx context.Context, client *admin.Client, report func(done string)) error {
	var steps []step
	for _, c := range p.Changes {
		steps = append(steps, c.steps...)
	}
	done := 0
	for i, s := range steps {
		err := s.run(ctx, client)
		if err == nil {
			done++
			report(s.did + " " + s.what)
			continue
		}
		e := *keybearer.AsError(err)
		e.Detail, e.Hint = fmt.Sprintf("%s %s: %s", s.do, s.what, e.Message()), e.Advice()
		if e.Code == keybearer.Stale {
			e.Hint = "look at what was changed with --dry-run, and apply again"
		}
		u := &Unfinished{Failed: s.do + " " + s.what, Done: done, Err: &e}
		for _, left := range steps[i+1:] {
			u.Left = append(u.Left, left.do+" "+left.what)
		}
		return u
	}
	return nil
}
