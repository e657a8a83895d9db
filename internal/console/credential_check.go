package console

import (
	"net/url"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// checkPage answers why somebody can or cannot use the credential.
type checkPage struct {
	one
	Callers []string
	Methods []Option
	Report  *policy.Report // nil: nothing was asked yet
	Nearest *shownRule
	Fix     *Fix // without To: the person cannot do it themselves
	CanTest bool // a request can be sent here, by the person
	Why     string
	Tested  *custody.Probed
}

func (v *visit) check() error { return v.checkForm(&form{Values: v.r.URL.Query()}, nil) }

// checkForm asks, and answers when enough was given.
func (v *visit) checkForm(f *form, tested *custody.Probed) error {
	if !f.Values.Has("method") {
		f.Values.Set("method", "GET")
	}
	o, err := v.one("/check", f)
	if err != nil {
		return err
	}
	p := &checkPage{one: o, Callers: v.suggested(&o), Tested: tested}
	for _, m := range keybearer.Methods {
		p.Methods = append(p.Methods, Option{Value: m, Text: m})
	}
	if f.Values.Has("url") && f.Problem == nil || tested != nil {
		if err := v.answer(p, &o); err != nil {
			if !f.blame(checkField(err), v.id) {
				return err
			}
		}
	}
	return v.showOne(&o, "credential-check", "Check", p)
}

// answer checks what the form asks.
func (v *visit) answer(p *checkPage, o *one) error {
	f := o.Form
	r := custody.CheckRequest{
		Credential: keybearer.Ref{Scope: o.Scope, Name: o.Name}, Caller: strings.TrimSpace(f.Get("caller")), Method: f.Get("method"),
		URL: absolute(f.Get("url")), User: strings.TrimPrefix(strings.TrimSpace(f.Get("user")), "user:"),
	}
	if r.User != "" {
		r.Groups = strings.FieldsFunc(f.Get("groups"), func(c rune) bool { return c == ',' || c == ' ' })
	}
	report, err := v.Custody.Check(v.r.Context(), v.ask(), r)
	if err != nil {
		return err
	}
	p.Report = &report
	if report.Nearest != nil {
		n := showRule(*report.Nearest)
		p.Nearest = &n
	}
	p.Fix = v.fix(o, &report, &r)
	switch {
	case v.console.Probe == nil:
		p.Why = "This server forwards nothing, so it cannot send one."
	case !o.CanAdminister():
		p.Why = "Sending a test request as an app takes administer; you hold " + o.Holds() + "."
	case !slices.Contains(custody.TestMethods, r.Method):
		p.Why = "A test request has no body: it is sent with " + strings.Join(custody.TestMethods, ", ") + "."
	case r.User != "":
		p.Why = "A request on behalf of a person needs an assertion that their issuer signed, so only the app can send it."
	default:
		p.CanTest = true
	}
	return nil
}

// checkField says which field of the form an error concerns.
func checkField(err error) error {
	e := keybearer.AsError(err)
	switch {
	case e.Code == keybearer.DestinationInvalid:
		return e.In("url")
	case e.Code == keybearer.Invalid && strings.Contains(e.Detail, "method"):
		return e.In("method")
	case e.Code == keybearer.Invalid:
		return e.In("caller")
	}
	return e
}

// fix is the next step after a refusal.
func (v *visit) fix(o *one, r *policy.Report, asked *custody.CheckRequest) *Fix {
	if r.Decision == keybearer.Allow {
		return nil
	}
	app := keybearer.AppSubject(strings.TrimPrefix(asked.Caller, "app:"))
	_, name := app.Split()
	step := ""
	if n := len(r.Steps); n > 0 {
		step = r.Steps[n-1].Name
	}
	may := func(yes bool, text, to string) *Fix {
		if yes {
			return &Fix{text, to}
		}
		return &Fix{Text: text}
	}
	grant := func(s keybearer.Subject) *Fix {
		return may(o.CanAdminister(), "Grant use to "+string(s), o.Base+"/permissions?"+url.Values{"subject": {string(s)}, "level": {"use"}}.Encode()+"#add")
	}
	switch r.Code {
	case keybearer.CallerUnauthenticated:
		return may(v.person.InstanceAdmin(), "Look at app:"+name, "/callers/"+url.PathEscape(name))
	case keybearer.CredentialForbidden:
		switch step {
		case "scope":
			return may(v.person.InstanceAdmin(), "Bind app:"+name+" to scope "+o.Scope, "/callers/"+url.PathEscape(name))
		case "user":
			return grant(keybearer.UserSubject(asked.User))
		}
		return grant(app)
	case keybearer.UserRequired:
		return &Fix{Text: "The app says on whose behalf it asks: it sends a signed Keybearer-Acting-User assertion of somebody who holds use"}
	case keybearer.CredentialDisabled:
		return may(o.CanAdminister(), "Enable it", o.Base+"/danger")
	case keybearer.CredentialExpired:
		return may(o.CanEdit(), "Set a later expiry", o.Base+"/edit")
	case keybearer.CredentialNeedsSecret:
		return may(o.CanEdit(), "Set the secret", o.Base+"/secret")
	case keybearer.CredentialDeleted:
		return may(o.Level >= keybearer.Administer, "Restore it", o.Base+"/danger")
	case keybearer.DestinationNotAllowed, keybearer.MethodNotAllowed:
		line := origin(r.URL)
		if r.Code == keybearer.MethodNotAllowed && r.Nearest != nil {
			line = r.Nearest.String() + " " + asked.Method
		}
		return may(o.CanAdminister(), "Add "+line, o.Base+"/domains/add?"+url.Values{"destinations": {line}}.Encode())
	}
	return nil
}

// origin is the scheme, host and port of a canonical URL.
func origin(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// test sends the request that was checked.
func (v *visit) test() error {
	f := v.posted()
	tested, err := v.probe(f)
	if err != nil {
		return v.again(checkField(err), f, func(f *form) error { return v.checkForm(f, nil) })
	}
	return v.checkForm(f, &tested)
}

func (v *visit) probe(f *form) (custody.Probed, error) {
	return v.Custody.Test(v.r.Context(), v.ask(), custody.Probe{
		Credential: v.ref(), Caller: strings.TrimSpace(f.Get("caller")), Method: f.Get("method"), URL: absolute(f.Get("url")),
	}, v.console.Probe)
}

// absolute is a URL as people type it.
func absolute(typed string) string {
	typed = strings.TrimSpace(typed)
	if !strings.Contains(typed, "://") && typed != "" {
		return "https://" + typed
	}
	return typed
}
