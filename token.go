package keybearer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Prefixes of the tokens that are presented to Keybearer.
const (
	CallerTokenPrefix   = "kb_"
	OperatorTokenPrefix = "kbo_"
)

// TokenHash is the SHA-256 of a token. Tokens are 256 random bits, so a plain hash is enough, and the
// look-up by hash takes the same time whatever is presented.
type TokenHash [sha256.Size]byte

// HashToken returns the hash under which a token is stored.
func HashToken(token string) TokenHash { return sha256.Sum256([]byte(token)) }

// MarshalText returns the hash in hexadecimal.
func (h TokenHash) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *TokenHash) UnmarshalText(b []byte) error {
	n, err := hex.Decode(h[:], b)
	if err != nil || n != len(h) {
		return NewError(Invalid, "a token hash is 64 hexadecimal digits")
	}
	return nil
}

// Token is what is kept of a token: never the token itself.
type Token struct {
	ID        string    `json:"id"`
	Hash      TokenHash `json:"hash"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: never
}

// Live reports whether the token may still be presented at the given time.
func (t *Token) Live(now time.Time) bool { return t.ExpiresAt.IsZero() || now.Before(t.ExpiresAt) }

// NewToken makes a token with the prefix. The Secret is shown once, to whoever asked, and forgotten.
func NewToken(prefix string, now time.Time) (Secret, Token) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	text := prefix + base32Lower.EncodeToString(b[:])
	return NewSecret(text), Token{ID: NewID(IDToken), Hash: HashToken(text), CreatedAt: now}
}

// LooksLikeToken reports whether s begins like a caller's or operator's token.
func LooksLikeToken(s string) bool {
	return strings.HasPrefix(s, CallerTokenPrefix) || strings.HasPrefix(s, OperatorTokenPrefix)
}

const tokenLength = 52 // of 32 bytes in base32

// ContainsToken reports whether s holds, anywhere, something of the form of a caller's or operator's token.
func ContainsToken(s string) bool {
	for {
		i := strings.Index(s, "kb")
		if i < 0 {
			return false
		}
		s = s[i+2:]
		rest, ok := strings.CutPrefix(strings.TrimPrefix(s, "o"), "_")
		if ok && len(rest) >= tokenLength && isBase32(rest[:tokenLength]) {
			return true
		}
	}
}
