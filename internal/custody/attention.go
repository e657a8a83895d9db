package custody

import (
	"cmp"
	"context"
	"slices"
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

// noting collects the first few in an order.
type noting struct {
	order func(a, b *keybearer.Credential) int
	total int
	first []*keybearer.Credential
}

func (n *noting) add(cred *keybearer.Credential) {
	n.total++
	i, _ := slices.BinarySearchFunc(n.first, cred, n.order)
	if i == attentionShown {
		return
	}
	n.first = slices.Insert(n.first, i, cred)
	n.first = n.first[:min(len(n.first), attentionShown)]
}

// Attention looks through the credentials that the actor may see for those that somebody should look at.
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
	byName := func(a, b *keybearer.Credential) int {
		return cmp.Or(cmp.Compare(a.ScopeID, b.ScopeID), cmp.Compare(a.Name, b.Name))
	}
	disabled, needs := noting{order: byName}, noting{order: byName}
	expiring := noting{order: func(a, b *keybearer.Credential) int { return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), byName(a, b)) }}
	unused := noting{order: func(a, b *keybearer.Credential) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), byName(a, b)) }}
	err = c.eachSeen(ctx, a, func(cred *keybearer.Credential) {
		switch state := cred.State(now); {
		case state == keybearer.Disabled:
			disabled.add(cred)
		case state == keybearer.NeedsSecret:
			needs.add(cred)
		case !cred.ExpiresAt.IsZero() && cred.ExpiresAt.Before(now.Add(attentionExpiry)):
			expiring.add(cred)
		case out.Counted && !used[cred.ID]:
			unused.add(cred)
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
		if list.to.Credentials, err = c.viewCredentials(ctx, a, list.from.first); err != nil {
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

// eachSeen calls fn for every live credential that the actor may see.
func (c *Custody) eachSeen(ctx context.Context, a *Actor, fn func(*keybearer.Credential)) error {
	var within []string // scope ids; "": all
	if a.InstanceAdmin() {
		within = []string{""}
	} else {
		scopes, err := c.administered(ctx, a)
		if err != nil {
			return err
		}
		for _, s := range scopes {
			within = append(within, s.ID)
		}
		granted, _, err := c.granted(ctx, a, nil, attentionSeen)
		if err != nil {
			return err
		}
		for _, cred := range granted {
			fn(cred)
		}
	}
	for _, id := range within {
		q := keybearer.Query{ScopeID: id, AfterID: firstID, Limit: 1000}
		for {
			page, err := c.store.Credentials(ctx, q)
			if err != nil {
				return keybearer.AsError(err)
			}
			for _, cred := range page.Items {
				fn(cred)
			}
			if q.AfterID = page.Next; q.AfterID == "" {
				break
			}
		}
	}
	return nil
}
