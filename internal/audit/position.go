package audit

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// A ledger's checkpoint holds more than an offset: a use whose intent is before it and whose outcome is not there yet must
// be found again after a crash. [keybearer.Checkpoint.File] therefore reads
//
//	<id of the file> <id of a file>:<offset>,<offset>… …
//
// with the places of the intents that were open. A file's id is made from its first line, which holds a random request id: it
// stays the same when the file is renamed or copied, and no inode that is used again can be taken for it.

const (
	idBytes   = 4096 // of the first line, at most, make the id
	maxMarked = 4096 // open intents that a checkpoint holds; of more, the oldest would not count after a crash
)

// mark is the place of a line.
type mark struct {
	file   string // id
	offset int64
}

// identify returns the id of a file that has good bytes of whole lines; "" for an empty one.
func identify(r io.ReaderAt, good int64) (string, error) {
	buf := make([]byte, min(good, idBytes))
	if n, err := r.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	} else if n == 0 {
		return "", nil
	} else {
		buf = buf[:n]
	}
	if i := bytes.IndexByte(buf, '\n'); i >= 0 {
		buf = buf[:i]
	}
	sum := sha256.Sum256(buf)
	return hex.EncodeToString(sum[:16]), nil
}

func formatPosition(at mark, open []mark) keybearer.Checkpoint {
	slices.SortFunc(open, func(a, b mark) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.offset, b.offset))
	})
	file := []byte(at.file)
	for i, m := range open {
		if i == 0 || m.file != open[i-1].file {
			file = append(append(append(file, ' '), m.file...), ':')
		} else {
			file = append(file, ',')
		}
		file = strconv.AppendInt(file, m.offset, 10)
	}
	return keybearer.Checkpoint{File: string(file), Offset: at.offset}
}

// parsePosition reads what formatPosition wrote. Marks that it cannot read are left out.
func parsePosition(c keybearer.Checkpoint) (at mark, open []mark) {
	id, rest, _ := strings.Cut(c.File, " ")
	for group := range strings.FieldsSeq(rest) {
		file, offsets, _ := strings.Cut(group, ":")
		for s := range strings.SplitSeq(offsets, ",") {
			if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
				open = append(open, mark{file, n})
			}
		}
	}
	return mark{id, c.Offset}, open
}

// rotated is a file beside the log that was the log once.
type rotated struct {
	path string
	id   string
	size int64 // of its whole lines
	at   time.Time
}

// findRotated returns what lies beside path as rotation leaves it (audit.jsonl.1, audit.jsonl-20260102, audit-2026….jsonl), begins with
// an event and is not the file with the id, in order of time. Compressed files are not looked into.
func findRotated(path, except string) ([]rotated, error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	listing, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext) + "-"
	var found []rotated
	seen := map[string]bool{"": true, except: true}
	for _, item := range listing {
		name := item.Name()
		dated := strings.HasPrefix(name, stem) && strings.HasSuffix(name, ext) && len(name) > len(stem) && name[len(stem)] >= '0' && name[len(stem)] <= '9'
		if !dated && !strings.HasPrefix(name, base+".") && !strings.HasPrefix(name, base+"-") || !item.Type().IsRegular() {
			continue
		}
		r, err := examine(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue // rotated once more, or not ours
		}
		if err != nil {
			return nil, err
		}
		if !r.at.IsZero() && !seen[r.id] {
			seen[r.id] = true
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(a, b rotated) int { return a.at.Compare(b.at) })
	return found, nil
}

func examine(path string) (rotated, error) {
	f, err := os.Open(path)
	if err != nil {
		return rotated{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return rotated{}, err
	}
	r := rotated{path: path}
	if r.size, err = wholeLines(f, info.Size()); err != nil {
		return rotated{}, err
	}
	if r.id, err = identify(f, r.size); err != nil {
		return rotated{}, err
	}
	line, err := lineAt(f, 0, r.size)
	if err != nil {
		return rotated{}, err
	}
	if e, err := ParseEvent(line); err == nil {
		r.at = e.Time
	}
	return r, nil
}

// lineAt returns the line that begins at offset and ends before limit, without its line break; nil when there is none.
func lineAt(r io.ReaderAt, offset, limit int64) ([]byte, error) {
	for size := int64(4096); ; size *= 4 {
		buf := make([]byte, max(0, min(size, limit-offset)))
		n, err := r.ReadAt(buf, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return buf[:i], nil
		}
		if size >= limit-offset {
			return nil, nil
		}
	}
}
