package audit

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/keybearer/keybearer"
)

// segment is one file that the log has written to: a rotation begins the next.
type segment struct {
	path    string
	file    *os.File
	regular bool
	good    atomic.Int64            // bytes of whole lines; what is behind them is being written, or undone
	id      string                  // see identity; set before good leaves 0
	torn    int                     // bytes behind good that could not be undone
	synced  int64                   // good at the last sync
	born    int64                   // of the log's first segment: where the lines of this process begin
	next    atomic.Pointer[segment] // set once nothing more is written to this one
	refs    atomic.Int32            // the log, and the feed that has yet to read it
}

// openSegment opens path for appending, locks it and makes its end whole.
func openSegment(path string) (*segment, error) {
	flags := os.O_WRONLY
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() {
		flags = os.O_RDWR // the feed reads through the same descriptor, which a rename cannot take away
	}
	// O_NONBLOCK: a pipe that nobody reads is an error, not a wait.
	f, err := os.OpenFile(path, flags|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, openError(path, err)
	}
	s := &segment{path: path, file: f}
	s.refs.Store(1)
	if err := s.prepare(); err != nil {
		_ = f.Close()
		return nil, openError(path, err)
	}
	return s, nil
}

func (s *segment) prepare() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if s.regular = info.Mode().IsRegular(); !s.regular {
		return nil
	}
	if err := lock(s.file); err != nil {
		return err
	}
	whole, err := wholeLines(s.file, info.Size())
	if err != nil {
		return err
	}
	if s.id, err = identify(s.file, whole); err != nil {
		return err
	}
	s.good.Store(whole)
	if s.torn = int(info.Size() - whole); s.torn > 0 {
		s.undo()
	}
	return nil
}

// wholeLines returns the offset behind the last line break within the first size bytes.
func wholeLines(f *os.File, size int64) (int64, error) {
	var buf [4096]byte
	for size > 0 {
		from := max(0, size-int64(len(buf)))
		chunk := buf[:size-from]
		if _, err := f.ReadAt(chunk, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(chunk, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		size = from
	}
	return 0, nil
}

// undo cuts the file back to its whole lines. Where that cannot be, the next write ends the broken line first.
func (s *segment) undo() {
	if s.regular && s.file.Truncate(s.good.Load()) == nil {
		s.torn = 0
	}
}

// write appends whole lines. After an error it returns how many of the bytes are in the file nevertheless.
func (s *segment) write(b []byte) (int, error) {
	if s.torn > 0 {
		if n, err := s.file.Write([]byte{'\n'}); err != nil {
			return 0, err
		} else {
			s.grow(s.torn + n)
			s.torn = 0
		}
	}
	n, err := s.file.Write(b)
	if err == nil {
		s.grow(n)
		return n, nil
	}
	s.torn = n
	if n > 0 {
		s.undo()
	}
	return s.torn, err
}

// identity returns the id of the file; "" as long as it has no line.
func (s *segment) identity() string {
	if s.good.Load() == 0 {
		return ""
	}
	return s.id
}

func (s *segment) grow(n int) {
	good := s.good.Load() + int64(n)
	if s.id == "" && s.regular {
		s.id, _ = identify(s.file, good)
	}
	s.good.Store(good)
}

// moved reports whether path no longer leads to this file, or the file has lost lines.
func (s *segment) moved() bool {
	if !s.regular {
		return false
	}
	here, err := s.file.Stat()
	if err != nil || here.Size() < s.good.Load() {
		return true
	}
	there, err := os.Stat(s.path)
	return err != nil || !os.SameFile(here, there)
}

// sync may be called by one goroutine at a time; it needs no turn.
func (s *segment) sync() error {
	good := s.good.Load()
	if !s.regular || good == s.synced {
		return nil
	}
	if err := s.file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	s.synced = good
	return nil
}

func (s *segment) release() {
	if s.refs.Add(-1) == 0 {
		_ = s.file.Close()
	}
}

// reopenIfMoved begins a new segment where the file is no longer the one at the path: what is written to a removed file is
// lost. Only the holder of the turn may call it.
func (l *Log) reopenIfMoved() error {
	if !l.file.moved() {
		return nil
	}
	return l.reopen()
}

func (l *Log) reopen() error {
	old := l.file
	unlock(old.file) // a truncated file is the same file
	file, err := openSegment(l.path)
	if err != nil {
		return unavailable(err)
	}
	if l.feed != nil {
		file.refs.Add(1)
	}
	if l.first == old && old.id == "" {
		l.first = file
	}
	old.next.Store(file)
	old.release()
	l.file = file
	return nil
}

func openError(path string, err error) error {
	e := &keybearer.Error{Code: keybearer.AuditUnavailable, Op: "open audit log", Err: err}
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Detail = "the directory of the audit file " + path + " does not exist"
		e.Hint = "create " + dir + ", owned by the user that runs keybearer"
	case errors.Is(err, fs.ErrPermission):
		e.Detail = "the audit file " + path + " may not be opened for reading and writing"
		e.Hint = "give the file, or the directory " + dir + ", to the user that runs keybearer"
	case errors.Is(err, syscall.EISDIR):
		e.Detail = "the audit file " + path + " is a directory"
		e.Hint = "name a file, such as " + filepath.Join(path, "audit.jsonl")
	case errors.Is(err, syscall.ENXIO):
		e.Detail = "the audit file " + path + " is a pipe or socket that nobody reads"
		e.Hint = "start its reader first, or name a regular file"
	case errors.Is(err, syscall.EWOULDBLOCK):
		e.Detail = "the audit file " + path + " is being written by another keybearer"
		e.Hint = "stop the other one, or give this one an audit file of its own"
	case errors.Is(err, syscall.EROFS):
		e.Detail = "the audit file " + path + " is on a file system that is read-only"
		e.Hint = "name a file on one that can be written"
	default:
		e.Detail = "the audit file " + path + " cannot be opened"
	}
	return e
}
