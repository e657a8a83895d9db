package policy

import (
	"net/netip"
	"strings"

	"github.com/keybearer/keybearer"
)

// Target is the destination of one request in canonical form, before any rule is consulted. Only the Parse functions make
// one; its strings share memory with what they were given. The zero value is admitted by nothing.
type Target struct {
	Scheme   string     // "https" or "http", as asked for
	Literal  bool       // Scheme is meant as written; false: http means https, unless only an http rule admits host and port
	Host     string     // A-labels in lower case, or an IP literal without brackets
	Addr     netip.Addr // valid when Host is an IP literal
	Port     uint16     // 0: none was written
	Path     string     // the exact bytes to be sent, beginning with "/"
	Query    string     // the exact bytes to be sent after "?"
	HasQuery bool       // there was a "?", so that one is sent even before an empty query
}

// Destination is what is dialled, verified, named in Host and audited. It is fixed by the decision and never changes after.
// The zero value is nowhere.
type Destination struct {
	Scheme string     // "https" or "http"
	Host   string     // as in Target
	Addr   netip.Addr // valid when Host is an IP literal
	Port   uint16     // always written out
}

// String returns "scheme://host[:port]", the default port left out.
func (d Destination) String() string {
	return d.Scheme + "://" + keybearer.JoinHost(d.Scheme, d.Host, d.Port)
}

// HostPort returns "host:port" with the port always written.
func (d Destination) HostPort() string { return keybearer.JoinHost("", d.Host, d.Port) }

// as returns the destination of t when it is served with the scheme. A literal scheme keeps its port; in proxy mode port 80, or
// none, is the scheme's own.
func (t *Target) as(scheme string) Destination {
	port := t.Port
	if port == 0 || port == 80 && !t.Literal {
		port = keybearer.DefaultPort(scheme)
	}
	return Destination{scheme, t.Host, t.Addr, port}
}

// fallback is the destination of t as long as no rule says otherwise.
func (t *Target) fallback() Destination {
	if t.Literal {
		return t.as(t.Scheme)
	}
	return t.as("https")
}

// ParseAbsolute reads the absolute-form request-target of proxy mode (RFC 9112 section 3.2.2), "http://host[:port]/path?query".
// Anything that is not canonical, user information included, is [keybearer.DestinationInvalid].
func ParseAbsolute(target string) (Target, error) {
	scheme, rest, ok := cutScheme(target)
	if !ok {
		return Target{}, invalid("the destination does not begin with http:// or https://")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	t := Target{Scheme: scheme, Literal: scheme == "https"}
	if why := t.setAuthority(rest[:end]); why != "" {
		return Target{}, invalid(why)
	}
	if why := t.setPath(rest[end:]); why != "" {
		return Target{}, invalid(why)
	}
	return t, nil
}

// ParseAuthority reads the authority-form of CONNECT (RFC 9112 section 3.2.3), "host:port". The port must be written. Errors
// are [keybearer.DestinationInvalid].
func ParseAuthority(authority string) (host string, addr netip.Addr, port uint16, err error) {
	var t Target
	why := t.setAuthority(authority)
	if why == "" && t.Port == 0 {
		why = "CONNECT needs a port"
	}
	if why != "" {
		return "", netip.Addr{}, 0, invalid(why)
	}
	return t.Host, t.Addr, t.Port, nil
}

// ParseOrigin reads a destination "scheme://host[:port]", as Keybearer-Destination and the destination option give it,
// and an origin-form request-target (RFC 9112 section 3.2.1), "/path?query". The scheme is literal. Errors are
// [keybearer.DestinationInvalid].
func ParseOrigin(destination, target string) (Target, error) {
	scheme, authority, ok := cutScheme(destination)
	if !ok {
		return Target{}, invalid("the destination does not begin with http:// or https://")
	}
	if strings.ContainsAny(authority, "/?#") {
		return Target{}, invalid("the destination is scheme://host[:port] alone; the path is the request's own")
	}
	t := Target{Scheme: scheme, Literal: true}
	if why := t.setAuthority(authority); why != "" {
		return Target{}, invalid(why)
	}
	if !strings.HasPrefix(target, "/") {
		return Target{}, invalid("the path does not begin with a slash")
	}
	if why := t.setPath(target); why != "" {
		return Target{}, invalid(why)
	}
	return t, nil
}

func invalid(why string) error { return keybearer.NewError(keybearer.DestinationInvalid, why) }

// cutScheme splits "http://…" and "https://…"; schemes are case-insensitive (RFC 3986 section 3.1).
func cutScheme(s string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(s, "://")
	switch {
	case !ok:
	case strings.EqualFold(scheme, "https"):
		return "https", rest, true
	case strings.EqualFold(scheme, "http"):
		return "http", rest, true
	}
	return "", "", false
}

// setAuthority reads "host[:port]".
func (t *Target) setAuthority(authority string) (why string) {
	host, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		host, port = authority[:i], authority[i+1:]
		if t.Port, why = parsePort(port); why != "" {
			return why
		}
	}
	t.Host, t.Addr, why = canonicalHost(host)
	return why
}

// parsePort reads a port without sign or leading zeros.
func parsePort(s string) (uint16, string) {
	n := 0
	for i := range len(s) {
		if c := s[i]; c < '0' || c > '9' || i == 5 || n == 0 && c == '0' {
			n = 0
			break
		}
		n = n*10 + int(s[i]-'0')
	}
	if n == 0 || n > 65535 {
		return 0, "a port is a number from 1 to 65535 without leading zeros, or left out together with its colon"
	}
	return uint16(n), ""
}

// setPath reads "path[?query]". The bytes stay as they are: what is judged is what is sent.
func (t *Target) setPath(s string) (why string) {
	t.Path, t.Query, t.HasQuery = strings.Cut(s, "?")
	if t.Path == "" {
		t.Path = "/"
	}
	if why := checkPath(t.Path); why != "" {
		return why
	}
	return checkGraphic(t.Query)
}

// checkPath refuses what cannot stand in a path, whatever the rules say: bytes beyond printable ASCII, "#", backslash
// and a percent sign that begins no escape.
func checkPath(path string) string {
	if why := checkGraphic(path); why != "" {
		return why
	}
	if strings.IndexByte(path, '\\') >= 0 {
		return "the path holds a backslash"
	}
	for rest := path; ; {
		i := strings.IndexByte(rest, '%')
		if i < 0 {
			return ""
		}
		if len(rest) < i+3 || !isHex(rest[i+1]) || !isHex(rest[i+2]) {
			return "the path holds a percent sign without two hexadecimal digits"
		}
		rest = rest[i+3:]
	}
}

func checkGraphic(s string) string {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f {
			return "path and query hold printable ASCII characters only, others percent-encoded"
		} else if c == '#' {
			return "a destination has no fragment"
		}
	}
	return ""
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }
