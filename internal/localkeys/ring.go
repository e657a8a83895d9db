package localkeys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/keybearer/keybearer"
)

// ringFile is the file of wrapped scope keys.
type ringFile struct {
	path string
	held *os.File // the lock
}

type ringJSON struct {
	V         int                 `json:"v"`
	Keys      map[string][][]byte `json:"keys"`
	Destroyed []string            `json:"destroyed"`
}

func (r *ringFile) exists() (bool, error) {
	_, err := os.Stat(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fileError(r.path, "cannot be read", "mend its permissions", err)
	}
	return true, nil
}

// read opens every key of the ring. A ring that does not exist is empty.
func (r *ringFile) read(kek []byte) (map[string][]keyVersion, map[string]bool, error) {
	keys, destroyed := map[string][]keyVersion{}, map[string]bool{}
	text, err := readPrivate(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return keys, destroyed, nil
	}
	if err != nil {
		return nil, nil, err
	}
	damaged := func(err error) error {
		return fileError(r.path, "is damaged, or was made with another key-encryption key",
			"restore it together with the key-encryption key that it was made with", err)
	}
	body, mac, ok := bytes.Cut(text, []byte("\n"))
	want, merr := ringMAC(kek, body)
	if merr != nil {
		return nil, nil, merr
	}
	if got, err := hex.DecodeString(string(bytes.TrimSuffix(mac, []byte("\n")))); !ok || err != nil || !hmac.Equal(got, want) {
		return nil, nil, damaged(err)
	}
	var j ringJSON
	if err := json.Unmarshal(body, &j); err != nil || j.V != 1 {
		return nil, nil, damaged(err)
	}
	for name, wrapped := range j.Keys {
		for i, w := range wrapped {
			v, err := unwrap(kek, name, i+1, w)
			if err != nil {
				return nil, nil, damaged(err)
			}
			keys[name] = append(keys[name], v)
		}
	}
	for _, name := range j.Destroyed {
		destroyed[name] = true
	}
	return keys, destroyed, nil
}

// write replaces the ring as a whole. When it returns nil the new one is on the disk.
func (r *ringFile) write(kek []byte, keys map[string][]keyVersion, destroyed map[string]bool) error {
	j := ringJSON{V: 1, Keys: map[string][][]byte{}, Destroyed: slices.Sorted(maps.Keys(destroyed))}
	for name, versions := range keys {
		for i := range versions {
			w, err := wrap(kek, name, i+1, &versions[i])
			if err != nil {
				return err
			}
			j.Keys[name] = append(j.Keys[name], w)
		}
	}
	body, err := json.Marshal(j)
	if err != nil {
		return failed("encode the ring", err)
	}
	mac, err := ringMAC(kek, body)
	if err != nil {
		return err
	}
	body = append(hex.AppendEncode(append(body, '\n'), mac), '\n')
	temp := r.path + ".new"
	if err := writeSynced(temp, body, os.O_TRUNC); err != nil {
		_ = os.Remove(temp)
		return fileError(r.path, "cannot be written", "free space on its disk or mend the permissions of its directory", err)
	}
	if err := os.Rename(temp, r.path); err != nil {
		return fileError(r.path, "cannot be replaced", "mend the permissions of its directory", err)
	}
	return syncDir(r.path)
}

func ringMAC(kek, body []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, kek, nil, "keybearer ring", keySize)
	if err != nil {
		return nil, failed("derive a key", err)
	}
	h := hmac.New(sha256.New, key)
	h.Write(body)
	return h.Sum(nil), nil
}

// binding names the place of a wrapped key: it is both what its wrapping key is derived with and authenticated.
func binding(name string, version int) []byte {
	b := append([]byte("keybearer wrap\x00"), name...)
	return binary.BigEndian.AppendUint64(append(b, 0), uint64(version))
}

func wrap(kek []byte, name string, version int, v *keyVersion) ([]byte, error) {
	at := binding(name, version)
	key, err := hkdf.Key(sha256.New, kek, nil, string(at), keySize)
	if err != nil {
		return nil, failed("derive a key", err)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, v[:], at), nil
}

func unwrap(kek []byte, name string, version int, wrapped []byte) (v keyVersion, _ error) {
	at := binding(name, version)
	key, err := hkdf.Key(sha256.New, kek, nil, string(at), keySize)
	if err != nil {
		return v, failed("derive a key", err)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return v, err
	}
	plain, err := aead.Open(nil, nil, wrapped, at)
	if err != nil || len(plain) != keySize {
		return v, failed("unwrap a key", err)
	}
	copy(v[:], plain)
	clear(plain)
	return v, nil
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fileError(path, "cannot be synced", "mend the permissions of its directory", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fileError(path, "cannot be synced", "check its disk", err)
	}
	return nil
}

func fileError(path, why, hint string, err error) *keybearer.Error {
	return &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: "keyring", Detail: "the keyring file " + path + " " + why, Hint: hint, Err: err}
}
