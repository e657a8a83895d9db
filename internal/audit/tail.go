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
// first; keep is asked from the newest event on. It reads backwards and no more of the file than it needs, and may run while the log is being written.
// Lines that are not events are passed over. A file that does not exist is [keybearer.NotFound]; one that
// cannot be read, or ctx being done, is [keybearer.AuditUnavailable].
func Tail(ctx context.Context, path string, n int, keep func(*keybearer.Event) bool) ([]keybearer.Event, error) {
	var events []keybearer.Event
	err := readBack(ctx, path, func(f *os.File) error {
		return eventsBack(ctx, f, func(e *keybearer.Event) bool {
			if len(events) < n && (keep == nil || keep(e)) {
				events = append(events, *e)
			}
			return len(events) < n
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(events)
	return events, nil
}

// Backwards calls visit with each event of the log at path, from the newest to the oldest, and goes on with the files that were the log
// before, as far as they lie beside it and are not compressed, until visit returns false. The event is visit's to keep. Errors are those of Tail.
func Backwards(ctx context.Context, path string, visit func(*keybearer.Event) bool) error {
	return readBack(ctx, path, func(f *os.File) error {
		more := true
		asked := func(e *keybearer.Event) bool {
			more = visit(e)
			return more
		}
		if err := eventsBack(ctx, f, asked); err != nil || !more {
			return err
		}
		id, err := identityOf(f)
		if err != nil {
			return err
		}
		before, err := findRotated(path, id)
		if err != nil {
			return err
		}
		for _, r := range slices.Backward(before) {
			old, err := os.Open(r.path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // rotated once more
			}
			if err != nil {
				return err
			}
			err = eventsBack(ctx, old, asked)
			_ = old.Close()
			if err != nil || !more {
				return err
			}
		}
		return nil
	})
}

// readBack opens the log for read, and gives its errors their code.
func readBack(ctx context.Context, path string, read func(*os.File) error) error {
	f, err := os.Open(path)
	if err != nil {
		e := &keybearer.Error{Code: keybearer.AuditUnavailable, Op: "read audit log", Detail: "the audit file " + path + " cannot be read", Err: err}
		if errors.Is(err, fs.ErrNotExist) {
			e.Code, e.Detail = keybearer.NotFound, "there is no audit file "+path
		}
		return e
	}
	defer func() { _ = f.Close() }()
	if err := errors.Join(read(f), ctx.Err()); err != nil {
		return &keybearer.Error{Code: keybearer.AuditUnavailable, Op: "read audit log", Err: err}
	}
	return nil
}

// identityOf is the id of a file that may be growing.
func identityOf(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	good, err := wholeLines(f, info.Size())
	if err != nil {
		return "", err
	}
	return identify(f, good)
}

// eventsBack yields the events of f from the last to the first, until ctx is done.
func eventsBack(ctx context.Context, f *os.File, yield func(*keybearer.Event) bool) error {
	return backwards(f, func(line []byte) bool {
		if ctx.Err() != nil {
			return false
		}
		e, err := ParseEvent(line)
		return err != nil || yield(&e)
	})
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
