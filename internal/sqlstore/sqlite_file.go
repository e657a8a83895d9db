package sqlstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keybearer/keybearer"
)

// place returns the absolute path of the file itself, links resolved, after making sure that its directory is there and
// that nobody else can put other files in place of ours. Others may see the names: the files themselves are closed to them.
func place(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", unusable(path, err)
	}
	switch real, err := filepath.EvalSymlinks(abs); {
	case err == nil:
		abs = real
	case !errors.Is(err, fs.ErrNotExist):
		return "", unusable(abs, err)
	}
	dir := filepath.Dir(abs)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", unusable(dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", unusable(dir, err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return "", keybearer.NewError(keybearer.StoreUnavailable,
			fmt.Sprintf("the directory %s has mode %04o: others than its owner may write in it", dir, mode)).
			WithHint("chmod go-w " + dir)
	}
	return abs, nil
}

// inspect looks at the file before SQLite touches it, and makes an empty one when there is none. fresh says that it
// is empty.
func inspect(path string) (fresh bool, err error) {
	if size(path) == 0 && size(path+walSuffix) > 0 {
		return false, keybearer.NewError(keybearer.StoreUnavailable, fmt.Sprintf("%s is missing or empty, but %s is not", path, path+walSuffix)).
			WithHint("put back the database that belongs to the log, or restore a backup and remove the log")
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, unusable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, unusable(path, err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return false, keybearer.NewError(keybearer.StoreUnavailable, path+" is not a regular file").WithHint("name another file")
	case mode.Perm()&0o077 != 0:
		return false, keybearer.NewError(keybearer.StoreUnavailable,
			fmt.Sprintf("%s has mode %04o: others than its owner may read or write it", path, mode.Perm())).
			WithHint("chmod 600 " + path)
	case info.Size() == 0:
		return true, syncDirectory(filepath.Dir(path))
	}
	// The first 100 bytes: https://www.sqlite.org/fileformat2.html, section 1.3.
	var header [100]byte
	if _, err := io.ReadFull(f, header[:]); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, unusable(path, err)
	}
	if string(header[:16]) != "SQLite format 3\x00" {
		return false, keybearer.NewError(keybearer.StoreUnavailable, path+" is not a SQLite database").
			WithHint("name another file, or restore a backup; the file was left as it is")
	}
	if binary.BigEndian.Uint32(header[68:]) != applicationID {
		return false, keybearer.NewError(keybearer.StoreUnavailable, path+" is a database of another program").
			WithHint("name another file; this one was left as it is")
	}
	return false, nil
}

// size returns the size of a file in bytes, 0 when there is none.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// syncDirectory makes a new name in a directory survive a crash of the machine.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return unusable(dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return unusable(dir, err)
	}
	return nil
}
