package keybearer

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// Keyring encrypts per scope, with the semantics of Vault Transit: named keys that have versions, and a
// context that takes part in the derivation, so that a ciphertext opens only with the context that it was sealed with.
// Implementations are safe for concurrent use and keep no plaintext.
//
// Errors: [KeyringUnavailable] whenever an answer cannot be had or a ciphertext does not open, whatever the
// reason (wrong context, wrong key, key gone, tampering, outage); [NotFound] where a method says so.
// [ErrUnopenable] tells whether trying again later could help.
type Keyring interface {
	// CreateKey makes a key. It returns [AlreadyExists] when there is one of that name. A name is never used again: for one that was
	// destroyed it returns AlreadyExists too, or makes a new key that opens nothing of the old.
	CreateKey(ctx context.Context, key string) error
	// KeyVersion returns the latest version of a key, from 1. It returns [NotFound] when there is no such key.
	KeyVersion(ctx context.Context, key string) (uint32, error)
	// RotateKey adds a version, with which everything is sealed from then on; older versions still open. It
	// returns the new version, or [NotFound].
	RotateKey(ctx context.Context, key string) (uint32, error)
	// DestroyKey forgets a key and all its versions for good: nothing that they sealed opens again, here or from a later backup of
	// the keyring. Destroying a key that does not exist is no error.
	DestroyKey(ctx context.Context, key string) error

	// Seal encrypts plaintext, of at most [MaxBundle] bytes, with the latest version of the key. The result is text: "<kind>:v<N>:<base64>".
	// It keeps no reference to plaintext. It returns [NotFound] when there is no such key, and never makes one.
	Seal(ctx context.Context, key string, sc SealContext, plaintext []byte) ([]byte, error)
	// Open decrypts. The caller owns the plaintext and clears it after use.
	Open(ctx context.Context, key string, sc SealContext, sealed []byte) ([]byte, error)
	// Rewrap encrypts anew, with the latest version, without giving the plaintext out. Each item has its own result; err is for failures that
	// concern all of them. An item that is already at the latest version comes back as it is.
	Rewrap(ctx context.Context, key string, items []RewrapItem) ([]RewrapResult, error)

	// Close releases what the keyring holds.
	Close() error
}

// RewrapItem is one ciphertext to be brought to the latest version.
type RewrapItem struct {
	Context SealContext
	Sealed  []byte
}

// RewrapResult is what became of it.
type RewrapResult struct {
	Sealed []byte
	Err    error
}

// SealContext binds a ciphertext to its place: 32 bytes that take part in deriving the key that seals it.
type SealContext [sha256.Size]byte

// NewSealContext binds to scope, generation, credential, secret version and the scope's share. It is SHA-256 over the
// length-prefixed fields "v1", scope id, generation, credential id, version and HKDF-SHA256(share, info
// "keybearer scope share"); integers are 8 bytes, lengths 4, all big-endian.
func NewSealContext(scopeID string, generation uint32, credentialID string, version uint64, share []byte) (SealContext, error) {
	if scopeID == "" || generation == 0 || credentialID == "" || version == 0 || len(share) != 32 {
		return SealContext{}, NewError(KeyringUnavailable, "the record lacks what binds its secret")
	}
	derived, err := hkdf.Key(sha256.New, share, nil, "keybearer scope share", 32)
	if err != nil {
		return SealContext{}, &Error{Code: KeyringUnavailable, Op: "derive scope share", Err: err}
	}
	h := sha256.New()
	field := func(b []byte) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	number := func(v uint64) { field(binary.BigEndian.AppendUint64(nil, v)) }
	field([]byte("v1"))
	field([]byte(scopeID))
	number(uint64(generation))
	field([]byte(credentialID))
	number(version)
	field(derived)
	return SealContext(h.Sum(nil)), nil
}

// OpenOnly is a Keyring that may lack the right to seal and to change keys, as in a process that only serves requests while another one
// manages the credentials. Then every method but Open and Close returns [KeyringUnavailable].
type OpenOnly interface {
	Keyring
	// OpenOnly reports whether it does.
	OpenOnly() bool
}

// ErrUnopenable is the cause inside a [KeyringUnavailable] error when the keyring did answer and will not open the
// ciphertext: trying again does not help until someone mends it, and what was opened from it before must be dropped. Find
// it with errors.Is.
var ErrUnopenable = errors.New("the sealed secret does not open with this key and context")

// ErrRefused stands beside [ErrUnopenable] when the keyring did not try: the role lacks the right, or the engine is not there. It says nothing of the
// ciphertext, which may open one day; whoever would give that up for good must not.
var ErrRefused = errors.New("the keyring refuses to open anything")
