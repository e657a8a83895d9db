package custody

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
)

// maxTried bounds how many noted credentials one page reads.
const maxTried = 1000

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

func placeOf(cursor string) (p place, err error) {
	text, bad := base64.RawURLEncoding.DecodeString(cursor)
	parts := strings.Split(string(text), "/")
	if bad != nil || len(parts) != 3 || parts[0] != "noted" {
		return p, keybearer.NewError(keybearer.Invalid, "the cursor is not one that a listing gave").WithHint("begin again without a cursor")
	}
	return place{parts[1], parts[2]}, nil
}

// filterNoted lists what the filter keeps, from the notes: it reads the records that it shows, and those that the rest of the query leaves out.
func (c *Custody) filterNoted(ctx context.Context, a *Actor, q keybearer.Query, f *Filter, keep func(*keybearer.Credential) (bool, error)) (keybearer.Page[Credential], error) {
	out := keybearer.Page[Credential]{Items: []Credential{}}
	var after place
	var err error
	if q.Cursor != "" {
		if after, err = placeOf(q.Cursor); err != nil {
			return out, err
		}
	}
	now := c.now()
	soon := now.Add(attentionExpiry)
	used := map[string]bool{}
	if f.Unused {
		if used, err = c.usedSince(ctx, now.Add(-recentUse)); err != nil || used == nil {
			return out, err
		}
	}
	var wanted []note
	err = c.eachSeen(ctx, a, func(n note) {
		state := n.state(now)
		good := state == keybearer.Active || state == keybearer.Expired
		switch {
		case q.ScopeID != "" && n.scopeID != q.ScopeID, f.State != "" && state != f.State,
			f.Expiring && !(good && n.ends(soon)), f.Unused && (!good || n.ends(soon) || used[n.id]):
		default:
			wanted = append(wanted, n)
		}
	})
	if err != nil {
		return out, err
	}
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
	wanted = slices.DeleteFunc(wanted, func(n note) bool { p, ok := places[n.id]; return !ok || q.Cursor != "" && p.compare(after) <= 0 })
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
