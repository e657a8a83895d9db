package custody

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

// note is what Attention has to know of a live credential. A hundred thousand of them are kept in memory, where reading as many records takes a second.
type note struct {
	id, scopeID, name  string
	created, expires   int64 // microseconds since 1970; expires 0: never
	disabled, noSecret bool
}

func noteOf(c *keybearer.Credential) note {
	n := note{id: c.ID, scopeID: c.ScopeID, name: c.Name, created: c.CreatedAt.UnixMicro(), disabled: c.Disabled, noSecret: len(c.Current.Sealed) == 0}
	if !c.ExpiresAt.IsZero() {
		n.expires = c.ExpiresAt.UnixMicro()
	}
	return n
}

// state is [keybearer.Credential.State] of the noted credential.
func (n *note) state(now time.Time) keybearer.State {
	c := keybearer.Credential{Disabled: n.disabled}
	if n.expires != 0 {
		c.ExpiresAt = time.UnixMicro(n.expires)
	}
	if !n.noSecret {
		c.Current.Sealed = noted
	}
	return c.State(now)
}

var noted = []byte{0}

// ends reports whether the credential has an end before a time.
func (n *note) ends(before time.Time) bool { return n.expires != 0 && n.expires < before.UnixMicro() }

// byName orders notes, for want of a better order.
func byName(a, b note) int {
	return cmp.Or(cmp.Compare(a.scopeID, b.scopeID), cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id))
}

// noting collects the first few in an order.
type noting struct {
	order func(a, b note) int
	total int
	first []note
}

func (n *noting) add(one note) {
	n.total++
	if len(n.first) == attentionShown && n.order(n.first[attentionShown-1], one) <= 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(n.first, one, n.order)
	n.first = slices.Insert(n.first, i, one)
	n.first = n.first[:min(len(n.first), attentionShown)]
}

// notes are those of all live credentials, from the first question on. The store tells which are to be read again.
type notes struct {
	mu   sync.Mutex // of those who ask
	all  map[string]note
	stop func() // nil until the store tells
	shut bool   // nobody is told any more

	told  sync.Mutex
	again map[string]string // ids of credentials to be read again, and of their scopes
	lost  bool              // all of them
}

// manyChanges is how many credentials are read again one by one.
const manyChanges = 1000

// tell is called by the store.
func (n *notes) tell(changes []keybearer.Change) {
	n.told.Lock()
	defer n.told.Unlock()
	for _, c := range changes {
		switch {
		case c.Kind == keybearer.AllRecords:
			n.lost = true
		case c.Kind == keybearer.CredentialRecord && !n.lost:
			n.again[c.ID] = c.ScopeID
		}
	}
	if n.lost = n.lost || len(n.again) > manyChanges; n.lost {
		clear(n.again)
	}
}

// close lets go of the store, for good.
func (n *notes) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shut = true
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

// each calls fn for the note of every live credential. fn must be quick. It returns [keybearer.StoreUnavailable] once n is closed.
func (n *notes) each(ctx context.Context, store keybearer.Store, fn func(note)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shut { // a store outlives who asks
		return keybearer.NewError(keybearer.StoreUnavailable, "it has been closed")
	}
	if n.stop == nil {
		n.again, n.lost = map[string]string{}, true
		n.stop = store.Watch(n.tell)
	}
	n.told.Lock()
	again, lost := n.again, n.lost
	n.again, n.lost = map[string]string{}, false
	n.told.Unlock()
	if err := n.refresh(ctx, store, again, lost); err != nil {
		n.told.Lock()
		n.lost = true
		n.told.Unlock()
		return keybearer.AsError(err)
	}
	for _, one := range n.all {
		fn(one)
	}
	return nil
}

func (n *notes) refresh(ctx context.Context, store keybearer.Store, again map[string]string, lost bool) error {
	if !lost {
		for id, scopeID := range again {
			cred, err := missing(store.Credential(ctx, keybearer.Ref{Scope: scopeID, Name: id}))
			if err != nil {
				return err
			}
			delete(n.all, id)
			if cred != nil && cred.DeletedAt.IsZero() {
				n.all[id] = noteOf(cred)
			}
		}
		return nil
	}
	all := map[string]note{}
	for q := (keybearer.Query{AfterID: firstID, Limit: 1000}); q.AfterID != ""; {
		page, err := store.Credentials(ctx, q)
		if err != nil {
			return err
		}
		for _, cred := range page.Items {
			all[cred.ID] = noteOf(cred)
		}
		q.AfterID = page.Next
	}
	n.all = all
	return nil
}
