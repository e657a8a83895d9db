package console

import (
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// createdPage says how to use a credential that was just made, and whether its callers can.
type createdPage struct {
	custody.Credential
	Ready []readiness // of the callers that hold use
	More  int         // of them that are not looked at
}

// readiness is what would become of a caller's request.
type readiness struct {
	Caller, Request string
	Report          policy.Report
}

// Scoped reports whether all that keeps the caller from it is that it is not bound to the scope.
func (r readiness) Scoped() bool {
	return len(r.Report.Steps) > 0 && r.Report.Steps[len(r.Report.Steps)-1].Name == "scope"
}

// looked is for how many callers the page asks what would become of a request.
const looked = 5

func (v *visit) createdCredential() error {
	ctx, ask := v.r.Context(), v.ask()
	ref := keybearer.Ref{Scope: v.r.PathValue("scope"), Name: v.r.PathValue("name")}
	c, err := v.Custody.Credential(ctx, ask, ref)
	if err != nil {
		return err
	}
	data := createdPage{Credential: c}
	callers := users(&c)
	if len(callers) > looked {
		callers, data.More = callers[:looked], len(callers)-looked
	}
	if len(c.Terms.Rules) > 0 {
		matches, _ := policy.Examples(c.Terms.Rules[0])
		for _, name := range callers {
			if len(matches) == 0 {
				break
			}
			report, err := v.Custody.Check(ctx, ask, custody.CheckRequest{Credential: ref, Caller: name, Method: matches[0].Method, URL: plain(matches[0].URL)})
			if err != nil {
				return err
			}
			data.Ready = append(data.Ready, readiness{name, matches[0].String(), report})
		}
	}
	return v.show("credential-created", "Created "+c.Scope+"/"+c.Name, data)
}

// plain is the address as an app asks the proxy for it.
func plain(url string) string { return "http://" + url[strings.Index(url, "://")+3:] }
