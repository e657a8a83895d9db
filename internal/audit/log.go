// Package audit keeps the audit log: the one canonical line for each use, refusal and change, in a file of JSON lines.
//
// [OpenFile] gives a [keybearer.Auditor]. [Log.Subscribe] and [Tail] read it back for people, and [Follow] keeps a
// [keybearer.Ledger] equal to it. The package decides how lines are written, kept whole and found again. It does
// not know what an event means to the request that caused it, nor which refusals are worth sampling.
//
// # Writing
//
// There is no thread between callers and the file. Whoever has something to write queues its line and then either takes the turn
// and writes all that is queued with one write(2), or waits while someone else does it for them. So one caller
// alone pays for little more than the system call, and many share it. Events that nobody waits for ride along, or are written a few
// milliseconds later.
//
// A write that fails fails for every event of its batch that somebody waits for, and is undone: the file always
// ends with a whole line. While it fails each further Record tries again, and so does the log itself each
// second; when writing works again, a change event with the action "audit.resume" marks the gap.
//
// # The file
//
// It is opened for appending, made with mode 0600 when absent, and locked (flock) against a second writer. When it has
// been renamed, removed or truncated the log opens its path anew within a second, so logrotate needs
// neither a signal nor copytruncate. Lines reach the disk when the system writes them, at the latest after some
// seconds and on Close. Anything else that can be written to, such as /dev/stdout, will do as well, without these
// comforts and without a ledger.
package audit

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keybearer/keybearer"
)

const (
	defaultQueue  = 4096
	defaultRecent = 1000
	maxQueued     = 8 << 20 // bytes
	maxPooled     = 16 << 10
	postDelay     = 5 * time.Millisecond // how long an event that nobody waits for may wait for company
	checkEvery    = time.Second          // for rotation, and for writing again after a failure
	syncEvery     = 5 * time.Second
)

// ResumeAction is the action of the change event that marks a gap: until then the log could not be written.
const ResumeAction = "audit.resume"

// Options of a Log. The zero value works.
type Options struct {
	Queue  int // events that may wait to be written; 0: 4096
	Recent int // last events kept for Subscribe; 0: 1000
	// Notify, if set, is called with the error when the log becomes unwritable, and with nil when it can be written again. It must be quick
	// and must not call the Log.
	Notify func(error)
}

// Log is an audit log in a file. It implements [keybearer.Auditor].
type Log struct {
	path    string
	limit   int
	notify  func(error)
	recent  *recent
	dropped atomic.Uint64
	entries sync.Pool // of *entry

	turn chan struct{} // holds one element while somebody writes; that one owns file, feed, batch and buf
	kick chan struct{} // wakes the goroutine that writes what nobody waits for
	stop chan struct{}
	done sync.WaitGroup

	file  *segment
	first *segment // the first that this process wrote to; may be closed
	feed  *Feed
	batch []*entry
	buf   []byte

	mu     sync.Mutex
	queue  []*entry
	queued int   // bytes
	err    error // why the last write failed; nil when it did not
	closed bool
}

var _ keybearer.Auditor = (*Log)(nil)

// OpenFile opens or makes the audit log at path. The directory must exist. Use one Log for a path: a second one, in this
// process or another, is refused. It returns [keybearer.AuditUnavailable] with what to do about it.
func OpenFile(path string, o Options) (*Log, error) {
	file, err := openSegment(path)
	if err != nil {
		return nil, err
	}
	file.born = file.good.Load()
	if o.Queue <= 0 {
		o.Queue = defaultQueue
	}
	if o.Recent <= 0 {
		o.Recent = defaultRecent
	}
	if o.Notify == nil {
		o.Notify = func(error) {}
	}
	l := &Log{
		path: path, first: file, limit: o.Queue, notify: o.Notify, recent: newRecent(o.Recent), file: file,
		turn: make(chan struct{}, 1), kick: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	l.done.Go(l.run)
	return l, nil
}

// Record writes e and returns when it has been handed to the operating system. ctx counts only while e waits for its batch:
// once it is being written, Record waits for the result. See [keybearer.Auditor].
func (l *Log) Record(ctx context.Context, e *keybearer.Event) error {
	en := l.newEntry(e, true)
	if err := l.push(ctx, en); err != nil {
		l.free(en)
		return err
	}
	var err error
	select {
	case l.turn <- struct{}{}:
		runtime.Gosched() // whoever can run now may join the batch
		_ = l.flush()
		<-l.turn
		err = <-en.result
	case err = <-en.result:
	case <-ctx.Done():
		if !l.withdraw(en) {
			err = <-en.result
			break
		}
		err = unavailable(ctx.Err())
	}
	l.free(en)
	return err
}

// Post queues e; see [keybearer.Auditor]. When the queue is full because the log cannot be written, e is dropped and
// counted: Ready and Record have been failing since.
func (l *Log) Post(e *keybearer.Event) {
	en := l.newEntry(e, false)
	if err := l.push(context.Background(), en); err != nil {
		l.dropped.Add(1)
		l.free(en)
		return
	}
	l.wake()
}

// Offer queues e unless the queue is full; see [keybearer.Auditor].
func (l *Log) Offer(e *keybearer.Event) bool {
	en := l.newEntry(e, false)
	if !l.tryPush(en) {
		l.dropped.Add(1)
		l.free(en)
		return false
	}
	l.wake()
	return true
}

// Ready returns nil while events can be written, else [keybearer.AuditUnavailable] with the cause.
func (l *Log) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// QueueLen returns how many events wait to be written.
func (l *Log) QueueLen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// Dropped returns how many events of Offer and Post were given up since the start.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Path returns where the log is.
func (l *Log) Path() string { return l.path }

// Reopen looks at once whether the file was renamed, removed or truncated, and opens the path anew if so. The log does
// the same by itself each second.
func (l *Log) Reopen() error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if err := l.reopenIfMoved(); err != nil {
		l.fail(err)
		return err
	}
	return nil
}

// Close writes what is queued, brings the ledger that follows up to date, and closes the file. Nothing else may be called
// after it. It returns [keybearer.AuditUnavailable] when events were lost.
func (l *Log) Close() error {
	close(l.stop)
	l.done.Wait()
	l.turn <- struct{}{}
	err := l.flush()
	feed := l.feed
	l.mu.Lock()
	l.closed = true
	l.dropped.Add(uint64(len(l.queue)))
	l.mu.Unlock()
	<-l.turn
	l.recent.close()
	if feed != nil {
		err = errors.Join(err, feed.Close())
	}
	if e := l.file.sync(); e != nil { // the feed may have opened it anew
		err = errors.Join(err, unavailable(e))
	}
	l.file.release()
	return err
}

// flush writes all that is queued and tells those who wait. Only the holder of the turn may call it.
func (l *Log) flush() error {
	l.mu.Lock()
	l.batch, l.queue, l.queued = l.queue, l.batch[:0], 0
	failing, closed := l.err != nil, l.closed
	l.mu.Unlock()
	if len(l.batch) == 0 && !failing {
		return nil
	}
	l.buf = l.buf[:0]
	var err error
	switch {
	case closed:
		err = unavailable(os.ErrClosed)
	case failing:
		l.buf = appendResume(l.buf)
		err = l.reopenIfMoved()
	}
	gap := len(l.buf)
	written := 0
	if err == nil {
		for _, en := range l.batch {
			l.buf = append(l.buf, en.line...)
		}
		if written, err = l.file.write(l.buf); err != nil {
			err = unavailable(err)
		}
	}
	if err != nil {
		l.giveBack(written-gap, err)
		l.fail(err)
		return err
	}
	l.recent.add(l.buf)
	if cap(l.buf) > maxQueued {
		l.buf = nil
	}
	for i, en := range l.batch {
		l.batch[i] = nil
		if en.waited {
			en.result <- nil
		} else {
			l.free(en)
		}
	}
	if failing {
		l.mu.Lock()
		l.err = nil
		l.mu.Unlock()
		l.notify(nil)
	}
	return nil
}

// appendResume appends the event that says that until now the log could not be written.
func appendResume(b []byte) []byte {
	return append(AppendEvent(b, &keybearer.Event{
		Time: time.Now(), ID: keybearer.NewID(keybearer.IDRequest),
		Phase: keybearer.Outcome, Kind: keybearer.ChangeEvent, Action: ResumeAction,
	}), '\n')
}

// giveBack fails the events of the batch that somebody waits for, and puts the others back in front of the queue, but for those
// within the first written bytes.
func (l *Log) giveBack(written int, err error) {
	kept := make([]*entry, 0, len(l.batch))
	size := 0
	for i, en := range l.batch {
		l.batch[i] = nil
		written -= len(en.line)
		switch {
		case en.waited:
			en.result <- err
		case written >= 0:
			l.free(en)
		default:
			kept = append(kept, en)
			size += len(en.line)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(kept, l.queue...)
	l.queued += size
}

func (l *Log) fail(err error) {
	l.mu.Lock()
	first := l.err == nil
	l.err = err
	l.mu.Unlock()
	if first {
		l.notify(err)
	}
}

// run writes what nobody waits for, looks after rotation, and tries again after a failure.
func (l *Log) run() {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	delay := time.NewTimer(postDelay)
	defer delay.Stop()
	synced := time.Now()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			_ = l.Reopen() // the error stays in l.err
		case <-l.kick:
			delay.Reset(postDelay)
			select {
			case <-l.stop:
				return
			case <-delay.C:
			}
		}
		l.turn <- struct{}{}
		_ = l.flush()
		file := l.file
		<-l.turn
		if now := time.Now(); now.Sub(synced) >= syncEvery {
			synced = now
			if err := file.sync(); err != nil {
				l.fail(unavailable(err))
			}
		}
	}
}

// unavailable wraps a cause. What it returns may be shown to callers: the cause, which names the file, is not.
func unavailable(err error) error {
	return &keybearer.Error{Code: keybearer.AuditUnavailable, Op: "write audit log", Err: err}
}
