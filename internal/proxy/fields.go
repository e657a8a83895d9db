package proxy

import (
	"strings"

	"github.com/keybearer/keybearer"
)

// filter says which fields of a request go on to the destination. It is made anew for each request.
type filter struct {
	inject    string          // name of the injected field
	nominated map[string]bool // names in Connection, folded; nil: none
	cookies   bool
	trace     bool
	strict    bool // the rule has methods or a path: nothing may override either behind it
	scrub     bool // bodies of answers
	upgrade   bool // it is to become a WebSocket
	foreign   recognize
}

// fold makes names that some server takes for one and the same equal: lower case, "_" and "." as "-", since CGI and its heirs write all
// three as "_".
func fold(name string) string {
	for i := range len(name) {
		if c := name[i]; c == '_' || c == '.' || c >= 'A' && c <= 'Z' {
			return aliases.Replace(strings.ToLower(name))
		}
	}
	return name
}

var aliases = strings.NewReplacer("_", "-", ".", "-")

// dropped are the request fields that never go on, folded: hop-by-hop ones (RFC 9110 section 7.6.1), those that speak
// for a proxy, and Expect, which is answered here.
var dropped = map[string]bool{
	"connection": true, "keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true,
	"upgrade": true, "http2-settings": true, "expect": true, "host": true, "content-length": true,
	"forwarded": true, "via": true, "max-forwards": true,
}

var overrides = map[string]bool{
	"x-http-method-override": true, "x-http-method": true, "x-method-override": true,
	"x-original-url": true, "x-rewrite-url": true, "x-original-uri": true, "x-rewrite-uri": true, "x-original-method": true,
}

// nominate collects the names that the request's own Connection fields strip.
func (f *filter) nominate(fields []Field) {
	for _, h := range fields {
		if !strings.EqualFold(h.Name, "Connection") && !strings.EqualFold(h.Name, "Proxy-Connection") {
			continue
		}
		for name := range strings.SplitSeq(h.Value, ",") {
			if name = fold(strings.TrimSpace(name)); name != "" && name != "close" && name != "keep-alive" {
				if f.nominated == nil {
					f.nominated = map[string]bool{}
				}
				f.nominated[name] = true
			}
		}
	}
}

// keep returns the value with which a request field goes on, and false when it does not.
func (f *filter) keep(name, value string) (string, bool) {
	n := fold(name)
	switch {
	case dropped[n], n == f.inject, f.nominated[n],
		strings.HasPrefix(n, tagPrefix), strings.HasPrefix(n, "proxy-"), strings.HasPrefix(n, "x-forwarded-"),
		f.strict && overrides[n],
		n == "authorization" && ofConnection(value),
		f.scrub && unscrubbable[n],
		f.upgrade && (n == "sec-websocket-key" || n == "sec-websocket-version"), // see Pass.Upgrade
		holdsToken(n, value), f.foreign.holds(value):
		return "", false
	case n == "cookie":
		if !f.cookies {
			return "", false
		}
		value = dropSession(value)
		return value, value != ""
	case n == "traceparent", n == "tracestate", n == "baggage":
		return value, f.trace
	}
	return value, true
}

// ofConnection reports whether a proof is for a connection and not for a request (RFC 4559 section 6, NTLM). Connections to a destination are
// shared: whoever comes next on one would be taken for the app that proved itself before.
func ofConnection(authorization string) bool {
	scheme, _, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	return strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate")
}

// holdsToken reports whether a value carries a token of ours, whatever the field: it must not reach anybody else.
func holdsToken(name, value string) bool {
	if keybearer.ContainsToken(value) {
		return true
	}
	if name == "authorization" {
		pair, _ := basic(value) // as far as it can be read
		return keybearer.ContainsToken(pair)
	}
	return false
}

// SessionCookie is the prefix of the console's cookie names. No such cookie ever leaves.
const SessionCookie = "__Host-keybearer"

func dropSession(cookies string) string {
	if !strings.Contains(cookies, SessionCookie) {
		return cookies
	}
	var kept []string
	for pair := range strings.SplitSeq(cookies, ";") {
		if pair = strings.TrimSpace(pair); pair != "" && !strings.HasPrefix(pair, SessionCookie) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}

// answerDropped are the fields of a destination's answer that never come back, folded.
var answerDropped = map[string]bool{
	"connection": true, "keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
	"proxy-status": true, // comes back without the members that would speak for us
}

// keepAnswer reports whether a field of the destination's answer comes back.
func keepAnswer(name string, nominated map[string]bool) bool {
	n := fold(name)
	if answerDropped[n] || nominated[n] || strings.HasPrefix(n, tagPrefix) || strings.HasPrefix(n, "proxy-") {
		return false
	}
	return true
}
