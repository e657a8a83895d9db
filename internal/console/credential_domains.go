package console

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// domainsPage tells where the secret may go.
type domainsPage struct {
	one
	Rules []shownRule
	Tried *trialReport
}

// shownRule is a rule and what it means.
type shownRule struct {
	keybearer.Rule
	Typed           string // as it was typed, where that is not the canonical text
	Matches, Misses []policy.Example
}

func showRule(r keybearer.Rule) shownRule {
	s := shownRule{Rule: r}
	s.Matches, s.Misses = policy.Examples(r)
	return s
}

// Text is the canonical text.
func (r shownRule) Text() string { return r.Rule.String() }

// Clear reports whether the secret is sent without TLS.
func (r shownRule) Clear() bool { return r.Scheme == "http" }

// trialReport is a trial and what it would have refused.
type trialReport struct {
	custody.Trial
	Rules []shownRule
	Total uint64
}

// tried reads the trial, if there is one.
func (v *visit) tried(o *one) (*trialReport, error) {
	if o.Trial == nil {
		return nil, nil
	}
	t, err := v.Custody.Trial(v.r.Context(), v.ask(), keybearer.Ref{Scope: o.Scope, Name: o.Name})
	if err != nil || t.Trial == nil {
		return nil, err
	}
	r := &trialReport{Trial: t}
	for _, rule := range t.Trial.Rules {
		r.Rules = append(r.Rules, showRule(rule))
	}
	for _, u := range t.Uses {
		r.Total += u.Count
	}
	return r, nil
}

func (v *visit) domains() error {
	query := v.r.URL.Query()
	if rule := query.Get("rule"); rule != "" { // a rule that somebody is to think about
		line := strings.Join(strings.Fields(rule+" "+query.Get("method")), " ")
		if query.Get("private") == "on" {
			line += " private"
		}
		ref := v.ref()
		return v.redirect(credentialPath(ref.Scope, ref.Name) + "/domains/add?" + url.Values{"destinations": {line}}.Encode())
	}
	return v.domainsForm(nil)
}

func (v *visit) domainsForm(f *form) error {
	o, err := v.one("/domains", f)
	if err != nil {
		return err
	}
	p := &domainsPage{one: o}
	for _, r := range o.Terms.Rules {
		p.Rules = append(p.Rules, showRule(r))
	}
	if p.Tried, err = v.tried(&o); err != nil {
		return err
	}
	return v.showOne(&o, "credential-domains", "Domains", p)
}

func (v *visit) removeDomain() error {
	rule := v.r.PostFormValue("rule")
	return v.act(func(ctx context.Context, ask custody.Ask, ref keybearer.Ref) (custody.Credential, error) {
		return v.Custody.RemoveDestination(ctx, ask, ref, rule)
	}, v.domainsForm, "/domains", func(custody.Credential) string { return "The rule is removed: it admits nothing from now on." })
}

func (v *visit) enforce() error {
	return v.act(v.Custody.EnforceTrial, v.domainsForm, "/domains", func(custody.Credential) string {
		return "The rules that were on trial are in force."
	})
}

func (v *visit) discard() error {
	return v.act(v.Custody.DiscardTrial, v.domainsForm, "/domains", func(custody.Credential) string {
		return "The trial is over; the rules are as they were."
	})
}

// ruleWay is one of the ways to change the rules. Each asks in two steps: what is typed is shown in its canonical form, with examples, before it counts.
type ruleWay struct {
	Name, Title, Label, Button string
	Said                       string
	start                      func(*one) []keybearer.Rule                        // what the form begins with
	next                       func(now, given []keybearer.Rule) []keybearer.Rule // what would be in force; nil: the same as now
	do                         func(*visit, []custody.Destination) (custody.Credential, error)
}

var ruleWays = []ruleWay{
	{
		"add", "Add a domain", "Domains to add", "Add", "Added.",
		func(*one) []keybearer.Rule { return nil },
		func(now, given []keybearer.Rule) []keybearer.Rule {
			return policy.CanonicalRules(slices.Concat(now, given))
		},
		func(v *visit, d []custody.Destination) (custody.Credential, error) {
			return v.Custody.AddDestinations(v.r.Context(), v.ask(), v.ref(), d, v.givenSecret())
		},
	},
	{
		"replace", "Replace the domains", "All domains", "Replace", "The domains are replaced.",
		func(o *one) []keybearer.Rule { return o.Terms.Rules },
		func(_, given []keybearer.Rule) []keybearer.Rule { return given },
		func(v *visit, d []custody.Destination) (custody.Credential, error) {
			return v.Custody.ReplaceDestinations(v.r.Context(), v.ask(), v.ref(), d, v.givenSecret())
		},
	},
	{
		"try", "Try narrower domains", "Domains to try", "Begin the trial", "The trial has begun: nothing is refused by it.",
		func(o *one) []keybearer.Rule {
			if o.Trial != nil {
				return o.Trial.Rules
			}
			return o.Terms.Rules
		},
		nil,
		func(v *visit, d []custody.Destination) (custody.Credential, error) {
			return v.Custody.TryDestinations(v.r.Context(), v.ask(), v.ref(), d)
		},
	},
}

// rulesPage is a step of a ruleWay.
type rulesPage struct {
	one
	Way     ruleWay
	Shown   []shownRule // the second step; nil: the first
	Dropped []string    // rules in force that would not be any more
	Ask     bool        // the secret is needed
	Needed  string      // "yes": and surely so
	Stale   bool        // somebody changed the credential meanwhile
}

// rulesForm shows the first step, or the second one once there is something to show.
func (v *visit) rulesForm(way *ruleWay, f *form) error {
	o, err := v.one("/domains", f)
	if err != nil {
		return err
	}
	f = o.Form
	f.askSecret()
	p := &rulesPage{one: o, Way: *way, Stale: f.Problem != nil && f.Problem.Code == keybearer.Stale}
	if f.Values == nil {
		f.Values = v.asked()
	}
	if !f.Values.Has("destinations") {
		var lines []string
		for _, r := range way.start(&o) {
			lines = append(lines, ruleLine(r))
		}
		f.Values.Set("destinations", strings.Join(lines, "\n"))
		return v.showOne(&o, "credential-rules", way.Title, p)
	}
	given, shown, err := parseLines(f.Get("destinations"))
	switch {
	case err != nil && f.Problem == nil:
		f.blame(err, v.id)
	case err == nil && !f.Is("step", "type") && f.Errors["destinations"] == "":
		p.Shown = shown
	}
	if way.next != nil && err == nil {
		next := o.Terms.Clone()
		next.Rules = way.next(next.Rules, given)
		p.Ask = len(policy.Widens(&o.Terms, &next)) > 0 && o.State != keybearer.NeedsSecret
		if p.Ask && o.State != keybearer.Disabled {
			p.Needed = "yes"
		}
		for _, r := range o.Terms.Rules {
			if !policy.Within(r, next.Rules) {
				p.Dropped = append(p.Dropped, ruleLine(r))
			}
		}
	}
	return v.showOne(&o, "credential-rules", way.Title, p)
}

func (v *visit) changeRules(way *ruleWay) error {
	f := v.posted()
	var given []custody.Destination
	for _, line := range ruleLines(f.Get("destinations")) {
		given = append(given, parseLine(line))
	}
	c, err := way.do(v, given)
	if err != nil {
		return v.again(err, f, func(f *form) error { return v.rulesForm(way, f) })
	}
	return v.done(way.Said, credentialPath(c.Scope, c.Name)+"/domains")
}

// ruleLine writes a rule as a line of a form: its text, and behind it its methods and "private". ruleLines and parseLine read it.
func ruleLine(r keybearer.Rule) string {
	words := append([]string{r.String()}, r.Methods...)
	if r.Private {
		words = append(words, "private")
	}
	return strings.Join(words, " ")
}

func ruleLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func parseLine(line string) (d custody.Destination) {
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
	if len(words) == 0 {
		return d
	}
	d.Rule = words[0]
	for _, w := range words[1:] {
		if strings.EqualFold(w, "private") {
			d.Private = true
			continue
		}
		d.Methods = append(d.Methods, strings.ToUpper(w))
	}
	return d
}

// parseLines reads the lines of a form as custody will, to show what they mean.
func parseLines(text string) (rules []keybearer.Rule, shown []shownRule, _ error) {
	for _, line := range ruleLines(text) {
		d := parseLine(line)
		r, err := policy.ParseRule(d.Rule, d.Methods, d.Private)
		if err != nil {
			return nil, nil, keybearer.AsError(err).In("destinations")
		}
		s := showRule(r)
		if ruleLine(r) != line {
			s.Typed = line
		}
		rules, shown = append(rules, r), append(shown, s)
	}
	return policy.CanonicalRules(rules), shown, nil
}
