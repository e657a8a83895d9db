package custody

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// Bounds of one question about activity.
const (
	activityCredentials = 1000 // whose hours are told one by one
	activitySeen        = 1000 // that are summed up for an actor who sees credentials by their grants
	activityScopes      = 1000
)

// ActivityQuery says whose use is to be summed up. The zero value asks for all that the actor may see, for the last 24 hours.
type ActivityQuery struct {
	Scope       string    // name or id; "": all scopes
	Credentials []string  // ids, at most 1000, of those whose hours are wanted one by one, wherever they are
	Since       time.Time // zero: 24 hours ago
}

// Activity is the use, since a time, of the credentials that the actor may see.
type Activity struct {
	Since       time.Time                        //
	Hours       []keybearer.UsageHour            // of all together, oldest first; hours without use are left out
	Scopes      []ScopeActivity                  // where all scopes were asked for: those that the actor administers and that were used, in order of name
	Credentials map[string][]keybearer.UsageHour // by id, of those asked for that the actor may see and that were used
	Refusals    []keybearer.RefusalCount         // by code, most first
	Whole       bool                             // false: the actor may see more credentials than are summed up
	Counted     bool                             // false: nothing is known of use
}

// ScopeActivity sums up a scope.
type ScopeActivity struct {
	Scope                 string // name
	Uses, Refused, Failed uint64
}

// Activity sums up use since a time. Instance admins are told of everything, also of what has been deleted, scope admins the same of their scopes, and
// everybody of the credentials that they hold view on.
func (c *Custody) Activity(ctx context.Context, ask Ask, q ActivityQuery) (Activity, error) {
	out := Activity{Since: q.Since, Credentials: map[string][]keybearer.UsageHour{}, Whole: true}
	if out.Since.IsZero() {
		out.Since = c.now().Add(-24 * time.Hour)
	}
	out.Since = out.Since.UTC()
	a := &ask.Actor
	if a.Subject == "" {
		_, err := c.authorise(ask, CredentialList, target{})
		return out, err
	}
	if len(q.Credentials) > activityCredentials {
		return out, keybearer.NewError(keybearer.Invalid, "at most 1000 credentials can be asked for at once")
	}
	sums, err := c.sums(ctx, a, q.Scope)
	if err != nil || c.ledger == nil {
		return out, err
	}
	out.Whole, out.Counted = sums.whole, true
	of := slices.Concat(sums.of, sums.scopes, q.Credentials)
	hours, err := c.ledger.UsageHours(ctx, out.Since, of...)
	if err != nil {
		return out, keybearer.AsError(err)
	}
	for _, name := range sums.scopes {
		if s := sumHours(hours[name]); s.Uses+s.Refused > 0 {
			s.Scope = name
			out.Scopes = append(out.Scopes, s)
		}
	}
	for _, id := range q.Credentials {
		if len(hours[id]) == 0 || !keybearer.IsID(id, keybearer.IDCredential) {
			continue
		}
		switch ok, err := c.seesByID(ctx, a, id); {
		case err != nil:
			return out, err
		case ok:
			out.Credentials[id] = hours[id]
		}
	}
	together := map[time.Time]keybearer.UsageHour{}
	for _, one := range sums.of {
		for _, h := range hours[one] {
			sum := together[h.Hour]
			sum.Hour = h.Hour
			sum.Uses, sum.Refused, sum.Failed = sum.Uses+h.Uses, sum.Refused+h.Refused, sum.Failed+h.Failed
			together[h.Hour] = sum
		}
	}
	for _, h := range together {
		out.Hours = append(out.Hours, h)
	}
	slices.SortFunc(out.Hours, func(a, b keybearer.UsageHour) int { return a.Hour.Compare(b.Hour) })
	if out.Refusals, err = c.ledger.Refusals(ctx, out.Since, sums.of...); err != nil {
		return out, keybearer.AsError(err)
	}
	return out, nil
}

func sumHours(hours []keybearer.UsageHour) (s ScopeActivity) {
	for _, h := range hours {
		s.Uses, s.Refused, s.Failed = s.Uses+h.Uses, s.Refused+h.Refused, s.Failed+h.Failed
	}
	return s
}

// sums are the ledger's sums that make up what an actor may see.
type sums struct {
	of     []string // added up they are all of it
	scopes []string // names of the scopes to tell apart
	whole  bool
}

func (c *Custody) sums(ctx context.Context, a *Actor, scope string) (out sums, err error) {
	out.whole = true
	var only *keybearer.Scope
	if scope != "" {
		if only, err = c.liveScope(ctx, scope); err != nil {
			return out, err
		}
		switch {
		case only == nil && a.InstanceAdmin():
			return out, noScope()
		case only == nil:
			return out, nil
		case a.ScopeAdmin(only.ID):
			out.of = []string{only.Name}
			return out, nil
		}
	}
	if only == nil {
		scopes, err := c.administered(ctx, a)
		if err != nil {
			return out, err
		}
		for _, s := range scopes {
			out.scopes = append(out.scopes, s.Name)
		}
		if a.InstanceAdmin() {
			out.of = []string{""}
			return out, nil
		}
		out.of = slices.Clone(out.scopes)
	}
	granted, whole, err := c.granted(ctx, a, only, activitySeen)
	for _, cred := range granted {
		out.of = append(out.of, cred.ID)
	}
	out.whole = whole
	return out, err
}

// administered are the live scopes that the actor administers, in order of name, as far as one page holds them.
func (c *Custody) administered(ctx context.Context, a *Actor) (found []*keybearer.Scope, err error) {
	if a.InstanceAdmin() {
		page, err := c.store.Scopes(ctx, keybearer.Query{Limit: activityScopes})
		if err != nil {
			return nil, keybearer.AsError(err)
		}
		return page.Items, nil
	}
	for _, id := range a.scopeIDs() {
		s, err := c.liveScope(ctx, id)
		if err != nil {
			return nil, err
		}
		if s != nil {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *keybearer.Scope) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// granted are the live credentials, in the scope or with nil in any, that the actor sees by a grant and not as an admin: limit at most, and whether
// that is all.
func (c *Custody) granted(ctx context.Context, a *Actor, only *keybearer.Scope, limit int) (found []*keybearer.Credential, whole bool, err error) {
	scopeOf := c.scopesOnce(ctx)
	q := keybearer.Query{Sight: &keybearer.Sight{Subjects: a.subjects()}, Limit: 1000}
	if only != nil {
		q.ScopeID = only.ID
	}
	for {
		page, err := c.store.Credentials(ctx, q)
		if err != nil {
			return nil, false, keybearer.AsError(err)
		}
		for _, cred := range page.Items {
			on := target{credential: cred}
			if on.scope, err = scopeOf(cred.ScopeID); err != nil {
				return nil, false, err
			}
			if on.scope == nil || a.ScopeAdmin(on.scope.ID) || !a.sees(on) {
				continue
			}
			if len(found) == limit {
				return found, false, nil
			}
			found = append(found, cred)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return found, true, nil
		}
	}
}

// seesByID reports whether the actor may see the credential with that id, wherever it is.
func (c *Custody) seesByID(ctx context.Context, a *Actor, id string) (bool, error) {
	if a.InstanceAdmin() {
		return true, nil
	}
	// In order of id, what follows all but the last character of an id is that id, if it is there.
	page, err := c.store.Credentials(ctx, keybearer.Query{AfterID: id[:len(id)-1], Deleted: true, Limit: 1})
	if err != nil {
		return false, keybearer.AsError(err)
	}
	if len(page.Items) == 0 || page.Items[0].ID != id {
		return false, nil
	}
	on := target{credential: page.Items[0]}
	on.scope, err = c.liveScope(ctx, on.credential.ScopeID)
	return err == nil && a.sees(on), err
}
