package custody

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

// learnTime is how long the former key stays after the last secret has moved, where other servers follow the store: none of them may hold a
// record by then that needs it.
const learnTime = 3 * time.Second

// MoveKey moves a scope from the former keyring to the current one: it makes a key of the next generation there, opens every sealed version of every
// credential with the old key, seals it with the new one, opens it again and compares, and destroys the old key when nothing needs it any
// more. Use never stops. The journal is written first, and a crash at any point resumes forward; MoveKey of a scope that is on the move
// waits with it. When it takes long, the scope comes back with its Work. What does not open with the old key stays as it is; while a live
// credential is among it the old key stays, too, until that is deleted or has another secret.
// It returns [keybearer.ScopeKeyMissing], and [keybearer.Conflict] when there is no former keyring, the key is not in it, or a rotation is under way.
func (c *Custody) MoveKey(ctx context.Context, ask Ask, name string) (Scope, error) {
	if err := c.awaitQuiet(ctx, ask, name); err != nil {
		return Scope{}, err
	}
	s, err := onScope(ctx, c, ask, name, ScopeMove, func(p *permit, s *keybearer.Scope) (Scope, error) {
		if err := ready(s); err != nil {
			return Scope{}, err
		}
		if s.Work != nil && s.Work.Kind == keybearer.WorkMove {
			return c.viewScope(s), nil
		}
		if s.Work != nil {
			return Scope{}, underWay(s)
		}
		if err := c.movable(ctx, s); err != nil {
			return Scope{}, err
		}
		live, deleted, err := c.store.CountCredentials(ctx, s.ID)
		if err != nil {
			return Scope{}, keybearer.AsError(err)
		}
		next, err := c.install(ctx, p, s, func(next *keybearer.Scope) {
			next.Former = next.Key
			next.Work = &keybearer.ScopeWork{
				Kind: keybearer.WorkMove, Cursor: firstID, Total: live + deleted, By: p.ask.Actor.Subject, StartedAt: c.moment(),
			}
		})
		if err != nil {
			return Scope{}, err
		}
		return c.viewScope(next), nil
	})
	if err != nil {
		return Scope{}, err
	}
	return c.settle(ctx, ask, s.ID)
}

const (
	quietTime = 18 * time.Second // which leaves an answer time to wait for the work
	quietLook = 50 * time.Millisecond
)

// awaitQuiet waits until nothing in this process is left that could not open what the new key seals. Whoever may not move the scope does not
// wait.
func (c *Custody) awaitQuiet(ctx context.Context, ask Ask, name string) error {
	if c.quiet == nil || c.quiet() {
		return nil
	}
	s, err := c.liveScope(ctx, name)
	if err != nil {
		return err
	}
	if _, err := c.authorise(ask, ScopeMove, target{scope: s}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, quietTime)
	defer cancel()
	tick := time.NewTicker(quietLook)
	defer tick.Stop()
	for !c.quiet() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return keybearer.NewError(keybearer.Conflict, "an older configuration is still ending, and knows only the former keyring").
				WithHint("it ends with its last request; try again then, or restart the server")
		}
	}
	return nil
}

// movable returns nil when the scope's key is in the former keyring.
func (c *Custody) movable(ctx context.Context, s *keybearer.Scope) error {
	if c.current == nil {
		return keybearer.NewError(keybearer.Conflict, "there is no former keyring to move secrets from").
			WithHint("in the Caddyfile, name the new keyring in keyring and the old one in former_keyring, and reload")
	}
	current, err := c.current(ctx, s.Key.Name)
	switch {
	case err != nil:
		return keyringError(err)
	case current:
		return keybearer.NewError(keybearer.Conflict, "the scope's key is in the current keyring already").
			WithHint("keybearer migrate status tells what is left to move")
	}
	return nil
}

// moveStep is one step of a move: a page of credentials, or the look for what is left and the end.
func (c *Custody) moveStep(ctx context.Context, s *keybearer.Scope) error {
	if s.Key == nil || s.Former == nil {
		return c.advance(ctx, s, func(s *keybearer.Scope) { s.Work = nil })
	}
	if err := c.reachable(ctx, s); err != nil {
		return err
	}
	page, err := c.nextPage(ctx, s)
	if err != nil {
		return err
	}
	if len(page) > 0 {
		if _, err := c.movePage(ctx, s, page); err != nil {
			return err
		}
		return c.advance(ctx, s, pageDone(page))
	}
	stuck, err := c.moveRest(ctx, s)
	if err != nil {
		return err
	}
	wait := c.works.settling(s.ID, stuck, c.now())
	switch {
	case len(stuck) > 0:
		return keybearer.NewError(keybearer.Conflict, "secrets do not open with the former key, which stays for them").
			WithHint("delete these credentials or set their secrets anew")
	case wait > 0:
		return rest(wait)
	}
	return c.advance(ctx, s, func(s *keybearer.Scope) {
		s.DoomedKeys = append(s.DoomedKeys, formerMark+s.Former.Name)
		s.Former, s.Work = nil, nil
	})
}

// reachable returns nil when this server has the former key: one that has not would take every secret for one that does not open.
func (c *Custody) reachable(ctx context.Context, s *keybearer.Scope) error {
	if c.current != nil {
		_, err := c.keyring.KeyVersion(ctx, s.Former.Name)
		if err == nil {
			return nil
		}
		if keybearer.CodeOf(err) != keybearer.NotFound {
			return keyringError(err)
		}
	}
	return notHere("secrets are on the move from a keyring that this server does not have")
}

func notHere(detail string) *keybearer.Error {
	return keybearer.NewError(keybearer.KeyringUnavailable, detail).
		WithHint("put former_keyring back into the Caddyfile until keybearer migrate status says that all have moved")
}

// settling notes the names of credentials that a move cannot do without, and returns how long the former key is still to be kept.
func (w *works) settling(scopeID string, stuck []string, now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.running[scopeID]
	if r == nil {
		return 0
	}
	r.stuck = stuck
	switch {
	case len(stuck) > 0:
		r.quiet = time.Time{}
	case r.quiet.IsZero():
		r.quiet = now
	}
	return w.learn - now.Sub(r.quiet)
}

// shownStuck bounds how many credentials are named that hold up a move.
const shownStuck = 20

// moveRest tries again what is still sealed with the former key, and names the live credentials whose current secret remains so.
func (c *Custody) moveRest(ctx context.Context, s *keybearer.Scope) (stuck []string, err error) {
	q := keybearer.Query{ScopeID: s.ID, Deleted: true, AfterID: firstID, Limit: 1000}
	for {
		page, err := c.store.Credentials(ctx, q)
		if err != nil {
			return nil, keybearer.AsError(err)
		}
		left := slices.DeleteFunc(slices.Clone(page.Items), func(cred *keybearer.Credential) bool { return len(sealedIn(cred, s.Former.Generation)) == 0 })
		for part := range slices.Chunk(left, c.works.page) {
			names, err := c.movePage(ctx, s, part)
			if err != nil {
				return nil, err
			}
			stuck = append(stuck, names...)
		}
		if len(page.Items) == 0 || page.Next == "" {
			return stuck[:min(len(stuck), shownStuck)], nil
		}
		q.AfterID = page.Next
	}
}

// sealedIn returns the versions of the credential that were sealed in a generation.
func sealedIn(cred *keybearer.Credential, generation uint32) []*keybearer.Version {
	var found []*keybearer.Version
	for _, v := range []*keybearer.Version{&cred.Current, cred.Previous} {
		if v != nil && len(v.Sealed) > 0 && v.Generation == generation {
			found = append(found, v)
		}
	}
	return found
}

// movePage moves the sealed versions of the credentials, and names those live ones whose current secret does not open with the former key.
func (c *Custody) movePage(ctx context.Context, s *keybearer.Scope, page []*keybearer.Credential) ([]string, error) {
	stuck := map[string]string{}
	err := c.each(ctx, page, func(creds []*keybearer.Credential) ([]keybearer.Write, error) {
		return c.moveSecrets(ctx, s, creds, stuck)
	})
	var names []string
	for _, cred := range page {
		if name := stuck[cred.ID]; name != "" {
			names = append(names, name)
		}
	}
	return names, err
}

// movers is how many secrets are sealed anew at a time.
const movers = 8

// moveSecrets returns the writes that move the credentials' sealed versions.
func (c *Custody) moveSecrets(ctx context.Context, s *keybearer.Scope, creds []*keybearer.Credential, stuck map[string]string) ([]keybearer.Write, error) {
	type item struct {
		cred   *keybearer.Credential // a clone
		v      *keybearer.Version    // in it
		sealed []byte
		err    error
	}
	var items []item
	for _, cred := range creds {
		clone := cred.Clone()
		delete(stuck, cred.ID)
		for _, v := range sealedIn(clone, s.Former.Generation) {
			items = append(items, item{cred: clone, v: v})
		}
	}
	var group sync.WaitGroup
	for part := range movers {
		group.Go(func() {
			for i := part; i < len(items); i += movers {
				items[i].sealed, items[i].err = c.sealAnew(ctx, s, items[i].cred.ID, items[i].v)
			}
		})
	}
	group.Wait()
	var writes []keybearer.Write
	for _, it := range items {
		switch {
		case errors.Is(it.err, errLeft):
			c.log.Error("a sealed secret does not open and is left as it is", "credential", it.cred.ID, "version", it.v.Number)
			if it.cred.DeletedAt.IsZero() && it.v == &it.cred.Current {
				stuck[it.cred.ID] = it.cred.Name
			}
			continue
		case it.err != nil:
			return nil, it.err
		}
		it.v.Sealed, it.v.Generation = it.sealed, s.Key.Generation
		if n := len(writes); n == 0 || writes[n-1].Credential != it.cred {
			writes = append(writes, keybearer.Write{Credential: it.cred})
		}
	}
	return writes, nil
}

// errLeft says that the former key does not open a version.
var errLeft = errors.New("the former key does not open it")

// sealAnew opens a version with the former key, seals it with the new one, and opens that again to compare.
func (c *Custody) sealAnew(ctx context.Context, s *keybearer.Scope, credentialID string, v *keybearer.Version) ([]byte, error) {
	from, err := keybearer.NewSealContext(s.ID, s.Former.Generation, credentialID, v.Number, s.Former.Share)
	if err != nil {
		return nil, err
	}
	to, err := keybearer.NewSealContext(s.ID, s.Key.Generation, credentialID, v.Number, s.Key.Share)
	if err != nil {
		return nil, err
	}
	plain, err := c.keyring.Open(ctx, s.Former.Name, from, v.Sealed)
	if errors.Is(err, keybearer.ErrUnopenable) && !errors.Is(err, keybearer.ErrRefused) {
		return nil, errLeft
	}
	if err != nil {
		return nil, keyringError(err)
	}
	defer clear(plain)
	sealed, err := c.keyring.Seal(ctx, s.Key.Name, to, plain)
	if err != nil {
		return nil, keyringError(err)
	}
	again, err := c.keyring.Open(ctx, s.Key.Name, to, sealed)
	if err != nil {
		return nil, keyringError(err)
	}
	defer clear(again)
	if !bytes.Equal(plain, again) {
		return nil, keybearer.NewError(keybearer.KeyringUnavailable, "what the new keyring sealed opens as something else")
	}
	return sealed, nil
}
