package dial

import (
	"net/netip"
	"slices"

	"github.com/keybearer/keybearer/policy"
)

//go:generate go run ./iana special_iana.go

// iana4 and iana6, in special_iana.go, are IANA's special-purpose address registries (RFC 6890). All of their rows are special,
// "globally reachable" ones too: those are anycast addresses and translators that any network may run for itself, and no destination has one.
// What is written here is special though the registries do not say so.
var (
	special4 = slices.Concat(iana4, prefixes(
		"224.0.0.0/4", // multicast (RFC 5771): has a registry of its own
	))
	global6  = netip.MustParsePrefix("2000::/3") // all that IANA hands out for use across the Internet (RFC 4291): what is outside is special
	special6 = slices.Concat(iana6, prefixes(    // those outside global6 are here to be named
		"::/96",     // IPv4-compatible, deprecated (RFC 4291 section 2.5.5.1)
		"fec0::/10", // site-local, deprecated (RFC 3879)
		"ff00::/8",  // multicast (RFC 4291 section 2.7)
	))
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
