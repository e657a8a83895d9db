package vectors

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// algorithms are those by which a JWT may be signed (RFC 7518 section 3.1, RFC 8037): never one with a shared key.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// The library that reads JWTs takes what it is to take, and nothing else, in the way in which it is called: the compact form, a key whose use is to
// sign, chosen by kid and of the algorithm that the key is for.
func TestWycheproofJWS(t *testing.T) {
	for _, name := range []string{"json_web_signature", "json_web_key", "json_web_crypto"} {
		t.Run(name, func(t *testing.T) {
			tally := NewTally(t, name)
			for _, g := range Read(t, name) {
				keys, symmetric := keySet(t, g)
				for _, x := range g.Tests {
					if x.Fields["jws"] == nil {
						continue // encryption, which is refused as a whole
					}
					var text string
					if err := json.Unmarshal(x.Fields["jws"], &text); err != nil {
						continue // the JSON form, which is refused as a whole
					}
					taken := verify(text, keys)
					tally.Judge(x, taken, explain(x, taken, symmetric))
				}
			}
		})
	}
}

// explain says why it is right that a test does not come out as its author has it.
func explain(x Test, taken, symmetric bool) string {
	switch {
	case !taken && x.Result == "valid" && symmetric:
		return "a shared key: no such algorithm is ever allowed"
	case taken && x.Result == "invalid" && strings.Contains(x.Note, "Roca"):
		return "the key was made by a broken chip: whoever publishes such keys is no issuer to trust, and the signature is right"
	case !taken && x.Result == "valid" && (x.Note == "Figure20" || x.Note == "Figure27"):
		return "the set says that the key is for another algorithm, or for one that does not exist (ES521)"
	}
	return explainSalt(x, taken)
}

// explainSalt is for RSASSA-PSS with a salt of another length than RFC 7518 section 3.5 asks for. The library takes it. Only whoever has the private
// key can make such a signature.
func explainSalt(x Test, taken bool) string {
	if taken && x.Result == "invalid" && (strings.HasPrefix(x.Note, "s_len changed to ") || x.Note == "SaltLenChanged") {
		return "a salt of another length"
	}
	return ""
}

// keySet returns the public keys of a group that may verify, and whether it has shared ones.
func keySet(t *testing.T, g Group) (keys []jose.JSONWebKey, symmetric bool) {
	raw := g.Fields["public"]
	if raw == nil {
		raw = g.Fields["private"]
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{raw}
	}
	for _, raw := range set.Keys {
		var about struct {
			Operations []string `json:"key_ops"`
			Type       string   `json:"kty"`
		}
		if err := json.Unmarshal(raw, &about); err != nil {
			t.Fatal(err)
		}
		symmetric = symmetric || about.Type == "oct"
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" ||
			about.Operations != nil && !slices.Contains(about.Operations, "verify") {
			continue
		}
		if r, ok := k.Key.(*rsa.PublicKey); ok && r.N.BitLen() < 2048 {
			continue
		}
		keys = append(keys, k)
	}
	return keys, symmetric
}

func verify(text string, keys []jose.JSONWebKey) bool {
	jws, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return false
	}
	head := jws.Signatures[0].Protected
	if head.JSONWebKey != nil {
		return false // it brings its own
	}
	for _, k := range keys {
		if k.KeyID != head.KeyID || k.Algorithm != "" && k.Algorithm != head.Algorithm {
			continue
		}
		if _, err := jws.Verify(k.Key); err == nil {
			return true
		}
	}
	return false
}

// What stands under the library: signatures over any bytes, with the calls that it makes.
func TestWycheproofSignatures(t *testing.T) {
	for name, check := range map[string]func(key any, message, signature []byte) bool{
		"ecdsa_secp256r1_sha256_p1363": curve(crypto.SHA256),
		"ecdsa_secp384r1_sha384_p1363": curve(crypto.SHA384),
		"ecdsa_secp521r1_sha512_p1363": curve(crypto.SHA512),
		"ed25519": func(key any, message, signature []byte) bool {
			return ed25519.Verify(key.(ed25519.PublicKey), message, signature)
		},
		"rsa_signature_2048_sha256":   pkcs1(crypto.SHA256),
		"rsa_signature_2048_sha384":   pkcs1(crypto.SHA384),
		"rsa_signature_2048_sha512":   pkcs1(crypto.SHA512),
		"rsa_signature_3072_sha256":   pkcs1(crypto.SHA256),
		"rsa_signature_4096_sha512":   pkcs1(crypto.SHA512),
		"rsa_pss_2048_sha256_mgf1_32": pss(crypto.SHA256),
		"rsa_pss_2048_sha384_mgf1_48": pss(crypto.SHA384),
		"rsa_pss_3072_sha256_mgf1_32": pss(crypto.SHA256),
		"rsa_pss_4096_sha512_mgf1_64": pss(crypto.SHA512),
	} {
		t.Run(name, func(t *testing.T) {
			tally := NewTally(t, name)
			for _, g := range Read(t, name) {
				key, err := x509.ParsePKIXPublicKey(Bytes(t, g.Fields, "publicKeyDer"))
				for _, x := range g.Tests {
					taken := err == nil && check(key, Bytes(t, x.Fields, "msg"), Bytes(t, x.Fields, "sig"))
					tally.Judge(x, taken, explainSalt(x, taken))
				}
			}
		})
	}
}

func digest(h crypto.Hash, message []byte) []byte {
	d := h.New()
	d.Write(message)
	return d.Sum(nil)
}

// curve takes the signature as JWS has it: two numbers of the curve's size, one after the other.
func curve(h crypto.Hash) func(any, []byte, []byte) bool {
	return func(key any, message, signature []byte) bool {
		k := key.(*ecdsa.PublicKey)
		size := (k.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(k, digest(h, message), r, s)
	}
}

func pkcs1(h crypto.Hash) func(any, []byte, []byte) bool {
	return func(key any, message, signature []byte) bool {
		return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), h, digest(h, message), signature) == nil
	}
}

func pss(h crypto.Hash) func(any, []byte, []byte) bool {
	return func(key any, message, signature []byte) bool {
		return rsa.VerifyPSS(key.(*rsa.PublicKey), h, digest(h, message), signature, nil) == nil
	}
}
