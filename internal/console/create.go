package console

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// newCredentialPage is the form that makes a credential.
type newCredentialPage struct {
	Form    *form
	Scopes  []Option // those in which the person may, and that have a key
	Keyless []string // those without one
	Kinds   []Option
	Header  string // as it will be sent
	Rules   ruleRows
	Grants  grantRows
	Again   bool // a secret was typed, which is not shown again
	More    bool // something is set among the details
}

// grantRows are the fields for grants. Their names end with the number of the row: "grant-0" (a name), "subject-0" (its kind), "level-0".
type grantRows struct {
	Rows    []grantRow
	Callers []Option // to suggest, with the scopes that they are bound to
	Part    bool     // as for ruleRows
}

type grantRow struct {
	N                    int
	Subject, Name, Level Field
}

var (
	subjectOptions = []Option{{Value: "app", Text: "Caller (app)"}, {Value: "user", Text: "Person"}, {Value: "group", Text: "Group"}}
	levelOptions   = []Option{
		{Value: "use", Text: "use"}, {Value: "view", Text: "view"}, {Value: "edit", Text: "edit"}, {Value: "administer", Text: "administer"},
	}
	kindCards = []Option{
		{Value: "bearer", Text: "Bearer", Note: "A token or an API key, as most APIs take it."},
		{Value: "basic", Text: "Basic", Note: "A username and a password."},
		{Value: "header", Text: "Other header", Note: "Any header, such as X-Api-Key, or Authorization with a scheme of its own."},
	}
)

// newCredentialPath is where the form is, and where its buttons send it to be shown again.
const newCredentialPath = "/credentials/new"

func (v *visit) newCredential() error {
	values := v.asked()
	if !values.Has("kind") {
		values.Set("kind", string(keybearer.Bearer))
	}
	if !values.Has("grant-0") && values.Has("caller") { // from a caller's page
		values.Set("grant-0", values.Get("caller"))
	}
	return v.newCredentialForm(http.StatusOK, &form{Values: values}, "")
}

// redrawCredential shows the form again with a row more or less, or with what its rules mean; to htmx only that part.
func (v *visit) redrawCredential() error {
	f, do := v.posted(), v.r.PostFormValue("do")
	if n := 0; v.partial() {
		if _, err := fmt.Sscanf(do, "preview-%d", &n); err == nil {
			return v.fragment("credential-new", "rule-preview-of", f.ruleRow(n, ""))
		}
	}
	focus := f.redraw(do)
	switch {
	case v.partial() && strings.HasSuffix(strings.TrimRight(do, "-0123456789"), "rule"):
		rows := f.ruleRows(newCredentialPath, focus)
		rows.Part = true
		return v.fragment("credential-new", "rule-rows-of", rows)
	case v.partial():
		rows, err := v.grantRows(f, focus)
		if err != nil {
			return err
		}
		return v.fragment("credential-new", "grant-rows-of", rows)
	}
	return v.newCredentialForm(http.StatusOK, f, focus)
}

func (v *visit) newCredentialForm(status int, f *form, focus string) error {
	scopes, err := v.scopes()
	if err != nil {
		return err
	}
	data := newCredentialPage{
		Form: f, Kinds: kindCards, Header: cmp.Or(http.CanonicalHeaderKey(strings.TrimSpace(f.Get("header"))), "X-Api-Key"), Rules: f.ruleRows(newCredentialPath, focus), Again: v.r.Method == http.MethodPost && v.r.PostFormValue("secret") != "",
	}
	for _, name := range []string{"require_user", "websocket", "scrub_body", "pass_cookies", "pass_trace", "keep_blanks", "expires_at"} {
		data.More = data.More || f.Get(name) != "" || f.Errors[name] != ""
	}
	for _, s := range scopes {
		switch {
		case !v.person.ScopeAdmin(s.ID):
		case s.Key == nil:
			data.Keyless = append(data.Keyless, s.Name)
		default:
			data.Scopes = append(data.Scopes, Option{Value: s.Name, Text: s.Name})
		}
	}
	if len(data.Scopes) > 1 && f.Get("scope") == "" {
		data.Scopes = append([]Option{{Text: "Choose a scope"}}, data.Scopes...)
	}
	if data.Grants, err = v.grantRows(f, focus); err != nil {
		return err
	}
	return v.showStatus(status, "credential-new", "New credential", data)
}

func (v *visit) grantRows(f *form, focus string) (rows grantRows, err error) {
	rows.Part = v.partial()
	for _, n := range f.rowNumbers("grant") {
		name := func(of string) string { return fmt.Sprintf("%s-%d", of, n) }
		r := grantRow{n, f.field(name("subject"), "Who").From(subjectOptions), f.field(name("grant"), "Name"), f.field(name("level"), "May").From(levelOptions)}
		r.Name.Focus = r.Name.Name == focus
		rows.Rows = append(rows.Rows, r)
	}
	if !v.person.InstanceAdmin() {
		return rows, nil
	}
	page, err := v.Custody.Callers(v.r.Context(), v.ask(), keybearer.Query{Limit: 500})
	for _, c := range page.Items {
		o := Option{Value: c.Name, Text: "global alone"}
		if len(c.Scopes) > 0 {
			o.Text = "bound to " + strings.Join(c.Scopes, ", ")
		}
		rows.Callers = append(rows.Callers, o)
	}
	return rows, err
}

// grants are what the rows say. What is wrong with one is noted beside its field.
func (f *form) grants() (all []keybearer.Grant) {
	for _, n := range f.rowNumbers("grant") {
		field := fmt.Sprintf("grant-%d", n)
		g := keybearer.Grant{Subject: subjectOf(f.Get(fmt.Sprintf("subject-%d", n)), f.Get(field))}
		if g.Subject == "" {
			continue
		}
		if _, err := keybearer.ParseSubject(string(g.Subject)); err != nil {
			f.wrong(field, err)
		}
		var err error
		if g.Level, err = keybearer.ParseLevel(f.Get(fmt.Sprintf("level-%d", n))); err != nil {
			f.wrong(fmt.Sprintf("level-%d", n), err)
		}
		f.name(fmt.Sprintf("grants[%d].subject", len(all)), field)
		all = append(all, g)
	}
	return all
}

func (v *visit) createCredential() error {
	f := v.posted()
	n := custody.NewCredential{
		Name: strings.TrimSpace(f.Get("name")), Description: strings.ReplaceAll(f.Get("description"), "\r\n", "\n"), Kind: keybearer.Kind(f.Get("kind")),
		Secret:      custody.Secret{Value: v.secret("secret"), KeepBlanks: f.Is("keep_blanks", "on")},
		RequireUser: f.Is("require_user", "on"), WebSocket: f.Is("websocket", "on"), ScrubBody: f.Is("scrub_body", "on"),
		PassCookies: f.Is("pass_cookies", "on"), PassTrace: f.Is("pass_trace", "on"),
		Rules: f.destinations(), Grants: f.grants(),
	}
	switch n.Kind { // what belongs to another kind is not on the page
	case keybearer.Basic:
		n.Secret.Username = v.secret("username")
	case keybearer.Header:
		n.Header, n.Prefix = strings.TrimSpace(f.Get("header")), f.Get("prefix")
	}
	if date := f.Get("expires_at"); date != "" {
		day, err := time.Parse(time.DateOnly, date)
		if err != nil {
			f.wrong("expires_at", keybearer.NewError(keybearer.Invalid, "a day is written as 2027-12-31"))
		}
		n.ExpiresAt = day.AddDate(0, 0, 1)
	}
	if !keybearer.ValidName(n.Name) { // beside what else is wrong: custody tells one thing at a time
		f.wrong("name", keybearer.NewError(keybearer.Invalid, "a name is 1 to 63 lower-case letters, digits, '-', '.' and '_', beginning with a letter or digit"))
	}
	if _, err := policy.CheckHeader(n.Kind, n.Header, n.Prefix); err != nil {
		f.wrong(keybearer.AsError(err).Field, err)
	}
	if f.Get("scope") == "" {
		f.wrong("scope", keybearer.NewError(keybearer.Invalid, "choose the scope that holds it"))
	}
	if f.Problem != nil {
		return v.newCredentialForm(f.Problem.Status, f, "")
	}
	c, err := v.Custody.CreateCredential(v.r.Context(), v.ask(), f.Get("scope"), n)
	if err != nil {
		switch keybearer.CodeOf(err) {
		case keybearer.ScopeKeyMissing, keybearer.ScopeRegenerating:
			err = keybearer.AsError(err).In("scope")
		}
		if f.blame(err, v.id) {
			return v.newCredentialForm(f.Problem.Status, f, "")
		}
		return err
	}
	return v.done("Created "+c.Scope+"/"+c.Name+".", credentialPath(c.Scope, c.Name)+"/created")
}
