package console

import (
	"net/http"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/signin"
)

// themeCookie keeps how the person wants the console to look, signed in or not.
const themeCookie = signin.CookieName + "-theme"

// theme is "light" or "dark", or "" for as the browser is.
func theme(r *http.Request) string {
	if c, err := r.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return ""
}

func (c *console) accountRoutes() {
	c.page("GET /account", (*visit).account)
	c.open("POST /account/theme", (*visit).setTheme)
}

// accountPage says who the person is here.
type accountPage struct {
	Roles    []string // as they are written: instance-admin, scope-admin:<scope>
	Sessions []signin.Session
	Provider string // where they signed in; "": with a token
	Theme    *form
}

func (v *visit) account() error {
	data := accountPage{Sessions: v.SignIn.Sessions(v.r.Context(), v.person), Theme: &form{Values: map[string][]string{"theme": {theme(v.r)}}}}
	if v.person.How == signin.ByProvider {
		data.Provider = v.providerName()
	}
	names := map[string]string{}
	scopes, err := v.scopes()
	if err != nil {
		return err
	}
	for _, s := range scopes {
		names[s.ID] = s.Name
	}
	for _, r := range v.person.Roles {
		id, of := strings.CutPrefix(r, keybearer.RoleScopeAdmin)
		if name := names[id]; of && name != "" {
			r = keybearer.RoleScopeAdmin + name
		} else if of {
			continue // the scope is gone
		}
		data.Roles = append(data.Roles, r)
	}
	return v.show("account", "Your account", data)
}

func (v *visit) setTheme() error {
	value := v.r.PostFormValue("theme")
	c := &http.Cookie{Name: themeCookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(365 * 24 * time.Hour / time.Second)}
	if value != "light" && value != "dark" {
		c.Value, c.MaxAge = "", -1
	}
	http.SetCookie(v.w, c)
	return v.redirect(v.from())
}
