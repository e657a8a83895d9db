package console

import (
	"net/url"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func (c *console) credentialRoutes() {
	c.page("GET /credentials", (*visit).credentials)
	c.page("GET /credentials/new", (*visit).newCredential)
	c.page("POST /credentials/new", (*visit).redrawCredential)
	c.page("POST /credentials", (*visit).createCredential)
	c.page("GET /credentials/{scope}/{name}/created", (*visit).createdCredential)
}

// onePage is how many credentials a page lists.
const onePage = 50

// credentialsPage is the list, as the filters in the address want it.
type credentialsPage struct {
	Query   url.Values
	Scopes  []Option
	Kinds   []Option
	States  []Option
	Callers []string // for the filter by who may use them
	Rows    []credentialRow
	Count   string
	First   string // address of the first page; "" on it
	Next    string // address of the next page; "" on the last
	Empty   string // why there are none: "filter", "new", "key", "scope" or "granted"

	Space  string          // name of the scope, when global credentials are listed beside its own
	Global []credentialRow // those that can be used from it
	More   bool            // there are more of them
}

// credentialRow is a credential in the list, with the subjects that use it.
type credentialRow struct {
	custody.Credential
	Users []string
	Hours []keybearer.UsageHour // of the last day
}

var (
	kindOptions = []Option{{Value: "bearer", Text: "bearer"}, {Value: "basic", Text: "basic"}, {Value: "header", Text: "header"}}

	// What "state" may be in the address: states, and what Attention tells of.
	stateOptions = []Option{
		{Value: "active", Text: "active"},
		{Value: "disabled", Text: "disabled"},
		{Value: "expiring", Text: "ends in 30 days"},
		{Value: "unused", Text: "unused for 30 days"},
		{Value: "needs_secret", Text: "without a secret"},
		{Value: "deleted", Text: "deleted"},
	}
)

func (v *visit) credentials() error {
	query := v.r.URL.Query()
	for name, values := range query { // what is empty says nothing
		if values[0] == "" {
			query.Del(name)
		}
	}
	data := credentialsPage{Query: query, Kinds: kindOptions, States: stateOptions}
	if err := v.findCredentials(&data); err != nil {
		return err
	}
	if v.partial() {
		v.w.Header().Set("HX-Push-Url", address("/credentials", query, "cursor"))
		return v.fragment("credentials", "found", data)
	}
	scopes, err := v.scopes()
	if err != nil {
		return err
	}
	for _, s := range scopes {
		data.Scopes = append(data.Scopes, Option{Value: s.Name, Text: s.Name})
	}
	if name := query.Get("scope"); name != "" && !slices.ContainsFunc(scopes, func(s custody.Scope) bool { return s.Name == name }) {
		data.Scopes = append(data.Scopes, Option{Value: name, Text: name})
	}
	if data.Callers, err = v.callerNames(); err != nil {
		return err
	}
	return v.show("credentials", "Credentials", data)
}

// findCredentials fills in what the filters find.
func (v *visit) findCredentials(data *credentialsPage) error {
	ctx, ask, query := v.r.Context(), v.ask(), data.Query
	q := keybearer.Query{
		Text: query.Get("q"), Kind: keybearer.Kind(query.Get("kind")), Subject: subjectOf("app", query.Get("used_by")), Cursor: query.Get("cursor"), Limit: onePage,
	}
	var f custody.Filter
	switch state := query.Get("state"); state {
	case "expiring":
		f.Expiring = true
	case "unused":
		f.Unused = true
	default:
		f.State = keybearer.State(state)
		q.Deleted = f.State == keybearer.Deleted
	}
	scope := query.Get("scope")
	page, err := v.Custody.FilterCredentials(ctx, ask, scope, q, f)
	if err != nil {
		return err
	}
	var global keybearer.Page[custody.Credential]
	if space, err := v.space(scope); err != nil {
		return err
	} else if space && q.Cursor == "" && query.Get("state") == "" && q.Subject == "" {
		if global, err = v.Custody.GlobalFor(ctx, ask, scope, keybearer.Query{Text: q.Text, Kind: q.Kind, Limit: onePage}); err != nil {
			return err
		}
		data.Space, data.More = scope, global.Next != ""
	}
	activity, err := v.Custody.Activity(ctx, ask, custody.ActivityQuery{Credentials: ids(page.Items, global.Items)})
	if err != nil {
		return err
	}
	data.Rows, data.Global = credentialRows(page.Items, &activity), credentialRows(global.Items, &activity)
	if q.Cursor != "" {
		data.First = address("/credentials", query, "cursor")
	}
	if page.Next != "" {
		data.Next = address("/credentials", with(query, "cursor", page.Next))
	}
	data.Count = countWords(len(page.Items), q.Cursor != "", page.Next != "")
	if len(page.Items) == 0 && page.Next == "" {
		data.Empty, err = v.whyEmpty(query)
	}
	return err
}

// space reports whether the name is that of a scope other than global that the person administers.
func (v *visit) space(name string) (bool, error) {
	if name == "" || name == keybearer.GlobalScope {
		return false, nil
	}
	s, err := v.Custody.Scope(v.r.Context(), v.ask(), name)
	switch keybearer.CodeOf(err) {
	case "":
		return s.Name != keybearer.GlobalScope, nil // it may have been named by its id
	case keybearer.Forbidden, keybearer.NotFound:
		return false, nil
	}
	return false, err
}

// whyEmpty tells what a list with nothing in it should teach.
func (v *visit) whyEmpty(query url.Values) (string, error) {
	for _, name := range []string{"q", "kind", "state", "used_by", "cursor"} {
		if query.Has(name) {
			return "filter", nil
		}
	}
	scopes, err := v.scopes()
	if err != nil {
		return "", err
	}
	wanted := query.Get("scope")
	key, seen := false, false
	for _, s := range scopes {
		if wanted == "" || s.Name == wanted {
			key, seen = key || s.Key != nil, true
		}
	}
	switch {
	case key:
		return "new", nil
	case seen && wanted != "":
		return "key", nil
	case seen:
		return "scope", nil
	}
	return "granted", nil
}

func credentialRows(items []custody.Credential, activity *custody.Activity) (rows []credentialRow) {
	for _, c := range items {
		rows = append(rows, credentialRow{c, users(&c), activity.Credentials[c.ID]})
	}
	return rows
}

// users are the subjects that a credential is used by: those that may, where the person may list grants, and else the callers that did.
func users(c *custody.Credential) (names []string) {
	for _, g := range c.Grants {
		if kind, name := g.Subject.Split(); kind == "app" {
			names = append(names, name)
		}
	}
	if c.Grants == nil && c.Usage != nil {
		for _, u := range c.Usage.Callers {
			names = append(names, u.Caller)
		}
	}
	return names
}

func ids(lists ...[]custody.Credential) (all []string) {
	for _, list := range lists {
		for _, c := range list {
			all = append(all, c.ID)
		}
	}
	return all
}

func countWords(n int, behind, more bool) string {
	switch {
	case n == 0 && more:
		return "Nothing so far, and more to look through"
	case n == 0 && !behind:
		return "No credential"
	case behind && !more:
		return counted(uint64(n), "credential") + " on this last page"
	case behind || more:
		return counted(uint64(n), "credential") + " on this page"
	}
	return counted(uint64(n), "credential")
}

// subjectOf is the subject that was written with its kind, or without when it is of the one given.
func subjectOf(kind, text string) keybearer.Subject {
	text = strings.TrimSpace(text)
	if text == "" || strings.HasPrefix(text, "app:") || strings.HasPrefix(text, "user:") || strings.HasPrefix(text, "group:") {
		return keybearer.Subject(text)
	}
	return keybearer.Subject(kind + ":" + text)
}

// callerNames are those that the person may list, for a field to suggest.
func (v *visit) callerNames() (names []string, err error) {
	if !v.person.InstanceAdmin() {
		return nil, nil
	}
	page, err := v.Custody.Callers(v.r.Context(), v.ask(), keybearer.Query{Limit: 500})
	for _, c := range page.Items {
		names = append(names, c.Name)
	}
	return names, err
}

// address is a path and a query, less some of its parameters.
func address(path string, query url.Values, without ...string) string {
	query = with(query)
	for _, name := range without {
		query.Del(name)
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// with is a copy of the query with more parameters: names and values.
func with(query url.Values, pairs ...string) url.Values {
	next := url.Values{}
	for name, values := range query {
		next[name] = values
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		next.Set(pairs[i], pairs[i+1])
	}
	return next
}

// scopes are those that the person may see.
func (v *visit) scopes() ([]custody.Scope, error) {
	page, err := v.Custody.Scopes(v.r.Context(), v.ask(), keybearer.Query{Limit: 1000})
	if keybearer.CodeOf(err) == keybearer.Forbidden {
		return nil, nil
	}
	return page.Items, err
}
