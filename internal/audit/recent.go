package audit

import (
	"bytes"
	"context"
	"sync"

	"github.com/keybearer/keybearer"
)

// Entry is an event as a subscriber sees it.
type Entry struct {
	Event keybearer.Event
	Lost  uint64 // events just before this one that were written too fast for this subscriber to look at
}

// recent keeps the last lines, and wakes who follows them. Subscribers read the ring at their own pace; a slow one is
// overtaken and learns by how much.
type recent struct {
	mu     sync.Mutex
	lines  [][]byte // line s is at s % len
	next   uint64   // number of the next line
	wakers map[chan struct{}]struct{}
	closed bool
}

func newRecent(n int) *recent {
	return &recent{lines: make([][]byte, n), wakers: make(map[chan struct{}]struct{})}
}

// add takes in whole lines.
func (r *recent) add(lines []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range bytes.Lines(lines) {
		slot := &r.lines[r.next%uint64(len(r.lines))]
		if cap(*slot) > maxPooled {
			*slot = nil
		}
		*slot = append((*slot)[:0], line...)
		r.next++
	}
	r.wake()
}

func (r *recent) wake() {
	for w := range r.wakers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// read appends to buf the next line from number seq on, and returns its number; ok is false when there is none yet. Lines
// that were overwritten are passed over.
func (r *recent) read(seq uint64, buf []byte) (line []byte, at uint64, ok, closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq >= r.next {
		return buf, seq, false, r.closed
	}
	if n := uint64(len(r.lines)); r.next-seq > n {
		seq = r.next - n
	}
	return append(buf, r.lines[seq%uint64(len(r.lines))]...), seq, true, r.closed
}

func (r *recent) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.wake()
}

// Subscribe sends the last n events (as far as they are kept), then each new one as soon as it is written: those for which keep is true, or
// all when it is nil. It never holds up the log: a subscriber that is too slow loses events, and the next Entry says how
// many. The channel is closed when ctx is done, which must come to pass, or the log is closed.
func (l *Log) Subscribe(ctx context.Context, n int, keep func(*keybearer.Event) bool) <-chan Entry {
	r, waker, out := l.recent, make(chan struct{}, 1), make(chan Entry)
	r.mu.Lock()
	seq := r.next - min(r.next, uint64(max(n, 0)), uint64(len(r.lines)))
	r.wakers[waker] = struct{}{}
	r.mu.Unlock()
	go func() {
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.wakers, waker)
			close(out)
		}()
		var buf []byte
		var lost uint64
		for ctx.Err() == nil {
			line, at, ok, closed := r.read(seq, buf[:0])
			buf = line
			if !ok {
				if closed {
					return
				}
				select {
				case <-waker:
					continue
				case <-ctx.Done():
					return
				}
			}
			lost += at - seq
			seq = at + 1
			e, err := ParseEvent(line)
			if err != nil || keep != nil && !keep(&e) {
				continue
			}
			select {
			case out <- Entry{e, lost}:
				lost = 0
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
