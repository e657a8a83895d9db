package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func (c *console) operatorRoutes() {
	c.page("GET /operators", (*visit).operatorList)
	c.page("POST /operators", (*visit).createOperator)
	c.page("GET /operators/+new", (*visit).newOperator)
	const one = "/operators/{name}"
	c.page("GET "+one, (*visit).operator)
	c.page("GET "+one+"/edit", (*visit).operatorEdit)
	c.page("POST "+one+"/edit", (*visit).editOperator)
	c.page("GET "+one+"/token", (*visit).operatorToken)
	c.page("POST "+one+"/token", (*visit).newOperatorToken)
	c.page("GET "+one+"/revoke", (*visit).operatorRevoke)
	c.page("POST "+one+"/revoke", (*visit).revokeOperatorToken)
	c.page("POST "+one+"/disable", (*visit).disableOperator)
	c.page("POST "+one+"/enable", (*visit).enableOperator)
	c.page("GET "+one+"/delete", (*visit).operatorDelete)
	c.page("POST "+one+"/delete", (*visit).deleteOperator)
}

// operatorsPage is the list.
type operatorsPage struct {
	Query url.Values
	Items []operatorRow
	Next  string // address of the next page; "" on the last
}

// operatorRow is an operator with the roles told apart.
type operatorRow struct {
	custody.Operator
	Admin bool     // of the instance
	Of    []string // scopes that it administers
}

func rowOf(o custody.Operator) operatorRow {
	row := operatorRow{Operator: o}
	for _, r := range o.Roles {
		if scope, ok := strings.CutPrefix(r, keybearer.RoleScopeAdmin); ok {
			row.Of = append(row.Of, scope)
		} else if r == keybearer.RoleInstanceAdmin {
			row.Admin = true
		}
	}
	return row
}

func (v *visit) operatorList() error {
	query := v.r.URL.Query()
	page, err := v.Custody.Operators(v.r.Context(), v.ask(), keybearer.Query{Text: query.Get("q"), Cursor: query.Get("cursor"), Limit: 50})
	if err != nil {
		return err
	}
	data := operatorsPage{Query: query, Next: nextPage("/operators", query, page.Next)}
	for _, o := range page.Items {
		data.Items = append(data.Items, rowOf(o))
	}
	if v.partial() {
		return v.fragment("operators", "rows", data)
	}
	return v.show("operators", "Operators", data)
}

// operatorForm is the form that makes or changes an operator.
type operatorForm struct {
	Form   *form
	Nonce  string
	Name   string   // of the operator that it changes
	Scopes []Option // that it may administer
	Last   bool     // nobody else administers the instance
	Self   bool     // it is the person who looks
}

func (v *visit) newOperator() error {
	if err := v.forAdmins(); err != nil {
		return err
	}
	return v.operatorForm(http.StatusOK, "operator-new", operatorForm{Form: &form{}})
}

func (v *visit) operatorForm(status int, template string, data operatorForm) error {
	scopes, err := v.scopes()
	if err != nil {
		return err
	}
	for _, s := range scopes {
		data.Scopes = append(data.Scopes, Option{Value: s.Name, Text: s.Name, Note: s.Description})
	}
	data.Scopes = data.Form.keeping("scopes", data.Scopes)
	data.Nonce = nonce()
	title := "New operator"
	if data.Name != "" {
		title = "Edit " + data.Name
		data.Self = v.person.Name == data.Name
		if data.Last, err = v.lastAdmin(data.Name); err != nil {
			return err
		}
	}
	return v.showStatus(status, template, title, data)
}

// lastAdmin reports whether the operator is the only one who administers the instance. Custody lets such a one go: root and the server's own user
// stay instance admins over the socket. A page warns.
func (v *visit) lastAdmin(name string) (bool, error) {
	last := false
	q := keybearer.Query{Limit: 1000}
	for {
		page, err := v.Custody.Operators(v.r.Context(), v.ask(), q)
		if err != nil {
			return false, err
		}
		for _, o := range page.Items {
			if !o.Disabled && o.DeletedAt.IsZero() && slices.Contains(o.Roles, keybearer.RoleInstanceAdmin) {
				if o.Name != name {
					return false, nil
				}
				last = true
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return last, nil
		}
	}
}

func (v *visit) createOperator() error {
	f := v.posted()
	o, token, err := once(v, f, v.makeOperator)
	switch {
	case err != nil && f.blame(named(err), v.id):
		return v.operatorForm(f.Problem.Status, "operator-new", operatorForm{Form: f})
	case err != nil:
		return err
	case token.IsZero():
		return v.done("Created operator "+o.Name+".", v.operatorHolder(o).Path())
	}
	return v.showToken(v.operatorHolder(o), token, o.Tokens, madeToken{})
}

func (v *visit) makeOperator(f *form) (o custody.Operator, token keybearer.Secret, err error) {
	n := custody.NewOperator{
		Name: strings.TrimSpace(f.Get("name")), Description: f.Get("description"), Groups: f.groups(), Roles: f.roles(), NoToken: f.Is("proof", "other"),
	}
	if n.ExpiresAt, err = f.endOfDay("expires"); err != nil {
		return o, token, err
	}
	if n.NoToken && !n.ExpiresAt.IsZero() {
		return o, token, keybearer.NewError(keybearer.Invalid, "there is no token that could end").WithHint("leave it empty").In("expires")
	}
	if err := v.presence(); err != nil { // an operator outlives the session that makes it
		return o, token, err
	}
	return v.Custody.CreateOperator(v.r.Context(), v.ask(), n)
}

// groups are one on a line, or several with blanks between.
func (f *form) groups() []string { return append([]string{}, strings.Fields(f.Get("groups"))...) }

// roles are those whose boxes are ticked.
func (f *form) roles() []string {
	roles := []string{}
	if f.Is("admin", "on") {
		roles = append(roles, keybearer.RoleInstanceAdmin)
	}
	for _, scope := range f.Values["scopes"] {
		roles = append(roles, keybearer.RoleScopeAdmin+scope)
	}
	return roles
}
