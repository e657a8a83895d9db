package policy

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// lookup maps names to A-labels by UTS #46, non-transitional, with every check that it knows.
var lookup = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.CheckHyphens(true),
	idna.CheckJoiners(true), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// maxRawHost bounds a host before it is mapped, in bytes: punycode takes time in the square of a label.
const maxRawHost = 1024

// canonicalHost returns the one spelling of the host in raw, which is what an authority holds between the scheme and the
// port: A-labels in lower case without a trailing dot, or an IP literal without brackets and its address. When raw is
// refused, why says so in one sentence that does not quote it.
//
// A name that is canonical already costs one pass and no allocation. Names with an underscore are refused: they
// cannot be the subject of a certificate (RFC 5280 by way of RFC 1034 section 3.5). So are labels with hyphens in the third and
// fourth place, except A-labels, which must decode and encode to themselves.
func canonicalHost(raw string) (host string, addr netip.Addr, why string) {
	if len(raw) > maxRawHost {
		return "", addr, "the host name is longer than 253 characters"
	}
	if strings.HasPrefix(raw, "[") {
		return canonicalIPv6(raw)
	}
	upper, foreign, why := scanHost(raw)
	if why != "" {
		return "", addr, why
	}
	host, dotted := strings.CutSuffix(raw, ".")
	if upper && !foreign { // idna lowers the others
		host = strings.ToLower(host)
	}
	if foreign || strings.HasPrefix(host, "xn--") || strings.Contains(host, ".xn--") {
		var ok bool
		if host, ok = toASCII(host); !ok {
			return "", addr, "the host is not a valid internationalised name"
		}
	}
	if why := checkLabels(host); why != "" {
		return "", addr, why
	}
	if !numericLabel(host[strings.LastIndexByte(host, '.')+1:]) {
		return host, addr, ""
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || foreign || dotted || addr.String() != host {
		return "", netip.Addr{}, "an IPv4 address is written as four plain decimal numbers, and no other name ends in a number"
	}
	return host, addr, ""
}

// scanHost looks at each byte: has it upper-case letters, has it anything beyond ASCII, is there one that no host holds.
func scanHost(raw string) (upper, foreign bool, why string) {
	for i := range len(raw) {
		switch c := raw[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.':
		case c >= 'A' && c <= 'Z':
			upper = true
		case c >= 0x80:
			foreign = true
		case c <= ' ' || c == 0x7f:
			return false, false, "a host holds no blank and no control character"
		case c == '@':
			return false, false, "a destination holds no user name"
		case c == '%':
			return false, false, "a host is not percent-encoded and has no zone"
		case c == '\\':
			return false, false, "a host holds no backslash"
		case c == '_':
			return false, false, "a host name holds no underscore"
		case c == ':' || c == '[' || c == ']':
			return false, false, "a port is written host:port, and an IPv6 address in brackets"
		case c == '*':
			return false, false, "a wildcard stands for whole labels at the front of a rule, as *. or **."
		default:
			return false, false, "a host name is letters, digits, hyphens and dots"
		}
	}
	return upper, foreign, ""
}

// toASCII maps a name to A-labels and reports whether the result is a fixed point.
func toASCII(name string) (string, bool) {
	once, err := lookup.ToASCII(name)
	if err != nil {
		return "", false
	}
	twice, err := lookup.ToASCII(once)
	return once, err == nil && once == twice
}

// checkLabels checks lengths, hyphens and the alphabet of a mapped name (RFC 1034 section 3.5, RFC 5890 section 2.3.1).
func checkLabels(host string) string {
	if host == "" {
		return "the host is missing"
	}
	if len(host) > 253 {
		return "the host name is longer than 253 characters"
	}
	for rest, more := host, true; more; {
		var label string
		label, rest, more = strings.Cut(rest, ".")
		switch {
		case label == "":
			return "the host name has an empty label"
		case len(label) > 63:
			return "the host name has a label of more than 63 characters"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "a label of a host name does not begin or end with a hyphen"
		case len(label) > 3 && label[2:4] == "--" && label[:2] != "xn":
			return "a label of a host name has no hyphens in the third and fourth place"
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return "a host name is letters, digits, hyphens and dots"
			}
		}
	}
	return ""
}

// numericLabel reports whether a resolver might read a name that ends in this label as an IPv4 address: digits, or hexadecimal
// after 0x (the WHATWG URL standard's ends-in-a-number check).
func numericLabel(label string) bool {
	digits, hex := strings.CutPrefix(label, "0x")
	for i := range len(digits) {
		c := digits[i]
		if c >= '0' && c <= '9' || hex && c >= 'a' && c <= 'f' {
			continue
		}
		return false
	}
	return true
}

// canonicalIPv6 reads "[…]". An IPv4-mapped address is another spelling of an IPv4 address, so it is refused.
func canonicalIPv6(raw string) (string, netip.Addr, string) {
	inner, ok := strings.CutSuffix(raw[1:], "]")
	addr, err := netip.ParseAddr(inner)
	switch {
	case strings.Contains(inner, "%"):
		return "", netip.Addr{}, "an address has no zone"
	case !ok || err != nil || !addr.Is6():
		return "", netip.Addr{}, "brackets hold one IPv6 address"
	case addr.Is4In6():
		return "", netip.Addr{}, "an IPv4 address is written without ::ffff: and brackets"
	}
	return addr.String(), addr, ""
}
