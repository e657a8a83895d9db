package custody

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Operator is what may be seen of an operator.
type Operator struct {
	ID, Name, Description string
	Groups                []string
	Roles                 []string // keybearer.RoleInstanceAdmin, or RoleScopeAdmin and a scope's name
	Tokens                []Token
	Disabled              bool
	CreatedAt, UpdatedAt  time.Time
	DeletedAt             time.Time
	Revision              uint64
}

func (c *Custody) viewOperator(ctx context.Context, o *keybearer.Operator) (Operator, error) {
	v := Operator{
		ID: o.ID, Name: o.Name, Description: o.Description, Groups: append([]string{}, o.Groups...), Roles: []string{},
		Tokens: viewTokens(o.Tokens, nil), Disabled: o.Disabled,
		CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt, DeletedAt: o.DeletedAt, Revision: o.Revision,
	}
	for _, r := range o.Roles {
		if id, ok := strings.CutPrefix(r, keybearer.RoleScopeAdmin); ok {
			s, err := c.liveScope(ctx, id)
			if err != nil {
				return v, err
			}
			if s == nil {
				continue
			}
			r = keybearer.RoleScopeAdmin + s.Name
		}
		v.Roles = append(v.Roles, r)
	}
	slices.Sort(v.Roles)
	return v, nil
}

// Operators lists operators in order of name.
func (c *Custody) Operators(ctx context.Context, ask Ask, q keybearer.Query) (keybearer.Page[Operator], error) {
	out := keybearer.Page[Operator]{Items: []Operator{}}
	if _, err := c.authorise(ask, OperatorList, target{}); err != nil {
		return out, err
	}
	page, err := c.store.Operators(ctx, q)
	if err != nil {
		return out, keybearer.AsError(err)
	}
	for _, o := range page.Items {
		v, err := c.viewOperator(ctx, o)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, v)
	}
	out.Next = page.Next
	return out, nil
}

// Operator shows one.
func (c *Custody) Operator(ctx context.Context, ask Ask, name string) (Operator, error) {
	if _, err := c.authorise(ask, OperatorShow, target{}); err != nil {
		return Operator{}, err
	}
	o, err := c.store.Operator(ctx, name)
	if err != nil {
		return Operator{}, keybearer.AsError(err)
	}
	return c.viewOperator(ctx, o)
}

// NewOperator is what an operator is made from.
type NewOperator struct {
	Name        string
	Description string
	Groups      []string
	Roles       []string // keybearer.RoleInstanceAdmin, or RoleScopeAdmin and a scope's name or id
	NoToken     bool
	ExpiresAt   time.Time // of its token; zero: never
}

// socketPrefix begins the names of those who come over the admin socket.
const socketPrefix = "uid-"

// CreateOperator makes an operator and, unless it is not wanted, its first token. It returns [keybearer.AlreadyExists] for a name that is or was
// taken, and [keybearer.NotFound] for a scope that is not there.
func (c *Custody) CreateOperator(ctx context.Context, ask Ask, n NewOperator) (Operator, keybearer.Secret, error) {
	p, err := c.authorise(ask, OperatorCreate, target{})
	if err != nil {
		return Operator{}, keybearer.Secret{}, err
	}
	o, token, err := c.newOperator(ctx, n)
	if err != nil {
		return Operator{}, keybearer.Secret{}, err
	}
	if o.Revision, err = p.commit(ctx, []string{operatorField(o, "operator")}, keybearer.Write{Operator: o}); err != nil {
		return Operator{}, keybearer.Secret{}, err
	}
	v, err := c.viewOperator(ctx, o)
	return v, token, err
}

// newOperator makes the record of an operator, and writes nothing.
func (c *Custody) newOperator(ctx context.Context, n NewOperator) (o *keybearer.Operator, token keybearer.Secret, err error) {
	if err := checkOperatorName(n.Name); err != nil {
		return nil, token, err
	}
	now := c.moment()
	o = &keybearer.Operator{ID: keybearer.NewID(keybearer.IDOperator), Name: n.Name, Description: n.Description, CreatedAt: now, UpdatedAt: now}
	if o.Groups, err = checkGroups(n.Groups); err != nil {
		return nil, token, err
	}
	if o.Roles, err = c.roles(ctx, n.Roles); err != nil {
		return nil, token, err
	}
	if err := checkDescription(n.Description); err != nil {
		return nil, token, err
	}
	if !n.NoToken {
		o.Tokens, token, err = addToken(nil, keybearer.OperatorTokenPrefix, now, n.ExpiresAt, nil)
	}
	return o, token, err
}

// checkOperatorName refuses names that are not an operator's, that could be mistaken for an id, and those of the socket's users.
func checkOperatorName(name string) error {
	if !keybearer.ValidOperatorName(name) || strings.HasPrefix(name, keybearer.IDOperator) {
		return keybearer.NewError(keybearer.Invalid, "the name of an operator is 1 to 63 lower-case letters, digits, '-', '.' and '_', or an e-mail address in lower case, beginning with a letter or digit and not with opr_").In("name")
	}
	if strings.HasPrefix(name, socketPrefix) {
		return keybearer.NewError(keybearer.Invalid, "names that begin with uid- are those of the admin socket's users").In("name")
	}
	return nil
}

// operatorField names a field of an operator in an audit event, whose own operator is the one who did it.
func operatorField(o *keybearer.Operator, field string) string {
	return "operators[" + o.Name + "]." + field
}

func checkGroups(groups []string) ([]string, error) {
	if len(groups) > maxBindings {
		return nil, keybearer.NewError(keybearer.Invalid, "an operator is in at most 1000 groups")
	}
	for _, g := range groups {
		if _, err := keybearer.ParseSubject(string(keybearer.GroupSubject(g))); err != nil {
			return nil, keybearer.NewError(keybearer.Invalid, "a group's name is 1 to 255 printable characters without blanks").In("groups")
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(groups))), nil
}

// roles checks roles and turns the names of scopes into ids.
func (c *Custody) roles(ctx context.Context, given []string) ([]string, error) {
	if len(given) > maxBindings {
		return nil, keybearer.NewError(keybearer.Invalid, "an operator has at most 1000 roles")
	}
	out := []string{}
	for _, r := range given {
		if name, ok := strings.CutPrefix(r, keybearer.RoleScopeAdmin); ok {
			s, err := c.liveScope(ctx, name)
			if err != nil {
				return nil, err
			}
			if s == nil {
				return nil, noScope()
			}
			r = keybearer.RoleScopeAdmin + s.ID
		} else if r != keybearer.RoleInstanceAdmin {
			return nil, keybearer.NewError(keybearer.Invalid, "a role is instance-admin or scope-admin:<scope>")
		}
		out = append(out, r)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// changeOperator lets fn change a copy of the operator and commits it. fn returns the names of what it changed.
func (c *Custody) changeOperator(ctx context.Context, ask Ask, name string, action Action, fn func(*keybearer.Operator, time.Time) ([]string, error)) (Operator, error) {
	return retry(ctx, func() (Operator, error) {
		p, err := c.authorise(ask, action, target{})
		if err != nil {
			return Operator{}, err
		}
		o, err := missing(c.store.Operator(ctx, name))
		if err != nil {
			return Operator{}, err
		}
		if o == nil || !o.DeletedAt.IsZero() {
			return Operator{}, keybearer.NewError(keybearer.NotFound, "there is no such operator")
		}
		if err := ask.check(o.Revision); err != nil {
			return Operator{}, err
		}
		next := o.Clone()
		changed, err := fn(next, c.moment())
		if err != nil {
			return Operator{}, err
		}
		if len(changed) > 0 {
			for i := range changed {
				changed[i] = operatorField(o, changed[i])
			}
			next.UpdatedAt = c.moment()
			if next.Revision, err = p.commit(ctx, changed, keybearer.Write{Operator: next}); err != nil {
				return Operator{}, err
			}
		}
		return c.viewOperator(ctx, next)
	})
}

// EditOperator changes description, groups and roles; nil leaves them.
func (c *Custody) EditOperator(ctx context.Context, ask Ask, name string, description *string, groups, roles *[]string) (Operator, error) {
	return c.changeOperator(ctx, ask, name, OperatorEdit, func(o *keybearer.Operator, _ time.Time) (changed []string, err error) {
		had := o.Clone()
		if description != nil {
			o.Description = *description
		}
		if groups != nil {
			if o.Groups, err = checkGroups(*groups); err != nil {
				return nil, err
			}
		}
		if roles != nil {
			if o.Roles, err = c.roles(ctx, *roles); err != nil {
				return nil, err
			}
		}
		if o.Description != had.Description {
			changed = append(changed, "description")
		}
		if !slices.Equal(o.Groups, had.Groups) {
			changed = append(changed, "groups")
		}
		if !slices.Equal(o.Roles, had.Roles) {
			changed = append(changed, "roles")
		}
		return changed, checkDescription(o.Description)
	})
}

// RotateOperatorToken makes one more token, which ends at expires unless that is zero; those there are end when the overlap is over, or with nil
// stay.
func (c *Custody) RotateOperatorToken(ctx context.Context, ask Ask, name string, expires time.Time, overlap *time.Duration) (v Operator, token keybearer.Secret, err error) {
	v, err = c.changeOperator(ctx, ask, name, OperatorToken, func(o *keybearer.Operator, now time.Time) (_ []string, err error) {
		o.Tokens, token, err = addToken(o.Tokens, keybearer.OperatorTokenPrefix, now, expires, overlap)
		return []string{"tokens"}, err
	})
	if err != nil {
		token = keybearer.Secret{}
	}
	return v, token, err
}

// RevokeOperatorToken revokes the token with the id; "" revokes all.
func (c *Custody) RevokeOperatorToken(ctx context.Context, ask Ask, name, id string) (Operator, error) {
	return c.changeOperator(ctx, ask, name, OperatorRevoke, func(o *keybearer.Operator, _ time.Time) (_ []string, err error) {
		if id == "" && len(o.Tokens) == 0 {
			return nil, nil
		}
		o.Tokens, err = revokeTokens(o.Tokens, id)
		return []string{"tokens"}, err
	})
}

// DisableOperator refuses the operator from now on.
func (c *Custody) DisableOperator(ctx context.Context, ask Ask, name string) (Operator, error) {
	return c.switchOperator(ctx, ask, name, OperatorDisable, true)
}

// EnableOperator takes back a disable.
func (c *Custody) EnableOperator(ctx context.Context, ask Ask, name string) (Operator, error) {
	return c.switchOperator(ctx, ask, name, OperatorEnable, false)
}

func (c *Custody) switchOperator(ctx context.Context, ask Ask, name string, action Action, disabled bool) (Operator, error) {
	return c.changeOperator(ctx, ask, name, action, func(o *keybearer.Operator, _ time.Time) ([]string, error) {
		if o.Disabled == disabled {
			return nil, nil
		}
		o.Disabled = disabled
		return []string{"disabled"}, nil
	})
}

// DeleteOperator deletes the operator for good, with its tokens, groups and roles. Its name stays reserved.
func (c *Custody) DeleteOperator(ctx context.Context, ask Ask, name string) (Operator, error) {
	return c.changeOperator(ctx, ask, name, OperatorDelete, func(o *keybearer.Operator, now time.Time) ([]string, error) {
		o.Tokens, o.Groups, o.Roles, o.DeletedAt = nil, nil, nil, now
		return []string{"deleted"}, nil
	})
}
