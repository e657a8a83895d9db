package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// operatorPage shows one operator.
type operatorPage struct {
	operatorRow
	holder
	Tokens tokenTable
	Last   bool // nobody else administers the instance
}

func (v *visit) operatorHolder(o custody.Operator) holder {
	return holder{Kind: "operator", Name: o.Name, Self: o.Name == v.person.Name}
}

// liveOperator is the operator that the address names.
func (v *visit) liveOperator() (custody.Operator, error) {
	o, err := v.Custody.Operator(v.r.Context(), v.ask(), v.r.PathValue("name"))
	if err == nil && !o.DeletedAt.IsZero() {
		err = keybearer.NewError(keybearer.NotFound, "this operator was deleted")
	}
	return o, err
}

func (v *visit) operator() error {
	o, err := v.liveOperator()
	if err != nil {
		return err
	}
	data := operatorPage{operatorRow: rowOf(o), holder: v.operatorHolder(o), Tokens: tokensOf(v.Now(), v.operatorHolder(o), o.Tokens)}
	if data.Last, err = v.lastAdmin(o.Name); err != nil {
		return err
	}
	return v.show("operator", o.Name, data)
}

func (v *visit) operatorEdit() error {
	o, err := v.liveOperator()
	if err != nil {
		return err
	}
	row := rowOf(o)
	f := &form{Revision: o.Revision, Values: url.Values{"description": {o.Description}, "groups": {strings.Join(o.Groups, "\n")}, "scopes": row.Of}}
	if row.Admin {
		f.Values.Set("admin", "on")
	}
	return v.operatorForm(http.StatusOK, "operator-edit", operatorForm{Form: f, Name: o.Name})
}

func (v *visit) editOperator() error {
	f := v.posted()
	now, err := v.liveOperator()
	if err != nil {
		return err
	}
	groups, roles := f.groups(), f.roles()
	var o custody.Operator
	if err = v.presence(); err == nil {
		o, err = v.Custody.EditOperator(v.r.Context(), v.ask(), now.ID, new(f.Get("description")), &groups, &roles)
	}
	if err == nil {
		to := v.operatorHolder(o).Path()
		if v.operatorHolder(o).Self && !rowOf(o).Admin {
			to = "/" // may not see it any more
		}
		return v.done("Changed operator "+o.Name+".", to)
	}
	if !f.keep(err, v.id, now.Revision) {
		return err
	}
	row := rowOf(now)
	f.differs("description", now.Description)
	if f.Problem.Code == keybearer.Stale && row.Admin != f.Is("admin", "on") {
		f.Errors["admin"] = map[bool]string{true: "This is so now.", false: "This is not so now."}[row.Admin]
	}
	f.differ("scopes", row.Of)
	if strings.Join(f.groups(), " ") != strings.Join(now.Groups, " ") {
		f.differs("groups", strings.Join(now.Groups, ", "))
	}
	return v.operatorForm(f.Problem.Status, "operator-edit", operatorForm{Form: f, Name: now.Name})
}

func (v *visit) operatorToken() error {
	o, err := v.liveOperator()
	if err != nil {
		return err
	}
	return v.newTokenForm(http.StatusOK, v.operatorHolder(o), o.Tokens, &form{Values: url.Values{"overlap": {overlaps[0].Value}}, Revision: o.Revision})
}

func (v *visit) newOperatorToken() error {
	f := v.posted()
	now, err := v.liveOperator()
	if err != nil {
		return err
	}
	o, token, err := once(v, f, func(f *form) (made custody.Operator, token keybearer.Secret, err error) {
		expires, overlap, err := f.tokenTerms()
		if err != nil {
			return made, token, err
		}
		if err := v.presence(); err != nil { // a token outlives the session that makes it
			return made, token, err
		}
		return v.Custody.RotateOperatorToken(v.r.Context(), v.ask(), now.ID, expires, overlap)
	})
	switch {
	case err != nil && f.keep(err, v.id, now.Revision):
		return v.newTokenForm(f.Problem.Status, v.operatorHolder(now), now.Tokens, f)
	case err != nil:
		return err
	}
	return v.showToken(v.operatorHolder(o), token, o.Tokens, madeToken{})
}

func (v *visit) operatorRevoke() error {
	o, err := v.liveOperator()
	if err != nil {
		return err
	}
	return v.revokeForm(v.operatorHolder(o), o.Tokens, o.Revision)
}

func (v *visit) revokeOperatorToken() error {
	id := v.r.PostFormValue("id")
	o, err := v.Custody.RevokeOperatorToken(v.r.Context(), v.ask(), v.r.PathValue("name"), id)
	return v.changed(err, revoked(id)+o.Name+".", "/operators/"+url.PathEscape(v.r.PathValue("name")))
}

func (v *visit) disableOperator() error {
	o, err := v.Custody.DisableOperator(v.r.Context(), v.ask(), v.r.PathValue("name"))
	if err == nil {
		v.SignIn.End(o.Name)
	}
	return v.changed(err, "Disabled "+o.Name+", who is signed out everywhere.", "/operators/"+url.PathEscape(v.r.PathValue("name")))
}

func (v *visit) enableOperator() error {
	o, err := v.Custody.EnableOperator(v.r.Context(), v.ask(), v.r.PathValue("name"))
	return v.changed(err, "Enabled "+o.Name+".", "/operators/"+url.PathEscape(v.r.PathValue("name")))
}

// operatorDeletePage asks whether an operator is to be deleted.
type operatorDeletePage struct {
	operatorRow
	Last, Self bool
	Form       *form
}

func (v *visit) operatorDelete() error {
	o, err := v.liveOperator()
	if err != nil {
		return err
	}
	return v.operatorDeleteForm(http.StatusOK, o, &form{Revision: o.Revision})
}

func (v *visit) operatorDeleteForm(status int, o custody.Operator, f *form) error {
	last, err := v.lastAdmin(o.Name)
	if err != nil {
		return err
	}
	return v.showStatus(status, "operator-delete", "Delete "+o.Name, operatorDeletePage{rowOf(o), last, v.operatorHolder(o).Self, f})
}

func (v *visit) deleteOperator() error {
	f := v.posted()
	now, err := v.liveOperator()
	if err != nil {
		return err
	}
	if err = f.typed("confirm", now.Name); err == nil {
		if _, err = v.Custody.DeleteOperator(v.r.Context(), v.ask(), now.ID); err == nil {
			return v.done("Deleted operator "+now.Name+". The name stays reserved.", "/operators")
		}
	}
	if f.keep(err, v.id, now.Revision) {
		return v.operatorDeleteForm(f.Problem.Status, now, f)
	}
	return err
}
