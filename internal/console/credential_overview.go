package console

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// soon is how long before its expiry a credential is shown to end.
const soon = 14 * 24 * time.Hour

// credentialPage shows one credential.
type credentialPage struct {
	one
	Hours     []keybearer.UsageHour // of the last week
	Day, Week string                // that and the last day in words; "": nothing is known
	Rules     []keybearer.Rule      // the first few
	More      int                   // and so many others
	Back      []string              // what a rollback brings back, in words; nil: there is nothing to roll back to
	Wider     bool                  // and whether that takes administer
	Proxy     string
	Tried     *trialReport
	Ends      bool // before long
}

func (v *visit) credential() error { return v.credentialForm(nil) }

func (v *visit) credentialForm(f *form) error {
	o, err := v.one("", f)
	if err != nil {
		return err
	}
	p := &credentialPage{one: o, Proxy: v.Proxy}
	p.Rules, p.More = fewRules(o.Terms.Rules)
	week, used, err := v.activity(&o, 7*24*time.Hour, "")
	if err != nil {
		return err
	}
	if week != nil {
		p.Hours, p.Week, p.Day = used.Hours, week.Words(), newChart(v.Now(), "", used.Hours, 24*time.Hour).Words()
	}
	if o.Previous != nil && !o.Gone() {
		p.Back, p.Wider = brings(&o.Credential)
	}
	if p.Tried, err = v.tried(&o); err != nil {
		return err
	}
	p.Ends = o.State == keybearer.Active && !o.ExpiresAt.IsZero() && o.ExpiresAt.Sub(v.Now()) < soon
	return v.showOne(&o, "credential", "", p)
}

// fewRules are the first of them, and how many others there are.
func fewRules(rules []keybearer.Rule) ([]keybearer.Rule, int) {
	if len(rules) > 5 {
		return rules[:4], len(rules) - 4
	}
	return rules, 0
}

// activity is the use of the credential over a span, as a chart; nil when nothing is known of use.
func (v *visit) activity(o *one, span time.Duration, title string) (*Chart, custody.Usage, error) {
	u, err := v.Custody.Usage(v.r.Context(), v.ask(), keybearer.Ref{Scope: o.Scope, Name: o.Name}, v.Now().Add(-span))
	if err != nil || !u.Counted {
		return nil, u, err
	}
	return newChart(v.Now(), title, u.Hours, span), u, nil
}

// brings says what a rollback would bring back, and whether that admits more than now.
func brings(c *custody.Credential) (words []string, wider bool) {
	now, then := &c.Terms, &c.Previous.Terms
	words = append(words, fmt.Sprintf("The secret of version %d.", c.Previous.Version))
	if asSent(now) != asSent(then) {
		words = append(words, "It goes out as "+asSent(then)+" again.")
	}
	has := func(rules []keybearer.Rule, r keybearer.Rule) bool {
		return slices.ContainsFunc(rules, func(o keybearer.Rule) bool { return ruleLine(o) == ruleLine(r) })
	}
	var back, gone []string
	for _, r := range then.Rules {
		if !has(now.Rules, r) {
			back = append(back, ruleLine(r))
		}
	}
	for _, r := range now.Rules {
		if !has(then.Rules, r) {
			gone = append(gone, ruleLine(r))
		}
	}
	if len(back) > 0 {
		words = append(words, "Admitted again: "+strings.Join(back, ", ")+".")
	}
	if len(gone) > 0 {
		words = append(words, "Not admitted any more: "+strings.Join(gone, ", ")+".")
	}
	flag := func(now, then bool, on, off string) {
		switch {
		case then && !now:
			words = append(words, on)
		case now && !then:
			words = append(words, off)
		}
	}
	flag(now.RequireUser, then.RequireUser, "Used only on behalf of a person.", "Used without a person, too.")
	flag(now.WebSocket, then.WebSocket, "WebSockets are allowed.", "WebSockets are not allowed.")
	if len(words) == 1 {
		words = append(words, "Kind, domains and flags stay as they are.")
	}
	for _, what := range policy.Widens(now, then) {
		wider = wider || what != "kind" && what != "header" && what != "prefix"
	}
	return words, wider
}

// rollback goes back to the previous secret.
func (v *visit) rollback() error {
	return v.act(v.Custody.RollbackCredential, v.credentialForm, "", func(c custody.Credential) string {
		return fmt.Sprintf("Rolled back to version %d.", c.Version)
	})
}

// act does what a form without fields asks for, says so and goes to the page of the credential below which to names; on a mistake it shows page.
func (v *visit) act(do func(context.Context, custody.Ask, keybearer.Ref) (custody.Credential, error), page func(*form) error, to string, said func(custody.Credential) string) error {
	c, err := do(v.r.Context(), v.ask(), v.ref())
	if err != nil {
		return v.again(err, v.posted(), page)
	}
	return v.done(said(c), credentialPath(c.Scope, c.Name)+to)
}
