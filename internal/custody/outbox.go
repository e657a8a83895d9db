package custody

import (
	"context"
	"errors"
	"time"

	"github.com/keybearer/keybearer"
)

const (
	outboxPage = 100
	clockSlack = time.Minute // by how much times in the log may be out of order
)

// drain writes committed events to the audit log and marks them delivered. It returns when the log has all that were committed
// before the call, or cannot be written: then they stay in the store, the log is not ready, and no further change is
// permitted until it is.
func (c *Custody) drain(ctx context.Context) {
	if err := c.deliver(context.WithoutCancel(ctx), nil); err != nil {
		c.log.Error("audit events of changes wait in the store", "error", err)
	}
}

// deliver is drain; known are events that the log holds already.
func (c *Custody) deliver(ctx context.Context, known map[uint64]bool) error {
	c.outbox.Lock()
	defer c.outbox.Unlock()
	for {
		pending, err := c.store.Events(ctx, outboxPage)
		if err != nil || len(pending) == 0 {
			return err
		}
		seqs := make([]uint64, 0, len(pending))
		for i := range pending {
			if !known[pending[i].Seq] {
				if err = c.auditor.Record(ctx, &pending[i].Event); err != nil {
					break
				}
			}
			seqs = append(seqs, pending[i].Seq)
		}
		if len(seqs) > 0 {
			if marked := c.store.Delivered(ctx, seqs...); marked != nil {
				return marked
			}
		}
		if err != nil {
			return err
		}
	}
}

// recoverOutbox delivers what a crash left. Events that were written and not yet marked stand near the end of the log, not before the
// first of them was made; they get no second line.
func (c *Custody) recoverOutbox(ctx context.Context) error {
	pending, err := c.store.Events(ctx, outboxPage)
	if err != nil || len(pending) == 0 || c.tail == nil {
		return errors.Join(err, c.deliver(ctx, nil))
	}
	type line struct{ id, action string }
	waiting := make(map[line]uint64, len(pending))
	oldest := pending[0].Event.Time
	for i := range pending {
		e := &pending[i].Event
		waiting[line{e.ID, e.Action}] = pending[i].Seq
		if e.Time.Before(oldest) {
			oldest = e.Time
		}
	}
	known := make(map[uint64]bool)
	reading, enough := context.WithCancel(ctx)
	defer enough()
	_, err = c.tail(reading, len(pending), func(e *keybearer.Event) bool {
		if e.Time.Before(oldest.Add(-clockSlack)) {
			enough()
			return false
		}
		seq, ok := waiting[line{e.ID, e.Action}]
		if ok && e.Kind == keybearer.ChangeEvent {
			known[seq] = true
		}
		return ok
	})
	if err != nil && reading.Err() == nil && keybearer.CodeOf(err) != keybearer.NotFound {
		return keybearer.AsError(err)
	}
	return c.deliver(ctx, known)
}
