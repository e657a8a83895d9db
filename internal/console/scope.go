package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// scopePage shows one scope. Its block "key" is also a fragment, for whoever watches long work.
type scopePage struct {
	scopeRow
	Place         custody.Place // where its key is while there are two keyrings; "": there is one, or the person may not know
	Admins, Bound []string      // operators and callers, for instance admins
	More          bool          // there may be more of them
	Regenerable   bool          // the person may regenerate the key now
	Deletable     bool          // the person may delete the scope now, if it holds nothing
}

func (v *visit) scope() error {
	s, err := v.Custody.Scope(v.r.Context(), v.ask(), v.r.PathValue("scope"))
	if err != nil {
		return err
	}
	var data scopePage
	if data.scopeRow, err = v.scopeRow(s); err != nil {
		return err
	}
	global := s.Name == keybearer.GlobalScope
	steady := s.DeletedAt.IsZero() && (s.Work == nil || s.Work.Kind == keybearer.WorkRotate || s.Work.Kind == keybearer.WorkMove)
	data.Regenerable = steady && s.Key != nil && (!global || v.person.InstanceAdmin())
	data.Deletable = steady && !global
	if v.person.InstanceAdmin() {
		if data.Place, err = v.place(s.ID); err != nil {
			return err
		}
		if data.Admins, data.Bound, data.More, err = v.operatorsAndCallers(s.Name); err != nil {
			return err
		}
	}
	return v.show("scope", s.Name, &data)
}

func (v *visit) place(id string) (custody.Place, error) {
	m, err := v.Custody.KeyMigration(v.r.Context(), v.ask())
	for _, s := range m.Scopes {
		if s.ID == id {
			return s.Place, err
		}
	}
	return "", err
}

// scopeKey answers with the part that tells of the key, and of how far long work on it is.
func (v *visit) scopeKey() error {
	if !v.partial() {
		return v.redirect(scopePath(v.r.PathValue("scope")))
	}
	s, err := v.Custody.Scope(v.r.Context(), v.ask(), v.r.PathValue("scope"))
	if err != nil {
		return err
	}
	data := &scopePage{scopeRow: scopeRow{Scope: s, keyState: stateOfKey(&s)}}
	if v.person.InstanceAdmin() && s.Work == nil {
		if data.Place, err = v.place(s.ID); err != nil {
			return err
		}
	}
	return v.fragment("scope", "key", data)
}

// Percent is how much of the scope's work is done.
func (s *scopeRow) Percent() int {
	if s.Work == nil || s.Work.Total == 0 {
		return 0
	}
	return 100 * s.Work.Done / s.Work.Total
}

// WaitingFor says why the scope's work does not get on just now; "" when it does.
func (s *scopeRow) WaitingFor() string {
	if s.Work == nil || s.Work.Waiting == "" {
		return ""
	}
	if len(s.Work.Stuck) > 0 {
		return "Some secrets do not open with the former key, which stays for them."
	}
	return sentence(s.Work.Waiting.Info().Title)
}

// patience is how long a page waits for long work: a person who sees how far it is would rather see that.
const patience = 700 * time.Millisecond

// asking is ask with patience.
func (v *visit) asking() custody.Ask {
	a := v.ask()
	a.Patience = patience
	return a
}

// KeyMark tells one state of a scope's key from the next: what a form was made for that changes the key.
func (s *scopeRow) KeyMark() string {
	if s.Key == nil {
		return "none"
	}
	return fmt.Sprintf("%d.%d", s.Key.Generation, s.Key.Version)
}

// onKey does something with a scope's key, and says so. What keeps it from being done is told on the scope's page.
func (v *visit) onKey(do func(context.Context, custody.Ask, string) (custody.Scope, error), done, begun string) error {
	ctx, name, ask := v.r.Context(), v.r.PathValue("scope"), v.asking()
	if now, err := v.Custody.Scope(ctx, v.ask(), name); err == nil && ask.Revision != 0 && v.r.PostFormValue("key") == (&scopeRow{Scope: now}).KeyMark() {
		ask.Revision = now.Revision // a new credential changes the scope, too, and is no reason to ask again
	}
	s, err := do(ctx, ask, name)
	if err != nil {
		if p := problem(err, v.id); p.Code == keybearer.Stale || p.Status == http.StatusConflict {
			v.complain("Not done. " + p.Detail)
			return v.redirect(scopePath(name))
		}
		return err
	}
	if s.Work != nil {
		done = begun
	}
	return v.done(done+s.Name+".", scopePath(s.Name))
}

func (v *visit) generateKey() error {
	return v.onKey(v.Custody.GenerateKey, "Generated the key of ", "")
}

func (v *visit) rotateKey() error {
	return v.onKey(v.Custody.RotateKey, "Rotated the key of ", "Rotating the key of ")
}

func (v *visit) moveKey() error {
	return v.onKey(v.Custody.MoveKey, "Moved the key of ", "Moving the secrets of ")
}

// scopeEditPage is the form that changes a scope.
type scopeEditPage struct {
	custody.Scope
	Form *form
}

func (v *visit) scopeEdit() error {
	s, err := v.Custody.Scope(v.r.Context(), v.ask(), v.r.PathValue("scope"))
	if err != nil {
		return err
	}
	f := &form{Values: url.Values{"description": {s.Description}, "was": {s.Description}}, Revision: s.Revision}
	return v.show("scope-edit", "Edit "+s.Name, scopeEditPage{s, f})
}

func (v *visit) editScope() error {
	f, ctx, name, ask := v.posted(), v.r.Context(), v.r.PathValue("scope"), v.ask()
	now, err := v.Custody.Scope(ctx, v.ask(), name)
	if err != nil {
		return err
	}
	if f.Get("was") == now.Description && f.Revision != 0 {
		ask.Revision = now.Revision // long work changes the scope at each step, and nothing that the form shows
	}
	s, err := v.Custody.EditScope(ctx, ask, name, new(f.Get("description")))
	if err != nil {
		if f.keep(err, v.id, now.Revision) {
			f.differs("description", now.Description)
			f.Values.Set("was", now.Description)
			return v.showStatus(f.Problem.Status, "scope-edit", "Edit "+now.Name, scopeEditPage{now, f})
		}
		return err
	}
	return v.done("Changed scope "+s.Name+".", scopePath(s.Name))
}
