package console

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// Pages beside those of one record stand under "+", with which no name begins.
func (c *console) scopeRoutes() {
	c.page("GET /scopes", (*visit).scopeList)
	c.page("POST /scopes", (*visit).createScope)
	c.page("GET /scopes/+new", (*visit).newScope)
	const one = "/scopes/{scope}"
	c.page("GET "+one, (*visit).scope)
	c.page("GET "+one+"/key", (*visit).scopeKey)
	c.page("GET "+one+"/edit", (*visit).scopeEdit)
	c.page("POST "+one+"/edit", (*visit).editScope)
	c.page("POST "+one+"/generate", (*visit).generateKey)
	c.page("POST "+one+"/rotate", (*visit).rotateKey)
	c.page("POST "+one+"/move", (*visit).moveKey)
	c.page("GET "+one+"/regenerate", (*visit).regeneratePage)
	c.page("GET "+one+"/regenerate/confirm", (*visit).regenerateConfirm)
	c.page("POST "+one+"/regenerate", (*visit).regenerateKey)
	c.page("GET "+one+"/delete", (*visit).scopeDelete)
	c.page("POST "+one+"/delete", (*visit).deleteScope)
}

func scopePath(name string) string { return "/scopes/" + url.PathEscape(name) }

// scopesPage is the list.
type scopesPage struct {
	Items  []scopeRow
	Next   string // address of the next page; "" on the last
	Former bool   // there is a former keyring, from which keys are to move
	Left   int    // how many have not moved
}

// scopeRow is a scope in the list.
type scopeRow struct {
	custody.Scope
	keyState
	Live, Deleted int
	Hours         []keybearer.UsageHour // of the last 30 days
	LastAt        time.Time             // start of the hour in which it was last used, or use of it was refused; zero: not in 30 days
	Counted       bool                  // something is known of use
}

// ThisHour reports whether there was use in the current hour: which minute is not known.
func (s *scopeRow) ThisHour(now time.Time) bool { return s.LastAt.Equal(now.UTC().Truncate(time.Hour)) }

// monthAgo is since when a scope's use is summed up.
func (v *visit) monthAgo() time.Time { return v.Now().Add(-30 * 24 * time.Hour) }

func (v *visit) scopeList() error {
	query := v.r.URL.Query()
	page, err := v.Custody.Scopes(v.r.Context(), v.ask(), keybearer.Query{Cursor: query.Get("cursor"), Limit: 50})
	if err != nil && keybearer.CodeOf(err) != keybearer.Forbidden { // who administers none learns so from the empty list
		return err
	}
	var data scopesPage
	if page.Next != "" {
		data.Next = "/scopes?" + url.Values{"cursor": {page.Next}}.Encode()
	}
	for _, s := range page.Items {
		row, err := v.scopeRow(s)
		if err != nil {
			return err
		}
		data.Items = append(data.Items, row)
	}
	slices.SortStableFunc(data.Items, func(a, b scopeRow) int { return first(b) - first(a) })
	if v.person.InstanceAdmin() {
		m, err := v.Custody.KeyMigration(v.r.Context(), v.ask())
		if err != nil {
			return err
		}
		data.Former = m.Former
		for _, s := range m.Scopes {
			if s.Place != custody.Moved {
				data.Left++
			}
		}
	}
	return v.show("scopes", "Scopes", data)
}

// first is 1 for the scope that comes before all spaces.
func first(s scopeRow) int {
	if s.Name == keybearer.GlobalScope {
		return 1
	}
	return 0
}

// scopeRow adds to a scope what a list tells of it.
func (v *visit) scopeRow(s custody.Scope) (row scopeRow, err error) {
	row.Scope, row.keyState = s, stateOfKey(&s)
	if row.Live, row.Deleted, err = v.Custody.CountCredentials(v.r.Context(), v.ask(), s.ID); err != nil {
		return row, err
	}
	use, err := v.Custody.Activity(v.r.Context(), v.ask(), custody.ActivityQuery{Scope: s.ID, Since: v.monthAgo()})
	if err != nil {
		return row, err
	}
	row.Hours, row.Counted = use.Hours, use.Counted
	for _, h := range use.Hours {
		row.LastAt = h.Hour // the last one is the newest
	}
	return row, nil
}

// keyState says in words how it stands with a scope's key.
type keyState struct {
	Badge badge
	Words string
}

func stateOfKey(s *custody.Scope) keyState {
	switch w := s.Work; {
	case w != nil && w.Kind == keybearer.WorkRotate:
		return keyState{badge{"warn", "rotating"}, "Every secret is being wrapped anew. Use goes on meanwhile, and nothing is lost."}
	case w != nil && w.Kind == keybearer.WorkMove:
		return keyState{badge{"warn", "moving"}, "Secrets are on the move to the other keyring. Use goes on meanwhile, and nothing is lost."}
	case w != nil && w.Kind == keybearer.WorkRegenerate:
		return keyState{badge{"bad", "regenerating"}, "The old key is gone, and nothing that it sealed opens again. Until what is left has been cleared away, every use of the scope’s credentials is refused."}
	case w != nil && w.Kind == keybearer.WorkDelete:
		return keyState{badge{"bad", "being deleted"}, "The scope and its key are gone; what is left is being cleared away."}
	case !s.DeletedAt.IsZero():
		return keyState{badge{"quiet", "deleted"}, "The scope was deleted. Its name stays reserved."}
	case s.Key == nil:
		return keyState{badge{"warn", "no key"}, "Without a key the scope can hold no credential."}
	}
	return keyState{badge{"good", "ready"}, "The key seals and opens the secrets of this scope, and of no other."}
}

// forAdmins keeps a form from whoever could not send it anyway. Custody decides.
func (v *visit) forAdmins() error {
	if v.person.InstanceAdmin() {
		return nil
	}
	return keybearer.NewError(keybearer.Forbidden, "this needs the role instance-admin").WithHint("ask an instance admin")
}

// newScopePage is the form that makes a scope.
type newScopePage struct{ Form *form }

func (v *visit) newScope() error {
	if err := v.forAdmins(); err != nil {
		return err
	}
	return v.show("scope-new", "New scope", newScopePage{&form{}})
}

// createScope makes a scope and, if that is wanted, its key.
func (v *visit) createScope() error {
	f := v.posted()
	ctx, name := v.r.Context(), strings.TrimSpace(f.Get("name"))
	s, err := v.Custody.CreateScope(ctx, v.ask(), name, f.Get("description"))
	if err != nil {
		if f.blame(named(err), v.id) {
			return v.showStatus(f.Problem.Status, "scope-new", "New scope", newScopePage{f})
		}
		return err
	}
	if f.Is("generate", "on") {
		if _, err := v.Custody.GenerateKey(ctx, v.ask(), s.ID); err != nil {
			v.complain("Created scope " + s.Name + ", but not its key: " + problem(err, v.id).Detail)
			return v.redirect(scopePath(s.Name))
		}
	}
	return v.done("Created scope "+s.Name+".", scopePath(s.Name))
}

// named puts it down to the field "name" when a name is taken.
func named(err error) error {
	if e := keybearer.AsError(err); e.Code == keybearer.AlreadyExists {
		return keybearer.NewError(keybearer.AlreadyExists, "this name is taken, or was by one that is deleted").WithHint("choose another").In("name")
	}
	return err
}

// operatorsAndCallers are those that have to do with a scope. Only instance admins may know.
func (v *visit) operatorsAndCallers(scope string) (admins, bound []string, more bool, err error) {
	operators, err := v.Custody.Operators(v.r.Context(), v.ask(), keybearer.Query{Limit: 1000})
	if err != nil {
		return nil, nil, false, err
	}
	for _, o := range operators.Items {
		if slices.Contains(o.Roles, keybearer.RoleScopeAdmin+scope) {
			admins = append(admins, o.Name)
		}
	}
	callers, err := v.Custody.Callers(v.r.Context(), v.ask(), keybearer.Query{Limit: 1000})
	if err != nil {
		return nil, nil, false, err
	}
	for _, c := range callers.Items {
		if slices.Contains(c.Scopes, scope) {
			bound = append(bound, c.Name)
		}
	}
	return admins, bound, operators.Next+callers.Next != "", nil
}
