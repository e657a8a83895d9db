package custody

import (
	"cmp"
	"context"
	"time"

	"github.com/keybearer/keybearer"
)

const (
	attentionShown  = 20
	attentionExpiry = 30 * 24 * time.Hour
	attentionSeen   = 10_000 // that are looked at for an actor who sees credentials by their grants
)

// Attention is what somebody should look at, of the live credentials that the actor may see. Each is in one list at most.
type Attention struct {
	Disabled    Noted
	NeedsSecret Noted
	Expiring    Noted // ended already, or end within 30 days; those that end first come first
	Unused      Noted // good for use and not used for 30 days, or never; those made first come first
	Counted     bool  // false: nothing is known of use, so that Unused is empty
}

// Noted are the first 20 credentials of a kind, and how many there are.
type Noted struct {
	Total       int
	Credentials []Credential
}

// Attention looks through the credentials that the actor may see for those that somebody should look at. What others than this server changed just now may
// not be known yet.
func (c *Custody) Attention(ctx context.Context, ask Ask) (Attention, error) {
	var out Attention
	a, now := &ask.Actor, c.now()
	if a.Subject == "" {
		_, err := c.authorise(ask, CredentialList, target{})
		return out, err
	}
	used, err := c.usedSince(ctx, now.Add(-recentUse))
	if err != nil {
		return out, err
	}
	out.Counted = used != nil
	disabled, needs := noting{order: byName}, noting{order: byName}
	expiring := noting{order: func(a, b note) int { return cmp.Or(cmp.Compare(a.expires, b.expires), byName(a, b)) }}
	unused := noting{order: func(a, b note) int { return cmp.Or(cmp.Compare(a.created, b.created), byName(a, b)) }}
	soon := now.Add(attentionExpiry)
	err = c.eachSeen(ctx, a, func(n note) {
		switch state := n.state(now); {
		case state == keybearer.Disabled:
			disabled.add(n)
		case state == keybearer.NeedsSecret:
			needs.add(n)
		case n.ends(soon):
			expiring.add(n)
		case out.Counted && !used[n.id]:
			unused.add(n)
		}
	})
	if err != nil {
		return out, err
	}
	for _, list := range []struct {
		from *noting
		to   *Noted
	}{{&disabled, &out.Disabled}, {&needs, &out.NeedsSecret}, {&expiring, &out.Expiring}, {&unused, &out.Unused}} {
		list.to.Total = list.from.total
		if list.to.Credentials, err = c.viewNoted(ctx, a, list.from.first); err != nil {
			return out, err
		}
	}
	return out, nil
}

// usedSince returns the ids of the credentials that were used since then; nil when nothing is known of use.
func (c *Custody) usedSince(ctx context.Context, t time.Time) (map[string]bool, error) {
	if c.ledger == nil {
		return nil, nil
	}
	ids, err := c.ledger.UsedSince(ctx, t)
	if err != nil {
		return nil, keybearer.AsError(err)
	}
	used := make(map[string]bool, len(ids))
	for _, id := range ids {
		used[id] = true
	}
	return used, nil
}

// viewNoted shows what became of noted credentials, as far as they are still there to be seen.
func (c *Custody) viewNoted(ctx context.Context, a *Actor, notes []note) ([]Credential, error) {
	var creds []*keybearer.Credential
	for _, n := range notes {
		on, err := c.find(ctx, keybearer.Ref{Scope: n.scopeID, Name: n.id})
		if err != nil {
			return nil, err
		}
		if on.credential != nil && on.credential.DeletedAt.IsZero() && a.sees(on) {
			creds = append(creds, on.credential)
		}
	}
	return c.viewCredentials(ctx, a, creds)
}

// eachSeen calls fn for the note of every live credential that the actor may see.
func (c *Custody) eachSeen(ctx context.Context, a *Actor, fn func(note)) error {
	if a.InstanceAdmin() {
		return c.notes.each(ctx, c.store, fn)
	}
	granted, _, err := c.granted(ctx, a, nil, attentionSeen)
	if err != nil {
		return err
	}
	for _, cred := range granted {
		fn(noteOf(cred))
	}
	scopes, err := c.administered(ctx, a)
	if err != nil || len(scopes) == 0 {
		return err
	}
	within := map[string]bool{}
	for _, s := range scopes {
		within[s.ID] = true
	}
	return c.notes.each(ctx, c.store, func(n note) {
		if within[n.scopeID] {
			fn(n)
		}
	})
}
