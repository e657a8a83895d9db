package custody

import (
	"context"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// Caller is what may be seen of a caller.
type Caller struct {
	ID, Name, Description string
	Scopes                []string // names of the scopes it is bound to, sorted
	Tokens                []Token
	Disabled              bool
	Limits                keybearer.Limits
	CreatedAt, UpdatedAt  time.Time
	DeletedAt             time.Time
	LastUsedAt            time.Time // when it last sent a request for a known credential; zero: never, or it is not known
	Revision              uint64
}

// lastUses asks the ledger, if there is one, when the callers and their tokens were last used.
func (c *Custody) lastUses(ctx context.Context, callers ...*keybearer.Caller) (map[string]time.Time, error) {
	if c.ledger == nil || len(callers) == 0 {
		return nil, nil
	}
	var subjects []string
	for _, cl := range callers {
		subjects = append(subjects, string(keybearer.AppSubject(cl.Name)))
		for i := range cl.Tokens {
			subjects = append(subjects, cl.Tokens[i].ID)
		}
	}
	last, err := c.ledger.LastUses(ctx, subjects...)
	if err != nil {
		return nil, keybearer.AsError(err)
	}
	return last, nil
}

func (c *Custody) viewCaller(ctx context.Context, cl *keybearer.Caller) (Caller, error) {
	last, err := c.lastUses(ctx, cl)
	if err != nil {
		return Caller{}, err
	}
	return c.viewUsedCaller(ctx, cl, last)
}

func (c *Custody) viewUsedCaller(ctx context.Context, cl *keybearer.Caller, last map[string]time.Time) (Caller, error) {
	v := Caller{
		ID: cl.ID, Name: cl.Name, Description: cl.Description, Scopes: []string{}, Tokens: viewTokens(cl.Tokens, last), Disabled: cl.Disabled, Limits: cl.Limits,
		CreatedAt: cl.CreatedAt, UpdatedAt: cl.UpdatedAt, DeletedAt: cl.DeletedAt,
		LastUsedAt: last[string(keybearer.AppSubject(cl.Name))], Revision: cl.Revision,
	}
	for _, id := range cl.Scopes {
		s, err := c.liveScope(ctx, id)
		if err != nil {
			return v, err
		}
		if s != nil {
			v.Scopes = append(v.Scopes, s.Name)
		}
	}
	slices.Sort(v.Scopes)
	return v, nil
}

// Callers lists callers in order of name.
func (c *Custody) Callers(ctx context.Context, ask Ask, q keybearer.Query) (keybearer.Page[Caller], error) {
	out := keybearer.Page[Caller]{Items: []Caller{}}
	if _, err := c.authorise(ask, CallerList, target{}); err != nil {
		return out, err
	}
	page, err := c.store.Callers(ctx, q)
	if err != nil {
		return out, keybearer.AsError(err)
	}
	last, err := c.lastUses(ctx, page.Items...)
	if err != nil {
		return out, err
	}
	for _, cl := range page.Items {
		v, err := c.viewUsedCaller(ctx, cl, last)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, v)
	}
	out.Next = page.Next
	return out, nil
}

// Caller shows one.
func (c *Custody) Caller(ctx context.Context, ask Ask, name string) (Caller, error) {
	if _, err := c.authorise(ask, CallerShow, target{}); err != nil {
		return Caller{}, err
	}
	cl, err := c.store.Caller(ctx, name)
	if err != nil {
		return Caller{}, keybearer.AsError(err)
	}
	return c.viewCaller(ctx, cl)
}

// NewCaller is what a caller is made from.
type NewCaller struct {
	Name        string
	Description string
	Scopes      []string // names or ids
	NoToken     bool
	Limits      keybearer.Limits
	ExpiresAt   time.Time // of its token; zero: never
}

// CreateCaller makes a caller and, unless it is not wanted, its first token. It returns [keybearer.AlreadyExists] for a name that is or was
// taken, and [keybearer.NotFound] for a scope that is not there.
func (c *Custody) CreateCaller(ctx context.Context, ask Ask, n NewCaller) (Caller, keybearer.Secret, error) {
	var token keybearer.Secret
	p, err := c.authorise(ask, CallerCreate, target{caller: nameForLog(n.Name)})
	if err != nil {
		return Caller{}, token, err
	}
	if err := checkName("a caller", n.Name, keybearer.IDCaller); err != nil {
		return Caller{}, token, err
	}
	if err := checkDescription(n.Description); err != nil {
		return Caller{}, token, err
	}
	if err := n.Limits.Check(); err != nil {
		return Caller{}, token, err
	}
	now := c.moment()
	cl := &keybearer.Caller{
		ID: keybearer.NewID(keybearer.IDCaller), Name: n.Name, Description: n.Description, Limits: n.Limits, CreatedAt: now, UpdatedAt: now,
	}
	if cl.Scopes, err = c.scopeIDs(ctx, n.Scopes); err != nil {
		return Caller{}, token, err
	}
	if !n.NoToken {
		if cl.Tokens, token, err = addToken(nil, keybearer.CallerTokenPrefix, now, n.ExpiresAt, nil); err != nil {
			return Caller{}, token, err
		}
	}
	if cl.Revision, err = p.commit(ctx, nil, keybearer.Write{Caller: cl}); err != nil {
		return Caller{}, keybearer.Secret{}, err
	}
	v, err := c.viewCaller(ctx, cl)
	return v, token, err
}

// scopeIDs resolves names of live scopes to sorted ids.
func (c *Custody) scopeIDs(ctx context.Context, names []string) ([]string, error) {
	if len(names) > maxBindings {
		return nil, keybearer.NewError(keybearer.Invalid, "there are more than 1000 scopes")
	}
	ids := []string{}
	for _, n := range names {
		s, err := c.liveScope(ctx, n)
		if err != nil {
			return nil, err
		}
		if s == nil {
			return nil, noScope()
		}
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// callerExists returns Invalid unless there is a live caller of that name: a grant for one who does not exist would be there for whoever
// takes the name.
func (c *Custody) callerExists(ctx context.Context, name string) error {
	cl, err := missing(c.store.Caller(ctx, name))
	if err != nil {
		return err
	}
	if cl == nil || cl.Name != name || !cl.DeletedAt.IsZero() {
		return keybearer.NewError(keybearer.Invalid, "there is no caller of that name").WithHint("make it first: keybearer caller create <name>, or Callers in the console")
	}
	return nil
}

// changeCaller lets fn change a copy of the caller and commits it. fn returns the names of what it changed.
func (c *Custody) changeCaller(ctx context.Context, ask Ask, name string, action Action, fn func(*keybearer.Caller, time.Time) ([]string, error)) (Caller, error) {
	return retry(ctx, func() (Caller, error) {
		cl, err := missing(c.store.Caller(ctx, name))
		if err != nil {
			return Caller{}, err
		}
		on := target{}
		if cl != nil {
			on.caller = cl.Name
		}
		p, err := c.authorise(ask, action, on)
		if err != nil {
			return Caller{}, err
		}
		if cl == nil || !cl.DeletedAt.IsZero() {
			return Caller{}, keybearer.NewError(keybearer.NotFound, "there is no such caller")
		}
		if err := ask.check(cl.Revision); err != nil {
			return Caller{}, err
		}
		next := cl.Clone()
		changed, err := fn(next, c.moment())
		if err != nil {
			return Caller{}, err
		}
		if len(changed) > 0 {
			next.UpdatedAt = c.moment()
			if next.Revision, err = p.commit(ctx, changed, keybearer.Write{Caller: next}); err != nil {
				return Caller{}, err
			}
		}
		return c.viewCaller(ctx, next)
	})
}

// CallerPatch changes a caller. Nil fields stay.
type CallerPatch struct {
	Description *string
	Scopes      *[]string         // names or ids: all that it is bound to from now on
	Limits      *keybearer.Limits // all of them: what is zero is the instance's
}

// EditCaller changes description, bindings and limits.
func (c *Custody) EditCaller(ctx context.Context, ask Ask, name string, p CallerPatch) (Caller, error) {
	return c.changeCaller(ctx, ask, name, CallerEdit, func(cl *keybearer.Caller, _ time.Time) (changed []string, err error) {
		if p.Description != nil && *p.Description != cl.Description {
			cl.Description = *p.Description
			changed = append(changed, "description")
		}
		if p.Limits != nil && *p.Limits != cl.Limits {
			if err := p.Limits.Check(); err != nil {
				return nil, err
			}
			cl.Limits = *p.Limits
			changed = append(changed, "limits")
		}
		if p.Scopes != nil {
			had := cl.Scopes
			if cl.Scopes, err = c.scopeIDs(ctx, *p.Scopes); err != nil {
				return nil, err
			}
			if !slices.Equal(had, cl.Scopes) {
				changed = append(changed, "scopes")
			}
		}
		return changed, checkDescription(cl.Description)
	})
}

// BindCaller lets the caller be granted credentials of the scope; with bind false it takes that back.
func (c *Custody) BindCaller(ctx context.Context, ask Ask, name, scope string, bind bool) (Caller, error) {
	return c.changeCaller(ctx, ask, name, CallerEdit, func(cl *keybearer.Caller, _ time.Time) ([]string, error) {
		ids, err := c.scopeIDs(ctx, []string{scope})
		if err != nil {
			return nil, err
		}
		i, had := slices.BinarySearch(cl.Scopes, ids[0])
		switch {
		case had == bind:
			return nil, nil
		case bind && len(cl.Scopes) >= maxBindings:
			return nil, keybearer.NewError(keybearer.Invalid, "a caller is bound to at most 1000 scopes")
		case bind:
			cl.Scopes = slices.Insert(cl.Scopes, i, ids[0])
		default:
			cl.Scopes = slices.Delete(cl.Scopes, i, i+1)
		}
		return []string{"scopes"}, nil
	})
}

// RotateCallerToken makes one more token, which ends at expires unless that is zero; those there are end when the overlap is over, or with nil stay.
func (c *Custody) RotateCallerToken(ctx context.Context, ask Ask, name string, expires time.Time, overlap *time.Duration) (v Caller, token keybearer.Secret, err error) {
	v, err = c.changeCaller(ctx, ask, name, CallerToken, func(cl *keybearer.Caller, now time.Time) (_ []string, err error) {
		cl.Tokens, token, err = addToken(cl.Tokens, keybearer.CallerTokenPrefix, now, expires, overlap)
		return []string{"tokens"}, err
	})
	if err != nil {
		token = keybearer.Secret{}
	}
	return v, token, err
}

// RevokeCallerToken revokes the token with the id; "" revokes all.
func (c *Custody) RevokeCallerToken(ctx context.Context, ask Ask, name, id string) (Caller, error) {
	return c.changeCaller(ctx, ask, name, CallerRevoke, func(cl *keybearer.Caller, _ time.Time) (_ []string, err error) {
		if id == "" && len(cl.Tokens) == 0 {
			return nil, nil
		}
		cl.Tokens, err = revokeTokens(cl.Tokens, id)
		return []string{"tokens"}, err
	})
}

// DisableCaller refuses the caller from now on; EnableCaller takes that back.
func (c *Custody) DisableCaller(ctx context.Context, ask Ask, name string) (Caller, error) {
	return c.switchCaller(ctx, ask, name, CallerDisable, true)
}

// EnableCaller takes back a disable.
func (c *Custody) EnableCaller(ctx context.Context, ask Ask, name string) (Caller, error) {
	return c.switchCaller(ctx, ask, name, CallerEnable, false)
}

func (c *Custody) switchCaller(ctx context.Context, ask Ask, name string, action Action, disabled bool) (Caller, error) {
	return c.changeCaller(ctx, ask, name, action, func(cl *keybearer.Caller, _ time.Time) ([]string, error) {
		if cl.Disabled == disabled {
			return nil, nil
		}
		cl.Disabled = disabled
		return []string{"disabled"}, nil
	})
}

// DeleteCaller deletes the caller for good, with its tokens and bindings. Its name stays reserved, so that old grants fit nobody new.
func (c *Custody) DeleteCaller(ctx context.Context, ask Ask, name string) (Caller, error) {
	return c.changeCaller(ctx, ask, name, CallerDelete, func(cl *keybearer.Caller, now time.Time) ([]string, error) {
		cl.Tokens, cl.Scopes, cl.DeletedAt = nil, []string{}, now
		return []string{"deleted"}, nil
	})
}
