package console_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// people is an office with two scopes, an app that uses one of them, and everybody who has to do with them.
type people struct {
	*office
	ann                     *visitor // instance admin
	bob, eve, greta, viewer *visitor // scope admin of docs, of crm, of global; who may see docs/web
	docs, crm               custody.Scope
	token                   string // of the caller billing
	web                     custody.Credential
}

func newPeople(t *testing.T) *people {
	t.Helper()
	p := &people{office: newOffice(t)}
	global := p.scope(keybearer.GlobalScope)
	p.docs, p.crm = p.scope("docs"), p.scope("crm")
	_, token, err := p.CreateCaller(t.Context(), everything, custody.NewCaller{Name: "billing", Scopes: []string{"docs"}})
	if err != nil {
		t.Fatal(err)
	}
	p.token = token.Reveal()
	p.web = p.make("docs", "web")
	for subject, level := range map[keybearer.Subject]keybearer.Level{"app:billing": keybearer.Use, "user:viewer": keybearer.View} {
		if _, err := p.SetGrant(t.Context(), everything, keybearer.Ref{Scope: "docs", Name: "web"}, subject, level); err != nil {
			t.Fatal(err)
		}
	}
	p.make("docs", "old")
	if _, err := p.DeleteCredential(t.Context(), everything, keybearer.Ref{Scope: "docs", Name: "old"}, true); err != nil {
		t.Fatal(err)
	}
	p.ann = p.signedIn("ann", keybearer.RoleInstanceAdmin)
	p.bob = p.signedIn("bob", scopeAdminOf(p.docs))
	p.eve = p.signedIn("eve", scopeAdminOf(p.crm))
	p.greta = p.signedIn("greta", scopeAdminOf(global))
	p.viewer = p.signedIn("viewer")
	return p
}

// filled is the form of a page that sends to the address, as a browser would send it, with some values set over.
func (v *visitor) filled(page, action string, pairs ...string) url.Values {
	v.o.t.Helper()
	r := v.get(page)
	values := formIn(v.o.t, r.html, action)
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return values
}

func formIn(t testing.TB, page, action string) url.Values {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Data == "form" && attribute(n, "action") == action {
			values := url.Values{}
			for f := range n.Descendants() {
				name := attribute(f, "name")
				checkable := slices.Contains([]string{"radio", "checkbox"}, attribute(f, "type"))
				switch {
				case name == "":
				case f.Data == "textarea":
					text := ""
					for c := range f.ChildNodes() {
						text += c.Data
					}
					values.Add(name, strings.TrimPrefix(text, "\n"))
				case f.Data == "input" && (!checkable || has(f, "checked")):
					values.Add(name, attribute(f, "value"))
				}
			}
			return values
		}
	}
	t.Fatalf("the page has no form for %s: %s", action, page)
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// sends fills the form of the page and sends it.
func (v *visitor) sends(page, action string, pairs ...string) reply {
	v.o.t.Helper()
	return v.form(action, v.filled(page, action, pairs...))
}

var tokens = regexp.MustCompile(`kbo?_[a-z2-7]{52}`)

// theToken is the one token that the answer shows.
func (r reply) theToken(t *testing.T) string {
	t.Helper()
	found := slices.Compact(slices.Sorted(slices.Values(tokens.FindAllString(r.html, -1))))
	if len(found) != 1 {
		t.Fatalf("the answer (%d) shows %d tokens: %s", r.Code, len(found), r.text)
	}
	return found[0]
}

// good reports whether a token is good.
func (p *people) good(token string) bool {
	p.t.Helper()
	_, err := p.ActorByToken(p.t.Context(), keybearer.NewSecret(token))
	if err != nil && keybearer.CodeOf(err) != keybearer.Unauthenticated {
		p.t.Fatal(err)
	}
	return err == nil
}

// commits is how many there have been.
func (p *people) commits() uint64 {
	p.t.Helper()
	n, err := p.store.Sequence(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// every is the address of every page that shows something of scopes, callers and operators.
var every = []string{
	"/scopes", "/scopes/+new", "/scopes/docs", "/scopes/docs/edit", "/scopes/docs/regenerate", "/scopes/docs/delete", "/scopes/global",
	"/callers", "/callers/+new", "/callers/billing", "/callers/billing/edit", "/callers/billing/token", "/callers/billing/revoke", "/callers/billing/delete",
	"/operators", "/operators/+new", "/operators/bob", "/operators/bob/edit", "/operators/bob/token", "/operators/bob/revoke", "/operators/bob/delete",
	"/credentials", "/credentials/docs/web", "/overview",
}
