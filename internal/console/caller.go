package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// callerPage shows one caller.
type callerPage struct {
	custody.Caller
	holder
	Tokens tokenTable
	Limits string // in words; "": the instance's own
	Usable []usable
	More   bool // there are more that it may use
}

// usable is a credential that has a grant for a subject.
type usable struct {
	custody.Credential
	Held    keybearer.Level // by that subject
	Allowed bool            // the caller is bound to the scope, or it is the global one, and holds use
}

// Why says why a grant is of no use; "" when it is.
func (u usable) Why() string {
	if u.Allowed {
		return ""
	}
	return "not bound to " + u.Scope + ", so refused"
}

// usable lists the first credentials that have a grant for the caller, and whether there are more.
func (v *visit) usable(c custody.Caller) (all []usable, more bool, err error) {
	subject := keybearer.AppSubject(c.Name)
	page, err := v.Custody.Credentials(v.r.Context(), custody.Ask{Actor: v.person.Actor, ID: v.id}, "", keybearer.Query{Subject: subject, Limit: 50})
	if err != nil {
		return nil, false, err
	}
	for _, cred := range page.Items {
		u := usable{Credential: cred, Allowed: cred.Scope == keybearer.GlobalScope || slices.Contains(c.Scopes, cred.Scope)}
		for _, g := range cred.Grants {
			if g.Subject == subject {
				u.Held = g.Level
			}
		}
		all = append(all, u)
	}
	return all, page.Next != "", nil
}

// example is a destination that one of the rules admits, for a line to copy: scheme, host and path.
func example(rules []keybearer.Rule) (scheme, host, path string) {
	r := rules[0]
	if exact := slices.IndexFunc(rules, func(r keybearer.Rule) bool { return !strings.HasPrefix(r.Host, "*") }); exact >= 0 {
		r = rules[exact]
	}
	host = strings.TrimLeft(r.Host, "*")
	if host != r.Host {
		host = "www" + host
	}
	return r.Scheme, keybearer.JoinHost(r.Scheme, host, r.Port), cmp.Or(r.Path, "/")
}

// liveCaller is the caller that the address names.
func (v *visit) liveCaller() (custody.Caller, error) {
	c, err := v.Custody.Caller(v.r.Context(), v.ask(), v.r.PathValue("name"))
	if err == nil && !c.DeletedAt.IsZero() {
		err = keybearer.NewError(keybearer.NotFound, "this caller was deleted")
	}
	return c, err
}

func callerHolder(c custody.Caller) holder { return holder{Kind: "caller", Name: c.Name} }

func (v *visit) caller() error {
	c, err := v.liveCaller()
	if err != nil {
		return err
	}
	data := callerPage{Caller: c, holder: callerHolder(c), Limits: c.Limits.Words()}
	data.Tokens = tokensOf(v.Now(), data.holder, c.Tokens)
	if data.Usable, data.More, err = v.usable(c); err != nil {
		return err
	}
	return v.show("caller", c.Name, data)
}

func (v *visit) callerEdit() error {
	c, err := v.liveCaller()
	if err != nil {
		return err
	}
	rate, burst, concurrency := limitFields(c.Limits)
	f := &form{Revision: c.Revision, Values: url.Values{
		"description": {c.Description}, "scopes": c.Scopes, "rate": {rate}, "burst": {burst}, "concurrency": {concurrency},
	}}
	return v.callerForm(http.StatusOK, "caller-edit", callerForm{Form: f, Name: c.Name})
}

func (v *visit) editCaller() error {
	f := v.posted()
	now, err := v.liveCaller()
	if err != nil {
		return err
	}
	c, err := v.changeCaller(f)
	if err == nil {
		return v.done("Changed caller "+c.Name+".", callerHolder(c).Path())
	}
	if !f.keep(err, v.id, now.Revision) {
		return err
	}
	rate, burst, concurrency := limitFields(now.Limits)
	f.differs("description", now.Description)
	f.differs("rate", rate)
	f.differs("burst", burst)
	f.differs("concurrency", concurrency)
	f.differ("scopes", now.Scopes)
	return v.callerForm(f.Problem.Status, "caller-edit", callerForm{Form: f, Name: now.Name})
}

func (v *visit) changeCaller(f *form) (custody.Caller, error) {
	limits, err := f.limits()
	if err != nil {
		return custody.Caller{}, err
	}
	scopes := append([]string{}, f.Values["scopes"]...)
	return v.Custody.EditCaller(v.r.Context(), v.ask(), v.r.PathValue("name"), custody.CallerPatch{
		Description: new(f.Get("description")), Scopes: &scopes, Limits: &limits,
	})
}

func (v *visit) callerToken() error {
	c, err := v.liveCaller()
	if err != nil {
		return err
	}
	return v.newTokenForm(http.StatusOK, callerHolder(c), c.Tokens, &form{Values: url.Values{"overlap": {overlaps[0].Value}}, Revision: c.Revision})
}

func (v *visit) newCallerToken() error {
	f := v.posted()
	now, err := v.liveCaller()
	if err != nil {
		return err
	}
	c, token, err := once(v, f, func(f *form) (made custody.Caller, token keybearer.Secret, err error) {
		expires, overlap, err := f.tokenTerms()
		if err != nil {
			return made, token, err
		}
		return v.Custody.RotateCallerToken(v.r.Context(), v.ask(), now.ID, expires, overlap)
	})
	switch {
	case err != nil && f.keep(err, v.id, now.Revision):
		return v.newTokenForm(f.Problem.Status, callerHolder(now), now.Tokens, f)
	case err != nil:
		return err
	}
	return v.showCallerToken(c, token)
}

func (v *visit) callerRevoke() error {
	c, err := v.liveCaller()
	if err != nil {
		return err
	}
	return v.revokeForm(callerHolder(c), c.Tokens, c.Revision)
}

func (v *visit) revokeCallerToken() error {
	id := v.r.PostFormValue("id")
	c, err := v.Custody.RevokeCallerToken(v.r.Context(), v.ask(), v.r.PathValue("name"), id)
	return v.changed(err, revoked(id)+c.Name+".", "/callers/"+url.PathEscape(v.r.PathValue("name")))
}

func (v *visit) disableCaller() error {
	c, err := v.Custody.DisableCaller(v.r.Context(), v.ask(), v.r.PathValue("name"))
	return v.changed(err, "Disabled "+c.Name+". Its requests are refused from now on.", "/callers/"+url.PathEscape(v.r.PathValue("name")))
}

func (v *visit) enableCaller() error {
	c, err := v.Custody.EnableCaller(v.r.Context(), v.ask(), v.r.PathValue("name"))
	return v.changed(err, "Enabled "+c.Name+".", "/callers/"+url.PathEscape(v.r.PathValue("name")))
}

// changed goes to the page, with what was done or, where somebody else was there before, with that.
func (v *visit) changed(err error, done, to string) error {
	switch keybearer.CodeOf(err) {
	case "":
		return v.done(done, to)
	case keybearer.Stale, keybearer.Conflict:
		v.complain("Not done: " + problem(err, v.id).Detail + " This is how it is now.")
		return v.redirect(to)
	}
	return err
}

func (v *visit) callerDelete() error {
	c, err := v.liveCaller()
	if err != nil {
		return err
	}
	return v.callerDeleteForm(http.StatusOK, c, &form{Revision: c.Revision})
}

// callerDeletePage asks whether a caller is to be deleted.
type callerDeletePage struct {
	custody.Caller
	Usable []usable
	More   bool
	Form   *form
}

func (v *visit) callerDeleteForm(status int, c custody.Caller, f *form) (err error) {
	data := callerDeletePage{Caller: c, Form: f}
	if data.Usable, data.More, err = v.usable(c); err != nil {
		return err
	}
	return v.showStatus(status, "caller-delete", "Delete "+c.Name, data)
}

func (v *visit) deleteCaller() error {
	f := v.posted()
	now, err := v.liveCaller()
	if err != nil {
		return err
	}
	if err = f.typed("confirm", now.Name); err == nil {
		if _, err = v.Custody.DeleteCaller(v.r.Context(), v.ask(), now.ID); err == nil {
			return v.done("Deleted caller "+now.Name+". Its name stays reserved.", "/callers")
		}
	}
	if f.keep(err, v.id, now.Revision) {
		return v.callerDeleteForm(f.Problem.Status, now, f)
	}
	return err
}

// typed returns an error unless the field holds the name.
func (f *form) typed(field, name string) error {
	if f.Get(field) != name {
		return keybearer.NewError(keybearer.ConfirmationRequired, "this is not its name").WithHint("type it as it stands above").In(field)
	}
	return nil
}
