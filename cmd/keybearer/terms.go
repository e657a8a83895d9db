package main

import (
	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// termsFlags are the flags that say how a secret is written and when.
type termsFlags struct {
	kind, header, prefix, description, expires string
	requireUser, websocket                     bool
	passCookies, passTrace, scrubBody          bool
}

func (t *termsFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.kind, "kind", "", "`kind`: basic, bearer or header")
	f.StringVar(&t.header, "header", "", "kind header: the `name` of the header that is written")
	f.StringVar(&t.prefix, "prefix", "", "kind header: `text` before the secret, as in 'Token '")
	f.StringVar(&t.description, "description", "", "what it is for")
	f.StringVar(&t.expires, "expires", "", "`when` it stops: 90d, 12h, 2027-01-31, an RFC 3339 time, or never")
	f.BoolVar(&t.requireUser, "require-user", false, "use it only on behalf of a person who holds use")
	f.BoolVar(&t.websocket, "websocket", false, "let requests become websockets")
	f.BoolVar(&t.passCookies, "pass-cookies", false, "let the app's Cookie header through")
	f.BoolVar(&t.passTrace, "pass-trace", false, "let traceparent, tracestate and baggage through")
	f.BoolVar(&t.scrubBody, "scrub-body", false, "take the secret out of the bodies of answers, which then may not be compressed")
	_ = cmd.RegisterFlagCompletionFunc("kind", words(string(keybearer.Basic), string(keybearer.Bearer), string(keybearer.Header)))
}

func words(list ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

// domainFlags are rules as the command line gives them; methods and private apply to all of them.
type domainFlags struct {
	methods []string
	private bool
}

func (d *domainFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&d.methods, "methods", nil, "only these `methods`, as in POST,PUT; for every domain of this command")
	cmd.Flags().BoolVar(&d.private, "private", false, "they are on private networks that the operator allows; for every domain of this command")
	_ = cmd.RegisterFlagCompletionFunc("methods", words(keybearer.Methods...))
}

func (d *domainFlags) destinations(rules []string) []admin.Destination {
	list := make([]admin.Destination, len(rules))
	for i, r := range rules {
		list[i] = admin.Destination{Rule: r, Methods: d.methods, Private: d.private}
	}
	return list
}

// patch holds the flags that were written.
func (t *termsFlags) patch(c *cli, cmd *cobra.Command) (admin.CredentialPatch, error) {
	var p admin.CredentialPatch
	f := cmd.Flags()
	changed := 0
	for name, set := range map[string]func(){
		"kind":         func() { kind := keybearer.Kind(t.kind); p.Kind = &kind },
		"header":       func() { p.Header = &t.header },
		"prefix":       func() { p.Prefix = &t.prefix },
		"description":  func() { p.Description = &t.description },
		"expires":      func() { p.ExpiresAt.Set = true },
		"require-user": func() { p.RequireUser = &t.requireUser },
		"websocket":    func() { p.WebSocket = &t.websocket },
		"pass-cookies": func() { p.PassCookies = &t.passCookies },
		"pass-trace":   func() { p.PassTrace = &t.passTrace },
		"scrub-body":   func() { p.ScrubBody = &t.scrubBody },
	} {
		if f.Changed(name) {
			set()
			changed++
		}
	}
	if changed == 0 {
		return p, usagef("there is nothing to change").withHint("keybearer credential edit --help lists what can be; domains and grants have commands of their own")
	}
	var err error
	p.ExpiresAt.Time, err = c.expiry(t.expires)
	return p, err
}
