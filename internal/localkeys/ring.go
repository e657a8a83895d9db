package localkeys

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/keybearer/keybearer"
)

const ringHeader = "keybearer ring "

// ring is what the ring file holds. It is not modified once it is the keyring's.
type ring struct {
	keys      map[string][]*version // version N at N-1
	destroyed map[string]bool
}

// version is one version of a scope key.
type version struct {
	wrapped string    // as in the file
	prk     *[32]byte // HKDF-Extract of the key; what seal contexts are expanded from. It lies in memory for keys until forget
}

// forget gives the memory back. The version must not be used any more.
func (v *version) forget() { memory.give(v.prk) }

var (
	errWrongKEK = errors.New("another key-encryption key wrote it")
	errNewer    = errors.New("a newer keybearer wrote it")
)

func newRing() *ring {
	return &ring{keys: make(map[string][]*version), destroyed: make(map[string]bool)}
}

// same reports whether r, an edited copy of other, still equals it: edits only add keys and versions, or destroy.
func (r *ring) same(other *ring) bool {
	return len(r.destroyed) == len(other.destroyed) &&
		maps.EqualFunc(r.keys, other.keys, func(a, b []*version) bool { return len(a) == len(b) })
}

// forgetAllBut forgets the versions that other, from which r was edited, does not have.
func (r *ring) forgetAllBut(other *ring) {
	for name, versions := range r.keys {
		for _, v := range versions[min(len(versions), len(other.keys[name])):] {
			v.forget()
		}
	}
}

func validName(s string) bool {
	inner := func(c byte) bool { return c == '.' || c == '_' || c == '-' }
	for i := range len(s) {
		c := s[i]
		alphanumeric := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !alphanumeric && (!inner(c) || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// newVersion wraps the 32 bytes of a key version, of which it keeps nothing else but what is extracted from them.
func newVersion(k *kek, name string, number uint32, key []byte) (*version, error) {
	aead, err := k.wrapper(name, number)
	if err != nil {
		return nil, err
	}
	wrapped := aead.Seal(nil, nil, key, nil)
	return extractVersion(strict.EncodeToString(wrapped), key)
}

func openVersion(k *kek, name string, number uint32, wrapped string) (*version, error) {
	binary, err := strict.DecodeString(wrapped)
	if err != nil {
		return nil, err
	}
	aead, err := k.wrapper(name, number)
	if err != nil {
		return nil, err
	}
	key, err := aead.Open(nil, nil, binary, nil)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return extractVersion(wrapped, key)
}

func extractVersion(wrapped string, key []byte) (*version, error) {
	prk, err := hkdf.Extract(sha256.New, key, nil)
	if err != nil {
		return nil, err
	}
	defer clear(prk)
	v := &version{wrapped: wrapped, prk: memory.take()}
	copy(v.prk[:], prk)
	return v, nil
}

// wrapper returns the cipher that wraps one key version. Name and version make its key, so that a line moved to another name does not open.
func (k *kek) wrapper(name string, number uint32) (cipher.AEAD, error) {
	key := k.derive("wrap " + strconv.FormatUint(uint64(number), 10) + " " + name)
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (r *ring) encode(k *kek) []byte {
	b := []byte(ringHeader + "1\n")
	b = fmt.Appendf(b, "kek %s\n", k.check())
	for _, name := range slices.Sorted(maps.Keys(r.keys)) {
		for i, v := range r.keys[name] {
			b = fmt.Appendf(b, "key %s %d %s\n", name, i+1, v.wrapped)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.destroyed)) {
		b = fmt.Appendf(b, "destroyed %s\n", name)
	}
	return fmt.Appendf(b, "mac %s\n", strict.EncodeToString(k.mac(b)))
}

func parseRing(text []byte, k *kek) (*ring, error) {
	if !bytes.HasPrefix(text, []byte(ringHeader+"1\n")) {
		if bytes.HasPrefix(text, []byte(ringHeader)) {
			return nil, errNewer
		}
		return nil, errors.New("it does not begin as a keyring does")
	}
	at := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	body, last := text[:at], string(text[at:])
	if !bytes.Contains(body, []byte("\nkek "+k.check()+"\n")) {
		return nil, errWrongKEK
	}
	mac, ok := strings.CutPrefix(last, "mac ")
	if !ok || !strings.HasSuffix(mac, "\n") {
		return nil, errors.New("its end is missing")
	}
	given, err := strict.DecodeString(strings.TrimSuffix(mac, "\n"))
	if err != nil || !hmac.Equal(given, k.mac(body)) {
		return nil, errors.New("it was changed by something else than keybearer")
	}
	r := newRing()
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	for _, line := range lines[2:] {
		if err := r.add(line, k); err != nil {
			r.forgetAllBut(newRing())
			return nil, fmt.Errorf("a line cannot be read: %w", err)
		}
	}
	return r, nil
}

func (r *ring) add(line string, k *kek) error {
	f := strings.Split(line, " ")
	switch {
	case f[0] == "key" && len(f) == 4:
		number := uint32(len(r.keys[f[1]])) + 1
		if f[2] != strconv.FormatUint(uint64(number), 10) {
			return errors.New("versions are not in order")
		}
		v, err := openVersion(k, f[1], number, f[3])
		if err != nil {
			return err
		}
		r.keys[f[1]] = append(r.keys[f[1]], v)
	case f[0] == "destroyed" && len(f) == 2:
		r.destroyed[f[1]] = true
	default:
		return errors.New("unknown form")
	}
	return nil
}

// emptyRing reports whether the text of a ring file, whatever its KEK, holds no key and remembers none.
func emptyRing(text []byte) bool {
	return bytes.HasPrefix(text, []byte(ringHeader+"1\nkek ")) && bytes.Count(text, []byte("\n")) == 3 && bytes.Contains(text, []byte("\nmac "))
}

func ringError(c Config, path string, err error) error {
	e := &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: "open keyring", Err: err}
	switch {
	case errors.Is(err, errWrongKEK):
		source := c.Path
		if !c.KEK.IsZero() {
			source = "that was given"
		}
		e.Detail = "the key-encryption key " + source + " is not the one that the scope keys " + path + " are wrapped with"
		e.Hint = "restore the key-encryption key and the file " + path + " that belong together"
	case errors.Is(err, errNewer):
		e.Detail = "the file " + path + " was written by a newer keybearer"
		e.Hint = "run that version or a later one"
	default:
		e.Detail = "the file " + path + " with the scope keys is damaged"
		e.Hint = "restore it from a backup; what was sealed with keys made since then will not open"
	}
	return e
}
