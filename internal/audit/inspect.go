package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/keybearer/keybearer"
)

// Inspection is what a log file is found to hold by somebody who only reads it.
type Inspection struct {
	Found bool // there is a regular file with a line in it
	Lines int
	Bytes int64
	Torn  int64 // bytes behind the last line break, as a crash or a write under way leaves them; they are cut off when the log is opened
	// Behind is set when a ledger's checkpoint is in no file that is there: what was written since cannot be counted.
	Behind bool
}

// Inspect reads a log from its beginning to its end and changes nothing. Of the ledger's checkpoints it looks whether their place is in this file, or in one
// that rotation has left beside it.
//
// It returns [keybearer.AuditUnavailable] when the file cannot be read, or holds a whole line that is not an event: something else has written
// into it, or it was edited.
func Inspect(path string, checkpoints []keybearer.Checkpoint) (Inspection, error) {
	var i Inspection
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return i, nil
	}
	if err != nil {
		return i, openError(path, err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return i, nil // a pipe or terminal keeps nothing
	}
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			i.Torn = int64(len(line))
			break
		}
		if err != nil {
			return i, openError(path, err)
		}
		i.Lines++
		i.Bytes += int64(len(line))
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if _, err := ParseEvent(line); err != nil {
			return i, &keybearer.Error{
				Code: keybearer.AuditUnavailable, Op: "inspect audit log", Err: err,
				Detail: fmt.Sprintf("line %d of %s is not an event: something else wrote into the log, or it was edited", i.Lines, path),
				Hint:   "keep a copy of the file as evidence, and look who may write it; the server goes on behind that line",
			}
		}
	}
	i.Found = i.Lines > 0
	id, err := identify(f, i.Bytes)
	if err != nil {
		return i, openError(path, err)
	}
	older, err := findRotated(path, id)
	if err != nil {
		return i, openError(path, err)
	}
	sizes := map[string]int64{id: i.Bytes}
	for _, o := range older {
		sizes[o.id] = o.size
	}
	for _, c := range checkpoints {
		at, _ := parsePosition(c)
		if size, ok := sizes[at.file]; at.file != "" && (!ok || at.offset > size) {
			i.Behind = true
		}
	}
	return i, nil
}
