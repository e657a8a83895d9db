package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/keybearer/keybearer"
)

// Tail returns the last n events of the log at path for which keep is true, or the last n when it is nil, oldest
// first. It reads backwards and no more of the file than it needs, and may run while the log is being written. Lines
// that are not events are passed over. A file that does not exist is [keybearer.NotFound]; one that
// cannot be read, or ctx being done, is [keybearer.AuditUnavailable].
func Tail(ctx context.Context, path string, n int, keep func(*keybearer.Event) bool) ([]keybearer.Event, error) {
	f, err := os.Open(path)
	if err != nil {
		e := &keybearer.Error{Code: keybearer.AuditUnavailable, Op: "read audit log", Detail: "the audit file " + path + " cannot be read", Err: err}
		if errors.Is(err, fs.ErrNotExist) {
			e.Code, e.Detail = keybearer.NotFound, "there is no audit file "+path
		}
		return nil, e
	}
	defer func() { _ = f.Close() }()
	var events []keybearer.Event
	err = backwards(f, func(line []byte) bool {
		if len(events) >= n || ctx.Err() != nil {
			return false
		}
		if e, err := ParseEvent(line); err == nil && (keep == nil || keep(&e)) {
			events = append(events, e)
		}
		return true
	})
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, &keybearer.Error{Code: keybearer.AuditUnavailable, Op: "read audit log", Err: err}
	}
	slices.Reverse(events)
	return events, nil
}

// backwards yields the whole lines of f from the last to the first.
func backwards(f *os.File, yield func(line []byte) bool) error {
	const chunk = 64 << 10
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var buf []byte // of what begins at offset at: what was not yielded yet
	first := true  // what is behind the last line break is no whole line
	for {
		i := bytes.LastIndexByte(buf, '\n')
		switch {
		case i >= 0 && first:
			buf, first = buf[:i], false
			continue
		case i >= 0 || at == 0 && !first:
			if line := buf[i+1:]; len(line) > 0 && !yield(line) || i < 0 {
				return nil
			}
			buf = buf[:i]
			continue
		case at == 0:
			return nil
		}
		size := min(at, chunk)
		at -= size
		more := make([]byte, int(size)+len(buf))
		if _, err := f.ReadAt(more[:size], at); err != nil {
			return err
		}
		copy(more[size:], buf)
		buf = more
	}
}
