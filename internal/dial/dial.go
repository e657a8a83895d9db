// Package dial resolves destinations and connects to them.
//
// It decides which addresses are special, and that a connection goes to an address that was judged and to no other: a name is
// resolved once, all its addresses are judged together ([Dialer.Resolve]), and the address that the kernel is about to
// connect to is judged again ([Dialer.Connect]). So a name server that changes its answer in between gains nothing.
//
// It refuses to know rules, requests and secrets, and never uses a proxy from the environment, the C resolver, or a search
// domain. A [Dialer] is safe for concurrent use.
package dial

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

const defaultTimeout = 10 * time.Second

// Config is what the operator chooses. The zero value reaches ordinary addresses only, through the system's name servers.
type Config struct {
	AllowPrivate  []netip.Prefix // special addresses that rules marked private may reach; others in it mean nothing
	AllowMetadata bool           // cloud metadata addresses too, where AllowPrivate lists them
	Resolver      string         // "host:port" of the name server to ask; "": those of the system
	Timeout       time.Duration  // of one look-up, and of one connect over all its addresses; 0: 10 seconds
}

// Dialer resolves and connects under one Config.
type Dialer struct {
	allowPrivate  []netip.Prefix
	allowMetadata bool
	timeout       time.Duration
	resolver      net.Resolver
	now           func() time.Time

	mu      sync.Mutex
	answers map[string]answer
	flights map[string]*flight
}

// New returns a Dialer. It performs no I/O and keeps no reference to c. Invalid prefixes list nothing.
func New(c Config) *Dialer {
	d := &Dialer{
		allowMetadata: c.AllowMetadata,
		timeout:       cmp.Or(max(c.Timeout, 0), defaultTimeout),
		resolver:      net.Resolver{PreferGo: true},
		now:           time.Now,
		answers:       make(map[string]answer),
		flights:       make(map[string]*flight),
	}
	for _, p := range c.AllowPrivate {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		d.allowPrivate = append(d.allowPrivate, p)
	}
	if c.Resolver != "" {
		server := net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
		d.resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return server.DialContext(ctx, network, c.Resolver)
		}
	}
	return d
}

// Connect opens a TCP connection to one of the addresses, tried in their order, the next one beside the last after a
// short while. The caller owns the connection; TCP keep-alive and no-delay are on.
//
// It returns [keybearer.AddressDenied], without a socket or with one that never connects, when the addresses were denied, or when the
// one about to be dialled is not among them or is not of their class now; else [keybearer.DestinationUnreachable],
// [keybearer.DestinationTimeout] or, when ctx was cancelled, [keybearer.CallerGone].
func (d *Dialer) Connect(ctx context.Context, a Addresses, port uint16) (net.Conn, error) {
	if len(a.List) == 0 || port == 0 || a.Reach != policy.Public && a.Reach != policy.Listed {
		return nil, denied()
	}
	raceCtx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	dialer := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		return d.check(a, port, address)
	}}
	conn, err := race(raceCtx, len(a.List), func(ctx context.Context, i int) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(a.List[i], port).String())
	})
	if err != nil {
		return nil, failure(ctx, err)
	}
	return conn, nil
}

// check is the last word before the kernel connects: the address is one of those judged, and still of their class.
func (d *Dialer) check(a Addresses, port uint16, address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || to.Port() != port || !slices.Contains(a.List, plain(to.Addr())) || d.Classify(to.Addr()) != a.Reach {
		return denied()
	}
	return nil
}

func denied() error { return keybearer.NewError(keybearer.AddressDenied, "") }

// failure makes an error of ours out of one from net or ctx. Its detail names no address.
func failure(ctx context.Context, err error) error {
	if own, ok := errors.AsType[*keybearer.Error](err); ok {
		return own
	}
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return keybearer.NewError(keybearer.CallerGone, "").Wrap(err)
	case errors.As(err, &timeout) && timeout.Timeout(): // of a context too
		return keybearer.NewError(keybearer.DestinationTimeout, "no connection to the destination in time").Wrap(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return keybearer.NewError(keybearer.DestinationUnreachable, "the destination refused the connection").Wrap(err)
	}
	return keybearer.NewError(keybearer.DestinationUnreachable, "no address of the destination could be reached").Wrap(err)
}
