package policy

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/publicsuffix"

	"github.com/keybearer/keybearer"
)

// Reach is what all addresses of a destination amount to, as package dial found them.
type Reach uint8

// The reaches.
const (
	Unresolved Reach = iota // not known yet: addresses are not judged
	Public                  // every address is an ordinary one
	Listed                  // every address is a special one that the operator lists in allow_private
	Denied                  // some address is special and not listed, or both sorts are mixed
)

// String returns the name of the reach.
func (r Reach) String() string {
	switch r {
	case Unresolved:
		return "unresolved"
	case Public:
		return "public"
	case Listed:
		return "listed"
	}
	return "denied"
}

// Admission is what the rules say to one request.
type Admission struct {
	Code        keybearer.Code  // empty: admitted. Ask Allowed, which the zero value does not pass
	Rule        *keybearer.Rule // the first rule in canonical order that admits it; nil when refused. Shared: do not modify
	Destination Destination     // with scheme and port settled; also set when refused
}

// Allowed reports whether a rule admits the request.
func (a *Admission) Allowed() bool { return a.Code == "" && a.Rule != nil }

// DropOverrides reports whether headers that override the method or the URL must be removed, because the rule
// restricts methods or paths.
func (a *Admission) DropOverrides() bool { return a.Rule != nil && restricts(a.Rule) }

// Admit judges the rules of the terms alone. One rule must admit scheme, host, port, path, method and all addresses by itself. With
// reach [Unresolved] the addresses are not judged yet. It returns one of
//
//   - [keybearer.DestinationNotAllowed]: no rule admits scheme, host, port and path;
//   - [keybearer.AddressDenied]: only the addresses are in the way, or both they and the method in every rule;
//   - [keybearer.MethodNotAllowed]: only the method is in the way.
//
// The scheme and the port of a target that is not Literal are settled by host and port alone: https, unless only http rules admit
// them. So a path or method that an https rule refuses never makes the request go out in clear. Nil terms or target
// are refused.
func Admit(terms *keybearer.Terms, t *Target, method string, reach Reach) Admission {
	if t == nil {
		return Admission{Code: keybearer.DestinationInvalid}
	}
	a := Admission{Code: keybearer.DestinationNotAllowed, Destination: t.fallback()}
	if terms == nil {
		return a
	}
	a.Destination = settle(terms.Rules, t)
	a.Code, a.Rule = admitAt(terms.Rules, &a.Destination, t.Path, method, reach)
	return a
}

// admitAt returns the first rule that admits a settled destination, or why none does.
func admitAt(rules []keybearer.Rule, d *Destination, path, method string, reach Reach) (keybearer.Code, *keybearer.Rule) {
	best := hostDiffers
	for i := range rules {
		r := &rules[i]
		m := compare(r, d, path, method, reach)
		if m == 0 {
			return "", r
		}
		if m.weight() < best.weight() {
			best = m
		}
	}
	return best.code(), nil
}

// settle fixes scheme and port.
func settle(rules []keybearer.Rule, t *Target) Destination {
	d := t.fallback()
	if t.Literal {
		return d
	}
	bare, inClear := t.as("http"), false
	for i := range rules {
		if admitsEndpoint(&rules[i], &d) {
			return d
		}
		inClear = inClear || admitsEndpoint(&rules[i], &bare)
	}
	if inClear {
		return bare
	}
	return d
}

// mismatch is the set of reasons why a rule does not admit a request; 0 when it does.
type mismatch uint8

const (
	methodDiffers  mismatch = 1 << iota
	addressDiffers          // from what private allows
	pathUnclear             // the rule restricts and the path could be read in two ways
	pathDiffers
	hostDiffers // scheme, host or port
)

// weight orders mismatches by how far the rule is from admitting: address alone, method alone, both, anything else.
func (m mismatch) weight() int {
	switch m {
	case addressDiffers:
		return 1
	case methodDiffers:
		return 2
	case addressDiffers | methodDiffers:
		return 3
	}
	return 4
}

func (m mismatch) code() keybearer.Code {
	switch m.weight() {
	case 1, 3:
		return keybearer.AddressDenied
	case 2:
		return keybearer.MethodNotAllowed
	}
	return keybearer.DestinationNotAllowed
}

func compare(r *keybearer.Rule, d *Destination, path, method string, reach Reach) (m mismatch) {
	if !admitsEndpoint(r, d) {
		return hostDiffers
	}
	if !admitsPath(r.Path, path) {
		m |= pathDiffers
	} else if restricts(r) && !plainPath(path) {
		m |= pathUnclear
	}
	if !admitsMethod(r.Methods, method) {
		m |= methodDiffers
	}
	if reach != Unresolved && (reach != Public || r.Private) && (reach != Listed || !r.Private) {
		m |= addressDiffers
	}
	return m
}

func admitsEndpoint(r *keybearer.Rule, d *Destination) bool {
	return r.Scheme == d.Scheme && r.Port == d.Port && d.Port != 0 && admitsHost(r.Host, d.Host, d.Addr.IsValid())
}

// admitsHost compares label by label. No wildcard stands for an address, or reaches below a public suffix: "**.amazonaws.com" does not admit
// what somebody calls theirs below s3.amazonaws.com.
func admitsHost(pattern, host string, literal bool) bool {
	wild, suffix := cutWildcard(pattern)
	if wild == "" || literal {
		return host == pattern && host != ""
	}
	front, ok := strings.CutSuffix(host, suffix)
	if !ok || len(front) < 2 || front[len(front)-1] != '.' {
		return false
	}
	dot := strings.IndexByte(front, '.')
	return dot == len(front)-1 || dot > 0 && wild == "**." && !crossesSuffix(host[dot+1:], suffix)
}

// crossesSuffix reports whether a name that ends in the suffix is, or lies below, a public suffix that lies below that suffix. It allocates
// once, in the list; of the patterns only "**." with two labels or more in front comes to it.
func crossesSuffix(name, suffix string) bool {
	public, _ := publicsuffix.PublicSuffix(name)
	return len(public) > len(suffix)
}

// cutWildcard splits "*.suffix" and "**.suffix".
func cutWildcard(pattern string) (wild, suffix string) {
	for _, w := range [...]string{"*.", "**."} {
		if s, ok := strings.CutPrefix(pattern, w); ok && s != "" {
			return w, s
		}
	}
	return "", pattern
}

// admitsPath reports whether path lies at or below prefix, on a boundary of segments.
func admitsPath(prefix, path string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (prefix == "" || rest == "" || rest[0] == '/' || prefix[len(prefix)-1] == '/')
}

func admitsMethod(methods []string, method string) bool {
	return keybearer.ForwardableMethod(method) && (len(methods) == 0 || slices.Contains(methods, method))
}

// restricts reports whether the rule narrows methods or paths, so that a second reading of the request matters.
func restricts(r *keybearer.Rule) bool { return r.Path != "" || len(r.Methods) > 0 }

// plainPath reports whether every destination reads the path in the same way: no "..", "//", ";" or backslash, no encoded dot,
// slash, backslash, percent or NUL, and no escapes that are not UTF-8, such as the overlong dot %c0%ae.
func plainPath(path string) bool {
	escaped := false
	for i := range len(path) {
		switch path[i] {
		case ';', '\\':
			return false
		case '.', '/':
			if i > 0 && path[i-1] == path[i] {
				return false
			}
		case '%':
			if i+2 >= len(path) || ambiguousEscape(path[i+1], path[i+2]) {
				return false
			}
			escaped = escaped || path[i+1] >= '8'
		}
	}
	if !escaped {
		return true
	}
	text, err := url.PathUnescape(path)
	return err == nil && utf8.ValidString(text)
}

func ambiguousEscape(hi, lo byte) bool {
	lo |= 0x20 // digits keep their value
	return hi == '0' && lo == '0' || hi == '2' && (lo == '5' || lo == 'e' || lo == 'f') || hi == '5' && lo == 'c'
}
