package keybearer

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// GlobalScope is the name of the scope that exists from the start and whose credentials every caller
// may be granted.
const GlobalScope = "global"

// Ref names a credential: a scope and a name, or their opaque ids. Lookup is exact, and a name never
// falls through from a scope to [GlobalScope]. The zero value names nothing.
type Ref struct {
	Scope string // name or "scp_…"
	Name  string // name or "crd_…"
}

// String returns "<scope>/<name>".
func (r Ref) String() string { return r.Scope + "/" + r.Name }

// MarshalText returns "<scope>/<name>".
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// ParseRef parses "<scope>/<name>"; ids are accepted in place of names. It returns an [Invalid] error.
func ParseRef(s string) (Ref, error) {
	scope, name, ok := strings.Cut(s, "/")
	if !ok || !(ValidScopeName(scope) || IsID(scope, IDScope)) || !(ValidName(name) || IsID(name, IDCredential)) {
		return Ref{}, NewError(Invalid, "a credential is named <scope>/<name>, in lower-case letters, digits and '-'").
			WithHint("for example docs/crm")
	}
	return Ref{scope, name}, nil
}

// ValidScopeName reports whether s is [a-z0-9][a-z0-9-]{0,62}.
func ValidScopeName(s string) bool { return validName(s, "-") }

// ValidName reports whether s is [a-z0-9][a-z0-9._-]{0,62}: the form of credential and caller names.
func ValidName(s string) bool { return validName(s, "-._") }

// maxOperatorName is that of an e-mail address (RFC 5321 section 4.5.3.1.3).
const maxOperatorName = 254

// ValidOperatorName reports whether s is what ValidName takes, or an e-mail address in lower case: identity providers call people by them.
func ValidOperatorName(s string) bool {
	local, domain, address := strings.Cut(s, "@")
	if !address {
		return ValidName(s)
	}
	return len(s) <= maxOperatorName && ofName(local, "-._+") && ofName(domain, "-.")
}

func validName(s, inner string) bool { return len(s) <= 63 && ofName(s, inner) }

// ofName reports whether s is not empty and holds lower-case letters and digits, and inner behind the first.
func ofName(s, inner string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || i > 0 && strings.IndexByte(inner, c) >= 0 {
			continue
		}
		return false
	}
	return true
}

// Prefixes of opaque ids. The underscore keeps scope ids apart from names; a credential's name may not
// begin with "crd_", nor a caller's with "cal_", nor an operator's with "opr_".
const (
	IDScope      = "scp_"
	IDCredential = "crd_"
	IDCaller     = "cal_"
	IDOperator   = "opr_"
	IDToken      = "tok_"
	IDRequest    = "req_"
	IDTrial      = "try_"
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const idLength = 26 // 16 random bytes

// NewID returns a new opaque id with the prefix: 128 random bits, never reused.
func NewID(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:])      // never fails (crypto/rand)
	var text [4 + idLength]byte // with the usual prefix: only the string itself is allocated
	return string(base32Lower.AppendEncode(append(text[:0], prefix...), b[:]))
}

// IsID reports whether s has the form of an id with the prefix.
func IsID(s, prefix string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) != idLength {
		return false
	}
	return isBase32(rest)
}

func isBase32(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}
