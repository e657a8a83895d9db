package audit

import (
	"bufio"
	"bytes"
	"errors"
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
	// Broken is how many whole lines are no events, and First which of them is the first, counted from 1. One is what a disk that was full may
	// leave; others were written by something else, or edited.
	Broken, First int
	// Behind is set when a ledger's checkpoint is in no file that is there: what was written since cannot be counted.
	Behind bool
}

// Inspect reads a log from its beginning to its end and changes nothing. Of the ledger's checkpoints it looks whether their place is in this file, or in one
// that rotation has left beside it.
//
// It returns [keybearer.AuditUnavailable] when the file cannot be read.
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
			if i.Broken++; i.First == 0 {
				i.First = i.Lines
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
