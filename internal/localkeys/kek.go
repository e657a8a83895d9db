package localkeys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"

	"github.com/keybearer/keybearer"
)

const kekHeader = "keybearer key-encryption key "

// kek is the key-encryption key. It lies in memory for keys until clear.
type kek struct{ key *[32]byte }

var errKEK = errors.New("it is not 32 bytes in base64")

func newKEK() *kek {
	k := &kek{memory.take()}
	_, _ = rand.Read(k.key[:]) // never fails (crypto/rand)
	return k
}

func (k *kek) encode() []byte {
	return append(strict.AppendEncode([]byte(kekHeader+"1\n"), k.key[:]), '\n')
}

// clear gives the memory back. The key must not be used any more.
func (k *kek) clear() { memory.give(k.key) }

func (k *kek) derive(info string) []byte {
	key, err := hkdf.Key(sha256.New, k.key[:], nil, "keybearer "+info, 32)
	if err != nil {
		panic(err) // only for lengths that HKDF does not have
	}
	return key
}

// check identifies the KEK and tells nothing else of it.
func (k *kek) check() string { return strict.EncodeToString(k.derive("ring check")[:16]) }

func (k *kek) mac(b []byte) []byte {
	key := k.derive("ring mac")
	defer clear(key)
	m := hmac.New(sha256.New, key)
	m.Write(b)
	return m.Sum(nil)
}

// readKEK returns nil when there is no such file.
func readKEK(path string) (*kek, error) {
	text, err := readFile(path)
	if text == nil || err != nil {
		return nil, err
	}
	defer clear(text)
	k, err := decodeKEK(text)
	if err == nil && !bytes.HasPrefix(text, []byte(kekHeader)) {
		k.clear()
		err = errKEK
	}
	if err != nil {
		e := &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: "open keyring", Err: err}
		e.Detail = "the file " + path + " does not hold a key-encryption key"
		e.Hint = "restore it from a backup; without it no sealed secret opens"
		if errors.Is(err, errNewer) {
			e.Detail = "the key-encryption key " + path + " was written by a newer keybearer"
			e.Hint = "run that version or a later one"
		}
		return nil, e
	}
	return k, nil
}

// parseKEK reads a key-encryption key that did not come from our file.
func parseKEK(text []byte) (*kek, error) {
	defer clear(text)
	k, err := decodeKEK(text)
	if err != nil {
		return nil, keybearer.NewError(keybearer.KeyringUnavailable, "the key-encryption key that was given is not 32 bytes in base64").
			WithHint("make one, once: openssl rand -base64 32").Wrap(err)
	}
	return k, nil
}

// decodeKEK reads the file's form, or the base64 alone. Its errors quote nothing.
func decodeKEK(text []byte) (*kek, error) {
	rest := strings.TrimRight(string(text), " \t\r\n")
	if after, ok := strings.CutPrefix(rest, kekHeader); ok {
		var form string
		if form, rest, _ = strings.Cut(after, "\n"); form != "1" {
			return nil, errNewer
		}
	}
	key, err := strict.DecodeString(rest)
	defer clear(key)
	if err != nil || len(key) != 32 || strings.ContainsAny(rest, "\r\n") {
		return nil, errKEK
	}
	k := &kek{memory.take()}
	copy(k.key[:], key)
	return k, nil
}
