package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

const (
	answerLife  = 5 * time.Second // how long an answer serves
	answerFresh = 3 * time.Second // after this it serves while the next is fetched
	maxAnswers  = 1024
	// maxAddresses bounds how many addresses of one answer are tried. All are judged.
	maxAddresses = 8
)

// Addresses are the addresses of one destination and what all of them amount to. Only Resolve makes them; List is shared and must
// not be modified, and is empty when Reach is [policy.Denied].
type Addresses struct {
	List  []netip.Addr
	Reach policy.Reach
}

type answer struct {
	addresses      Addresses
	fresh, expires time.Time
}

// flight is one look-up that any number of callers wait for. The other fields are set before done is closed.
type flight struct {
	done      chan struct{}
	addresses Addresses
	err       *keybearer.Error
}

// Resolve returns the addresses of the destination, judged. Answers serve for a few seconds and errors never do; callers that ask
// for the same host together share one look-up, which goes on when one of them leaves. Search domains are not used, and
// localhost is 127.0.0.1.
// Names that only denied addresses answer to are no error: the Reach says so.
//
// Errors are [keybearer.DestinationUnreachable], [keybearer.DestinationTimeout] and, when ctx was cancelled, [keybearer.CallerGone].
func (d *Dialer) Resolve(ctx context.Context, dst policy.Destination) (Addresses, error) {
	now := d.now()
	d.mu.Lock()
	cached := d.answers[dst.Host] // none is like one long expired
	hit := now.Before(cached.expires)
	var f *flight
	if !now.Before(cached.fresh) { // as nothing that has expired is
		if f = d.flights[dst.Host]; f == nil {
			f = &flight{done: make(chan struct{})}
			d.flights[dst.Host] = f
			go d.fly(f, dst)
		}
	}
	d.mu.Unlock()
	if hit {
		return cached.addresses, nil
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return Addresses{}, failure(ctx, ctx.Err())
	}
	if f.err != nil {
		own := *f.err // each caller may add to its own
		return Addresses{}, &own
	}
	return f.addresses, nil
}

func (d *Dialer) fly(f *flight, dst policy.Destination) {
	ctx, cancel := context.WithTimeout(context.Background(), d.timeout)
	defer cancel()
	f.addresses, f.err = d.lookup(ctx, dst)
	d.mu.Lock()
	delete(d.flights, dst.Host)
	if f.err == nil {
		now := d.now()
		d.makeRoom(now)
		d.answers[strings.Clone(dst.Host)] = answer{f.addresses, now.Add(answerFresh), now.Add(answerLife)}
	}
	d.mu.Unlock()
	close(f.done)
}

// makeRoom drops expired answers, or any one, when there are too many.
func (d *Dialer) makeRoom(now time.Time) {
	if len(d.answers) < maxAnswers {
		return
	}
	for host, a := range d.answers {
		if !now.Before(a.expires) {
			delete(d.answers, host)
		}
	}
	for host := range d.answers {
		if len(d.answers) < maxAnswers {
			return
		}
		delete(d.answers, host)
	}
}

func (d *Dialer) lookup(ctx context.Context, dst policy.Destination) (Addresses, *keybearer.Error) {
	if dst.Addr.IsValid() {
		return d.judge([]netip.Addr{dst.Addr}), nil
	}
	if dst.Host == "localhost" || strings.HasSuffix(dst.Host, ".localhost") { // never a name server's to say (RFC 6761 section 6.3)
		return d.judge([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}), nil
	}
	list, err := d.resolver.LookupNetIP(ctx, "ip", dst.Host+".")
	if dnsErr, ok := errors.AsType[*net.DNSError](err); ok && dnsErr.IsTimeout {
		return Addresses{}, keybearer.NewError(keybearer.DestinationTimeout, "no name server answered in time").Wrap(err)
	}
	if err != nil {
		return Addresses{}, keybearer.NewError(keybearer.DestinationUnreachable, "the host name of the destination does not resolve").Wrap(err)
	}
	if len(list) == 0 {
		return Addresses{}, keybearer.NewError(keybearer.DestinationUnreachable, "the host name of the destination has no address")
	}
	return d.judge(list), nil
}
