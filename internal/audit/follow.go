package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

const (
	feedEvery   = time.Second
	feedTimeout = 10 * time.Second
	feedChunk   = 256 << 10 // bytes read at once
	feedUses    = 10_000    // uses recorded at once
)

// Feed keeps a ledger equal to a log. It is a function of the file alone: it reads the lines back, at the start from the
// ledger's checkpoint on, then about once a second what has been added, and records them together with the new checkpoint. So after a
// crash nothing is missing and nothing counts twice.
//
// Each outcome of a use and each refusal that names a credential id is one record. An intent whose outcome never came, because
// the process died in between, counts as a use with status 0 and the code [keybearer.Internal], once the log is opened again.
type Feed struct {
	log    *Log
	ledger keybearer.Ledger
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	segment  *segment
	at       mark // where reading goes on, in segment; without a file until that has a line
	passed   mark // the end of the segment before, as long as at has no file
	recorded mark // what the ledger has
	open     map[string]openUse
	uses     []keybearer.UseRecord // not recorded yet
	unsure   bool                  // RecordUses failed for them, but may have done its work
	buf      []byte
	names    names
	err      error // of the last round in the background

	// What is open where the lines of this process begin was left open by one that died.
	first *segment // nil once that place is passed
	born  int64
}

// openUse is a use whose outcome has not been seen.
type openUse struct {
	mark
	line string // of the intent
}

// Follow begins to feed the ledger from the log, and brings it up to date before it returns. A ledger without a
// checkpoint is built from all that is there, rotated files included. A file that the checkpoint names is looked for
// beside the log; when it is gone, reading goes on with the log's own file. Call it soon after OpenFile, once for each Log;
// Close of either ends it. The ledger must stay open until then. It returns [keybearer.AuditUnavailable] when the log
// cannot be read, [keybearer.Conflict] when the log is not a regular file or has a feed already, and what the ledger returns.
func Follow(ctx context.Context, l *Log, ledger keybearer.Ledger) (*Feed, error) {
	f := &Feed{log: l, ledger: ledger, open: make(map[string]openUse), names: newNames()}
	if err := f.attach(); err != nil {
		return nil, err
	}
	err := f.start(ctx)
	if err == nil {
		err = f.Flush(ctx)
	}
	if err != nil {
		f.detach()
		return nil, err
	}
	background, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.done.Go(func() { f.run(background) })
	return f, nil
}

// Flush writes what is queued and records all that is in the file.
func (f *Feed) Flush(ctx context.Context) error {
	l := f.log
	select {
	case l.turn <- struct{}{}:
		_ = l.flush() // what is not in the file does not concern the ledger
		<-l.turn
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	return f.catchUp(ctx)
}

// Err returns why the ledger fell behind the log; nil when it did not, as far as was seen at the last round.
func (f *Feed) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Close records what is in the file and lets go of the ledger. Only the first call does anything.
func (f *Feed) Close() error {
	l := f.log
	l.turn <- struct{}{}
	mine := l.feed == f
	<-l.turn
	if !mine {
		return nil
	}
	f.stop()
	f.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), feedTimeout)
	defer cancel()
	err := f.Flush(ctx)
	f.detach()
	return err
}

func (f *Feed) run(ctx context.Context) {
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			round, cancel := context.WithTimeout(ctx, feedTimeout)
			err := f.catchUp(round) // tried again at the next tick; until then the checkpoint stays
			cancel()
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
		}
	}
}

// attach makes the log keep its segments open for the feed, from the current one on.
func (f *Feed) attach() error {
	l := f.log
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	switch {
	case l.feed != nil:
		return keybearer.NewError(keybearer.Conflict, "the audit log already feeds a ledger")
	case !l.file.regular:
		return keybearer.NewError(keybearer.Conflict, "the audit log "+l.path+" is not a regular file, so no ledger can be kept from it").
			WithHint("name a regular file as audit log")
	}
	if err := l.reopenIfMoved(); err != nil {
		return err
	}
	l.feed = f
	l.file.refs.Add(1)
	f.segment, f.first, f.born = l.file, l.first, l.first.born
	return nil
}

// detach releases what is left of the chain of segments.
func (f *Feed) detach() {
	l := f.log
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.feed = nil
	for s := f.segment; s != nil; {
		next := s.next.Load()
		s.release()
		s = next
	}
	f.segment = nil
}

// catchUp reads and records all that is in the file.
func (f *Feed) catchUp(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for more := true; more; {
		for more && len(f.uses) < feedUses && !f.unsure {
			var err error
			if more, err = f.advance(); err != nil {
				return unavailable(err)
			}
		}
		if err := f.record(ctx); err != nil {
			return err
		}
	}
	return nil
}

// record brings the ledger to where reading goes on.
func (f *Feed) record(ctx context.Context) error {
	at := f.at
	if at.file == "" {
		at = f.passed
	}
	if at == f.recorded && len(f.uses) == 0 {
		return nil
	}
	checkpoint := formatPosition(at, f.marks())
	done := false
	if f.unsure {
		have, err := f.ledger.Checkpoint(ctx)
		if err != nil {
			return err
		}
		done = have == checkpoint
	}
	if !done {
		if err := f.ledger.RecordUses(ctx, f.uses, checkpoint); err != nil {
			f.unsure = true
			return err
		}
	}
	f.recorded, f.unsure = at, false
	clear(f.uses)
	f.uses = f.uses[:0]
	return nil
}

func (f *Feed) marks() []mark {
	open := slices.Collect(maps.Values(f.open))
	if len(open) > maxMarked {
		slices.SortFunc(open, func(a, b openUse) int { return strings.Compare(b.line, a.line) }) // by time
		open = open[:maxMarked]
	}
	marks := make([]mark, len(open))
	for i := range open {
		marks[i] = open[i].mark
	}
	return marks
}

// advance reads one chunk, or moves on to the next file; false means that there is nothing more.
func (f *Feed) advance() (more bool, err error) {
	s := f.segment
	next := s.next.Load() // before good: once there is a next one, good is final
	limit := s.good.Load()
	if s == f.first {
		if f.at.offset >= f.born {
			f.settle()
			f.first = nil
		} else {
			limit = f.born
		}
	}
	switch {
	case f.at.offset < limit:
		return true, f.read(limit)
	case next == nil:
		return false, nil
	}
	if f.at.file != "" {
		f.passed = f.at
	}
	f.segment, f.at = next, mark{}
	s.release()
	return true, nil
}

// read takes in the next whole lines before limit.
func (f *Feed) read(limit int64) error {
	s := f.segment
	f.at.file = s.identity()
	for size := int64(feedChunk); ; size *= 2 {
		want := min(size, limit-f.at.offset)
		f.buf = slices.Grow(f.buf[:0], int(want))[:want]
		n, err := s.file.ReadAt(f.buf, f.at.offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		// Nothing of a file that was truncated may be taken in, nor of what was written to it since.
		if id, err := identify(s.file, limit); err != nil {
			return err
		} else if id != f.at.file || int64(n) < want {
			return f.truncated()
		}
		if end := bytes.LastIndexByte(f.buf, '\n'); end >= 0 {
			for line := range strings.Lines(string(f.buf[:end+1])) {
				f.consume(line, f.at)
				f.at.offset += int64(len(line))
			}
			break
		}
		if size >= limit-f.at.offset { // edited by hand
			f.at.offset = limit
			break
		}
	}
	if cap(f.buf) > 4*feedChunk {
		f.buf = nil
	}
	return nil
}

// truncated leaves a segment whose file lost its lines, for the copy that was made of it (copytruncate), if there is one.
func (f *Feed) truncated() error {
	s, l := f.segment, f.log
	l.turn <- struct{}{}
	var err error
	if l.file == s {
		err = l.reopen()
	}
	<-l.turn
	if err != nil {
		return err
	}
	copies, err := findRotated(l.path, "")
	if err != nil {
		return err
	}
	at := f.at
	f.segment, f.passed, f.at = s.next.Load(), f.at, mark{}
	s.release()
	if i := slices.IndexFunc(copies, func(r rotated) bool { return r.id == at.file }); i >= 0 && copies[i].size >= at.offset {
		f.at = at
		return f.prepend(copies[i])
	}
	return nil
}

// consume takes in one line. It keeps nothing of it, but copies.
func (f *Feed) consume(line string, at mark) {
	if _, ok := intentID(line); ok {
		line = strings.Clone(line)
		id, _ := intentID(line)
		f.open[id] = openUse{at, line} // most are forgotten soon: it is read only when it has to be
		return
	}
	e, err := parseLine(line)
	switch {
	case err != nil || e.CredentialID == "":
	case e.Kind == keybearer.UseEvent && e.Phase == keybearer.Intent: // written by somebody else
		f.open[strings.Clone(e.ID)] = openUse{at, strings.Clone(line)}
	case (e.Kind == keybearer.UseEvent || e.Kind == keybearer.RefusalEvent) && e.Phase == keybearer.Outcome:
		delete(f.open, e.ID)
		f.uses = append(f.uses, f.useOf(&e))
	}
}

// intentID returns the request id of a line in which AppendEvent wrote the intent of a use.
func intentID(line string) (id string, ok bool) {
	const before, after = len(`{"time":"2026-01-02T15:04:05.000000Z`), `","phase":"intent","event":"use"`
	if len(line) < before {
		return "", false
	}
	rest, ok := strings.CutPrefix(line[before:], `","id":"`)
	n := plainPrefix(rest)
	return rest[:n], ok && strings.HasPrefix(rest[n:], after)
}

func (f *Feed) useOf(e *keybearer.Event) keybearer.UseRecord {
	return keybearer.UseRecord{
		CredentialID: f.names.copyOf(e.CredentialID), Scope: f.names.copyOf(e.Scope), Caller: f.names.copyOf(e.Caller), User: f.names.copyOf(e.ActingUser), TokenID: f.names.copyOf(e.TokenID),
		Host: f.names.address(e.Host, e.Port), Status: e.DestinationStatus, Code: keybearer.Code(f.names.copyOf(string(e.Code))),
		Refused: e.Kind == keybearer.RefusalEvent, At: e.Time,
		WouldRefuse: keybearer.Code(f.names.copyOf(string(e.WouldRefuse))), Trial: f.names.copyOf(e.Trial),
	}
}

// settle counts the uses that are open: the process that had them in hand is no more.
func (f *Feed) settle() {
	from := len(f.uses)
	for _, o := range f.open {
		if e, err := parseLine(o.line); err == nil && e.CredentialID != "" {
			e.Code = keybearer.Internal
			f.uses = append(f.uses, f.useOf(&e))
		}
	}
	slices.SortFunc(f.uses[from:], func(a, b keybearer.UseRecord) int { return a.At.Compare(b.At) })
	clear(f.open)
}
