package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/keybearer/keybearer/test/vectors"
)

// By the keys that are taken from a set, what is genuine is taken, and nothing else.
func TestWycheproofJWS(t *testing.T) {
	for _, name := range []string{"json_web_signature", "json_web_key", "json_web_crypto"} {
		t.Run(name, func(t *testing.T) {
			tally := vectors.NewTally(t, name)
			for _, g := range vectors.Read(t, name) {
				keys, symmetric := keySetOf(t, g)
				for _, x := range g.Tests {
					if x.Fields["jws"] == nil {
						continue // encryption, which is refused as a whole
					}
					var text string
					if err := json.Unmarshal(x.Fields["jws"], &text); err != nil {
						continue // the JSON form, which is refused as a whole
					}
					taken := genuine(text, keys)
					tally.Judge(x, taken, explain(x, taken, symmetric))
				}
			}
		})
	}
}

// explain says why it is right that a test does not come out as its author has it.
func explain(x vectors.Test, taken, symmetric bool) string {
	switch {
	case !taken && x.Result == "valid" && symmetric:
		return "a shared key: no such algorithm is ever allowed"
	case taken && x.Result == "invalid" && strings.Contains(x.Note, "Roca"):
		return "the key was made by a broken chip: whoever publishes such keys is no issuer to trust, and the signature is right"
	case !taken && x.Result == "valid" && (x.Note == "Figure20" || x.Note == "Figure27"):
		return "the set says that the key is for another algorithm, or for one that does not exist (ES521)"
	}
	return ""
}

// keySetOf returns the keys of a group that may verify, and whether it has shared ones.
func keySetOf(t *testing.T, g vectors.Group) (keys *keySet, symmetric bool) {
	document := g.Fields["public"]
	if document == nil {
		document = g.Fields["private"]
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(document, &set); err != nil {
		t.Fatal(err)
	}
	if set.Keys == nil {
		var one map[string]any
		if err := json.Unmarshal(document, &one); err != nil {
			t.Fatal(err)
		}
		set.Keys = []map[string]any{one}
		document, _ = json.Marshal(map[string]any{"keys": set.Keys})
	}
	for _, k := range set.Keys {
		symmetric = symmetric || k["kty"] == "oct"
	}
	keys, err := parseKeys(document)
	if err != nil {
		t.Fatal(err)
	}
	return keys, symmetric
}

func genuine(text string, keys *keySet) bool {
	h, err := (&Issuer{allowed: algorithms}).header(text)
	if err != nil {
		return false
	}
	_, _, err = h.check(keys)
	return err == nil
}

// What stands under it: signatures over any bytes, with the calls that it and go-jose make.
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
		"rsa_pss_2048_sha256_mgf1_32": pss(jose.PS256),
		"rsa_pss_2048_sha384_mgf1_48": pss(jose.PS384),
		"rsa_pss_3072_sha256_mgf1_32": pss(jose.PS256),
		"rsa_pss_4096_sha512_mgf1_64": pss(jose.PS512),
	} {
		t.Run(name, func(t *testing.T) {
			tally := vectors.NewTally(t, name)
			for _, g := range vectors.Read(t, name) {
				key, err := x509.ParsePKIXPublicKey(vectors.Bytes(t, g.Fields, "publicKeyDer"))
				for _, x := range g.Tests {
					taken := err == nil && check(key, vectors.Bytes(t, x.Fields, "msg"), vectors.Bytes(t, x.Fields, "sig"))
					tally.Judge(x, taken, "")
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

func pss(alg jose.SignatureAlgorithm) func(any, []byte, []byte) bool {
	return func(key any, message, signature []byte) bool {
		return verifier(alg, key).(pssKey).VerifyPayload(message, signature, alg) == nil
	}
}
