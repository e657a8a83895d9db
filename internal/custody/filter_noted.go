package custody

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
)

const (
	maxTried = 1000 // noted credentials that one page reads
	fewNotes = 5000 // above so many, the store's listing comes to them soon enough
)

// noted reports whether the notes can tell which live credentials the filter keeps: those that are mostly few among many.
func (f *Filter) noted() bool {
	return f.Expiring || f.Unused || f.State == keybearer.Disabled || f.State == keybearer.NeedsSecret || f.State == keybearer.Expired
}

// place is where a credential stands in a listing.
type place struct{ scope, name string }

func (p place) compare(other place) int {
	return cmp.Or(compare(p.scope, other.scope), compare(p.name, other.name))
}

// cursor names the place, for listings that are made from notes.
func (p place) cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte("noted/" + p.scope + "/" + p.name))
}

// placeOf is the place that such a cursor names.
func placeOf(cursor string) (p place, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	parts := strings.Split(string(text), "/")
	if err != nil || len(parts) != 3 || parts[0] != "noted" {
		return p, false
	}
	return place{parts[1], parts[2]}, true
}

// notesFor returns the notes of what the filter keeps, in a scope or in all, in no order.
func (c *Custody) notesFor(ctx context.Context, a *Actor, scopeID string, f *Filter, used map[string]bool) (wanted []note, err error) {
	now := c.now()
	soon := now.Add(attentionExpiry)
	err = c.eachSeen(ctx, a, func(n note) {
		state := n.state(now)
		good := state == keybearer.Active || state == keybearer.Expired
		switch {
		case scopeID != "" && n.scopeID != scopeID, f.State != "" && state != f.State,
			f.Expiring && !(good && n.ends(soon)), f.Unused && (!good || n.ends(soon) || used[n.id]):
		default:
			wanted = append(wanted, n)
		}
	})
	return wanted, err
}

// filterNoted lists those of the noted credentials that the query and keep leave, behind a place. It reads the records that it shows, and those that are left out.
func (c *Custody) filterNoted(ctx context.Context, a *Actor, wanted []note, after place, q keybearer.Query, keep func(*keybearer.Credential) (bool, error)) (keybearer.Page[Credential], error) {
	out := keybearer.Page[Credential]{Items: []Credential{}}
	scopeOf := c.scopesOnce(ctx)
	places := make(map[string]place, len(wanted))
	for _, n := range wanted {
		s, err := scopeOf(n.scopeID)
		if err != nil {
			return out, err
		}
		if s != nil {
			places[n.id] = place{s.Name, n.name}
		}
	}
	wanted = slices.DeleteFunc(wanted, func(n note) bool { p, ok := places[n.id]; return !ok || p.compare(after) <= 0 })
	slices.SortFunc(wanted, func(a, b note) int { return cmp.Or(places[a.id].compare(places[b.id]), compare(a.id, b.id)) })
	wanted = slices.CompactFunc(wanted, func(a, b note) bool { return a.id == b.id })
	var found []*keybearer.Credential
	limit := clampLimit(q.Limit)
	for i, n := range wanted {
		if len(found) == limit || i == maxTried {
			out.Next = places[wanted[i-1].id].cursor()
			break
		}
		cred, err := missing(c.store.Credential(ctx, keybearer.Ref{Scope: n.scopeID, Name: n.id}))
		if err != nil {
			return out, err
		}
		if cred == nil || !cred.DeletedAt.IsZero() || !fits(cred, &q) {
			continue
		}
		switch ok, err := keep(cred); {
		case err != nil:
			return out, err
		case ok:
			found = append(found, cred)
		}
	}
	var err error
	out.Items, err = c.viewCredentials(ctx, a, found)
	return out, err
}

// fits reports whether the query selects the credential, as a store would.
func fits(cred *keybearer.Credential, q *keybearer.Query) bool {
	words := []string{cred.Name, cred.Description}
	for _, r := range cred.Current.Terms.Rules {
		words = append(words, r.Host)
	}
	return matches(q.Text, words...) && (q.Kind == "" || cred.Current.Terms.Kind == q.Kind) &&
		(q.Subject == "" || slices.ContainsFunc(cred.Grants, func(g keybearer.Grant) bool { return g.Subject == q.Subject }))
}
