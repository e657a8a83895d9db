package dial

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// listen listens on the address and on the port, or on any for 0. Connections are accepted and echoed until they end.
func listen(t *testing.T, address string, port uint16) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

func serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }()
	}
}

func portOf(l net.Listener) uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }

// trap listens where nobody may connect. A raw socket beside it hears every packet that is sent to its address, so that a connection that
// is begun and given up shows too; without the right to have one (root, CAP_NET_RAW) only connections do.
type trap struct {
	*net.TCPListener
	packets net.PacketConn // nil: no right
}

func setTrap(t *testing.T, address string, port uint16) *trap {
	t.Helper()
	packets, err := net.ListenPacket("ip4:tcp", address)
	switch {
	case errors.Is(err, os.ErrPermission):
		packets = nil
		t.Log("packets are not heard: this needs root, or CAP_NET_RAW")
	case err != nil:
		t.Fatal(err)
	default:
		t.Cleanup(func() { _ = packets.Close() })
	}
	return &trap{listen(t, address, port), packets}
}

// untouched fails unless our own connection is the first that the listener gets, and its SYN the first packet to the port.
func (p *trap) untouched(t *testing.T) {
	t.Helper()
	probe, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	first, err := p.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if first.RemoteAddr().String() != probe.LocalAddr().String() {
		t.Errorf("the trap got a connection from %s", first.RemoteAddr())
	}
	if p.packets == nil {
		return
	}
	_ = p.packets.SetReadDeadline(time.Now().Add(10 * time.Second))
	for header := make([]byte, 64<<10); ; {
		n, _, err := p.packets.ReadFrom(header)
		if err != nil {
			t.Fatalf("the probe's own SYN was not heard: %v", err)
		}
		if n < 20 || binary.BigEndian.Uint16(header[2:]) != portOf(p) {
			continue // another program's
		}
		if from := int(binary.BigEndian.Uint16(header)); from != probe.LocalAddr().(*net.TCPAddr).Port {
			t.Errorf("the trap got a packet from port %d", from)
		}
		return
	}
}

func addrs(texts ...string) (list []netip.Addr) {
	for _, s := range texts {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

func TestConnect(t *testing.T) {
	l := listen(t, "127.0.0.2", 0)
	go serve(l)
	s := serveNames(t)
	s.set("api.test", "127.0.0.2")
	d, _ := newDialer(s, Config{AllowPrivate: prefixes("127.0.0.2/32")})
	a, err := d.Resolve(t.Context(), name("api.test"))
	if err != nil || a.Reach != policy.Listed {
		t.Fatal(a, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := d.Connect(ctx, a, portOf(l))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel() // belongs to the dial, not to the connection
	if conn.RemoteAddr().String() != l.Addr().String() {
		t.Errorf("connected to %s", conn.RemoteAddr())
	}
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Error(err)
	}
	var b [4]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil || string(b[:]) != "ping" {
		t.Errorf("%q %v", b, err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		for option, level := range map[int]int{syscall.SO_KEEPALIVE: syscall.SOL_SOCKET, syscall.TCP_NODELAY: syscall.IPPROTO_TCP} {
			if on, err := syscall.GetsockoptInt(int(fd), level, option); err != nil || on == 0 {
				t.Errorf("option %d of level %d is %d, %v", option, level, on, err)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// A name server that flips between an address that is allowed and one that is not: the second gets no connection, whatever
// the moment of the flip.
func TestRebindingReachesNothing(t *testing.T) {
	good := listen(t, "127.0.0.2", 0)
	trap := setTrap(t, "127.0.0.3", portOf(good))
	go serve(good)
	s := serveNames(t)
	allowed, denied := addrs("127.0.0.2"), addrs("127.0.0.3")
	s.change(func() {
		s.turn = func(_ string, asked int) []netip.Addr {
			switch asked % 4 {
			case 0:
				return allowed
			case 1:
				return denied
			case 2:
				return append(allowed[:1:1], denied...)
			}
			return append(denied[:1:1], allowed...)
		}
	})
	d, at := newDialer(s, Config{AllowPrivate: prefixes("127.0.0.2/32")})
	const flips = 10_000
	t.Attr("cases", strconv.Itoa(flips))
	connected := 0
	for range flips {
		a, err := d.Resolve(t.Context(), name("flip.test"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := d.Connect(t.Context(), a, portOf(good))
		switch {
		case a.Reach == policy.Denied:
			if keybearer.CodeOf(err) != keybearer.AddressDenied {
				t.Fatal(a, err)
			}
		case err != nil:
			t.Fatal(a, err)
		default:
			connected++
			if conn.RemoteAddr().String() != good.Addr().String() {
				t.Fatalf("connected to %s", conn.RemoteAddr())
			}
			_ = conn.(*net.TCPConn).SetLinger(0) // leaves no port behind
			_ = conn.Close()
		}
		at.advance(answerLife)
	}
	if asked := s.count("flip.test"); asked != flips || connected != flips/4 {
		t.Errorf("asked %d times, connected %d times", asked, connected)
	}
	trap.untouched(t)
}

// What was resolved under other rules, or made up, meets the check on the way to the kernel.
func TestConnectJudgesAgain(t *testing.T) {
	trap := setTrap(t, "127.0.0.3", 0)
	open, _ := newDialer(nil, Config{AllowPrivate: prefixes("127.0.0.0/8")})
	shut, _ := newDialer(nil, Config{AllowPrivate: prefixes("127.0.0.2/32")})
	a, err := open.Resolve(t.Context(), name("127.0.0.3"))
	if err != nil || a.Reach != policy.Listed {
		t.Fatal(a, err)
	}
	for why, c := range map[string]struct {
		d    *Dialer
		a    Addresses
		port uint16
	}{
		"no longer listed":  {shut, a, portOf(trap)},
		"called public":     {open, Addresses{a.List, policy.Public}, portOf(trap)},
		"not resolved":      {open, Addresses{a.List, policy.Unresolved}, portOf(trap)},
		"denied":            {open, Addresses{a.List, policy.Denied}, portOf(trap)},
		"denied as before":  {shut, Addresses{a.List, policy.Denied}, portOf(trap)},
		"no addresses":      {open, Addresses{nil, policy.Listed}, portOf(trap)},
		"zero":              {open, Addresses{}, portOf(trap)},
		"no port":           {open, a, 0},
		"mapped and shut":   {shut, Addresses{addrs("::ffff:127.0.0.3"), policy.Listed}, portOf(trap)},
		"unspecified":       {shut, Addresses{addrs("0.0.0.0"), policy.Public}, portOf(trap)},
		"second one denied": {shut, Addresses{addrs("127.0.0.2", "127.0.0.3"), policy.Listed}, portOf(trap)},
		"first one denied":  {shut, Addresses{addrs("127.0.0.3", "127.0.0.2"), policy.Listed}, portOf(trap)},
	} {
		conn, err := c.d.Connect(t.Context(), c.a, c.port)
		if conn != nil || err == nil {
			t.Errorf("%s: connected", why)
			continue
		}
		wantCode(t, err, keybearer.AddressDenied)
	}
	trap.untouched(t)
	for address, want := range map[string]bool{"127.0.0.3:80": true, "127.0.0.3:81": false, "127.0.0.2:80": false, "[::ffff:127.0.0.3]:80": true, "127.0.0.3": false, "": false, "localhost:80": false} {
		if err := open.check(a, 80, address); err == nil != want {
			t.Errorf("check(%q): %v", address, err)
		}
	}
}

func TestConnectErrors(t *testing.T) {
	closed := listen(t, "127.0.0.2", 0)
	port := portOf(closed)
	_ = closed.Close()
	d, _ := newDialer(nil, Config{AllowPrivate: prefixes("127.0.0.0/8")})
	refused := Addresses{addrs("127.0.0.2", "127.0.0.4"), policy.Listed}
	_, err := d.Connect(t.Context(), refused, port)
	wantCode(t, err, keybearer.DestinationUnreachable)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the cause is lost: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.Connect(ctx, refused, port)
	wantCode(t, err, keybearer.CallerGone)
	ctx, cancel = context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, err = d.Connect(ctx, refused, port)
	wantCode(t, err, keybearer.DestinationTimeout)
}

// An ordinary address is tried, as far as a caller that has gone can see.
func TestConnectToAnOrdinaryAddress(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // so nothing is sent
	_, err := New(Config{}).Connect(ctx, Addresses{addrs("1.1.1.1"), policy.Public}, 443)
	wantCode(t, err, keybearer.CallerGone)
}

func TestFailuresTellWhatHappened(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   keybearer.Code
		detail string
	}{
		{denied(), keybearer.AddressDenied, ""},
		{&net.OpError{Op: "dial", Err: denied()}, keybearer.AddressDenied, ""},
		{context.DeadlineExceeded, keybearer.DestinationTimeout, "no connection to the destination in time"},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, keybearer.DestinationTimeout, "no connection to the destination in time"},
		{&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}, keybearer.DestinationTimeout, "no connection to the destination in time"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, keybearer.DestinationUnreachable, "the destination refused the connection"},
		{&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, keybearer.DestinationUnreachable, "no address of the destination could be reached"},
		{errors.New("else"), keybearer.DestinationUnreachable, "no address of the destination could be reached"},
	} {
		got := keybearer.AsError(failure(t.Context(), c.err))
		if got.Code != c.code || got.Detail != c.detail || !errors.Is(got, c.err) && got.Code != keybearer.AddressDenied {
			t.Errorf("%v became %s, %q", c.err, got.Code, got.Detail)
		}
	}
}

func TestOneNameServerOrThoseOfTheSystem(t *testing.T) {
	if New(Config{}).resolver.Dial != nil || New(Config{Resolver: "127.0.0.1:53"}).resolver.Dial == nil {
		t.Error("the name server that is asked is not the one configured")
	}
}

// silent listens without ever answering: its queue of one is full, so the kernel drops what comes.
func silent(t *testing.T, address string, port uint16) uint16 {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(port), Addr: netip.MustParseAddr(address).As4()}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	bound := uint16(name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(netip.MustParseAddr(address), bound).String(), 100*time.Millisecond)
		if err != nil {
			return bound
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue does not fill")
	return 0
}

func TestConnectTimesOut(t *testing.T) {
	port := silent(t, "127.0.0.5", 0)
	d, _ := newDialer(nil, Config{AllowPrivate: prefixes("127.0.0.0/8"), Timeout: 100 * time.Millisecond})
	_, err := d.Connect(t.Context(), Addresses{addrs("127.0.0.5"), policy.Listed}, port)
	wantCode(t, err, keybearer.DestinationTimeout)
	ctx, cancel := context.WithCancel(t.Context())
	d.timeout = time.Hour
	gone := make(chan error)
	go func() {
		_, err := d.Connect(ctx, Addresses{addrs("127.0.0.5"), policy.Listed}, port)
		gone <- err
	}()
	cancel()
	wantCode(t, <-gone, keybearer.CallerGone)
}

func TestConnectDoesNotWaitForASilentAddress(t *testing.T) {
	good := listen(t, "127.0.0.2", 0)
	go serve(good)
	silent(t, "127.0.0.5", portOf(good))
	d, _ := newDialer(nil, Config{AllowPrivate: prefixes("127.0.0.0/8"), Timeout: time.Hour})
	conn, err := d.Connect(t.Context(), Addresses{addrs("127.0.0.5", "127.0.0.4", "127.0.0.2"), policy.Listed}, portOf(good))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.RemoteAddr().String() != good.Addr().String() {
		t.Errorf("connected to %s", conn.RemoteAddr())
	}
}
