package localkeys

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"math"
	"strconv"

	"github.com/keybearer/keybearer"
)

const (
	prefix   = "local:v"
	overhead = 12 + 16 // nonce and tag
)

// strict refuses what decodes to the same bytes as the canonical text. Line breaks, which it passes over, are refused apart.
var strict = base64.StdEncoding.Strict()

// Seal implements [keybearer.Keyring]. A plaintext above [keybearer.MaxBundle] is [keybearer.SecretInvalid].
func (k *Keyring) Seal(_ context.Context, key string, sc keybearer.SealContext, plaintext []byte) ([]byte, error) {
	const op = "seal"
	if len(plaintext) > keybearer.MaxBundle {
		return nil, &keybearer.Error{Code: keybearer.SecretInvalid, Op: op, Detail: "the secret and its rules exceed 64 KiB"}
	}
	latest, err := k.KeyVersion(context.Background(), key)
	if err != nil {
		e := keybearer.AsError(err)
		e.Op = op
		return nil, e
	}
	sealed, err := k.seal(key, latest, sc, plaintext)
	if err != nil {
		return nil, &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Err: err}
	}
	return sealed, nil
}

// Open implements [keybearer.Keyring].
func (k *Keyring) Open(_ context.Context, key string, sc keybearer.SealContext, sealed []byte) ([]byte, error) {
	plaintext, err := k.open(key, sc, sealed)
	if err != nil {
		return nil, &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: "open", Err: err}
	}
	return plaintext, nil
}

// Rewrap implements [keybearer.Keyring].
func (k *Keyring) Rewrap(ctx context.Context, key string, items []keybearer.RewrapItem) ([]keybearer.RewrapResult, error) {
	const op = "rewrap"
	latest, err := k.KeyVersion(ctx, key)
	if keybearer.CodeOf(err) == keybearer.NotFound {
		err = &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Err: keybearer.ErrUnopenable}
	}
	if err != nil {
		return nil, err
	}
	results := make([]keybearer.RewrapResult, len(items))
	for i, item := range items {
		if err := ctx.Err(); err != nil {
			return nil, &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Err: err}
		}
		if results[i].Sealed, err = k.rewrap(key, latest, item); err != nil {
			results[i].Err = &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Err: err}
		}
	}
	return results, nil
}

func (k *Keyring) rewrap(key string, latest uint32, item keybearer.RewrapItem) ([]byte, error) {
	if version, _ := parsePrefix(item.Sealed); version == latest {
		return item.Sealed, nil
	}
	plaintext, err := k.open(key, item.Context, item.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	return k.seal(key, latest, item.Context, plaintext)
}

func (k *Keyring) seal(key string, version uint32, sc keybearer.SealContext, plaintext []byte) ([]byte, error) {
	aead, err := k.derive(key, version, sc)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 0, len(prefix)+11+strict.EncodedLen(len(plaintext)+overhead))
	head = append(strconv.AppendUint(append(head, prefix...), uint64(version), 10), ':')
	binary := aead.Seal(make([]byte, 0, len(plaintext)+overhead), nil, plaintext, additional(head, key))
	return strict.AppendEncode(head, binary), nil
}

func (k *Keyring) open(key string, sc keybearer.SealContext, sealed []byte) ([]byte, error) {
	version, n := parsePrefix(sealed)
	if n == 0 || bytes.IndexByte(sealed, '\n') >= 0 || bytes.IndexByte(sealed, '\r') >= 0 {
		return nil, keybearer.ErrUnopenable
	}
	binary, err := strict.AppendDecode(make([]byte, 0, len(sealed)), sealed[n:])
	if err != nil || len(binary) < overhead {
		return nil, keybearer.ErrUnopenable
	}
	aead, err := k.derive(key, version, sc)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(make([]byte, 0, len(binary)-overhead), nil, binary, additional(sealed[:n], key))
	if err != nil {
		return nil, keybearer.ErrUnopenable
	}
	return plaintext, nil
}

// derive returns the cipher of one place: RFC 5869 section 2.3, from the pseudorandom key that newVersion extracted.
func (k *Keyring) derive(key string, version uint32, sc keybearer.SealContext) (cipher.AEAD, error) {
	derived, err := func() ([]byte, error) {
		k.mu.RLock() // the key's bytes are cleared under the write lock
		defer k.mu.RUnlock()
		if k.ring == nil {
			return nil, closed("")
		}
		versions := k.ring.keys[key]
		if version == 0 || uint64(version) > uint64(len(versions)) {
			return nil, keybearer.ErrUnopenable
		}
		return hkdf.Expand(sha256.New, versions[version-1].prk[:], string(sc[:]), 32)
	}()
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// additional is what a ciphertext authenticates beside itself: its own head, with the version, and the key's name.
func additional(head []byte, key string) []byte {
	return append(append(make([]byte, 0, len(head)+len(key)), head...), key...)
}

// parsePrefix reads "local:v<N>:" and returns N and the length; 0 and 0 for anything else, however alike.
func parsePrefix(sealed []byte) (version uint32, n int) {
	rest, ok := bytes.CutPrefix(sealed, []byte(prefix))
	digits := bytes.IndexByte(rest, ':')
	if !ok || digits < 1 || digits > 10 || rest[0] == '0' {
		return 0, 0
	}
	v := uint64(0)
	for _, c := range rest[:digits] {
		if c < '0' || c > '9' {
			return 0, 0
		}
		v = v*10 + uint64(c-'0')
	}
	if v > math.MaxUint32 {
		return 0, 0
	}
	return uint32(v), len(prefix) + digits + 1
}
