package console

import (
	"net/http"
	"strings"

	"github.com/keybearer/keybearer"
)

type signInPage struct {
	Form *form
	Next string
}

// signInPage asks who is there.
func (v *visit) signInPage() error {
	if v.identify() == nil {
		return v.redirect(local(v.r.FormValue("next")))
	}
	return v.show("sign-in", "Sign in", signInPage{&form{}, local(v.r.FormValue("next"))})
}

// signIn takes an operator's token.
func (v *visit) signIn() error {
	next := local(v.r.PostFormValue("next"))
	err := v.SignIn.WithToken(v.r.Context(), v.secret("token"))
	if err == nil {
		return v.redirect(next)
	}
	if keybearer.CodeOf(err) != keybearer.Unauthenticated {
		return err
	}
	f := &form{Errors: map[string]string{"token": "This is not the token of an operator, or it has ended or was revoked."}}
	return v.showStatus(http.StatusUnauthorized, "sign-in", "Sign in", signInPage{f, next})
}

func (v *visit) signOut() error {
	if err := v.SignIn.SignOut(v.r.Context()); err != nil {
		return err
	}
	return v.redirect("/sign-in")
}

// local returns the path to go to, if it is one of the console's own, else the start.
func local(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") || strings.HasPrefix(next, "/sign-") {
		return "/"
	}
	return next
}
