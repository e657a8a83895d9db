package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func (c *console) callerRoutes() {
	c.page("GET /callers", (*visit).callerList)
	c.page("POST /callers", (*visit).createCaller)
	c.page("GET /callers/+new", (*visit).newCaller)
	const one = "/callers/{name}"
	c.page("GET "+one, (*visit).caller)
	c.page("GET "+one+"/edit", (*visit).callerEdit)
	c.page("POST "+one+"/edit", (*visit).editCaller)
	c.page("GET "+one+"/token", (*visit).callerToken)
	c.page("POST "+one+"/token", (*visit).newCallerToken)
	c.page("GET "+one+"/revoke", (*visit).callerRevoke)
	c.page("POST "+one+"/revoke", (*visit).revokeCallerToken)
	c.page("POST "+one+"/disable", (*visit).disableCaller)
	c.page("POST "+one+"/enable", (*visit).enableCaller)
	c.page("GET "+one+"/delete", (*visit).callerDelete)
	c.page("POST "+one+"/delete", (*visit).deleteCaller)
}

// callersPage is the list.
type callersPage struct {
	Query url.Values
	Items []custody.Caller
	Next  string // address of the next page; "" on the last
}

func (v *visit) callerList() error {
	query := v.r.URL.Query()
	page, err := v.Custody.Callers(v.r.Context(), v.ask(), keybearer.Query{Text: query.Get("q"), Cursor: query.Get("cursor"), Limit: 50})
	if err != nil {
		return err
	}
	data := callersPage{Query: query, Items: page.Items, Next: nextPage("/callers", query, page.Next)}
	if v.partial() {
		return v.fragment("callers", "rows", data)
	}
	return v.show("callers", "Callers", data)
}

// nextPage is the address of the next page of a list, with its filters; "" on the last.
func nextPage(path string, query url.Values, cursor string) string {
	if cursor == "" {
		return ""
	}
	next := url.Values{"cursor": {cursor}}
	for name, values := range query {
		if name != "cursor" {
			next[name] = values
		}
	}
	return path + "?" + next.Encode()
}

// callerForm is the form that makes or changes a caller.
type callerForm struct {
	Form   *form
	Nonce  string
	Name   string   // of the caller that it changes
	Scopes []Option // that it may be bound to
}

func (v *visit) newCaller() error {
	if err := v.forAdmins(); err != nil {
		return err
	}
	query := v.r.URL.Query()
	f := &form{Values: url.Values{"scopes": query["scopes"], "rate": {""}}}
	return v.callerForm(http.StatusOK, "caller-new", callerForm{Form: f})
}

func (v *visit) callerForm(status int, template string, data callerForm) error {
	scopes, err := v.scopes()
	if err != nil {
		return err
	}
	for _, s := range scopes {
		if s.Name != keybearer.GlobalScope { // needs no binding
			data.Scopes = append(data.Scopes, Option{Value: s.Name, Text: s.Name, Note: s.Description})
		}
	}
	data.Scopes = data.Form.keeping("scopes", data.Scopes)
	data.Nonce = nonce()
	title := "New caller"
	if data.Name != "" {
		title = "Edit " + data.Name
	}
	return v.showStatus(status, template, title, data)
}

func (v *visit) createCaller() error {
	f := v.posted()
	c, token, err := once(v, f, v.makeCaller)
	switch {
	case err != nil && f.blame(named(err), v.id):
		return v.callerForm(f.Problem.Status, "caller-new", callerForm{Form: f})
	case err != nil:
		return err
	case token.IsZero():
		return v.done("Created caller "+c.Name+".", callerHolder(c).Path())
	}
	return v.showCallerToken(c, token)
}

func (v *visit) makeCaller(f *form) (c custody.Caller, token keybearer.Secret, err error) {
	n := custody.NewCaller{
		Name: strings.TrimSpace(f.Get("name")), Description: f.Get("description"), Scopes: f.Values["scopes"], NoToken: f.Is("proof", "other"),
	}
	if n.Limits, err = f.limits(); err != nil {
		return c, token, err
	}
	if n.ExpiresAt, err = f.endOfDay("expires"); err != nil {
		return c, token, err
	}
	if n.NoToken && !n.ExpiresAt.IsZero() {
		return c, token, keybearer.NewError(keybearer.Invalid, "there is no token that could end").WithHint("leave it empty").In("expires")
	}
	return v.Custody.CreateCaller(v.r.Context(), v.ask(), n)
}

// showCallerToken shows a new token with lines that use it, for a credential that the caller may use if there is one.
func (v *visit) showCallerToken(c custody.Caller, token keybearer.Secret) error {
	m := madeToken{Proxy: v.Proxy, Ref: "global/name", Scheme: "https", Host: "api.example.com", At: "/", Scopes: c.Scopes}
	if len(c.Scopes) > 0 {
		m.Ref = c.Scopes[0] + "/name"
	}
	usable, _, err := v.usable(c)
	if err != nil {
		usable = nil // the token has to be shown, whatever else is wrong
	}
	for _, u := range usable {
		if u.Allowed && u.State == keybearer.Active && len(u.Terms.Rules) > 0 {
			m.Ref, m.Known = u.Scope+"/"+u.Name, true
			m.Scheme, m.Host, m.At = example(u.Terms.Rules)
			break
		}
	}
	return v.showToken(holder{Kind: "caller", Name: c.Name}, token, c.Tokens, m)
}
