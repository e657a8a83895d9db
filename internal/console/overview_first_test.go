package console_test

import (
	"net/http"
	"testing"

	"github.com/keybearer/keybearer"
)

// What "Start here" leads to can be filled in when it is reached: the credential's form grants use to a caller, so that there is one before.
func TestANewServerLeadsToTheFirstRequest(t *testing.T) {
	o := newOffice(t)
	ann := o.signedIn("ann", keybearer.RoleInstanceAdmin)
	step := func(text string) string { return `<li aria-current="step"><b>` + text }
	for _, s := range []struct {
		do, step, link string
		then           func()
	}{
		{"nothing", "A scope and its key.", `href="/callers/+new"`, func() { o.scope("docs") }},
		{"a scope", "A caller.", `href="/callers/+new?scopes=docs"`, func() { o.caller("billing", "docs") }},
		{"a caller", "A credential.", `href="/credentials/new"`, func() { o.make("docs", "crm") }},
	} {
		r := ann.get("/overview")
		r.wants(t, http.StatusOK, "Start here", step(s.step), s.link)
		s.then()
	}
	ann.get("/overview").wants(t, http.StatusOK, "!Start here")
}

func TestTheFormOfTheFirstCredentialSaysThatThereIsNoCaller(t *testing.T) {
	o := newOffice(t)
	o.scope("docs")
	ann := o.signedIn("ann", keybearer.RoleInstanceAdmin)
	ann.get("/credentials/new?scope=docs").wants(t, http.StatusOK, "there is no caller yet", `href="/callers/+new"`)
	o.caller("billing", "docs")
	ann.get("/credentials/new?scope=docs").wants(t, http.StatusOK, "!there is no caller yet")
}

func TestARuleForThisMachineSaysThatItHasToBePrivate(t *testing.T) {
	o := newOffice(t)
	o.scope("docs")
	ann := o.signedIn("ann", keybearer.RoleInstanceAdmin)
	const says = "This is on a private network."
	for rule, near := range map[string]bool{
		"https://localhost:8443/hook": true, "app.localhost": true, "127.0.0.1": true, "10.1.2.3": true, "https://[::1]:8443": true, "[fd00::1]": true,
		"api.example.com": false, "localhost.example.com": false, "192.0.2.1": false, "[2001:db8::1]": false,
	} {
		want := says
		if !near {
			want = "!" + says
		}
		ann.post("/credentials/new", "do", "check-rules", "rule-0", rule).wants(t, http.StatusOK, "Admits", want)
		ann.post("/credentials/new", "do", "check-rules", "rule-0", rule, "private-0", "on").wants(t, http.StatusOK, "Admits", "!"+says)
	}
}
