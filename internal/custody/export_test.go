package custody

import (
	"context"
	"time"

	"github.com/keybearer/keybearer"
)

// Hurry makes long operations try again at once, in steps of so many credentials.
func (c *Custody) Hurry(page int) {
	c.works.firstRetry, c.works.lastRetry, c.works.page = time.Millisecond, time.Millisecond, page
}

// Learn sets how long a former key stays after the last secret has moved.
func (c *Custody) Learn(d time.Duration) { c.works.learn = d }

// Needs are the actions of the table of permissions.
func Needs() []Action {
	var out []Action
	for a := range needs {
		out = append(out, a)
	}
	return out
}

// Reads reports whether the action changes nothing.
func Reads(a Action) bool { return needs[a].reads }

// May asks for a permit as an operation does that concerns a credential, a scope (a reference without a name), or neither.
func (c *Custody) May(ctx context.Context, actor Actor, action Action, ref keybearer.Ref, subject keybearer.Subject) error {
	var on target
	var err error
	switch {
	case ref.Name != "":
		on, err = c.find(ctx, ref)
		on.subject = subject
	case ref.Scope != "":
		on.scope, err = c.liveScope(ctx, ref.Scope)
	}
	if err != nil {
		return err
	}
	_, err = c.authorise(Ask{Actor: actor}, action, on)
	return err
}
