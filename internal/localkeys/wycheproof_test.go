package localkeys

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/keybearer/keybearer/test/vectors"
)

// What the keyring is built from does what Project Wycheproof asks of it: AES-256-GCM, HKDF and HMAC with SHA-256.
func TestWycheproof(t *testing.T) {
	t.Run("AES-GCM", func(t *testing.T) {
		tally := vectors.NewTally(t, "aes_gcm")
		for _, g := range vectors.Read(t, "aes_gcm") {
			if vectors.Number(t, g.Fields, "keySize") != 256 || vectors.Number(t, g.Fields, "ivSize") != 96 || vectors.Number(t, g.Fields, "tagSize") != 128 {
				continue // never in use here
			}
			for _, x := range g.Tests {
				get := func(name string) []byte { return vectors.Bytes(t, x.Fields, name) }
				block, err := aes.NewCipher(get("key"))
				if err != nil {
					t.Fatal(err)
				}
				// As the keyring opens: the nonce stands before the ciphertext.
				aead, err := cipher.NewGCMWithRandomNonce(block)
				if err != nil {
					t.Fatal(err)
				}
				sealed := bytes.Join([][]byte{get("iv"), get("ct"), get("tag")}, nil)
				plain, err := aead.Open(nil, nil, sealed, get("aad"))
				tally.Judge(x, err == nil && bytes.Equal(plain, get("msg")), "")
			}
		}
	})
	t.Run("HKDF", func(t *testing.T) {
		tally := vectors.NewTally(t, "hkdf_sha256")
		for _, g := range vectors.Read(t, "hkdf_sha256") {
			for _, x := range g.Tests {
				get := func(name string) []byte { return vectors.Bytes(t, x.Fields, name) }
				size := vectors.Number(t, x.Fields, "size")
				// In the two steps of the keyring, and in one.
				prk, err := hkdf.Extract(sha256.New, get("ikm"), get("salt"))
				if err != nil {
					t.Fatal(err)
				}
				okm, err := hkdf.Expand(sha256.New, prk, string(get("info")), size)
				once, err2 := hkdf.Key(sha256.New, get("ikm"), get("salt"), string(get("info")), size)
				if (err == nil) != (err2 == nil) || !bytes.Equal(okm, once) {
					t.Errorf("%d: the two ways differ", x.ID)
				}
				tally.Judge(x, err == nil && bytes.Equal(okm, get("okm")), "")
			}
		}
	})
	t.Run("HMAC", func(t *testing.T) {
		tally := vectors.NewTally(t, "hmac_sha256")
		for _, g := range vectors.Read(t, "hmac_sha256") {
			bits := vectors.Number(t, g.Fields, "tagSize")
			for _, x := range g.Tests {
				get := func(name string) []byte { return vectors.Bytes(t, x.Fields, name) }
				mac := hmac.New(sha256.New, get("key"))
				mac.Write(get("msg"))
				tally.Judge(x, hmac.Equal(mac.Sum(nil)[:bits/8], get("tag")), "")
			}
		}
	})
}
