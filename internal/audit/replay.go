package audit

import (
	"context"
	"os"
	"slices"

	"github.com/keybearer/keybearer"
)

// start finds the place of the ledger's checkpoint, and the intents that were open there.
func (f *Feed) start(ctx context.Context) error {
	checkpoint, err := f.ledger.Checkpoint(ctx)
	if err != nil {
		return err
	}
	current := f.segment
	good := current.good.Load()
	id := current.identity()
	at, open := parsePosition(checkpoint)
	var older []rotated
	if at.file == "" || at.file != id || slices.ContainsFunc(open, func(m mark) bool { return m.file != id }) {
		if older, err = findRotated(f.log.path, id); err != nil {
			return unavailable(err)
		}
	}
	for _, m := range open {
		if err := f.openAgain(m, id, good, older); err != nil {
			return unavailable(err)
		}
	}
	f.recorded, f.passed = at, at
	switch i := slices.IndexFunc(older, func(r rotated) bool { return r.id == at.file }); {
	case checkpoint == keybearer.Checkpoint{}: // read all that there is
	case at.file == id:
		f.at = mark{id, min(at.offset, good)} // the end of the file may have been lost with the power
		older = nil
	case i >= 0:
		older = older[i:]
		f.at = mark{at.file, min(at.offset, older[0].size)}
	default:
		older = nil
	}
	for _, r := range slices.Backward(older) {
		if err := f.prepend(r); err != nil {
			return unavailable(err)
		}
	}
	first := f.first.identity()
	for f.first = f.segment; f.first != nil && f.first.identity() != first; {
		f.first = f.first.next.Load()
	}
	if f.first == f.segment && f.at.offset > f.born {
		f.first = nil
	}
	return nil
}

// prepend makes a rotated file the one to read before the others.
func (f *Feed) prepend(r rotated) error {
	file, err := os.Open(r.path)
	if err != nil {
		return err
	}
	s := &segment{path: r.path, file: file, regular: true, id: r.id}
	s.refs.Store(1)
	s.good.Store(r.size)
	s.next.Store(f.segment)
	f.segment = s
	return nil
}

// openAgain reads the intent at m. What cannot be found any more is left out.
func (f *Feed) openAgain(m mark, id string, good int64, older []rotated) error {
	var line []byte
	var err error
	if m.file == id {
		line, err = lineAt(f.segment.file, m.offset, good)
	} else if i := slices.IndexFunc(older, func(r rotated) bool { return r.id == m.file }); i >= 0 {
		var file *os.File
		if file, err = os.Open(older[i].path); err == nil {
			line, err = lineAt(file, m.offset, older[i].size)
			_ = file.Close()
		}
	}
	f.consume(string(line), m)
	return err
}
