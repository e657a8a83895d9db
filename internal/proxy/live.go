package proxy

import (
	"context"
	"slices"
	"sync"
	"time"

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

// use is one of them; immutable but for its timer.
type use struct {
	asks         asks
	credentialID string
	destination  policy.Destination
	addresses    dial.Addresses
	websocket    bool
	expiry       *time.Timer // wakes when the credential expires; guarded by live.mu; nil: it does not
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
	if u.expiry != nil {
		u.expiry.Stop()
	}
}

// expire has the uses looked at once this one's credential has expired; zero: it does not.
func (l *live) expire(u *use, at, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, under := l.uses[u]; !under {
		return
	}
	if u.expiry != nil {
		u.expiry.Stop()
	}
	if !at.IsZero() {
		u.expiry = time.AfterFunc(at.Sub(now), l.changed)
	}
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

const (
	lookAgain = 250 * time.Millisecond // at uses that could not be judged
	lookUntil = time.Second            // for so long; then they end, so that what was revoked is not sent for more than 2 s
	confirm   = time.Second            // how long a pass that waits for the app holds, while no change is heard of
)

// watch ends uses until quit is closed: when a change is heard of, and while nothing is heard again and again. What proves their callers without a
// record is asked for again and again.
func (g *Gate) watch(quit <-chan struct{}) {
	var unsure map[*use]time.Time
	silence, proofs := time.NewTicker(confirm/2), time.NewTicker(confirm)
	defer silence.Stop()
	defer proofs.Stop()
	var later <-chan time.Time // nil: nothing is unsure
	for {
		select {
		case <-g.live.wake:
		case <-later:
		case <-silence.C:
			if g.current == nil || time.Since(g.current()) < confirm {
				continue
			}
			g.look(nil) // nobody says that anything has changed: that the store cannot be asked ends nothing
			continue
		case <-proofs.C:
			g.reprove()
			continue
		case <-quit:
			return
		}
		unsure, later = g.look(unsure), nil
		if len(unsure) > 0 {
			later = time.After(lookAgain)
		}
	}
}

// look judges the uses under way and ends those that would be refused now. One that needs a record which has changed, while the store cannot
// say how, is unsure: it ends if that is not known before long. unsure, in and out, says since when each is.
func (g *Gate) look(unsure map[*use]time.Time) map[*use]time.Time {
	still := map[*use]time.Time{}
	ctx, cancel := context.WithTimeout(context.Background(), lookAgain) // for all: one that has to wait holds up no other
	defer cancel()
	for _, u := range g.live.list() {
		expires, err := g.again(ctx, u)
		if err == nil {
			g.live.expire(u, expires, g.now())
			continue
		}
		if unasked(err) {
			now := time.Now()
			since, before := unsure[u]
			if !before {
				since = now
			}
			if now.Sub(since) < lookUntil {
				still[u] = since
				continue
			}
		}
		u.end(err)
	}
	return still
}

// unasked reports whether the error says no more than that nobody could be asked.
func unasked(err *keybearer.Error) bool {
	return err.Code == keybearer.StoreUnavailable || err.Code == keybearer.RateLimited || err.Code == keybearer.CallerGone
}

// reprove ends the uses whose proof holds no more, though no record has changed: the key or the certificate behind it was taken back.
func (g *Gate) reprove() {
	ctx, cancel := context.WithTimeout(context.Background(), confirm/2)
	defer cancel()
	for _, u := range g.live.list() {
		if !foreign(&u.asks.evidence) {
			continue
		}
		if _, err := g.identify(ctx, &u.asks.evidence); err != nil && !unasked(err) {
			u.end(err)
		}
	}
}

// foreign reports whether evidence holds a proof that somebody else vouches for.
func foreign(e *keybearer.Evidence) bool {
	return e.TLS != nil && len(e.TLS.PeerCertificates) > 0 ||
		slices.ContainsFunc(e.Tokens, func(text string) bool { return !keybearer.LooksLikeToken(text) })
}

// again judges a use that is under way, and says until when that holds if nothing changes. An outage is no reason to end it: what is known serves
// meanwhile.
func (g *Gate) again(ctx context.Context, u *use) (expires time.Time, _ *keybearer.Error) {
	caller, err := g.identify(ctx, &u.asks.evidence)
	if err != nil {
		return expires, err
	}
	snap, err := g.snapshots.get(ctx, u.asks.ref, rereads)
	if err != nil {
		return expires, err
	}
	d := u.asks.decide(g.now(), caller, &snap, u.addresses.Reach)
	err = u.asks.refusal(&d)
	if err == nil && (d.Destination != u.destination || snap.Credential.ID != u.credentialID) {
		err = keybearer.NewError(keybearer.CredentialForbidden, "")
	}
	if err == nil && u.websocket && !snap.Credential.Current.Terms.WebSocket {
		err = keybearer.NewError(keybearer.DestinationNotAllowed, "the credential allows no WebSocket any more")
	}
	if err == nil {
		expires = snap.Credential.ExpiresAt
	}
	return expires, err
}

// Hold returns a context that ends with ctx, or when the use would be refused after a change; its cause is then the
// refusal. release must be called when the use is over.
func (p *Pass) Hold(ctx context.Context) (held context.Context, release func()) {
	held, end := context.WithCancelCause(ctx)
	g := p.gate
	u := &use{
		asks: p.asks, credentialID: p.event.CredentialID, destination: p.Destination, addresses: p.Addresses,
		websocket: p.handshake != nil, end: end,
	}
	g.live.add(u)
	g.live.expire(u, p.expires, g.now())
	if g.epoch.Load() != p.epoch {
		g.live.changed() // a change came before the use could be seen
	}
	return held, func() {
		g.live.remove(u)
		end(nil)
	}
}

// Renew judges once more if anything has changed since, or may have while nothing was heard: to be called after waiting for the app and before
// sending. Nil says that the pass holds, with what it holds now.
func (p *Pass) Renew(ctx context.Context) *keybearer.Error {
	epoch := p.gate.epoch.Load()
	if epoch == p.epoch && p.gate.now().Sub(p.judged) < confirm {
		return nil
	}
	caller, err := p.gate.identify(ctx, &p.asks.evidence)
	if err != nil {
		return err
	}
	return p.gate.settle(ctx, p, caller, epoch)
}
