package console

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/signin"
)

func (c *console) signInRoutes() {
	c.open("GET /sign-in", (*visit).signInPage)
	c.open("POST /sign-in", (*visit).signIn)
	c.open("GET /sign-in/oidc", (*visit).depart)
	c.open("GET "+signin.CallbackPath, (*visit).arrive)
	c.open("POST /sign-out", (*visit).signOut)
	c.open("GET /set-up/{code}", (*visit).setUpPage)
	c.open("POST /set-up/{code}", (*visit).setUp)
	c.page("GET /confirm", (*visit).confirmPage)
	c.page("POST /confirm", (*visit).confirm)
}

type signInPage struct {
	Form     *form
	Next     string
	Provider string // name of the identity provider; "": there is none
	Problem  *Problem
}

func (v *visit) showSignIn(status int, f *form, next string, p *Problem) error {
	return v.showStatus(status, "sign-in", "Sign in", signInPage{f, next, v.providerName(), p})
}

func (v *visit) providerName() string {
	if p := v.SignIn.Provider(); p != nil {
		return p.Name()
	}
	return ""
}

// signInPage asks who is there. Who comes back from it and is nobody has a browser that does not keep the cookie.
func (v *visit) signInPage() error {
	if v.identify() == nil {
		return v.redirect(v.next())
	}
	if v.r.FormValue("kept") == "" {
		return v.showSignIn(http.StatusOK, &form{}, v.next(), nil)
	}
	e := keybearer.NewError(keybearer.Unauthenticated, "your browser did not keep the cookie that says who you are").
		WithHint("allow cookies for this site; Safari keeps none on an address without TLS: use another browser there, or serve the console with TLS")
	return v.showSignIn(http.StatusOK, &form{}, v.next(), problem(e, v.id))
}

// signedIn goes to the page that was asked for, by way of one that sees whether the browser kept the cookie.
func signedIn(next string) string {
	return "/sign-in?" + url.Values{"kept": {"1"}, "next": {next}}.Encode()
}

// signIn takes an operator's token.
func (v *visit) signIn() error {
	err := v.SignIn.WithToken(v.r.Context(), v.id, v.secret("token"))
	if err == nil {
		return v.redirect(signedIn(v.next()))
	}
	if keybearer.CodeOf(err) != keybearer.Unauthenticated {
		return err
	}
	f := &form{Errors: map[string]string{"token": "This is not the token of an operator, or it has ended or was revoked."}}
	return v.showSignIn(http.StatusUnauthorized, f, v.next(), nil)
}

func (v *visit) signOut() error {
	if err := v.SignIn.SignOut(v.r.Context(), v.id, v.r.PostFormValue("everywhere") == "yes"); err != nil {
		return err
	}
	return v.redirect("/sign-in")
}

// depart sends the browser to the identity provider, from the console's public address: there it comes back to.
func (v *visit) depart() error {
	next, again := v.next(), v.r.FormValue("again") == "yes"
	if next == "/" && again {
		next = v.from()
	}
	if v.Public != nil && hostname(v.r.Host) != hostname(v.Public.Host) {
		return v.leave(v.Public.String() + "/sign-in/oidc?" + url.Values{"next": {next}}.Encode())
	}
	to, err := v.SignIn.Depart(v.r.Context(), v.id, v.w, next, again)
	if err != nil {
		return v.notBack(err, next)
	}
	return v.leave(to)
}

// leave sends the browser to another site, without a word of where in the page.
func (v *visit) leave(to string) error {
	v.shown = true
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// arrive takes the browser back from the identity provider. It came along a chain of redirects that another site began, on which the session's cookie
// would not be sent: the next page is asked for by one of ours.
func (v *visit) arrive() error {
	v.w.Header().Set("Referrer-Policy", "strict-origin") // the address holds the code
	next, err := v.SignIn.Arrive(v.r.Context(), v.id, v.w, v.r)
	if err != nil {
		return v.notBack(err, next)
	}
	v.shown = true
	bounce(v.w, signedIn(local(next)))
	return nil
}

// notBack shows what went wrong between here and the identity provider beside the other way to sign in.
func (v *visit) notBack(err error, next string) error {
	if keybearer.CodeOf(err) != keybearer.Unauthenticated {
		return err
	}
	p := problem(err, v.id)
	if errors.Is(err, signin.ErrAway) {
		p.Status = http.StatusServiceUnavailable
		v.w.Header().Set("Retry-After", "5")
	}
	if v.identify() == nil { // somebody who was to prove it again
		return v.showConfirm(p.Status, &form{Problem: p}, local(next))
	}
	return v.showSignIn(p.Status, &form{}, local(next), p)
}

type confirmPage struct {
	Form     *form
	Next     string
	Provider string // where the person signed in; "": with a token
}

func (v *visit) showConfirm(status int, f *form, next string) error {
	data := confirmPage{Form: f, Next: next}
	if v.person.How == signin.ByProvider {
		data.Provider = v.providerName()
	}
	return v.showStatus(status, "confirm", "Prove that it is you", data)
}

// confirmPage asks who is signed in to prove it again.
func (v *visit) confirmPage() error {
	next := v.next()
	if next == "/" {
		next = v.from()
	}
	return v.showConfirm(http.StatusOK, &form{}, next)
}

func (v *visit) confirm() error {
	err := v.SignIn.Confirm(v.r.Context(), v.id, v.secret("token"))
	if err == nil {
		return v.redirect(v.next())
	}
	if keybearer.CodeOf(err) != keybearer.Unauthenticated {
		return err
	}
	return v.showConfirm(http.StatusForbidden, &form{Errors: map[string]string{"token": "This is not your token, or it has ended."}}, v.next())
}
