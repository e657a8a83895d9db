package custody

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// expiringSoon is how long before its end a credential counts as expiring: the time to find somebody who renews it.
const expiringSoon = 14 * 24 * time.Hour

// Count is how many live credentials of a scope are in each state. Expiring are active ones that end within 14 days.
type Count struct {
	Scope                                            string // name
	Active, Disabled, Expired, NeedsSecret, Expiring int
}

// Count counts the live credentials of every scope that has any, in order of their names. It is for the process itself, which may know all of them;
// from the second time on it reads only what has changed.
func (c *Custody) Count(ctx context.Context) ([]Count, error) {
	counts := map[string]*Count{} // by scope id
	now := c.now()
	soon := now.Add(expiringSoon)
	err := c.notes.each(ctx, c.store, func(n note) {
		of := counts[n.scopeID]
		if of == nil {
			of = new(Count)
			counts[n.scopeID] = of
		}
		of.add(&n, now, soon)
	})
	if err != nil {
		return nil, err
	}
	out := make([]Count, 0, len(counts))
	for q := (keybearer.Query{Limit: 1000}); ; {
		page, err := c.store.Scopes(ctx, q)
		if err != nil {
			return nil, keybearer.AsError(err)
		}
		for _, s := range page.Items {
			if of := counts[s.ID]; of != nil {
				of.Scope = s.Name
				out = append(out, *of)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	slices.SortFunc(out, func(a, b Count) int { return cmp.Compare(a.Scope, b.Scope) })
	return out, nil
}

func (of *Count) add(n *note, now, soon time.Time) {
	switch n.state(now) {
	case keybearer.Active:
		of.Active++
		if n.ends(soon) {
			of.Expiring++
		}
	case keybearer.Disabled:
		of.Disabled++
	case keybearer.Expired:
		of.Expired++
	case keybearer.NeedsSecret:
		of.NeedsSecret++
	}
}
