package keybearer

import (
	"strconv"
	"strings"
)

// Rule admits destinations. It is always canonical: package policy parses and matches rules, and nothing
// else builds one. The zero value admits nothing.
type Rule struct {
	Scheme  string   `json:"scheme"`            // "https" or "http"
	Host    string   `json:"host"`              // A-labels or an IP literal without brackets; "*.x" one label, "**.x" one or more
	Port    uint16   `json:"port"`              // always written out
	Path    string   `json:"path,omitempty"`    // prefix on segment boundaries; "" admits every path
	Methods []string `json:"methods,omitempty"` // sorted; empty admits every method that Keybearer forwards
	Private bool     `json:"private,omitempty"` // reaches addresses in allow_private, and only those
}

// DefaultPort returns 443 for https, 80 for http and 0 for anything else.
func DefaultPort(scheme string) uint16 {
	switch scheme {
	case "https":
		return 443
	case "http":
		return 80
	}
	return 0
}

// String returns the canonical text, "https://api.example.com/hook"; the default port is left out, methods
// and private are not part of it.
func (r Rule) String() string {
	var b strings.Builder
	b.WriteString(r.Scheme)
	b.WriteString("://")
	b.WriteString(JoinHost(r.Scheme, r.Host, r.Port))
	b.WriteString(r.Path)
	return b.String()
}

// JoinHost returns host, with brackets around an IPv6 literal and with the port unless it is the scheme's
// default. With an empty scheme the port is always written.
func JoinHost(scheme, host string, port uint16) string {
	if strings.IndexByte(host, ':') >= 0 {
		host = "[" + host + "]"
	}
	if port == DefaultPort(scheme) {
		return host
	}
	return host + ":" + strconv.Itoa(int(port))
}

// Methods are the methods that Keybearer forwards, sorted.
var Methods = []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}

// ForwardableMethod reports whether Keybearer forwards the method. Methods are case-sensitive (RFC 9110 section 9.1).
func ForwardableMethod(m string) bool {
	switch m {
	case "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT":
		return true
	}
	return false
}
