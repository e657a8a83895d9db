package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	maxKeys     = 64      // of an issuer
	maxNameless = 8       // keys that a JWT which names none is tried with
	minRSA      = 2048    // bits
	maxVerified = 1 << 12 // JWTs of which it is remembered that they are genuine
)

// keySet are the public keys of an issuer, as one document gave them, and the JWTs that were found genuine by them. The keys are immutable.
type keySet struct {
	keys []publicKey

	mu      sync.RWMutex
	genuine map[[sha256.Size]byte]*claims
}

type publicKey struct {
	id  string // "" if it has none
	alg jose.SignatureAlgorithm
	key any
}

// parseKeys reads a JWK set (RFC 7517). It leaves out what no JWT may be verified with: keys that are for something else, of a kind that is not
// known, too short or not public. A set that is left without keys is one by which nobody is believed.
func parseKeys(document []byte) (*keySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil || set.Keys == nil {
		return nil, errors.New(`it is not a JWK set, {"keys": [...]}`)
	}
	if len(set.Keys) > maxKeys {
		return nil, errors.New("it holds more than 64 keys")
	}
	s := &keySet{genuine: map[[sha256.Size]byte]*claims{}}
	for _, raw := range set.Keys {
		var about struct {
			Operations []string `json:"key_ops"`
		}
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &about) != nil || json.Unmarshal(raw, &k) != nil || !k.Valid() ||
			k.Use != "" && k.Use != "sig" || about.Operations != nil && !slices.Contains(about.Operations, "verify") {
			continue
		}
		if r, ok := k.Key.(*rsa.PublicKey); ok && r.N.BitLen() < minRSA {
			continue
		}
		if slices.ContainsFunc(algorithms, func(alg jose.SignatureAlgorithm) bool { return fits(alg, k.Key) }) {
			s.keys = append(s.keys, publicKey{k.KeyID, jose.SignatureAlgorithm(k.Algorithm), k.Key})
		}
	}
	return s, nil
}

// algorithms are those that an operator may allow: signatures with a public key (RFC 7518 section 3.1, RFC 8037).
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// fits reports whether the algorithm is one for a public key of this type, and on this curve.
func fits(alg jose.SignatureAlgorithm, key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch alg {
		case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512:
			return true
		}
	case *ecdsa.PublicKey:
		switch alg {
		case jose.ES256:
			return key.Curve == elliptic.P256()
		case jose.ES384:
			return key.Curve == elliptic.P384()
		case jose.ES512:
			return key.Curve == elliptic.P521()
		}
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

// named returns the keys that the header names and that fit its algorithm: all that fit when it names none. known says that there is a key
// of that name at all.
func (s *keySet) named(id string, alg jose.SignatureAlgorithm) (fitting []any, known bool) {
	for _, k := range s.keys {
		if id != "" && k.id != id {
			continue
		}
		known = true
		if fits(alg, k.key) && (k.alg == "" || k.alg == alg) {
			fitting = append(fitting, k.key)
		}
	}
	return fitting, known
}

// recall returns the claims of a JWT that was found genuine before, or nil.
func (s *keySet) recall(sum [sha256.Size]byte) *claims {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.genuine[sum]
}

// remember notes that a JWT is genuine. When there are too many, some are forgotten, whichever.
func (s *keySet) remember(sum [sha256.Size]byte, c *claims) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.genuine) >= maxVerified {
		n := 0
		for old := range s.genuine {
			delete(s.genuine, old)
			if n++; n == maxVerified/8 {
				break
			}
		}
	}
	s.genuine[sum] = c
}
