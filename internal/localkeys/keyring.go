// Package localkeys is a keyring on this machine, with the semantics of Vault Transit: the embedded default.
//
// A scope key version is 32 random bytes. A secret is sealed by AES-256-GCM with a random nonce, under a key derived from
// the version by HKDF-SHA256 (RFC 5869) with the seal context as info; the key's name and version are authenticated
// too. The result reads "local:v<version>:<base64 of nonce, ciphertext and tag>".
//
// # Files
//
// The key-encryption key (KEK) stands in the file at [Config.Path], made on first use:
//
//	keybearer key-encryption key 1
//	<base64 of 32 random bytes>
//
// or comes from elsewhere ([Config.KEK]). The scope keys stand beside it, at the same path with ".ring" appended:
//
//	keybearer ring 1
//	kek <base64 of 16 bytes derived from the KEK: tells a wrong KEK from a damaged file>
//	key <name> <version> <base64 of nonce, wrapped key and tag>
//	destroyed <name>
//	mac <base64 of HMAC-SHA256 over all lines before>
//
// Each scope key version is wrapped by AES-256-GCM under HKDF(KEK, name, version). A change writes a new ring file, syncs it and
// renames it over the old one; it is acknowledged only then. A third file, ".lock", keeps a second process away.
//
// # What it does not do
//
// The MAC finds every edit and truncation of the ring, but no rollback: an older ring file put back with its KEK opens
// what it did then, keys destroyed since included. Against that the scope's share takes part in every seal context, and is
// forgotten by the store. A disk may also keep blocks of replaced files.
//
// Scope keys and the KEK lie in pages of their own, apart from Go's heap: locked, so that they are not swapped out (where the limit of locked memory
// allows a page; else the keyring warns), kept out of core dumps, and empty in a child process. They are cleared when a key
// is destroyed and on Close. What is derived from them is not so well kept: it is cleared right after use, but Go may have copied it before, and
// expanded AES keys stay on the heap until they are collected. Whoever reads the memory of this process reads keys.
package localkeys

import (
	"context"
	"crypto/rand"
	"maps"
	"os"
	"sync"

	"github.com/keybearer/keybearer"
)

// ringSuffix ends the name of the ring file.
const ringSuffix = ".ring"

// Config says where the keys are.
type Config struct {
	// Path of the file with the key-encryption key; it names the ring and the lock too. Its directory must exist.
	Path string
	// KEK, when set, is the key-encryption key: 32 random bytes in base64, or the content of such a file. No KEK file is read or
	// made then, and an absent ring is taken for a first use.
	KEK keybearer.Secret
}

// Keyring is a keyring in files. It implements [keybearer.Keyring]. There can be one for a path at a time.
type Keyring struct {
	path string // of the ring file
	kek  *kek
	lock *os.File

	changing sync.Mutex // held by whoever writes the ring file

	mu   sync.RWMutex // guards what follows and the key bytes in it; never held during I/O
	ring *ring        // nil after Close; replaced, never modified
}

var _ keybearer.Keyring = (*Keyring)(nil)

// Open opens the keyring, or makes one where neither key nor ring exist. It returns [keybearer.KeyringUnavailable] with what to do about it: when
// the directory is missing, a file is damaged, belongs to someone else or can be read by others, the KEK is not
// the ring's, one of the two is gone, or another process has the keyring open.
func Open(c Config) (*Keyring, error) {
	lock, err := lockFile(c.Path)
	if err != nil {
		return nil, err
	}
	k := &Keyring{path: c.Path + ringSuffix, lock: lock}
	if k.kek, k.ring, err = load(c, k.path); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return k, nil
}

// load reads KEK and ring. It makes both where there is neither, and never one alone: a new KEK would open nothing of an
// old ring, and an empty ring would look like one whose keys are gone.
func load(c Config, ringPath string) (key *kek, r *ring, err error) {
	text, err := readFile(ringPath)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil && key != nil {
			key.clear()
		}
	}()
	if c.KEK.IsZero() {
		key, err = readKEK(c.Path)
	} else {
		key, err = parseKEK([]byte(c.KEK.Reveal()))
	}
	if err != nil {
		return nil, nil, err
	}
	switch {
	case key != nil && text != nil:
		r, err := parseRing(text, key)
		if err != nil {
			return key, nil, ringError(c, ringPath, err)
		}
		return key, r, nil
	case key != nil && c.KEK.IsZero():
		return key, nil, ringMissing(c.Path)
	case key != nil:
		return key, newRing(), writeFile(ringPath, newRing().encode(key))
	case text != nil && !emptyRing(text):
		return nil, nil, kekMissing(c.Path)
	}
	// The ring first: if the power fails in between, an empty ring without a KEK is a beginning, a KEK without a ring a loss.
	key = newKEK()
	if err := writeFile(ringPath, newRing().encode(key)); err != nil {
		return key, nil, err
	}
	if err := createFile(c.Path, key.encode()); err != nil {
		return key, nil, err
	}
	return key, newRing(), nil
}

func ringMissing(path string) error {
	return keybearer.NewError(keybearer.KeyringUnavailable, "the key-encryption key "+path+" is there, but the scope keys "+path+ringSuffix+" are not").
		WithHint("restore " + path + ringSuffix + " from a backup; to begin anew with no key, which leaves every sealed secret unreadable, remove " + path)
}

func kekMissing(path string) error {
	return keybearer.NewError(keybearer.KeyringUnavailable, "the scope keys "+path+ringSuffix+" are there, but the key-encryption key "+path+" is not").
		WithHint("restore " + path + " from a backup; without it no sealed secret opens")
}

// CreateKey implements [keybearer.Keyring]. Names are letters, digits, and inner ".", "_" and "-"; anything else is
// [keybearer.Invalid].
func (k *Keyring) CreateKey(ctx context.Context, key string) error {
	if !validName(key) {
		return &keybearer.Error{Code: keybearer.Invalid, Op: "create key", Detail: "a key's name is made of letters, digits, and inner dots, dashes and underscores"}
	}
	_, err := k.change(ctx, "create key", func(r *ring) error {
		if r.keys[key] != nil {
			return keybearer.NewError(keybearer.AlreadyExists, "the keyring has a key of that name")
		}
		if r.destroyed[key] {
			return keybearer.NewError(keybearer.AlreadyExists, "the keyring had a key of that name, which was destroyed")
		}
		return k.addVersion(r, key)
	})
	return err
}

// RotateKey implements [keybearer.Keyring].
func (k *Keyring) RotateKey(ctx context.Context, key string) (uint32, error) {
	r, err := k.change(ctx, "rotate key", func(r *ring) error {
		if r.keys[key] == nil {
			return notFound("")
		}
		return k.addVersion(r, key)
	})
	if err != nil {
		return 0, err
	}
	return uint32(len(r.keys[key])), nil
}

// DestroyKey implements [keybearer.Keyring].
func (k *Keyring) DestroyKey(ctx context.Context, key string) error {
	var doomed []*version
	_, err := k.change(ctx, "destroy key", func(r *ring) error {
		if doomed = r.keys[key]; doomed != nil {
			delete(r.keys, key)
			r.destroyed[key] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, v := range doomed {
		v.forget()
	}
	return nil
}

// KeyVersion implements [keybearer.Keyring].
func (k *Keyring) KeyVersion(_ context.Context, key string) (uint32, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.ring == nil {
		return 0, closed("key version")
	}
	versions := k.ring.keys[key]
	if versions == nil {
		return 0, notFound("key version")
	}
	return uint32(len(versions)), nil
}

// Close lets go of the files and clears the keys. Later calls get [keybearer.KeyringUnavailable].
func (k *Keyring) Close() error {
	k.changing.Lock()
	defer k.changing.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ring == nil {
		return nil
	}
	k.ring.forgetAllBut(newRing())
	k.kek.clear()
	k.ring = nil
	return k.lock.Close()
}

// change applies edit to a copy of the ring and makes the copy the ring once it is on disk. An edit that changes nothing writes nothing.
func (k *Keyring) change(ctx context.Context, op string, edit func(*ring) error) (*ring, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Err: err}
	}
	if k.ring == nil { // written only while changing is held
		return nil, closed(op)
	}
	r := &ring{keys: maps.Clone(k.ring.keys), destroyed: maps.Clone(k.ring.destroyed)}
	err := edit(r)
	if err == nil && !r.same(k.ring) {
		err = writeFile(k.path, r.encode(k.kek))
	}
	if err != nil {
		r.forgetAllBut(k.ring)
		e := keybearer.AsError(err)
		e.Op = op
		return nil, e
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ring = r
	return r, nil
}

func (k *Keyring) addVersion(r *ring, key string) error {
	var fresh [32]byte
	defer clear(fresh[:])
	_, _ = rand.Read(fresh[:]) // never fails (crypto/rand)
	old := r.keys[key]
	v, err := newVersion(k.kek, key, uint32(len(old))+1, fresh[:])
	if err != nil {
		return err
	}
	r.keys[key] = append(old[:len(old):len(old)], v) // the old ring keeps its own slice
	return nil
}

func notFound(op string) error {
	return &keybearer.Error{Code: keybearer.NotFound, Op: op, Detail: "the keyring has no key of that name"}
}

func closed(op string) error {
	return &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Detail: "the keyring is closed", Hint: "try again when the server has started"}
}
