package custody

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
)

// GenerateKey gives a scope its first key. It returns [keybearer.ScopeKeyExists] when there is one.
func (c *Custody) GenerateKey(ctx context.Context, ask Ask, name string) (Scope, error) {
	return onScope(ctx, c, ask, name, ScopeGenerate, func(p *permit, s *keybearer.Scope) (Scope, error) {
		switch {
		case s.Regenerating():
			return Scope{}, keybearer.NewError(keybearer.ScopeRegenerating, "")
		case s.Key != nil:
			return Scope{}, keybearer.NewError(keybearer.ScopeKeyExists, "")
		}
		next, err := c.install(ctx, p, s, func(*keybearer.Scope) {})
		if err != nil {
			return Scope{}, err
		}
		return c.viewScope(next), nil
	})
}

// install makes a new key in the keyring and, in one commit with the audit event and whatever fn changes, the scope's key of the next
// generation. The name is noted as doomed first, so that a crash leaves no key that nobody knows of.
func (c *Custody) install(ctx context.Context, p *permit, s *keybearer.Scope, fn func(*keybearer.Scope)) (next *keybearer.Scope, err error) {
	key := keybearer.NewID("kb-")
	next = s.Clone()
	next.DoomedKeys = append(next.DoomedKeys, key)
	if next.Revision, err = c.write(ctx, keybearer.Batch{Writes: []keybearer.Write{{Scope: next}}}); err != nil {
		return nil, err
	}
	defer func() {
		if keybearer.CodeOf(err) == keybearer.Stale { // surely not installed, and perhaps not noted as doomed any more
			_ = c.keyring.DestroyKey(context.WithoutCancel(ctx), key)
		}
		if err != nil {
			c.kick(s.ID) // destroys the key unless the commit happened after all
		}
	}()
	if err := c.keyring.CreateKey(context.WithoutCancel(ctx), key); err != nil {
		return nil, keyringError(err)
	}
	share := make([]byte, 32)
	_, _ = rand.Read(share) // never fails (crypto/rand)
	next = next.Clone()
	next.DoomedKeys = slices.DeleteFunc(next.DoomedKeys, func(k string) bool { return k == key })
	fn(next)
	next.Generation++
	next.Key = &keybearer.ScopeKey{Name: key, Generation: next.Generation, Version: 1, Share: share, CreatedAt: c.moment()}
	next.UpdatedAt = next.Key.CreatedAt
	if next.Revision, err = p.commit(ctx, []string{"key"}, keybearer.Write{Scope: next}); err != nil {
		return nil, err
	}
	return next, nil
}

// Confirmation is asked for before anything is destroyed.
type Confirmation struct {
	Confirm  string // the scope's name
	Expected int    // credentials, live and tombstoned together
}

func (cf *Confirmation) check(s *keybearer.Scope, count int) error {
	if cf.Confirm != s.Name {
		return keybearer.NewError(keybearer.ConfirmationRequired, "").In("confirm")
	}
	if cf.Expected != count {
		return keybearer.NewError(keybearer.CountMismatch, "").In("expected_credentials")
	}
	return nil
}

// Regenerate asks for a new generation of a scope's key.
type Regenerate struct {
	Confirmation
	DryRun     bool // only tell what would be destroyed
	KeepShells bool // the credentials stay, without their secrets
}

// Regeneration is what a regenerate destroys.
type Regeneration struct {
	Scope       Scope
	Live        int
	Tombstoned  int
	Credentials []Credential // of a dry run: the first 1000, in order of name
}

// listed bounds what a dry run lists.
const listed = 1000

// RegenerateKey gives the scope a key of a new generation and destroys the old key with all that it sealed: from the one
// commit on that it makes, nothing sealed before opens again. The credentials go, or with KeepShells their secrets. A crash at any point resumes forward.
// It returns [keybearer.ScopeKeyMissing], [keybearer.ScopeRegenerating] while it or a delete is under way,
// [keybearer.ConfirmationRequired] and [keybearer.CountMismatch].
func (c *Custody) RegenerateKey(ctx context.Context, ask Ask, name string, r Regenerate) (Regeneration, error) {
	out, err := onScope(ctx, c, ask, name, ScopeRegenerate, func(p *permit, s *keybearer.Scope) (out Regeneration, err error) {
		if err := ready(s); err != nil {
			return out, err
		}
		if out.Live, out.Tombstoned, err = c.store.CountCredentials(ctx, s.ID); err != nil {
			return out, keybearer.AsError(err)
		}
		total := out.Live + out.Tombstoned
		out.Scope = c.viewScope(s)
		if r.DryRun {
			out.Credentials, err = c.dying(ctx, p, s)
			return out, err
		}
		if err := r.check(s, total); err != nil {
			return out, err
		}
		next, err := c.install(ctx, p, s, func(next *keybearer.Scope) {
			doom(next)
			next.Work = &keybearer.ScopeWork{
				Kind: keybearer.WorkRegenerate, Cursor: firstID, Total: total,
				KeepShells: r.KeepShells, By: p.ask.Actor.Subject, StartedAt: c.moment(),
			}
		})
		if err != nil {
			return out, err
		}
		out.Scope = c.viewScope(next)
		return out, nil
	})
	if err != nil || r.DryRun {
		return out, err
	}
	out.Scope, err = c.settle(ctx, ask, out.Scope.ID)
	return out, err
}

// doom notes the scope's keys, that of a move under way too, as to be destroyed, and forgets them with their shares.
func doom(s *keybearer.Scope) {
	if s.Key != nil {
		s.DoomedKeys = append(s.DoomedKeys, s.Key.Name)
	}
	if s.Former != nil {
		s.DoomedKeys = append(s.DoomedKeys, formerMark+s.Former.Name)
	}
	s.Key, s.Former = nil, nil
}

// dying lists what a regenerate would destroy.
func (c *Custody) dying(ctx context.Context, p *permit, s *keybearer.Scope) ([]Credential, error) {
	page, err := c.store.Credentials(ctx, keybearer.Query{ScopeID: s.ID, Deleted: true, Limit: listed})
	if err != nil {
		return nil, keybearer.AsError(err)
	}
	return c.viewCredentials(ctx, &p.ask.Actor, page.Items)
}

// DeleteScope deletes a scope, with its key and its tombstones. Its name stays reserved. It returns [keybearer.ScopeNotEmpty] while there are live
// credentials, [keybearer.Conflict] for the global scope, [keybearer.ConfirmationRequired] and [keybearer.CountMismatch].
func (c *Custody) DeleteScope(ctx context.Context, ask Ask, name string, confirm Confirmation) (Scope, error) {
	s, err := c.changeScope(ctx, ask, name, ScopeDelete, func(p *permit, s *keybearer.Scope) ([]string, error) {
		switch {
		case s.Name == keybearer.GlobalScope:
			return nil, keybearer.NewError(keybearer.Conflict, "the scope global stays")
		case s.Regenerating():
			return nil, keybearer.NewError(keybearer.ScopeRegenerating, "")
		}
		live, deleted, err := c.store.CountCredentials(ctx, s.ID)
		switch {
		case err != nil:
			return nil, keybearer.AsError(err)
		case live > 0:
			return nil, keybearer.NewError(keybearer.ScopeNotEmpty, "")
		}
		if err := confirm.check(s, deleted); err != nil {
			return nil, err
		}
		doom(s)
		s.DeletedAt = c.moment()
		s.Work = &keybearer.ScopeWork{Kind: keybearer.WorkDelete, Cursor: firstID, Total: deleted, By: p.ask.Actor.Subject, StartedAt: s.DeletedAt}
		return []string{"deleted"}, nil
	})
	if err != nil {
		return Scope{}, err
	}
	return c.settle(ctx, ask, s.ID)
}

// purgeStep is one step of a regenerate or a delete: a page of credentials, or the old key and the end.
func (c *Custody) purgeStep(ctx context.Context, s *keybearer.Scope) error {
	page, err := c.nextPage(ctx, s)
	if err != nil {
		return err
	}
	if len(page) == 0 {
		return c.destroyDoomed(ctx, s)
	}
	err = c.each(ctx, page, func(creds []*keybearer.Credential) ([]keybearer.Write, error) {
		var writes []keybearer.Write
		for _, cred := range creds {
			switch {
			case s.Key != nil && cred.Current.Generation == s.Key.Generation:
				// Sealed after the regenerate: none of its business. Cannot be while the scope refuses to seal.
			case !s.Work.KeepShells:
				writes = append(writes, keybearer.Write{Credential: cred, Delete: true})
			case len(cred.Current.Sealed) > 0 || cred.Previous != nil:
				shell := cred.Clone()
				shell.Current.Sealed, shell.Previous = nil, nil
				writes = append(writes, keybearer.Write{Credential: shell})
			}
		}
		return writes, nil
	})
	if err != nil {
		return err
	}
	return c.advance(ctx, s, pageDone(page))
}

// formerMark stands before the name of a doomed key that is in the former keyring. A server without that would find no such key and take it for
// destroyed.
const formerMark = "former/"

// destroyDoomed destroys the doomed keys and ends the work, if any. What is in a former keyring that this server does not have is left to one that
// has it. The first commit puts the names beyond use: whoever was about to install
// one of them, on whatever server, finds the scope changed and takes another name.
func (c *Custody) destroyDoomed(ctx context.Context, s *keybearer.Scope) error {
	left := c.elsewhere(s)
	revision, err := c.write(ctx, keybearer.Batch{Writes: []keybearer.Write{{Scope: s}}})
	if err != nil {
		return err
	}
	for _, key := range s.DoomedKeys {
		if slices.Contains(left, key) {
			continue
		}
		key = strings.TrimPrefix(key, formerMark)
		if s.Key != nil && s.Key.Name == key || s.Former != nil && s.Former.Name == key {
			return keybearer.NewError(keybearer.Internal, "the scope's journal dooms the key that is in use")
		}
		if err := c.keyring.DestroyKey(ctx, key); err != nil {
			return keyringError(err)
		}
	}
	next := s.Clone()
	next.Revision, next.DoomedKeys, next.Work = revision, left, nil
	_, err = c.write(ctx, keybearer.Batch{Writes: []keybearer.Write{{Scope: next}}})
	return err
}

// elsewhere returns the doomed keys that are in a keyring that this server does not have.
func (c *Custody) elsewhere(s *keybearer.Scope) []string {
	if c.current != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.DoomedKeys), func(key string) bool { return !strings.HasPrefix(key, formerMark) })
}

// busy reports whether the scope's journal has something for this server to do.
func (c *Custody) busy(s *keybearer.Scope) bool {
	return s.Work != nil || len(s.DoomedKeys) > len(c.elsewhere(s))
}
