package localkeys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keybearer/keybearer"
)

const maxFile = 64 << 20

// readFile returns the content of a file that nobody else may read; nil when there is none.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fileError(path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fileError(path, err)
	}
	if err := checkFile(path, info, os.Geteuid()); err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fileError(path, errors.New("it is larger than 64 MiB"))
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, fileError(path, err)
	}
	return text, nil
}

// checkFile refuses a file that others than the process's user, of that uid, may read or replace in place.
func checkFile(path string, info fs.FileInfo, uid int) error {
	e := &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: "open keyring"}
	owner := ownerOf(info, uid)
	switch {
	case !info.Mode().IsRegular():
		e.Detail, e.Hint = path+" is not a regular file", "name a file for the keyring that does not exist yet, or one that keybearer made"
	case info.Mode().Perm()&0o077 != 0:
		e.Detail = fmt.Sprintf("the file %s has mode %04o: others than its owner can use it", path, info.Mode().Perm())
		e.Hint = "chmod 600 " + path
	case owner != uid && owner != 0:
		e.Detail = fmt.Sprintf("the file %s belongs to uid %d, and keybearer runs as uid %d", path, owner, uid)
		e.Hint = fmt.Sprintf("chown %d %s", uid, path)
	default:
		return nil
	}
	return e
}

// writeFile replaces the file at path; when it returns nil the content survives a power failure, and at any time before
// there is either the old content or the new.
func writeFile(path string, content []byte) error {
	temporary, err := writeTemporary(path, content)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		err = syncDirectory(path)
	}
	if err != nil {
		return fileError(path, err)
	}
	return nil
}

// createFile is writeFile for a path where there must be nothing yet.
func createFile(path string, content []byte) error {
	defer clear(content)
	temporary, err := writeTemporary(path, content)
	if err == nil {
		err = os.Link(temporary, path)
		_ = os.Remove(temporary)
	}
	if err == nil {
		err = syncDirectory(path)
	}
	if err != nil {
		return fileError(path, err)
	}
	return nil
}

func writeTemporary(path string, content []byte) (string, error) {
	temporary := path + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return "", err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(temporary)
	}
	return temporary, err
}

func syncDirectory(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func fileError(path string, err error) error {
	e := &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: "open keyring", Err: err}
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Detail = "the directory of the keyring file " + path + " does not exist"
		e.Hint = "create it, for the user that runs keybearer alone: mkdir -m 700 " + dir
	case errors.Is(err, fs.ErrPermission):
		e.Detail = "the keyring file " + path + " may not be read or written"
		e.Hint = "give it, and its directory " + dir + ", to the user that runs keybearer"
	default:
		e.Detail = "the keyring file " + path + " cannot be read or written"
		e.Hint = "look at the cause; free space on its disk, if it is full"
	}
	return e
}
