package localkeys

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"sync"

	"github.com/keybearer/keybearer"
)

// Config of a Keyring.
type Config struct {
	// Path of the KEK's file. The ring stands beside it, with ".ring" appended.
	Path string
	// KEK, if set, is the key-encryption key from outside (an environment variable, a mounted file, a systemd credential): 32 bytes in
	// base64, or the whole line of a KEK file. Then no KEK file is read or made.
	KEK keybearer.Secret
}

const keySize = 32

type keyVersion [keySize]byte

// Keyring implements [keybearer.Keyring] with keys on this machine. It is safe for concurrent use.
type Keyring struct {
	kek  []byte
	ring ringFile

	mu        sync.RWMutex
	keys      map[string][]keyVersion // versions in order; immutable slices
	destroyed map[string]bool
}

// Open opens the keyring, making an empty one where there is none. It returns [keybearer.KeyringUnavailable], naming file and fix, when a file cannot
// be read, is damaged or open to others, when the KEK is not the ring's, or when another process has the ring.
func Open(c Config) (*Keyring, error) {
	ring := ringFile{path: c.Path + ".ring"}
	if err := ring.lock(); err != nil {
		return nil, err
	}
	k := &Keyring{ring: ring}
	if err := k.load(c); err != nil {
		ring.unlock()
		return nil, err
	}
	return k, nil
}

func (k *Keyring) load(c Config) (err error) {
	exists, err := k.ring.exists()
	if err != nil {
		return err
	}
	if c.KEK.IsZero() {
		k.kek, err = readKEK(c.Path, exists)
	} else {
		k.kek, err = parseKEK(c.KEK.Reveal(), "the key-encryption key from outside")
	}
	if err != nil {
		return err
	}
	k.keys, k.destroyed, err = k.ring.read(k.kek)
	return err
}

// Close releases the ring for another process and forgets the keys.
func (k *Keyring) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.kek)
	for _, versions := range k.keys {
		clear(versions)
	}
	k.keys = nil
	return k.ring.unlock()
}

func absent(key string) error {
	return keybearer.NewError(keybearer.NotFound, "the keyring has no key "+strconv.Quote(key))
}

// CreateKey implements [keybearer.Keyring].
func (k *Keyring) CreateKey(_ context.Context, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key == "" {
		return keybearer.NewError(keybearer.Invalid, "a key needs a name")
	}
	if _, ok := k.keys[key]; ok || k.destroyed[key] {
		return keybearer.NewError(keybearer.AlreadyExists, "the keyring has, or had, a key of that name")
	}
	return k.change(func(keys map[string][]keyVersion, _ map[string]bool) { keys[key] = []keyVersion{newVersion()} })
}

// KeyVersion implements [keybearer.Keyring].
func (k *Keyring) KeyVersion(_ context.Context, key string) (uint32, error) {
	versions := k.versions(key)
	if versions == nil {
		return 0, absent(key)
	}
	return uint32(len(versions)), nil
}

// RotateKey implements [keybearer.Keyring].
func (k *Keyring) RotateKey(_ context.Context, key string) (uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	versions := k.keys[key]
	if versions == nil {
		return 0, absent(key)
	}
	next := append(slices.Clone(versions), newVersion())
	if err := k.change(func(keys map[string][]keyVersion, _ map[string]bool) { keys[key] = next }); err != nil {
		return 0, err
	}
	return uint32(len(next)), nil
}

// DestroyKey implements [keybearer.Keyring].
func (k *Keyring) DestroyKey(_ context.Context, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.keys[key]; !ok {
		return nil
	}
	return k.change(func(keys map[string][]keyVersion, destroyed map[string]bool) {
		delete(keys, key)
		destroyed[key] = true
	})
}

// change writes the ring with a change made to copies, and takes them over once the file holds them. k.mu is held.
func (k *Keyring) change(edit func(map[string][]keyVersion, map[string]bool)) error {
	keys, destroyed := cloneMap(k.keys), cloneMap(k.destroyed)
	edit(keys, destroyed)
	if err := k.ring.write(k.kek, keys, destroyed); err != nil {
		return err
	}
	k.keys, k.destroyed = keys, destroyed
	return nil
}

func cloneMap[V any](m map[string]V) map[string]V {
	c := make(map[string]V, len(m)+1)
	for name, v := range m {
		c[name] = v
	}
	return c
}

func (k *Keyring) versions(key string) []keyVersion {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keys[key]
}

func newVersion() (v keyVersion) {
	_, _ = rand.Read(v[:]) // never fails (crypto/rand)
	return v
}

const prefix = "local:v"

// Seal implements [keybearer.Keyring].
func (k *Keyring) Seal(_ context.Context, key string, sc keybearer.SealContext, plaintext []byte) ([]byte, error) {
	if len(plaintext) > keybearer.MaxBundle {
		return nil, keybearer.NewError(keybearer.SecretInvalid, "the secret and its rules exceed 64 KiB")
	}
	versions := k.versions(key)
	if versions == nil {
		return nil, absent(key)
	}
	return seal(versions, sc, plaintext)
}

// seal encrypts with the latest version.
func seal(versions []keyVersion, sc keybearer.SealContext, plaintext []byte) ([]byte, error) {
	header := append(strconv.AppendInt([]byte(prefix), int64(len(versions)), 10), ':')
	aead, err := derive(&versions[len(versions)-1], sc)
	if err != nil {
		return nil, err
	}
	body := aead.Seal(nil, nil, plaintext, header)
	return base64.StdEncoding.AppendEncode(header, body), nil
}

// Open implements [keybearer.Keyring].
func (k *Keyring) Open(_ context.Context, key string, sc keybearer.SealContext, sealed []byte) ([]byte, error) {
	plaintext, _, err := open(k.versions(key), sc, sealed)
	return plaintext, err
}

// open decrypts, and says with which version it was sealed.
func open(versions []keyVersion, sc keybearer.SealContext, sealed []byte) (plaintext []byte, version int, _ error) {
	header, body, ok := split(sealed)
	if !ok {
		return nil, 0, unopenable()
	}
	version, err := strconv.Atoi(string(header[len(prefix) : len(header)-1]))
	if err != nil || version < 1 || version > len(versions) {
		return nil, 0, unopenable()
	}
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, err := base64.StdEncoding.Strict().Decode(raw, body)
	if err != nil {
		return nil, 0, unopenable()
	}
	aead, err := derive(&versions[version-1], sc)
	if err != nil {
		return nil, 0, err
	}
	plaintext, err = aead.Open(raw[:0], nil, raw[:n], header)
	if err != nil {
		return nil, 0, unopenable()
	}
	return plaintext, version, nil
}

// split cuts "local:v<N>:" from what follows. The version's spelling is authenticated as it stands.
func split(sealed []byte) (header, body []byte, ok bool) {
	if !bytes.HasPrefix(sealed, []byte(prefix)) {
		return nil, nil, false
	}
	i := bytes.IndexByte(sealed[len(prefix):], ':')
	if i < 1 {
		return nil, nil, false
	}
	cut := len(prefix) + i + 1
	return sealed[:cut:cut], sealed[cut:], true
}

// derive returns the cipher of one credential's secret: AES-256-GCM, the nonce in front of the ciphertext.
func derive(v *keyVersion, sc keybearer.SealContext) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, v[:], nil, string(sc[:]), keySize)
	if err != nil {
		return nil, failed("derive a key", err)
	}
	defer clear(key)
	return newAEAD(key)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, failed("make a cipher", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, failed("make a cipher", err)
	}
	return aead, nil
}

// Rewrap implements [keybearer.Keyring].
func (k *Keyring) Rewrap(_ context.Context, key string, items []keybearer.RewrapItem) ([]keybearer.RewrapResult, error) {
	versions := k.versions(key)
	if versions == nil {
		return nil, absent(key)
	}
	results := make([]keybearer.RewrapResult, len(items))
	for i, item := range items {
		results[i].Sealed, results[i].Err = rewrap(versions, item)
	}
	return results, nil
}

func rewrap(versions []keyVersion, item keybearer.RewrapItem) ([]byte, error) {
	plaintext, version, err := open(versions, item.Context, item.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	if version == len(versions) {
		return item.Sealed, nil
	}
	return seal(versions, item.Context, plaintext)
}

func unopenable() error {
	return &keybearer.Error{Code: keybearer.KeyringUnavailable, Err: keybearer.ErrUnopenable}
}

func failed(op string, err error) error {
	return &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Err: err}
}
