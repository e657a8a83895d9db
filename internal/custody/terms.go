package custody

import (
	"net/textproto"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// Destination is a destination rule as it was given.
type Destination struct {
	Rule    string
	Methods []string
	Private bool
}

// parseRules returns the canonical rules, or the first error.
func parseRules(given []Destination) ([]keybearer.Rule, error) {
	if len(given) > maxRules {
		return nil, keybearer.NewError(keybearer.RuleInvalid, "a credential has at most 200 rules")
	}
	rules := make([]keybearer.Rule, 0, len(given))
	for _, d := range given {
		r, err := policy.ParseRule(d.Rule, d.Methods, d.Private)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return policy.CanonicalRules(rules), nil
}

// checkTerms makes kind, header and prefix fit together, and the header's name canonical.
func checkTerms(t *keybearer.Terms) error {
	switch t.Kind {
	case keybearer.Basic, keybearer.Bearer:
		if t.Header != "" || t.Prefix != "" {
			return keybearer.NewError(keybearer.Invalid, "only a credential of kind header has a header and a prefix").
				WithHint("basic and bearer write Authorization")
		}
		return nil
	case keybearer.Header:
	default:
		return keybearer.NewError(keybearer.Invalid, "a kind is one of basic, bearer, header")
	}
	if !validToken(t.Header) {
		return keybearer.NewError(keybearer.Invalid, "kind header needs the name of a header, in letters, digits and '-'").WithHint("for example X-Api-Key")
	}
	t.Header = textproto.CanonicalMIMEHeaderKey(t.Header)
	if reserved(t.Header) {
		return keybearer.NewError(keybearer.Invalid, "this header belongs to the connection or to Keybearer and cannot hold a secret")
	}
	if len(t.Prefix) > 64 || strings.HasPrefix(t.Prefix, " ") || strings.IndexFunc(t.Prefix, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return keybearer.NewError(keybearer.Invalid, "a prefix is at most 64 printable ASCII characters and does not begin with a blank")
	}
	return nil
}

// validToken reports whether s is an RFC 9110 token of at most 128 bytes.
func validToken(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return true
}

// reservedNames are headers that frame the message, name its target or its sender, or are removed on the way. Names are compared
// with '_' as '-', as some servers read them.
var reservedNames = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Te", "Trailer", "Trailers", "Upgrade",
	"Expect", "Cookie", "Set-Cookie", "Forwarded", "Via", "Origin", "Referer", "Date", "Range", "Http2-Settings",
	"Accept-Encoding", "Content-Type", "Content-Encoding", "User-Agent",
	"X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url",
}

var reservedPrefixes = []string{"Proxy-", "Keybearer-", "X-Forwarded-", "Sec-", "Access-Control-"}

func reserved(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
	return slices.Contains(reservedNames, name) ||
		slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// narrowPrevious takes from the previous version's terms what this change took from the current ones, so that a rollback does not
// bring back what was taken away since.
func (ch *change) narrowPrevious() {
	prev := ch.next.Previous
	if prev == nil {
		return
	}
	before, after := &ch.was.Current.Terms, &ch.next.Current.Terms
	covered := func(by []keybearer.Rule, r keybearer.Rule) bool {
		return slices.ContainsFunc(by, func(o keybearer.Rule) bool { return policy.Covers(o, r) })
	}
	gone := slices.DeleteFunc(slices.Clone(before.Rules), func(r keybearer.Rule) bool { return covered(after.Rules, r) })
	var kept []keybearer.Rule
	for _, r := range prev.Terms.Rules {
		if !covered(gone, r) {
			kept = append(kept, r)
			continue
		}
		for _, left := range after.Rules { // what is left of it
			if policy.Covers(r, left) {
				kept = append(kept, left)
			}
		}
	}
	prev.Terms.Rules = policy.CanonicalRules(kept)
	prev.Terms.RequireUser = prev.Terms.RequireUser || after.RequireUser && !before.RequireUser
	prev.Terms.WebSocket = prev.Terms.WebSocket && (after.WebSocket || !before.WebSocket)
}
