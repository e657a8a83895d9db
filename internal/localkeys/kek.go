package localkeys

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/keybearer/keybearer"
)

const kekHeader = "keybearer-kek-v1 "

// readKEK reads the KEK, or makes one when there is neither a KEK nor a ring.
func readKEK(path string, ringExists bool) ([]byte, error) {
	text, err := readPrivate(path)
	if err == nil {
		return parseKEK(string(text), "the keyring file "+path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if ringExists {
		return nil, fileError(path, "is missing, though its ring exists",
			"restore it from your backup; without it no secret opens", nil)
	}
	return makeKEK(path)
}

func parseKEK(text, what string) ([]byte, error) {
	line := strings.TrimSpace(strings.TrimPrefix(text, kekHeader))
	kek, err := base64.StdEncoding.DecodeString(line)
	if err != nil || len(kek) != keySize {
		// The decoder's message is dropped: it could quote the key.
		return nil, (&keybearer.Error{Code: keybearer.KeyringUnavailable, Op: "keyring", Detail: what + " is not a key-encryption key"}).
			WithHint("it is 32 bytes in base64; restore it from your backup")
	}
	return kek, nil
}

// makeKEK writes a new KEK and never replaces one.
func makeKEK(path string) ([]byte, error) {
	kek := make([]byte, keySize)
	_, _ = rand.Read(kek) // never fails (crypto/rand)
	unwritable := func(err error) error {
		return fileError(path, "cannot be made", "free space on its disk or mend the permissions of its directory", err)
	}
	temp := path + ".new"
	if err := writeSynced(temp, []byte(kekHeader+base64.StdEncoding.EncodeToString(kek)+"\n"), os.O_TRUNC); err != nil {
		_ = os.Remove(temp)
		return nil, unwritable(err)
	}
	defer os.Remove(temp)
	if err := os.Link(temp, path); err != nil { // fails if path exists
		return nil, unwritable(err)
	}
	if err := syncDir(path); err != nil {
		return nil, err
	}
	return kek, nil
}

func writeSynced(path string, text []byte, flag int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// readPrivate reads a file that nobody else may read or write. The error wraps [fs.ErrNotExist] when there is none.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fileError(path, "cannot be read", "mend its permissions", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fileError(path, "is not a regular file", "name another path", nil)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fileError(path, "is open to others", "chmod 600 "+path, nil)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError(path, "cannot be read", "run as the user who owns it", err)
	}
	return text, nil
}
