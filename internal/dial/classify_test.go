package dial

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/keybearer/keybearer/policy"
)

func TestClassify(t *testing.T) {
	closed := New(Config{})
	for text, want := range map[string]policy.Reach{
		"1.1.1.1": policy.Public, "93.184.216.34": policy.Public, "2606:4700::1111": policy.Public, "2a00:1450:4001::200e": policy.Public,
		"9.255.255.255": policy.Public, "11.0.0.0": policy.Public, "172.15.255.255": policy.Public, "172.32.0.0": policy.Public,
		"100.63.255.255": policy.Public, "100.128.0.0": policy.Public, "198.17.255.255": policy.Public, "198.20.0.0": policy.Public,
		"223.255.255.255": policy.Public, "192.0.1.0": policy.Public, "2001:200::1": policy.Public, "2003::1": policy.Public,
		"2001:4860:4860::8888": policy.Public, "::ffff:1.1.1.1": policy.Public,

		"0.0.0.0": policy.Denied, "0.1.2.3": policy.Denied, "10.1.2.3": policy.Denied, "100.64.0.1": policy.Denied, "127.0.0.1": policy.Denied, "127.255.255.255": policy.Denied,
		"169.254.1.1": policy.Denied, "169.254.169.254": policy.Denied, "172.16.0.1": policy.Denied, "192.168.1.1": policy.Denied, "192.0.0.1": policy.Denied,
		"192.0.2.1": policy.Denied, "198.51.100.1": policy.Denied, "203.0.113.1": policy.Denied, "198.18.0.1": policy.Denied, "192.88.99.1": policy.Denied,
		"192.0.0.9": policy.Denied, "192.0.0.170": policy.Denied, "192.31.196.1": policy.Denied, "192.52.193.1": policy.Denied, "192.175.48.1": policy.Denied, "2620:4f:8000::1": policy.Denied,
		"224.0.0.1": policy.Denied, "239.255.255.255": policy.Denied, "240.0.0.1": policy.Denied, "255.255.255.255": policy.Denied,
		"168.63.129.16": policy.Denied, "100.100.100.200": policy.Denied,
		"::": policy.Denied, "::1": policy.Denied, "::2": policy.Denied, "::127.0.0.1": policy.Denied, "::ffff:127.0.0.1": policy.Denied, "::ffff:169.254.169.254": policy.Denied,
		"::ffff:0:127.0.0.1": policy.Denied, "64:ff9b::1.1.1.1": policy.Denied, "64:ff9b::7f00:1": policy.Denied, "64:ff9b:1::1": policy.Denied, "100::1": policy.Denied,
		"2001::1": policy.Denied, "2001:2::1": policy.Denied, "2001:1::1": policy.Denied, "2001:4:112::1": policy.Denied, "2001:10::1": policy.Denied, "2001:20::1": policy.Denied, "2001:1ff:ffff::1": policy.Denied, "2001:db8::1": policy.Denied,
		"2002::1": policy.Denied, "2002:7f00:1::": policy.Denied, "3fff::1": policy.Denied, "5f00::1": policy.Denied, "4000::1": policy.Denied, "1fff::1": policy.Denied,
		"fc00::1": policy.Denied, "fd00:ec2::254": policy.Denied, "fe80::1": policy.Denied, "fe80::1%eth0": policy.Denied, "fec0::1": policy.Denied, "ff02::1": policy.Denied,
	} {
		if got := closed.Classify(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	if got := closed.Classify(netip.Addr{}); got != policy.Denied {
		t.Errorf("the zero address is %v", got)
	}
}

func TestListedAddresses(t *testing.T) {
	listing := func(metadata bool, nets ...string) *Dialer {
		return New(Config{AllowPrivate: prefixes(nets...), AllowMetadata: metadata})
	}
	const teredoLoopback = "2001:0:a00:1::80ff:fffe" // server 10.0.0.1, client 127.0.0.1 inverted
	for _, c := range []struct {
		name    string
		d       *Dialer
		address string
		want    policy.Reach
	}{
		{"listed", listing(false, "10.20.0.0/16"), "10.20.1.5", policy.Listed},
		{"beside it", listing(false, "10.20.0.0/16"), "10.21.0.0", policy.Denied},
		{"listed v6", listing(false, "fd00:20::/32"), "fd00:20::1", policy.Listed},
		{"listed with a zone", listing(false, "fe80::/10"), "fe80::1%eth0", policy.Listed},
		{"mapped form of a listed one", listing(false, "10.20.0.0/16"), "::ffff:10.20.1.5", policy.Listed},
		{"listed in mapped form", listing(false, "::ffff:10.20.0.0/112"), "10.20.1.5", policy.Listed},
		{"mapped network too wide to be one", listing(false, "::ffff:0.0.0.0/90"), "10.20.1.5", policy.Denied},
		{"what else such a network holds", listing(false, "::ffff:0.0.0.0/90"), "::ffc0:0:1", policy.Listed},
		{"all of v4 in mapped form", listing(false, "::ffff:0.0.0.0/96"), "10.20.1.5", policy.Listed},
		{"beside one v6 address", listing(false, "fd00:20::5/128"), "fd00:20::6", policy.Denied},
		{"everything v6 lists no v4", listing(true, "::/0"), "10.0.0.1", policy.Denied},
		{"public stays public", listing(false, "1.1.1.0/24", "2606::/16"), "1.1.1.1", policy.Public},
		{"metadata needs its switch", listing(false, "169.254.0.0/16"), "169.254.169.254", policy.Denied},
		{"its neighbour does not", listing(false, "169.254.0.0/16"), "169.254.169.255", policy.Listed},
		{"metadata needs the list too", listing(true), "169.254.169.254", policy.Denied},
		{"metadata with both", listing(true, "169.254.0.0/16"), "169.254.169.254", policy.Listed},
		{"mapped metadata", listing(false, "0.0.0.0/0", "::/0"), "::ffff:169.254.169.254", policy.Denied},
		{"metadata at an ordinary address", listing(false, "168.63.129.16/32"), "168.63.129.16", policy.Denied},
		{"the same with both", listing(true, "168.63.129.16/32"), "168.63.129.16", policy.Listed},
		{"metadata v6", listing(false, "fd00::/8"), "fd00:ec2::254", policy.Denied},
		{"NAT64 of a public one", listing(false, "64:ff9b::/96"), "64:ff9b::1.1.1.1", policy.Listed},
		{"NAT64 of loopback", listing(false, "64:ff9b::/96"), "64:ff9b::127.0.0.1", policy.Denied},
		{"NAT64 of a listed one", listing(false, "64:ff9b::/96", "10.0.0.0/8"), "64:ff9b::10.0.0.1", policy.Listed},
		{"NAT64 of metadata", listing(false, "::/0", "0.0.0.0/0"), "64:ff9b::169.254.169.254", policy.Denied},
		{"local NAT64 of metadata, /96", listing(false, "::/0", "0.0.0.0/0"), "64:ff9b:1::169.254.169.254", policy.Denied},
		{"local NAT64 of metadata, /48", listing(false, "::/0", "0.0.0.0/0"), "64:ff9b:1:a9fe:a9:fe00::", policy.Denied},
		{"local NAT64 of public ones", listing(false, "64:ff9b:1::/48"), "64:ff9b:1:101:1:100:101:101", policy.Listed},
		{"6to4 of loopback", listing(false, "2002::/16"), "2002:7f00:1::1", policy.Denied},
		{"6to4 of a public one", listing(false, "2002::/16"), "2002:101:101::1", policy.Listed},
		{"Teredo of loopback", listing(false, "2001::/23", "10.0.0.0/8"), teredoLoopback, policy.Denied},
		{"Teredo all listed", listing(false, "2001::/23", "10.0.0.0/8", "127.0.0.0/8"), teredoLoopback, policy.Listed},
		{"compatible form of loopback", listing(false, "::/96"), "::127.0.0.1", policy.Denied},
		{"loopback itself", listing(false, "::1/128"), "::1", policy.Listed},
		{"unspecified itself", listing(false, "::/128"), "::", policy.Listed},
	} {
		if got := c.d.Classify(netip.MustParseAddr(c.address)); got != c.want {
			t.Errorf("%s: %s is %v, want %v", c.name, c.address, got, c.want)
		}
	}
	if got := New(Config{AllowPrivate: make([]netip.Prefix, 1), AllowMetadata: true}).Classify(netip.Addr{}); got != policy.Denied {
		t.Errorf("the zero address in the zero network is %v", got)
	}
}

// ordinary is a second opinion on which addresses are ordinary, by numbers and ranges.
func ordinary(a netip.Addr) bool {
	if a.Is4In6() {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if a.Is4() {
		b := a.As4()
		n := binary.BigEndian.Uint32(b[:])
		for _, r := range [][2]uint32{
			{0x00000000, 0x00ffffff},
			{0x0a000000, 0x0affffff},
			{0x64400000, 0x647fffff},
			{0x7f000000, 0x7fffffff},
			{0xa83f8110, 0xa83f8110},
			{0xa9fe0000, 0xa9feffff},
			{0xac100000, 0xac1fffff},
			{0xc0000000, 0xc00000ff},
			{0xc0000200, 0xc00002ff},
			{0xc01fc400, 0xc01fc4ff},
			{0xc034c100, 0xc034c1ff},
			{0xc0586300, 0xc05863ff},
			{0xc0a80000, 0xc0a8ffff},
			{0xc0af3000, 0xc0af30ff},
			{0xc6120000, 0xc613ffff},
			{0xc6336400, 0xc63364ff},
			{0xcb007100, 0xcb0071ff},
			{0xe0000000, 0xffffffff},
		} {
			if r[0] <= n && n <= r[1] {
				return false
			}
		}
		return true
	}
	b := a.As16()
	hi := binary.BigEndian.Uint32(b[:4])
	switch {
	case hi>>29 != 1: // 001…
	case hi >= 0x20010000 && hi < 0x20010200:
	case hi == 0x20010db8:
	case hi>>16 == 0x2002:
	case hi == 0x2620004f && binary.BigEndian.Uint16(b[4:]) == 0x8000:
	case hi >= 0x3fff0000 && hi <= 0x3fff0fff:
	default:
		return true
	}
	return false
}

func TestClassifyAgreesWithASecondTable(t *testing.T) {
	d := New(Config{})
	agree := func(a netip.Addr) {
		if got := d.Classify(a); (got == policy.Public) != ordinary(a) || got == policy.Listed {
			t.Fatalf("%s is %v", a, got)
		}
	}
	// The ends of every special network, and their neighbours.
	for _, p := range slices.Concat(prefixes("2000::/3"), special4, special6, metadata) {
		first, last := p.Masked().Addr(), lastOf(p)
		for _, a := range []netip.Addr{first, last, first.Prev(), last.Next()} {
			if a.IsValid() {
				agree(a)
			}
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	t.Attr("cases", "500000")
	for range 500_000 {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], rng.Uint64())
		binary.BigEndian.PutUint64(b[8:], rng.Uint64())
		agree(netip.AddrFrom4([4]byte(b[:4])))
		agree(netip.AddrFrom16(b))
		b[0] = b[0]&0x1f | 0x20
		agree(netip.AddrFrom16(b))
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func FuzzClassify(f *testing.F) {
	for _, p := range slices.Concat(special4, special6, metadata) {
		f.Add(p.Addr().AsSlice())
	}
	closed, open := New(Config{}), New(Config{AllowPrivate: prefixes("0.0.0.0/0", "::/0")})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		got := closed.Classify(a)
		if got == policy.Public != ordinary(a) || got != policy.Public && got != policy.Denied {
			t.Fatalf("%s is %v", a, got)
		}
		if a.Is6() && closed.Classify(a.WithZone("eth0")) != got {
			t.Fatalf("%s depends on its zone", a)
		}
		if a.Is4() {
			if mapped := netip.AddrFrom16(a.As16()); closed.Classify(mapped) != got || open.Classify(mapped) != open.Classify(a) {
				t.Fatalf("%s differs from %s", a, mapped)
			}
		}
		listed := open.Classify(a)
		if got == policy.Public && listed != policy.Public || got == policy.Denied && listed == policy.Public {
			t.Fatalf("%s becomes %v by being listed", a, listed)
		}
		if within(metadata, plain(a)) && listed != policy.Denied {
			t.Fatalf("%s is %v without its switch", a, listed)
		}
	})
}
