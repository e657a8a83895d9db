package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/keybearer/keybearer"
)

// errUnreadable is a row whose content is not what we write.
type errUnreadable struct{ err error }

func (e errUnreadable) Error() string { return "unreadable row: " + e.err.Error() }
func (e errUnreadable) Unwrap() error { return e.err }

// unusable says why a file or directory cannot be opened.
func unusable(path string, err error) *keybearer.Error {
	e := &keybearer.Error{Code: keybearer.StoreUnavailable, Op: "open the store", Err: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Detail, e.Hint = path+" may not be read and written by this user", "make this user its owner, with mode 600 for a file and 700 for a directory"
	case errors.Is(err, syscall.EROFS):
		e.Detail, e.Hint = path+" is on a read-only file system", "mount it for writing, or name a file elsewhere"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		e.Detail, e.Hint = "there is no space left for "+path, "free space on its file system"
	default:
		e.Detail, e.Hint = path+" cannot be opened", "make sure that it is a file in a directory of this user"
	}
	return e
}

// fail names the file without its directory: the answer may reach somebody whom that does not concern. The cause,
// which is for the server's log, has the whole path.
func (e *sqliteEngine) fail(op string, err error) error {
	return e.explain(op, filepath.Base(e.path), err)
}

// explain says what went wrong with the file, and how to mend it.
func (e *sqliteEngine) explain(op, file string, err error) error {
	if k, ok := errors.AsType[*keybearer.Error](err); ok {
		if k.Op == "" {
			k.Op = op
		}
		return k
	}
	out := &keybearer.Error{Code: keybearer.StoreUnavailable, Op: op, Err: fmt.Errorf("%s: %w", e.path, err)}
	if _, ok := errors.AsType[errUnreadable](err); ok {
		out.Detail, out.Hint = file+" holds a record that cannot be read", restore
		return out
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		out.Detail, out.Hint = "the store did not answer in time", "try again"
		return out
	}
	s, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return out
	}
	switch s.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		out.Detail, out.Hint = "there is no space left for "+file, "free space on its file system; nothing that was acknowledged is lost"
	case sqlite3.SQLITE_IOERR:
		out.Detail = file + " cannot be read or written: the disk is full or failing"
		out.Hint = "free space on its file system or mend it; nothing that was acknowledged is lost"
	case sqlite3.SQLITE_CORRUPT:
		out.Detail, out.Hint = file+" is damaged", restore
	case sqlite3.SQLITE_NOTADB:
		out.Detail, out.Hint = file+" is not a SQLite database", restore
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN:
		out.Detail = file + " or its directory may not be written"
		out.Hint = "give both to the user that runs Keybearer, on a file system that is mounted for writing"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		out.Detail, out.Hint = file+" is locked by another program", "stop whatever else writes to it"
	}
	return out
}

const restore = "stop Keybearer, keep a copy of the file, and restore a backup"

func (e *sqliteEngine) duplicate(err error) bool {
	return code(err) == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code(err) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

func (e *sqliteEngine) dangling(err error) bool {
	return code(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// code returns SQLite's extended result code, 0 when err has none.
func code(err error) int {
	if s, ok := errors.AsType[*sqlite.Error](err); ok {
		return s.Code()
	}
	return 0
}
