package custody

import (
	"bytes"
	"context"
	"errors"

	"github.com/keybearer/keybearer"
)

// firstID is the cursor before the first credential.
const firstID = "0"

// RotateKey makes a new version of the scope's key and rewraps every sealed version of every credential of the scope; use never
// stops and nothing is lost. The journal is written first, and a crash at any point resumes forward. When it takes long, the scope comes back
// with its Work. It returns [keybearer.ScopeKeyMissing], and [keybearer.Conflict] while a rotation is under way.
func (c *Custody) RotateKey(ctx context.Context, ask Ask, name string) (Scope, error) {
	s, err := c.changeScope(ctx, ask, name, ScopeRotate, func(p *permit, s *keybearer.Scope) ([]string, error) {
		if err := ready(s); err != nil {
			return nil, err
		}
		if s.Work != nil {
			return nil, underWay(s)
		}
		live, deleted, err := c.store.CountCredentials(ctx, s.ID)
		if err != nil {
			return nil, keybearer.AsError(err)
		}
		if version, err := c.keyring.KeyVersion(ctx, s.Key.Name); err == nil && version > s.Key.Version {
			s.Key.Version = version // somebody rotated it in the keyring, or two servers did at once: this makes one more
		}
		s.Work = &keybearer.ScopeWork{
			Kind: keybearer.WorkRotate, Total: live + deleted, By: p.ask.Actor.Subject, StartedAt: c.moment(),
		}
		return []string{"key"}, nil
	})
	if err != nil {
		return Scope{}, err
	}
	return c.settle(ctx, ask, s.ID)
}

// underWay is the error of an operation that has to wait for the scope's work.
func underWay(s *keybearer.Scope) error {
	what := "a rotation of this key is under way"
	if s.Work.Kind == keybearer.WorkMove {
		what = "the secrets of this scope are on the move to another keyring"
	}
	return keybearer.NewError(keybearer.Conflict, what).WithHint("keybearer scope show tells how far it is")
}

// rotateStep is one step of a rotation: the new version of the key, a page of credentials, or the end.
func (c *Custody) rotateStep(ctx context.Context, s *keybearer.Scope) error {
	if s.Key == nil {
		return c.advance(ctx, s, func(s *keybearer.Scope) { s.Work = nil })
	}
	if s.Work.Cursor == "" {
		version, err := c.keyring.KeyVersion(ctx, s.Key.Name)
		if err == nil && version <= s.Key.Version {
			version, err = c.keyring.RotateKey(ctx, s.Key.Name)
		}
		if err != nil {
			return keyringError(err)
		}
		return c.advance(ctx, s, func(s *keybearer.Scope) {
			s.Key.Version, s.Key.RotatedAt, s.Work.Cursor = version, c.moment(), firstID
		})
	}
	page, err := c.nextPage(ctx, s)
	if err != nil {
		return err
	}
	if len(page) == 0 {
		return c.advance(ctx, s, func(s *keybearer.Scope) { s.Work = nil })
	}
	err = c.each(ctx, page, func(creds []*keybearer.Credential) ([]keybearer.Write, error) { return c.rewrap(ctx, s, creds) })
	if err != nil {
		return err
	}
	return c.advance(ctx, s, pageDone(page))
}

func pageDone(page []*keybearer.Credential) func(*keybearer.Scope) {
	return func(s *keybearer.Scope) {
		s.Work.Cursor = page[len(page)-1].ID
		s.Work.Done = min(s.Work.Done+len(page), s.Work.Total)
	}
}

// rewrap brings the sealed versions of the credentials to the key's latest version. What does not open with this key
// stays as it is: it could not be used before either.
func (c *Custody) rewrap(ctx context.Context, s *keybearer.Scope, creds []*keybearer.Credential) ([]keybearer.Write, error) {
	clones := make([]*keybearer.Credential, len(creds))
	var items []keybearer.RewrapItem
	var slots []*keybearer.Version // of each item
	var owners []int
	for i, cred := range creds {
		clones[i] = cred.Clone()
		for _, v := range []*keybearer.Version{&clones[i].Current, clones[i].Previous} {
			if v == nil || len(v.Sealed) == 0 || v.Generation != s.Key.Generation {
				continue
			}
			sc, err := keybearer.NewSealContext(s.ID, v.Generation, cred.ID, v.Number, s.Key.Share)
			if err != nil {
				return nil, err
			}
			items, slots, owners = append(items, keybearer.RewrapItem{Context: sc, Sealed: v.Sealed}), append(slots, v), append(owners, i)
		}
	}
	if len(items) == 0 {
		return nil, nil
	}
	results, err := c.keyring.Rewrap(ctx, s.Key.Name, items)
	if err != nil {
		return nil, keyringError(err)
	}
	if len(results) != len(items) {
		return nil, keybearer.NewError(keybearer.KeyringUnavailable, "the keyring did not answer for every secret")
	}
	touched := make([]bool, len(creds))
	for i, r := range results {
		switch {
		case errors.Is(r.Err, keybearer.ErrUnopenable):
			c.log.Error("a sealed secret does not open and is left as it is", "credential", creds[owners[i]].ID, "version", slots[i].Number)
		case r.Err != nil:
			return nil, keyringError(r.Err)
		case len(r.Sealed) == 0:
			return nil, keybearer.NewError(keybearer.KeyringUnavailable, "the keyring gave an empty answer")
		case !bytes.Equal(r.Sealed, slots[i].Sealed):
			slots[i].Sealed, touched[owners[i]] = r.Sealed, true
		}
	}
	var writes []keybearer.Write
	for i, t := range touched {
		if t {
			writes = append(writes, keybearer.Write{Credential: clones[i]})
		}
	}
	return writes, nil
}

// keyringError keeps the keyring's own outage code and makes anything else one: a key that ought to be there is an outage.
func keyringError(err error) error {
	if e := keybearer.AsError(err); e.Code == keybearer.KeyringUnavailable {
		return e
	}
	return keybearer.NewError(keybearer.KeyringUnavailable, "the keyring did not do what was asked").Wrap(err)
}
