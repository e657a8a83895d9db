package proxy

import (
	"context"
	"sync"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/policy"
)

// live are the uses under way. When a record changes they are judged again, and ended if they would be refused now: so a revoked stream does
// not go on.
type live struct {
	wake chan struct{} // holds one token while changes wait to be looked at

	mu   sync.Mutex
	uses map[*use]struct{}
}

// use is one of them; immutable.
type use struct {
	asks         asks
	credentialID string
	destination  policy.Destination
	addresses    dial.Addresses
	end          context.CancelCauseFunc
}

func (l *live) changed() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *live) add(u *use) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uses[u] = struct{}{}
}

func (l *live) remove(u *use) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.uses, u)
}

func (l *live) list() []*use {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*use, 0, len(l.uses))
	for u := range l.uses {
		all = append(all, u)
	}
	return all
}

// watch ends uses until quit is closed.
func (g *Gate) watch(quit <-chan struct{}) {
	for {
		select {
		case <-g.live.wake:
		case <-quit:
			return
		}
		for _, u := range g.live.list() {
			if err := g.again(context.Background(), u); err != nil {
				u.end(err)
			}
		}
	}
}

// again judges a use that is under way. An outage is no reason to end it.
func (g *Gate) again(ctx context.Context, u *use) *keybearer.Error {
	caller, err := g.identify(ctx, &u.asks.evidence)
	if err == nil {
		var snap snapshot
		if snap, err = g.snapshots.get(ctx, u.asks.ref, rereads); err == nil {
			d := u.asks.decide(g.now(), caller, &snap, u.addresses.Reach)
			err = u.asks.refusal(&d)
			if err == nil && (d.Destination != u.destination || snap.Credential.ID != u.credentialID) {
				err = keybearer.NewError(keybearer.CredentialForbidden, "")
			}
		}
	}
	if err != nil && err.Code == keybearer.StoreUnavailable {
		return nil
	}
	return err
}

// Hold returns a context that ends with ctx, or when the use would be refused after a change; its cause is then the
// refusal. release must be called when the use is over.
func (p *Pass) Hold(ctx context.Context) (held context.Context, release func()) {
	held, end := context.WithCancelCause(ctx)
	u := &use{p.asks, p.event.CredentialID, p.Destination, p.Addresses, end}
	g := p.gate
	g.live.add(u)
	if g.epoch.Load() != p.epoch {
		g.live.changed() // a change came before the use could be seen
	}
	return held, func() {
		g.live.remove(u)
		end(nil)
	}
}

// Renew judges once more if anything has changed since: to be called after waiting for the app and before sending. Nil says that the pass
// holds, with what it holds now.
func (p *Pass) Renew(ctx context.Context) *keybearer.Error {
	epoch := p.gate.epoch.Load()
	if epoch == p.epoch {
		return nil
	}
	caller, err := p.gate.identify(ctx, &p.asks.evidence)
	if err != nil {
		return err
	}
	return p.gate.settle(ctx, p, caller, epoch)
}
