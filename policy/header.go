package policy

import (
	"net/textproto"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
)

// CheckHeader returns the canonical name of the header that a credential of the kind writes, "" where the kind itself says which. Kind, header and
// prefix that do not fit together, and a header that cannot hold a secret, are [keybearer.Invalid] in the field "kind", "header" or "prefix".
func CheckHeader(kind keybearer.Kind, header, prefix string) (string, error) {
	switch kind {
	case keybearer.Basic, keybearer.Bearer:
		if header != "" || prefix != "" {
			field := "header"
			if header == "" {
				field = "prefix"
			}
			return "", keybearer.NewError(keybearer.Invalid, "only a credential of kind header has a header and a prefix").
				WithHint("basic and bearer write Authorization").In(field)
		}
		return "", nil
	case keybearer.Header:
	default:
		return "", keybearer.NewError(keybearer.Invalid, "a kind is one of basic, bearer, header").In("kind")
	}
	if !validToken(header) {
		return "", keybearer.NewError(keybearer.Invalid, "kind header needs the name of a header, in letters, digits and '-'").WithHint("for example X-Api-Key").In("header")
	}
	header = textproto.CanonicalMIMEHeaderKey(header)
	if reserved(header) {
		return "", keybearer.NewError(keybearer.Invalid, "this header belongs to the connection or to Keybearer and cannot hold a secret").In("header")
	}
	if len(prefix) > 64 || strings.HasPrefix(prefix, " ") || strings.IndexFunc(prefix, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return "", keybearer.NewError(keybearer.Invalid, "a prefix is at most 64 printable ASCII characters and does not begin with a blank").In("prefix")
	}
	return header, nil
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
