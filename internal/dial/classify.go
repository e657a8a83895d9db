package dial

import (
	"net/netip"
	"slices"

	"github.com/keybearer/keybearer/policy"
)

// The IANA special-purpose address registries (RFC 6890 and successors), and with them what is special though the registries do
// not say so: multicast, deprecated forms and cloud services at ordinary addresses.
var (
	special4 = prefixes(
		"0.0.0.0/8",       // this network; connects to this host on Linux
		"10.0.0.0/8",      // private
		"100.64.0.0/10",   // shared by carriers
		"127.0.0.0/8",     // loopback
		"169.254.0.0/16",  // link-local
		"172.16.0.0/12",   // private
		"192.0.0.0/24",    // IETF protocol assignments
		"192.0.2.0/24",    // documentation
		"192.88.99.0/24",  // 6to4 relays, deprecated
		"192.168.0.0/16",  // private
		"198.18.0.0/15",   // benchmarks
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"224.0.0.0/4",     // multicast
		"240.0.0.0/4",     // reserved, and broadcast
	)
	global6  = netip.MustParsePrefix("2000::/3") // all that IANA hands out for use across the Internet
	special6 = prefixes(                         // within global6
		"2001::/23",     // IETF protocol assignments: Teredo, benchmarks, ORCHID and others
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4
		"3fff::/20",     // documentation
	)
	// metadata are addresses at which clouds hand out credentials and configuration to whoever connects.
	metadata = prefixes(
		"169.254.169.254/32", "fd00:ec2::254/128", "fd20:ce::254/128", "fe80::a9fe:a9fe/128", // AWS, Google, Azure, OpenStack and most others
		"169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::23/128", // AWS containers
		"168.63.129.16/32",                    // Azure
		"100.100.100.200/32",                  // Alibaba
		"192.0.0.192/32",                      // Oracle
		"169.254.0.23/32",                     // Tencent
		"169.254.42.42/32", "fd00:42::42/128", // Scaleway
	)

	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	teredo     = netip.MustParsePrefix("2001::/32")
	compatible = netip.MustParsePrefix("::/96")
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		list[i] = netip.MustParsePrefix(t)
	}
	return list
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// plain strips the zone and the IPv4-mapped form.
func plain(a netip.Addr) netip.Addr { return a.WithZone("").Unmap() }

// Classify returns [policy.Public] for an ordinary address, [policy.Listed] for a special one that the operator allows, and else
// [policy.Denied]. An IPv4-mapped address is the IPv4 address; the zone does not matter. A metadata address needs its
// switch besides the list. A special address that carries an IPv4 address is denied when that one is.
func (d *Dialer) Classify(a netip.Addr) policy.Reach {
	a = plain(a)
	switch {
	case !special(a):
		return policy.Public
	case !within(d.allowPrivate, a) || !d.allowMetadata && within(metadata, a):
		return policy.Denied
	}
	for _, carried := range embedded(a) {
		if d.Classify(carried) == policy.Denied {
			return policy.Denied
		}
	}
	return policy.Listed
}

// special reports whether a is not one of the ordinary addresses of the Internet. The zero Addr is special.
func special(a netip.Addr) bool {
	if a.Is4() {
		return within(special4, a) || within(metadata, a)
	}
	return !global6.Contains(a) || within(special6, a)
}

// embedded returns the IPv4 addresses that packets to a may end at: RFC 6052 and RFC 8215 (NAT64), RFC 3056 (6to4), RFC 4380
// (Teredo), RFC 4291 section 2.5.5.1 (IPv4-compatible).
func embedded(a netip.Addr) []netip.Addr {
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	case a.Is4():
		return nil
	case nat64.Contains(a):
		return []netip.Addr{last}
	case compatible.Contains(a) && a != netip.IPv6Unspecified() && a != netip.IPv6Loopback():
		return []netip.Addr{last}
	case nat64Local.Contains(a): // its operator chooses how long the prefix is: /48 and /96 are usual
		return []netip.Addr{last, netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]})}
	case sixToFour.Contains(a):
		return []netip.Addr{netip.AddrFrom4([4]byte(b[2:]))}
	case teredo.Contains(a):
		return []netip.Addr{netip.AddrFrom4([4]byte(b[4:])), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	}
	return nil
}

// judge returns the addresses and what they amount to: Public or Listed when all are that, else Denied, without the addresses.
func (d *Dialer) judge(list []netip.Addr) Addresses {
	var all Addresses
	for _, a := range list {
		switch reach := d.Classify(a); {
		case reach == policy.Denied, all.Reach != policy.Unresolved && reach != all.Reach:
			return Addresses{Reach: policy.Denied}
		default:
			all.Reach = reach
		}
		if a = plain(a); len(all.List) < maxAddresses && !slices.Contains(all.List, a) {
			all.List = append(all.List, a)
		}
	}
	return all
}
