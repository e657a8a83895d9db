package console

import (
	"net/http"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// newCredentialPage is the form that makes a credential.
type newCredentialPage struct {
	Form   *form
	Scopes []Option
}

func (v *visit) newCredential() error {
	return v.newCredentialForm(http.StatusOK, &form{Values: v.r.URL.Query()})
}

func (v *visit) newCredentialForm(status int, f *form) error {
	scopes, err := v.scopes()
	if err != nil {
		return err
	}
	data := newCredentialPage{Form: f}
	for _, s := range scopes {
		if v.person.ScopeAdmin(s.ID) {
			data.Scopes = append(data.Scopes, Option{Value: s.Name, Text: s.Name})
		}
	}
	return v.showStatus(status, "credential-new", "New credential", data)
}

func (v *visit) createCredential() error {
	f := v.posted()
	n := custody.NewCredential{
		Name: f.Get("name"), Description: f.Get("description"), Kind: keybearer.Kind(f.Get("kind")),
		Secret: custody.Secret{Username: v.secret("username"), Value: v.secret("secret")},
		Header: f.Get("header"), Prefix: f.Get("prefix"), RequireUser: f.Is("require_user", "on"),
	}
	for line := range strings.Lines(f.Get("destinations")) {
		if line = strings.TrimSpace(line); line != "" {
			n.Rules = append(n.Rules, custody.Destination{Rule: line})
		}
	}
	c, err := v.Custody.CreateCredential(v.r.Context(), v.ask(), f.Get("scope"), n)
	if err != nil {
		if f.blame(err, v.id) {
			return v.newCredentialForm(f.Problem.Status, f)
		}
		return err
	}
	return v.done("Created "+c.Scope+"/"+c.Name+".", credentialPath(c.Scope, c.Name))
}
