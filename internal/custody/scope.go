package custody

import (
	"context"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// Scope is what may be seen of a scope.
type Scope struct {
	ID          string
	Name        string
	Description string
	Key         *ScopeKey // nil until generated
	Work        *Work     // an unfinished rotate, regenerate, move or delete
	CreatedAt   time.Time
	UpdatedAt   time.Time
	DeletedAt   time.Time
	Revision    uint64
}

// ScopeKey is what may be seen of a scope key.
type ScopeKey struct {
	Generation uint32
	Version    uint32
	CreatedAt  time.Time
	RotatedAt  time.Time
}

// Work is the progress of a long operation.
type Work struct {
	Kind      keybearer.WorkKind
	Done      int
	Total     int
	By        keybearer.Subject
	StartedAt time.Time
	Waiting   keybearer.Code // why it does not get on just now; it is tried again
	Stuck     []string       // move: the first credentials whose secrets do not open with the former key; it goes on without them
}

func (c *Custody) viewScope(s *keybearer.Scope) Scope {
	v := Scope{
		ID: s.ID, Name: s.Name, Description: s.Description,
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, DeletedAt: s.DeletedAt, Revision: s.Revision,
	}
	if k := s.Key; k != nil {
		v.Key = &ScopeKey{k.Generation, k.Version, k.CreatedAt, k.RotatedAt}
	}
	if w := s.Work; w != nil {
		waiting, stuck := c.works.waiting(s.ID)
		v.Work = &Work{w.Kind, w.Done, w.Total, w.By, w.StartedAt, waiting, stuck}
	}
	return v
}

// Scopes lists the scopes that the actor administers, in order of name.
func (c *Custody) Scopes(ctx context.Context, ask Ask, q keybearer.Query) (keybearer.Page[Scope], error) {
	out := keybearer.Page[Scope]{Items: []Scope{}}
	if ask.Actor.InstanceAdmin() {
		page, err := c.store.Scopes(ctx, q)
		if err != nil {
			return out, keybearer.AsError(err)
		}
		for _, s := range page.Items {
			out.Items = append(out.Items, c.viewScope(s))
		}
		out.Next = page.Next
		return out, nil
	}
	ids := ask.Actor.scopeIDs()
	if len(ids) == 0 {
		_, err := c.authorise(ask, ScopeList, target{scope: &keybearer.Scope{}})
		return out, err
	}
	for _, id := range ids { // few: roles are given one by one
		s, err := missing(c.store.Scope(ctx, id))
		if err != nil {
			return out, err
		}
		if s != nil && (q.Deleted || s.DeletedAt.IsZero()) && matches(q.Text, s.Name, s.Description) {
			out.Items = append(out.Items, c.viewScope(s))
		}
	}
	slices.SortFunc(out.Items, func(a, b Scope) int { return compare(a.Name, b.Name) })
	return out, nil
}

// Scope shows one.
func (c *Custody) Scope(ctx context.Context, ask Ask, name string) (Scope, error) {
	s, err := missing(c.store.Scope(ctx, name))
	if err != nil {
		return Scope{}, err
	}
	if _, err := c.authorise(ask, ScopeShow, target{scope: s}); err != nil {
		return Scope{}, err
	}
	if s == nil {
		return Scope{}, noScope()
	}
	return c.viewScope(s), nil
}

// CountCredentials returns how many credentials of the scope are live and how many are tombstones, for whoever may see the scope.
func (c *Custody) CountCredentials(ctx context.Context, ask Ask, name string) (live, deleted int, err error) {
	s, err := missing(c.store.Scope(ctx, name))
	if err != nil {
		return 0, 0, err
	}
	if _, err := c.authorise(ask, ScopeShow, target{scope: s}); err != nil {
		return 0, 0, err
	}
	if s == nil {
		return 0, 0, noScope()
	}
	live, deleted, err = c.store.CountCredentials(ctx, s.ID)
	if err != nil {
		return 0, 0, keybearer.AsError(err)
	}
	return live, deleted, nil
}

// CreateScope makes a scope without a key. It returns [keybearer.AlreadyExists] for a name that is or was taken.
func (c *Custody) CreateScope(ctx context.Context, ask Ask, name, description string) (Scope, error) {
	p, err := c.authorise(ask, ScopeCreate, target{scope: &keybearer.Scope{Name: nameForLog(name)}})
	if err != nil {
		return Scope{}, err
	}
	if !keybearer.ValidScopeName(name) {
		return Scope{}, keybearer.NewError(keybearer.Invalid, "a scope's name is 1 to 63 lower-case letters, digits and '-', not beginning with '-'").In("name")
	}
	if err := checkDescription(description); err != nil {
		return Scope{}, err
	}
	s := c.newScope(name, description)
	if s.Revision, err = p.commit(ctx, nil, keybearer.Write{Scope: s}); err != nil {
		return Scope{}, err
	}
	return c.viewScope(s), nil
}

func (c *Custody) newScope(name, description string) *keybearer.Scope {
	now := c.moment()
	return &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: name, Description: description, CreatedAt: now, UpdatedAt: now}
}

// EditScope changes the description.
func (c *Custody) EditScope(ctx context.Context, ask Ask, name string, description *string) (Scope, error) {
	return c.changeScope(ctx, ask, name, ScopeEdit, func(_ *permit, s *keybearer.Scope) ([]string, error) {
		if description == nil || *description == s.Description {
			return nil, nil
		}
		s.Description = *description
		return []string{"description"}, checkDescription(*description)
	})
}

// changeScope lets fn change a copy of the scope and commits it. fn returns the names of what it changed; none means that all is
// as it was asked for.
func (c *Custody) changeScope(ctx context.Context, ask Ask, name string, action Action, fn func(*permit, *keybearer.Scope) ([]string, error)) (Scope, error) {
	return onScope(ctx, c, ask, name, action, func(p *permit, s *keybearer.Scope) (Scope, error) {
		next := s.Clone()
		changed, err := fn(p, next)
		if err != nil || len(changed) == 0 {
			return c.viewScope(s), err
		}
		next.UpdatedAt = c.moment()
		if next.Revision, err = p.commit(ctx, changed, keybearer.Write{Scope: next}); err != nil {
			return Scope{}, err
		}
		return c.viewScope(next), nil
	})
}

// onScope runs fn for an action on a live scope, with its lock held, and again when others changed it meanwhile.
func onScope[T any](ctx context.Context, c *Custody, ask Ask, name string, action Action, fn func(*permit, *keybearer.Scope) (T, error)) (T, error) {
	var zero T
	s, err := c.liveScope(ctx, name)
	if err != nil {
		return zero, err
	}
	if s == nil {
		if _, err := c.authorise(ask, action, target{}); err != nil {
			return zero, err
		}
		return zero, noScope()
	}
	unlock, err := c.locks.lock(ctx, s.ID)
	if err != nil {
		return zero, err
	}
	defer unlock()
	return retry(ctx, func() (T, error) {
		s, err := c.liveScope(ctx, s.ID)
		if err != nil {
			return zero, err
		}
		p, err := c.authorise(ask, action, target{scope: s})
		if err != nil {
			return zero, err
		}
		if s == nil {
			return zero, noScope()
		}
		if err := ask.check(s.Revision); err != nil {
			return zero, err
		}
		return fn(p, s)
	})
}

// liveScope returns the scope with that id or name, or nil when there is none or it was deleted.
func (c *Custody) liveScope(ctx context.Context, name string) (*keybearer.Scope, error) {
	s, err := missing(c.store.Scope(ctx, name))
	if err != nil || s == nil || !s.DeletedAt.IsZero() {
		return nil, err
	}
	return s, nil
}

func noScope() error { return keybearer.NewError(keybearer.NotFound, "there is no such scope") }

// ready returns nil when secrets can be sealed in the scope.
func ready(s *keybearer.Scope) error {
	switch {
	case s.Regenerating():
		return keybearer.NewError(keybearer.ScopeRegenerating, "")
	case s.Key == nil:
		return keybearer.NewError(keybearer.ScopeKeyMissing, "")
	}
	return nil
}
