package identity

import (
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256" // RFC 7518 section 3.5
	_ "crypto/sha512"

	"github.com/go-jose/go-jose/v4"
)

// pssKey verifies RSASSA-PSS with a salt as long as the hash, as RFC 7518 section 3.5 has it. go-jose takes any length.
type pssKey struct{ *rsa.PublicKey }

var _ jose.OpaqueVerifier = pssKey{}

var pssHashes = map[jose.SignatureAlgorithm]crypto.Hash{jose.PS256: crypto.SHA256, jose.PS384: crypto.SHA384, jose.PS512: crypto.SHA512}

// VerifyPayload implements [jose.OpaqueVerifier]; the payload is what the signature is over.
func (k pssKey) VerifyPayload(payload, signature []byte, alg jose.SignatureAlgorithm) error {
	hash, ok := pssHashes[alg]
	if !ok {
		return jose.ErrUnsupportedAlgorithm
	}
	digest := hash.New()
	digest.Write(payload)
	return rsa.VerifyPSS(k.PublicKey, hash, digest.Sum(nil), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
}

// verifier returns what go-jose verifies with by the key.
func verifier(alg jose.SignatureAlgorithm, key any) any {
	if r, ok := key.(*rsa.PublicKey); ok && pssHashes[alg] != 0 {
		return pssKey{r}
	}
	return key
}
