package audit

import (
	"context"
	"slices"

	"github.com/keybearer/keybearer"
)

// entry is one encoded event on its way to the file.
type entry struct {
	line   []byte // with its line break
	waited bool   // somebody waits on result
	result chan error
}

func (l *Log) newEntry(e *keybearer.Event, waited bool) *entry {
	en, ok := l.entries.Get().(*entry)
	if !ok {
		en = &entry{result: make(chan error, 1)}
	}
	en.line = append(AppendEvent(en.line[:0], e), '\n')
	en.waited = waited
	return en
}

func (l *Log) free(en *entry) {
	if cap(en.line) <= maxPooled {
		l.entries.Put(en)
	}
}

func (l *Log) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

func (l *Log) tryPush(en *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= l.limit || l.queued >= maxQueued {
		return false
	}
	l.queue = append(l.queue, en)
	l.queued += len(en.line)
	return true
}

// push queues en. Where there is no room it makes some, by writing.
func (l *Log) push(ctx context.Context, en *entry) error {
	for !l.tryPush(en) {
		select {
		case l.turn <- struct{}{}:
			err := l.flush()
			<-l.turn
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return unavailable(ctx.Err())
		}
	}
	return nil
}

// withdraw takes en back out of the queue; false means that it is being written already.
func (l *Log) withdraw(en *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.queue, en)
	if i < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	l.queued -= len(en.line)
	return true
}
