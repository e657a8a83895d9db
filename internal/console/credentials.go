package console

import (
	"net/url"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func (c *console) credentialRoutes() {
	c.page("GET /credentials", (*visit).credentials)
	c.page("GET /credentials/new", (*visit).newCredential)
	c.page("POST /credentials", (*visit).createCredential)
	c.page("GET /credentials/{scope}/{name}", (*visit).credential)
}

// credentialsPage is the list, as the filters in the address want it.
type credentialsPage struct {
	Query  url.Values
	Scopes []custody.Scope
	Items  []custody.Credential
	Next   string // address of the next page; "" on the last
}

func (v *visit) credentials() error {
	ctx, ask, query := v.r.Context(), v.ask(), v.r.URL.Query()
	page, err := v.Custody.Credentials(ctx, ask, query.Get("scope"), keybearer.Query{
		Text: query.Get("q"), Kind: keybearer.Kind(query.Get("kind")), Cursor: query.Get("cursor"), Limit: 50,
	})
	if err != nil {
		return err
	}
	data := credentialsPage{Query: query, Items: page.Items}
	if page.Next != "" {
		query.Set("cursor", page.Next)
		data.Next = "/credentials?" + query.Encode()
	}
	if v.partial() {
		return v.fragment("credentials", "rows", data)
	}
	if data.Scopes, err = v.scopes(); err != nil {
		return err
	}
	return v.show("credentials", "Credentials", data)
}

// scopes are those that the person may see.
func (v *visit) scopes() ([]custody.Scope, error) {
	page, err := v.Custody.Scopes(v.r.Context(), v.ask(), keybearer.Query{Limit: 1000})
	if keybearer.CodeOf(err) == keybearer.Forbidden {
		return nil, nil
	}
	return page.Items, err
}

// credentialPath is the address of a credential's page.
func credentialPath(scope, name string) string {
	return "/credentials/" + url.PathEscape(scope) + "/" + url.PathEscape(name)
}

// credentialPage shows one.
type credentialPage struct {
	custody.Credential
}

func (v *visit) credential() error {
	ref := keybearer.Ref{Scope: v.r.PathValue("scope"), Name: v.r.PathValue("name")}
	c, err := v.Custody.Credential(v.r.Context(), v.ask(), ref)
	if err != nil {
		return err
	}
	return v.show("credential", c.Scope+"/"+c.Name, credentialPage{c})
}
