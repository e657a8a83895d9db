package custody

import (
	"context"
	"slices"

	"github.com/keybearer/keybearer"
)

// Filter selects credentials by what no store looks for. The zero value leaves nothing out.
type Filter struct {
	State    keybearer.State     // those in this state
	Expiring bool                // those that ended, or end within 30 days, as in Attention
	Unused   bool                // those that are good for use and were not used for 30 days, as in Attention; none when nothing is known of use
	UsableBy []keybearer.Subject // those on which one of the subjects holds use
}

// Bounds of what one listing reads in search of what the actor may see and the filter keeps: the store knows nothing of states, nor of the scopes that a
// caller is bound to, nor of whose grants the actor may search for.
const (
	maxLooked    = 4000 // records
	lookedAtOnce = 1000
)

// FilterCredentials lists as Credentials does, less what the filter leaves out. It looks at some thousand records at most: a page that is not
// full and has a next one says no more than that. Cursors belong to the filter that they were given for. Of what other servers changed just now, in a
// state that is rare, it may not know yet.
func (c *Custody) FilterCredentials(ctx context.Context, ask Ask, scope string, q keybearer.Query, f Filter) (keybearer.Page[Credential], error) {
	out := keybearer.Page[Credential]{Items: []Credential{}}
	a := &ask.Actor
	if a.Subject == "" {
		_, err := c.authorise(ask, CredentialList, target{})
		return out, err
	}
	q.AfterID, q.ScopeID = "", ""
	if scope != "" {
		s, err := c.liveScope(ctx, scope)
		if err != nil {
			return out, err
		}
		if s == nil {
			if a.InstanceAdmin() {
				return out, noScope()
			}
			return out, nil
		}
		q.ScopeID = s.ID
	}
	var used map[string]bool
	if f.Unused {
		var err error
		if used, err = c.usedSince(ctx, c.now().Add(-recentUse)); err != nil || used == nil {
			return out, err
		}
	}
	keep := c.keeper(ctx, a, q.Subject, &f, used)
	if after, ok := placeOf(q.Cursor); f.noted() && (ok || q.Cursor == "") {
		notes, err := c.notesFor(ctx, a, q.ScopeID, &f, used)
		if err != nil {
			return out, err
		}
		if ok || len(notes) <= fewNotes {
			return c.filterNoted(ctx, a, notes, after, q, keep)
		}
	}
	if q.Sight = nil; !a.InstanceAdmin() { // the store leaves out most of what keep would, so that few among many are found at once
		q.Sight = &keybearer.Sight{Subjects: a.subjects(), ScopeIDs: a.scopeIDs()}
	}
	var found []*keybearer.Credential
	limit := clampLimit(q.Limit)
	q.Limit = limit
	for looked := 0; looked < maxLooked; {
		page, err := c.store.Credentials(ctx, q)
		if err != nil {
			return out, keybearer.AsError(err)
		}
		looked += len(page.Items)
		var kept []*keybearer.Credential
		last := 0 // where the last one stands that there is room for
		for i, cred := range page.Items {
			switch ok, err := keep(cred); {
			case err != nil:
				return out, err
			case ok && len(found)+len(kept) == limit:
				last = i
			case ok:
				kept = append(kept, cred)
			}
			if last > 0 {
				break
			}
		}
		if last > 0 { // too many: read again up to there, so that the cursor is the one behind it
			q.Limit = last
			continue
		}
		found = append(found, kept...)
		if out.Next, q.Cursor = page.Next, page.Next; out.Next == "" || len(found) == limit {
			break
		}
		q.Limit = min(2*q.Limit, lookedAtOnce) // few are found: look at more at once
	}
	var err error
	out.Items, err = c.viewCredentials(ctx, a, found)
	return out, err
}

// keeper returns what tells whether a listing by the subject shows a credential to the actor. A filter by somebody else's grants shows only those whose
// grants the actor may list.
func (c *Custody) keeper(ctx context.Context, a *Actor, subject keybearer.Subject, f *Filter, used map[string]bool) func(*keybearer.Credential) (bool, error) {
	now, scopeOf := c.now(), c.scopesOnce(ctx)
	own, users := a.subjects(), map[keybearer.Subject]bool{}
	for _, s := range f.UsableBy {
		users[s] = true
	}
	return func(cred *keybearer.Credential) (bool, error) {
		scope, err := scopeOf(cred.ScopeID)
		on := target{scope: scope, credential: cred}
		if err != nil || scope == nil || !a.sees(on) || subject != "" && !a.listsGrants(on) && !slices.Contains(own, subject) {
			return false, err
		}
		state := cred.State(now)
		good := state == keybearer.Active || state == keybearer.Expired
		expiring := good && !cred.ExpiresAt.IsZero() && cred.ExpiresAt.Before(now.Add(attentionExpiry))
		switch {
		case f.State != "" && state != f.State,
			f.Expiring && !expiring,
			f.Unused && (!good || expiring || used[cred.ID]),
			f.UsableBy != nil && !slices.ContainsFunc(cred.Grants, func(g keybearer.Grant) bool { return users[g.Subject] }):
			return false, nil
		}
		return true, nil
	}
}

// GlobalFor lists, of the global credentials that the actor may see, those that can be used from a scope: a caller that is bound to it holds use. Grants of
// people and groups do not count, since nothing is used without a caller. It is for admins of the scope.
func (c *Custody) GlobalFor(ctx context.Context, ask Ask, scope string, q keybearer.Query) (keybearer.Page[Credential], error) {
	none := keybearer.Page[Credential]{Items: []Credential{}}
	s, err := c.liveScope(ctx, scope)
	if err != nil {
		return none, err
	}
	if _, err := c.authorise(ask, ScopeShow, target{scope: s}); err != nil {
		return none, err
	}
	if s == nil {
		return none, noScope()
	}
	bound := []keybearer.Subject{}
	for callers := (keybearer.Query{Limit: 1000}); ; {
		page, err := c.store.Callers(ctx, callers)
		if err != nil {
			return none, keybearer.AsError(err)
		}
		for _, cl := range page.Items {
			if cl.Live() && cl.BoundTo(s.ID) {
				bound = append(bound, keybearer.AppSubject(cl.Name))
			}
		}
		if callers.Cursor = page.Next; callers.Cursor == "" {
			break
		}
	}
	if len(bound) == 0 {
		return none, nil
	}
	return c.FilterCredentials(ctx, ask, keybearer.GlobalScope, q, Filter{UsableBy: bound})
}
