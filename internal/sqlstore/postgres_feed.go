package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/records"
)

const (
	channel     = "keybearer" // of notifications
	pollTimeout = time.Second // after which a connection that says nothing is given up
	feedPage    = 1000        // changes that are read at once
	minBackOff  = 25 * time.Millisecond
	maxBackOff  = time.Second
)

// feed tells the watchers what is committed, by whomever. One connection listens for notifications; on each, and whenever none came
// for a while, it asks for the changes behind the last one told.
//
// The numbers of changes have no gaps, and each change has a random stamp. So a gap, a last change that is gone, or one with another
// stamp says that the history is not the one that was followed, since a backup was restored or the feed cut short: then the
// watchers are told [keybearer.AllRecords], and the feed goes on from what is there.
type feed struct {
	db      *sql.DB // of the connection that listens
	watch   *records.Watchers
	poll    time.Duration
	log     *slog.Logger
	explain func(op, database string, err error) *keybearer.Error

	cancel context.CancelFunc
	done   chan struct{}

	current atomic.Pointer[time.Time]
	standby atomic.Bool // the last answer came from a server that follows another, as behind a pooler it can on an old connection
	mu      sync.Mutex  // held while changes are read and told
	last    position
}

// position is that of the last change told.
type position struct {
	number int64
	stamp  string // "" before the first change of all
}

// querier is what the feed reads from.
type querier interface {
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// start finds where the feed stands, on any connection, and follows it from there.
func (f *feed) start(ctx context.Context, db querier) error {
	f.mu.Lock()
	err := f.advance(ctx, db, true)
	for tries := 1; tries < 5 && errors.Is(err, errStalled); tries++ { // many may start at once
		err = f.advance(ctx, db, true)
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	f.done = make(chan struct{})
	go f.run(ctx)
	return nil
}

func (f *feed) stop() {
	f.cancel()
	<-f.done
}

// Current returns the moment of the last question whose answer has been told.
func (f *feed) Current() time.Time { return *f.current.Load() }

// run listens until ctx ends, on one connection after the other.
func (f *feed) run(ctx context.Context) {
	defer close(f.done)
	pause := minBackOff
	since := time.Time{} // of a breakdown
	for {
		err := f.listen(ctx, func() {
			pause = minBackOff
			if !since.IsZero() {
				f.log.Info("following the changes of the store again", "after", time.Since(since).Round(time.Millisecond))
				since = time.Time{}
			}
		})
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errStandby) { // whether an open connection or a new one led there
			f.standby.Store(true)
		}
		if since.IsZero() {
			since = time.Now()
			f.log.Warn("cannot follow the changes of the store for now", "error", f.explain("follow the changes", "the database", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, maxBackOff)
	}
}

// listen follows the feed on one connection until that fails. well is called after each answer.
func (f *feed) listen(ctx context.Context, well func()) error {
	opening, cancel := context.WithTimeoutCause(ctx, connectTimeout, errStalled)
	defer cancel()
	conn, err := f.db.Conn(opening)
	if err != nil {
		return stalled(opening, err)
	}
	defer func() {
		// Whatever has become of it, it is not used again.
		_ = conn.Raw(func(c any) error {
			_ = c.(*stdlib.Conn).Conn().PgConn().Conn().Close()
			return driver.ErrBadConn
		})
	}()
	if _, err := conn.ExecContext(opening, "LISTEN "+channel); err != nil {
		return stalled(opening, err)
	}
	for {
		f.mu.Lock()
		err := f.advance(ctx, conn, false)
		f.mu.Unlock()
		if err != nil {
			return err
		}
		well()
		if err := f.wait(ctx, conn); err != nil {
			return err
		}
	}
}

// wait returns when something was announced, or it is time to ask.
func (f *feed) wait(ctx context.Context, conn *sql.Conn) error {
	return conn.Raw(func(c any) error {
		listener := c.(*stdlib.Conn).Conn()
		waiting, cancel := context.WithTimeout(ctx, f.poll)
		defer cancel()
		_, err := listener.WaitForNotification(waiting)
		if err != nil && (ctx.Err() != nil || waiting.Err() == nil) {
			return err
		}
		cancel()
		for err == nil { // one question answers all that have come by now
			_, err = listener.WaitForNotification(waiting)
		}
		return nil
	})
}

// committed tells of a commit made here, and of all before it. When the database cannot be asked any more, the commit alone is told; it
// will be told again with the others. A commit behind the last change told is either told already, or the first in a history that went back.
func (f *feed) committed(ctx context.Context, db querier, t *transaction) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last.number != t.last && f.advance(ctx, db, false) != nil {
		f.watch.Tell(t.changes)
	}
}

// advance tells what has been committed since the last change told. first says that nobody knows anything yet. The caller holds mu.
func (f *feed) advance(ctx context.Context, db querier, first bool) error {
	const text = `SELECT i.seq, i.change, COALESCE(l.stamp::text, ''), COALESCE(n.stamp::text, ''),
			COALESCE(c.number, 0), COALESCE(c.seq, 0), COALESCE(c.kind, ''), COALESCE(c.id, ''), COALESCE(c.scope_id, ''), COALESCE(c.stamp::text, ''),
			pg_is_in_recovery()
		FROM instance i LEFT JOIN changes l ON l.number = $1 LEFT JOIN changes n ON n.number = i.change
			LEFT JOIN (SELECT * FROM changes WHERE number > $1 ORDER BY number LIMIT $2) c ON true
		WHERE i.one = 1 ORDER BY c.number`
	ctx, cancel := context.WithTimeoutCause(ctx, pollTimeout, errStalled)
	defer cancel()
	for {
		asked := time.Now()
		rows, err := db.QueryContext(ctx, text, f.last.number, feedPage)
		if err != nil {
			return stalled(ctx, err)
		}
		var seq, newest int64
		var known, stamp string // of the last change told, and of the newest
		var changes []keybearer.Change
		next, whole, standby := f.last, true, false
		for rows.Next() {
			var at position
			var c keybearer.Change
			if err = rows.Scan(&seq, &newest, &known, &stamp, &at.number, &c.Seq, &c.Kind, &c.ID, &c.ScopeID, &at.stamp, &standby); err != nil {
				break
			}
			if at.number == 0 {
				continue // there is none
			}
			whole = whole && at.number == next.number+1
			next = at
			changes = append(changes, c)
		}
		if err2 := rows.Close(); err == nil {
			err = err2
		}
		if err == nil {
			err = rows.Err()
		}
		if err != nil {
			return stalled(ctx, err)
		}
		if standby {
			return errStandby
		}
		end := position{newest, stamp}
		switch {
		case first:
			next = end
		case known != f.last.stamp, !whole, len(changes) == 0 && newest != next.number:
			f.log.Warn("the store's history is not the one that was followed: everything is read again", "sequence", seq)
			f.watch.Tell([]keybearer.Change{{Seq: uint64(seq), Kind: keybearer.AllRecords}})
			next = end
		case len(changes) > 0:
			f.watch.Tell(changes)
		}
		f.last = next
		if next == end {
			f.current.Store(&asked)
			f.standby.Store(false) // not before what it missed has been told
			return nil
		}
	}
}
