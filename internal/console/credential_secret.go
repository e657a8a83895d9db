package console

import (
	"fmt"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// secretPage asks for a new secret.
type secretPage struct {
	one
	Rules []keybearer.Rule // the first few
	More  int              // and so many others
}

func (v *visit) secretPage() error { return v.secretForm(nil) }

func (v *visit) secretForm(f *form) error {
	o, err := v.one("", f)
	if err != nil {
		return err
	}
	p := &secretPage{one: o}
	p.Rules, p.More = fewRules(o.Terms.Rules)
	return v.showOne(&o, "credential-secret", "Replace the secret", p)
}

func (v *visit) setSecret() error {
	f := v.posted()
	c, err := v.Custody.SetSecret(v.r.Context(), v.ask(), v.ref(), v.givenSecret())
	if err != nil {
		return v.again(err, f, v.secretForm)
	}
	said := fmt.Sprintf("The secret is replaced: version %d is in use.", c.Version)
	if c.Previous != nil {
		said += fmt.Sprintf(" Version %d is kept for a rollback.", c.Previous.Version)
	}
	return v.done(said, credentialPath(c.Scope, c.Name))
}

// askSecret marks the field of the secret, if a change needs it.
func (f *form) askSecret() {
	if f.Problem == nil || f.Problem.Code != keybearer.SecretRequired {
		return
	}
	f.Problem.Detail, f.Problem.Hint, f.Problem.Field = "This lets the secret do more than it was given for.", "Type the secret below. What you typed is still there.", "secret"
	f.Errors["secret"] = "It is needed for this change."
}

// givenSecret is what was typed into the fields of the part "secret-fields".
func (v *visit) givenSecret() custody.Secret {
	return custody.Secret{Username: v.secret("username"), Value: v.secret("secret"), KeepBlanks: v.r.PostFormValue("keep_blanks") == "on"}
}
