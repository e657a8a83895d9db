package console

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func (c *console) credentialPageRoutes() {
	const one = "/credentials/{scope}/{name}"
	c.page("GET "+one, (*visit).credential)
	c.page("POST "+one+"/rollback", (*visit).rollback)
	c.page("GET "+one+"/edit", (*visit).editPage)
	c.page("POST "+one+"/edit", (*visit).edit)
	c.page("GET "+one+"/secret", (*visit).secretPage)
	c.page("POST "+one+"/secret", (*visit).setSecret)
	c.page("GET "+one+"/permissions", (*visit).permissions)
	c.page("POST "+one+"/permissions", (*visit).setPermission)
	c.page("POST "+one+"/permissions/remove", (*visit).removePermission)
	c.page("GET "+one+"/domains", (*visit).domains)
	c.page("POST "+one+"/domains/remove", (*visit).removeDomain)
	for _, way := range ruleWays {
		c.page("GET "+one+"/domains/"+way.Name, func(v *visit) error { return v.rulesForm(&way, nil) })
		c.page("POST "+one+"/domains/"+way.Name, func(v *visit) error { return v.changeRules(&way) })
	}
	c.page("POST "+one+"/domains/enforce", (*visit).enforce)
	c.page("POST "+one+"/domains/discard", (*visit).discard)
	c.page("GET "+one+"/check", (*visit).check)
	c.page("POST "+one+"/check", (*visit).test)
	c.page("GET "+one+"/usage", (*visit).usage)
	c.page("GET "+one+"/history", (*visit).history)
	c.page("GET "+one+"/danger", (*visit).danger)
	c.page("POST "+one+"/disable", (*visit).disable)
	c.page("POST "+one+"/enable", (*visit).enable)
	c.page("POST "+one+"/delete", (*visit).delete)
	c.page("POST "+one+"/restore", (*visit).restore)
}

// credentialPath is the address of a credential's page.
func credentialPath(scope, name string) string {
	return "/credentials/" + url.PathEscape(scope) + "/" + url.PathEscape(name)
}

// one is what the pages of one credential have in common: the credential as the person sees it, and what they may do.
type one struct {
	custody.Credential
	Base       string // address of its first page
	Tab        string
	Form       *form // never nil
	ScopeAdmin bool  // the person administers the scope: they may grant themselves what they lack
}

// tabs of a credential, by address below its own.
var tabs = []struct{ To, Text string }{
	{"", "Overview"},
	{"/permissions", "Permissions"},
	{"/domains", "Domains"},
	{"/check", "Check"},
	{"/usage", "Usage"},
	{"/history", "History"},
	{"/danger", "Danger zone"},
}

// ref is the credential that the path names.
func (v *visit) ref() keybearer.Ref {
	return keybearer.Ref{Scope: v.r.PathValue("scope"), Name: v.r.PathValue("name")}
}

// one reads the credential for a page. The form f, nil for none, gets the revision that what it shows belongs to.
func (v *visit) one(tab string, f *form) (one, error) {
	c, err := v.Custody.Credential(v.r.Context(), v.ask(), v.ref())
	if err != nil {
		return one{}, err
	}
	if f == nil {
		f = &form{}
	}
	if f.Revision == 0 || f.Problem != nil && f.Problem.Code == keybearer.Stale {
		f.Revision = c.Revision
	}
	return one{Credential: c, Base: credentialPath(c.Scope, c.Name), Tab: tab, Form: f, ScopeAdmin: v.person.ScopeAdmin(c.ScopeID)}, nil
}

// showOne answers with a page of the credential: 200, or what is wrong with its form.
func (v *visit) showOne(o *one, name, title string, data any) error {
	status := http.StatusOK
	if o.Form.Problem != nil {
		status = o.Form.Problem.Status
	}
	if title != "" {
		title += " · "
	}
	return v.showStatus(status, name, title+o.Full(), data)
}

// again shows a page anew with what was wrong with the form that was sent to it, or returns the error when that mends nothing.
func (v *visit) again(err error, f *form, page func(*form) error) error {
	if !f.blame(err, v.id) {
		return err
	}
	return page(f)
}

// Full is the credential's name with that of its scope.
func (o *one) Full() string { return o.Scope + "/" + o.Name }

// Tabs are the pages of the credential.
func (o *one) Tabs() (all []Tab) {
	for _, t := range tabs {
		tab := Tab{Name: t.To, To: o.Base + t.To, Text: t.Text, Here: t.To == o.Tab}
		switch t.To {
		case "/permissions":
			tab.Count = len(o.Grants)
		case "/domains":
			tab.Count = len(o.Terms.Rules)
		}
		all = append(all, tab)
	}
	return all
}

// Tab is a link to one of the pages of a thing.
type Tab struct {
	Name, To, Text string
	Here           bool
	Count          int // of what is there; 0: nothing, or not known
}

// Gone reports whether it is deleted.
func (o *one) Gone() bool { return o.State == keybearer.Deleted }

// CanEdit reports whether the person may change it as far as edit goes.
func (o *one) CanEdit() bool { return !o.Gone() && o.Level >= keybearer.Edit }

// CanAdminister reports whether the person may do everything to it.
func (o *one) CanAdminister() bool { return !o.Gone() && o.Level >= keybearer.Administer }

// SeesGrants reports whether the person may see who holds what on it.
func (o *one) SeesGrants() bool { return o.Grants != nil }

// Holds says in words what the person holds.
func (o *one) Holds() string {
	if o.Level == keybearer.NoLevel {
		return "nothing on this credential"
	}
	return o.Level.String() + " on this credential"
}

// AsSent is the header as destinations get it, with the secret left out.
func (o *one) AsSent() string { return asSent(&o.Terms) }

func asSent(t *keybearer.Terms) string {
	switch t.Kind {
	case keybearer.Basic:
		return "Authorization: Basic ••••"
	case keybearer.Bearer:
		return "Authorization: Bearer ••••"
	}
	return t.Header + ": " + t.Prefix + "••••"
}

// Unusable reports that no app may use it, as far as the person may know: its grants and rules say so.
func (o *one) Unusable() bool {
	return o.Grants != nil && !slices.ContainsFunc(o.Grants, func(g keybearer.Grant) bool {
		kind, _ := g.Subject.Split()
		return kind == "app"
	})
}

// suggested are names that a form suggests: those that hold something, those that used it, and all others that the person may know.
func (v *visit) suggested(o *one) []string {
	var names []string
	for _, g := range o.Grants {
		if kind, name := g.Subject.Split(); kind == "app" {
			names = append(names, name)
		}
	}
	if o.Usage != nil {
		for _, c := range o.Usage.Callers {
			names = append(names, c.Caller)
		}
	}
	if v.person.InstanceAdmin() {
		page, err := v.Custody.Callers(v.r.Context(), v.ask(), keybearer.Query{Limit: 200})
		if err == nil { // they are suggestions
			for _, c := range page.Items {
				names = append(names, c.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
