package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

const (
	spendTogether = 128       // ids in one transaction, at most
	keepSpent     = time.Hour // how long an id is kept behind its end, should the clocks of nodes differ
	forgetEvery   = time.Minute
	forgetPage    = 2000 // ids in one transaction
)

// spends are the ids that wait to be marked. Whoever comes while a transaction is under way goes with the next, together with all others who did.
type spends struct {
	mu      sync.Mutex
	waiting []*spending
	running bool
	forgot  time.Time      // when expired ids were last looked for; the runner's
	runner  sync.WaitGroup // who runs the transactions
}

type spending struct {
	id    string
	until time.Time
	done  chan struct{} // closed when err is set
	err   error
}

// Spend marks the id as used, on disk and for all processes that share the database. It is forgotten an hour after until. Beside what
// [keybearer.Spender] lists it returns no error; when ctx ends first the id may be marked later.
func (s *Store) Spend(ctx context.Context, id keybearer.OnceID, until time.Time) error {
	one := &spending{id: hex.EncodeToString(id[:]), until: until, done: make(chan struct{})}
	s.spends.mu.Lock()
	s.spends.waiting = append(s.spends.waiting, one)
	if !s.spends.running {
		s.spends.running = true
		s.spends.runner.Go(s.spendAll)
	}
	s.spends.mu.Unlock()
	select {
	case <-one.done:
		return one.err
	case <-ctx.Done():
		return s.engine.fail("spend", ctx.Err())
	}
}

// spendAll marks what waits until nothing does.
func (s *Store) spendAll() {
	w := &s.spends
	for {
		w.mu.Lock()
		n := min(len(w.waiting), spendTogether)
		batch := slices.Clone(w.waiting[:n])
		if w.waiting = slices.Delete(w.waiting, 0, n); n == 0 {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		s.spend(batch)
		for _, one := range batch {
			close(one.done)
		}
		if now := time.Now(); now.Sub(w.forgot) > forgetEvery {
			if s.forget(now) {
				w.forgot = now
			}
		}
	}
}

// spend marks the ids of a batch in one transaction. Of equal ones the first is it.
func (s *Store) spend(batch []*spending) {
	// In order of the id, so that two nodes that do this at the same time do not wait for each other.
	slices.SortStableFunc(batch, func(a, b *spending) int { return cmp.Compare(a.id, b.id) })
	text := `INSERT INTO spent (id, until) VALUES (?, ?)` + strings.Repeat(`, (?, ?)`, len(batch)-1) + ` ON CONFLICT (id) DO NOTHING RETURNING id`
	args := make([]any, 0, 2*len(batch))
	for _, one := range batch {
		args = append(args, one.id, micros(one.until))
	}
	var marked map[string]bool
	err := s.write(context.Background(), "spend", func(t *transaction) error {
		marked = map[string]bool{}
		return t.each(text, args, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			marked[id] = true
			return err
		})
	})
	for _, one := range batch {
		switch {
		case err != nil:
			one.err = err
		case !marked[one.id]:
			one.err = keybearer.NewError(keybearer.AlreadyExists, "it was used before")
		}
		delete(marked, one.id)
	}
}

// forget deletes some of the ids that are of no use any more, and reports whether there are none left. Whatever keeps it from that, a later one does it.
func (s *Store) forget(now time.Time) (done bool) {
	old, n := now.Add(-keepSpent).UnixMicro(), 0
	err := s.reads.each(context.Background(), `SELECT 1 FROM spent WHERE until < ? LIMIT ?`, []any{old, forgetPage}, func(*sql.Rows) error {
		n++
		return nil
	})
	if err != nil || n == 0 {
		return true
	}
	err = s.write(context.Background(), "forget what was spent", func(t *transaction) error {
		return t.exec(`DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE until < ? ORDER BY until, id LIMIT ?)`, old, forgetPage)
	})
	return err != nil || n < forgetPage
}

// spent copies the ids that are of use still. Nobody may spend from before it until the other store is in use.
func (t *Transfer) spent(ctx context.Context) error {
	last := ""
	old := time.Now().Add(-keepSpent).UnixMicro()
	for {
		var args []any
		err := t.from.reads.each(ctx, `SELECT id, until FROM spent WHERE id > ? AND until >= ? ORDER BY id LIMIT ?`, []any{last, old, forgetPage}, func(rows *sql.Rows) error {
			var until int64
			err := rows.Scan(&last, &until)
			args = append(args, last, until)
			return err
		})
		if err != nil {
			return t.from.engine.fail("read what was spent", err)
		}
		if len(args) == 0 {
			return nil
		}
		err = t.to.write(ctx, "copy what was spent", func(x *transaction) error {
			return x.exec(`INSERT INTO spent (id, until) VALUES (?, ?)`+strings.Repeat(`, (?, ?)`, len(args)/2-1)+` ON CONFLICT (id) DO NOTHING`, args...)
		})
		if err != nil {
			return err
		}
	}
}
