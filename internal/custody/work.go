package custody

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

// works are the long operations that this process carries out, one at a time for each scope. What is to be done stands in
// the scope's journal; a work reads it anew at each step, so that it can stop anywhere.
type works struct {
	mu      sync.Mutex
	running map[string]*work
	group   sync.WaitGroup

	firstRetry, lastRetry time.Duration
	page                  int           // how many credentials one step handles
	learn                 time.Duration // how long others may take to learn of a change; 0: they know before it is acknowledged
}

type work struct {
	done  chan struct{}
	wake  chan struct{} // holds one token when somebody asks for it to go on now
	again bool          // the journal was written after the last step was read
	code  keybearer.Code
	stuck []string
	quiet time.Time // since when nothing was left to move
}

func (w *works) waiting(scopeID string) (keybearer.Code, []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.running[scopeID]; r != nil {
		return r.code, r.stuck
	}
	return "", nil
}

func (w *works) has(scopeID string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running[scopeID] != nil
}

func (w *works) wait() { w.group.Wait() }

// kick has the scope's journal carried out in the background. The channel is closed when there is nothing left to do, or at Close; at once
// where the keyring only opens: a server that may do more takes the journal over.
func (c *Custody) kick(scopeID string) <-chan struct{} {
	w := &c.works
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.running[scopeID]; r != nil {
		r.again = true
		select {
		case r.wake <- struct{}{}:
		default:
		}
		return r.done
	}
	r := &work{done: make(chan struct{}), wake: make(chan struct{}, 1)}
	if c.ctx.Err() != nil || c.openOnly {
		close(r.done)
		return r.done
	}
	if w.running == nil {
		w.running = map[string]*work{}
	}
	w.running[scopeID] = r
	w.group.Go(func() { c.run(scopeID, r) })
	return r.done
}

// settle kicks the scope and waits until its journal is done, but no longer than an answer may take. It returns the scope as it is then.
func (c *Custody) settle(ctx context.Context, ask Ask, scopeID string) (Scope, error) {
	timer := time.NewTimer(cmp.Or(ask.Patience, c.wait))
	defer timer.Stop()
	select {
	case <-c.kick(scopeID):
	case <-ctx.Done():
	case <-timer.C:
	}
	s, err := c.store.Scope(context.WithoutCancel(ctx), scopeID)
	if err != nil {
		return Scope{}, keybearer.AsError(err)
	}
	return c.viewScope(s), nil
}

// run takes steps until the journal is empty. Failures are tried again, ever more slowly.
func (c *Custody) run(scopeID string, r *work) {
	w := &c.works
	delay := w.firstRetry
	for {
		done, err := c.step(c.ctx, scopeID)
		pause, resting := errors.AsType[rest](err)
		if resting {
			err = nil
		}
		w.mu.Lock()
		r.code = keybearer.CodeOf(err)
		if c.ctx.Err() != nil || done && err == nil && !r.again {
			delete(w.running, scopeID)
			close(r.done)
			w.mu.Unlock()
			return
		}
		r.again = false
		w.mu.Unlock()
		if err == nil && !resting {
			delay = w.firstRetry
			continue
		}
		wait := time.Duration(pause)
		if !resting {
			c.log.Warn("a long operation waits", "scope", scopeID, "error", err)
			wait, delay = delay, min(2*delay, w.lastRetry)
		}
		select {
		case <-time.After(wait):
		case <-r.wake:
		case <-c.ctx.Done():
		}
	}
}

// rest is no error: the work goes on after so long, and no sooner is there anything to do.
type rest time.Duration

func (rest) Error() string { return "a long operation rests" }

// step does the next piece of what the scope's journal says, and reports whether nothing was left.
func (c *Custody) step(ctx context.Context, scopeID string) (done bool, err error) {
	unlock, err := c.locks.lock(ctx, scopeID)
	if err != nil {
		return false, err
	}
	defer unlock()
	s, err := missing(c.store.Scope(ctx, scopeID))
	switch {
	case err != nil:
		return false, err
	case s == nil, !c.busy(s):
		return true, nil
	case s.Work == nil:
		err = c.destroyDoomed(ctx, s)
	case s.Work.Kind == keybearer.WorkRotate:
		err = c.rotateStep(ctx, s)
	case s.Work.Kind == keybearer.WorkMove:
		err = c.moveStep(ctx, s)
	case s.Work.Kind == keybearer.WorkRegenerate, s.Work.Kind == keybearer.WorkDelete:
		err = c.purgeStep(ctx, s)
	default:
		err = keybearer.NewError(keybearer.Internal, "the scope's journal names work that this version does not know")
	}
	if keybearer.CodeOf(err) == keybearer.Stale {
		return false, nil // someone else changed it: look again
	}
	return false, err
}

// nextPage returns the credentials behind the cursor, tombstones included, in order of id.
func (c *Custody) nextPage(ctx context.Context, s *keybearer.Scope) ([]*keybearer.Credential, error) {
	page, err := c.store.Credentials(ctx, keybearer.Query{ScopeID: s.ID, Deleted: true, AfterID: s.Work.Cursor, Limit: c.works.page})
	if err != nil {
		return nil, keybearer.AsError(err)
	}
	return page.Items, nil
}

// each makes fn's writes for the page in one commit. When others changed some of the credentials meanwhile, it takes them one by
// one as they are now. fn gets stored records and returns at most one write for each.
func (c *Custody) each(ctx context.Context, page []*keybearer.Credential, fn func([]*keybearer.Credential) ([]keybearer.Write, error)) error {
	apply := func(creds []*keybearer.Credential) error {
		writes, err := fn(creds)
		if err != nil || len(writes) == 0 {
			return err
		}
		_, err = c.write(ctx, keybearer.Batch{Writes: writes})
		return err
	}
	err := apply(page)
	for _, cred := range page {
		if !moved(err) {
			return err
		}
		one := err
		for range attempts {
			fresh, found := missing(c.store.Credential(ctx, keybearer.Ref{Scope: cred.ScopeID, Name: cred.ID}))
			if found != nil {
				return found
			}
			if fresh == nil {
				one = nil
				break
			}
			if one = apply([]*keybearer.Credential{fresh}); !moved(one) {
				break
			}
		}
		if one != nil {
			return one
		}
	}
	return nil
}

func moved(err error) bool {
	code := keybearer.CodeOf(err)
	return code == keybearer.Stale || code == keybearer.NotFound
}

// advance writes the journal: fn changes a copy of the scope. When others changed the scope meanwhile and the work is still
// the same, it is tried again.
func (c *Custody) advance(ctx context.Context, s *keybearer.Scope, fn func(*keybearer.Scope)) error {
	for range attempts {
		next := s.Clone()
		fn(next)
		_, err := c.write(ctx, keybearer.Batch{Writes: []keybearer.Write{{Scope: next}}})
		if keybearer.CodeOf(err) != keybearer.Stale {
			return err
		}
		now, err := c.store.Scope(ctx, s.ID)
		if err != nil {
			return keybearer.AsError(err)
		}
		if now.Work == nil || s.Work == nil || *now.Work != *s.Work {
			break
		}
		s = now
	}
	return keybearer.NewError(keybearer.Stale, "")
}
