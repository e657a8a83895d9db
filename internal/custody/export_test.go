package custody

import "time"

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
