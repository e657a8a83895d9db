package custody

import (
	"context"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// DisableCredential refuses every use from now on.
func (c *Custody) DisableCredential(ctx context.Context, ask Ask, ref keybearer.Ref) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, CredentialDisable, "", func(ch *change) error {
		set(ch, "disabled", &ch.next.Disabled, new(true))
		return nil
	})
}

// EnableCredential takes back a disable.
func (c *Custody) EnableCredential(ctx context.Context, ask Ask, ref keybearer.Ref) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, CredentialEnable, "", func(ch *change) error {
		set(ch, "disabled", &ch.next.Disabled, new(false))
		return nil
	})
}

// RollbackCredential goes back to the previous secret and to the terms that were in force for it, less what was taken away from the rules
// since. What was current becomes the previous one. When that admits more destinations than now, it takes administer. It returns
// [keybearer.NoPreviousVersion].
func (c *Custody) RollbackCredential(ctx context.Context, ask Ask, ref keybearer.Ref) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, CredentialRollback, "", func(ch *change) error {
		back := c.previous(ch.next, ch.now)
		if back == nil || ch.on.scope.KeyOf(back.Generation) == nil { // the key that sealed it may be gone
			return keybearer.NewError(keybearer.NoPreviousVersion, "")
		}
		old, now := *back, ch.next.Current
		old.RetiredAt, now.RetiredAt = time.Time{}, ch.now
		ch.next.Current, ch.next.Previous = old, &now
		ch.next.LastVersion = max(ch.was.LastVersion, ch.was.Current.Number)
		ch.note("secret")
		before, after := &ch.was.Current.Terms, &ch.next.Current.Terms
		if before.Kind != after.Kind || before.Header != after.Header || before.Prefix != after.Prefix {
			ch.note("kind")
		}
		wider := slices.DeleteFunc(ch.widens(), func(name string) bool { return name == "kind" || name == "header" || name == "prefix" })
		if !slices.EqualFunc(before.Rules, after.Rules, sameRule) || before.RequireUser != after.RequireUser || before.WebSocket != after.WebSocket {
			ch.note("rules")
		}
		if len(wider) > 0 {
			return ch.raise(keybearer.Administer)
		}
		return nil
	})
}

// DeleteCredential refuses every use from now on and keeps a tombstone, from which it can be restored for a while. One that was used in the last
// 30 days is deleted only with force: [keybearer.RecentlyUsed].
func (c *Custody) DeleteCredential(ctx context.Context, ask Ask, ref keybearer.Ref, force bool) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, CredentialDelete, "", func(ch *change) error {
		if !force {
			usage, err := c.usage(ch.ctx, ch.was.ID)
			if err != nil {
				return err
			}
			if last := usage[ch.was.ID].LastAt; !last.IsZero() && ch.now.Before(last.Add(recentUse)) {
				return keybearer.NewError(keybearer.RecentlyUsed, "")
			}
		}
		ch.next.DeletedAt = ch.now
		ch.note("deleted")
		return nil
	})
}

// RestoreCredential brings a deleted credential back as it was. It returns [keybearer.Conflict] for one that is not deleted and
// [keybearer.NotFound] once its time is over.
func (c *Custody) RestoreCredential(ctx context.Context, ask Ask, ref keybearer.Ref) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, CredentialRestore, "", func(ch *change) error {
		switch {
		case ch.was.DeletedAt.IsZero():
			return keybearer.NewError(keybearer.Conflict, "the credential is not deleted")
		case !ch.now.Before(ch.was.DeletedAt.Add(c.keepDeleted)):
			return keybearer.NewError(keybearer.NotFound, "the time to restore it is over")
		}
		ch.next.DeletedAt = time.Time{}
		ch.scoped = true // a scope that is deleted takes its tombstones along, and this is none any more
		ch.note("deleted")
		return nil
	})
}

// SetGrant gives the subject exactly that level. An admin of the scope may do so for their own subject.
func (c *Custody) SetGrant(ctx context.Context, ask Ask, ref keybearer.Ref, subject keybearer.Subject, level keybearer.Level) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, GrantSet, subject, func(ch *change) error {
		if err := c.checkGrant(ch.ctx, subject, level); err != nil {
			return err
		}
		i, had := findGrant(ch.next.Grants, subject)
		switch {
		case !had && len(ch.next.Grants) >= maxGrants:
			return tooManyGrants()
		case !had:
			ch.next.Grants = slices.Insert(ch.next.Grants, i, keybearer.Grant{Subject: subject, Level: level})
		case ch.next.Grants[i].Level == level:
			return nil
		default:
			ch.next.Grants[i].Level = level
		}
		ch.note(grantName(subject))
		return nil
	})
}

// checkGrant refuses what is no grant, and one for a caller that does not exist.
func (c *Custody) checkGrant(ctx context.Context, subject keybearer.Subject, level keybearer.Level) error {
	if _, err := keybearer.ParseSubject(string(subject)); err != nil {
		return keybearer.AsError(err).In("subject")
	}
	if level < keybearer.Use || level > keybearer.Administer {
		return keybearer.NewError(keybearer.Invalid, "a level is one of use, view, edit, administer").In("level")
	}
	if kind, name := subject.Split(); kind == "app" {
		if err := c.callerExists(ctx, name); err != nil {
			return keybearer.AsError(err).In("subject")
		}
	}
	return nil
}

func tooManyGrants() *keybearer.Error {
	return keybearer.NewError(keybearer.Invalid, "a credential has at most 1000 grants").WithHint("grant to a group")
}

// grantName is what events call a change of the subject's grant.
func grantName(s keybearer.Subject) string { return "grants[" + string(s) + "]" }

// RemoveGrant takes the subject's grant away. It returns [keybearer.NotFound] when there is none.
func (c *Custody) RemoveGrant(ctx context.Context, ask Ask, ref keybearer.Ref, subject keybearer.Subject) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, GrantRemove, "", func(ch *change) error {
		i, had := findGrant(ch.next.Grants, subject)
		if !had {
			return keybearer.NewError(keybearer.NotFound, "the subject holds no grant on this credential")
		}
		ch.next.Grants = slices.Delete(ch.next.Grants, i, i+1)
		ch.note(grantName(subject))
		return nil
	})
}

// Grants lists the grants of a credential and its revision.
func (c *Custody) Grants(ctx context.Context, ask Ask, ref keybearer.Ref) ([]keybearer.Grant, uint64, error) {
	on, err := c.find(ctx, ref)
	if err != nil {
		return nil, 0, err
	}
	if _, err := c.authorise(ask, GrantList, on); err != nil {
		return nil, 0, err
	}
	if on.credential == nil {
		return nil, 0, keybearer.NewError(keybearer.NotFound, "")
	}
	return slices.Clone(on.credential.Grants), on.credential.Revision, nil
}

func findGrant(grants []keybearer.Grant, subject keybearer.Subject) (int, bool) {
	return slices.BinarySearchFunc(grants, subject, func(g keybearer.Grant, s keybearer.Subject) int { return compare(string(g.Subject), string(s)) })
}
