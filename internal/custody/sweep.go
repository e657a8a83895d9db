package custody

import (
	"context"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

// sweeps remembers when something can next be due, so that most sweeps need not look.
type sweeps struct {
	mu   sync.Mutex
	next time.Time
}

// Sweep destroys what has been kept long enough: tombstones, and previous secrets. Call it every minute or so; it reads the store only when something can
// be due, since whatever is deleted or replaced after one look is not due before its period is over. Each destruction
// is audited. It returns [keybearer.AuditUnavailable] or [keybearer.StoreUnavailable], and then is done again at the next call.
func (c *Custody) Sweep(ctx context.Context, now time.Time) error {
	c.sweeps.mu.Lock()
	defer c.sweeps.mu.Unlock()
	if now.Before(c.sweeps.next) {
		return nil
	}
	if err := c.auditor.Ready(); err != nil {
		return keybearer.AsError(err)
	}
	next := now.Add(c.keepDeleted)
	if c.keepPrevious > 0 {
		next = now.Add(min(c.keepDeleted, c.keepPrevious))
	}
	q := keybearer.Query{Deleted: true, AfterID: firstID, Limit: 1000}
	for {
		page, err := c.store.Credentials(ctx, q)
		if err != nil {
			return keybearer.AsError(err)
		}
		for _, cred := range page.Items {
			due := c.due(cred)
			switch {
			case due.IsZero():
			case now.Before(due):
				next = earlier(next, due)
			default:
				if err := c.purge(ctx, cred, now); err != nil {
					return err
				}
				next = earlier(next, now.Add(time.Minute)) // it may hold something else
			}
		}
		if len(page.Items) == 0 || page.Next == "" {
			c.sweeps.next = next
			return nil
		}
		q.AfterID = page.Items[len(page.Items)-1].ID
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// due is when something of the credential is to be destroyed; zero: never.
func (c *Custody) due(cred *keybearer.Credential) time.Time {
	var due time.Time
	if cred.Previous != nil {
		due = cred.Previous.RetiredAt.Add(c.keepPrevious)
	}
	if !cred.DeletedAt.IsZero() {
		if d := cred.DeletedAt.Add(c.keepDeleted); due.IsZero() || d.Before(due) {
			due = d
		}
	}
	return due
}

// purge destroys what is due of one credential. When someone changes it meanwhile, the next sweep looks again.
func (c *Custody) purge(ctx context.Context, cred *keybearer.Credential, now time.Time) error {
	unlock, err := c.locks.lock(ctx, cred.ScopeID)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := missing(c.store.Scope(ctx, cred.ScopeID))
	if err != nil {
		return err
	}
	cred, err = missing(c.store.Credential(ctx, keybearer.Ref{Scope: cred.ScopeID, Name: cred.ID}))
	if err != nil || cred == nil || s == nil {
		return err
	}
	p := c.system(CredentialPurge, target{scope: s, credential: cred})
	switch {
	case !cred.DeletedAt.IsZero() && !now.Before(cred.DeletedAt.Add(c.keepDeleted)):
		_, err = p.commit(ctx, []string{"credential"}, keybearer.Write{Credential: cred, Delete: true})
	case cred.Previous != nil && !now.Before(cred.Previous.RetiredAt.Add(c.keepPrevious)):
		next := cred.Clone()
		next.Previous = nil
		_, err = p.commit(ctx, []string{"previous"}, keybearer.Write{Credential: next})
	}
	if moved(err) {
		return nil
	}
	return err
}
