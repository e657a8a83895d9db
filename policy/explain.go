package policy

import (
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
)

// Report is a decision with every step that led to it, for whoever holds view. It holds no query string and no secret.
type Report struct {
	Decision    string          `json:"decision"` // keybearer.Allow or keybearer.Refuse
	Code        keybearer.Code  `json:"code,omitempty"`
	Reason      string          `json:"reason"`
	Method      string          `json:"method"`
	URL         string          `json:"url"`            // canonical, scheme and port settled, without query
	Addresses   string          `json:"addresses"`      // a Reach
	Rule        string          `json:"rule,omitempty"` // the rule that admits it
	Steps       []Step          `json:"steps"`          // in order; those after a refusal are left out
	Rules       []RuleReport    `json:"rules,omitempty"`
	WouldRefuse keybearer.Code  `json:"would_refuse,omitempty"` // when it is allowed: what the rules on trial would refuse it with
	Nearest     *keybearer.Rule `json:"-"`                      // the rule that admits it, or is nearest to admitting it; nil when it does not come to the rules, or there are none
}

// Step is one stage of a decision.
type Step struct {
	Name   string `json:"step"` // caller, destination, scope, grant, user, state, rule
	Passed bool   `json:"passed"`
	Detail string `json:"detail"`
}

// RuleReport is what one rule of the credential says to the request.
type RuleReport struct {
	Rule    string   `json:"rule"`
	Methods []string `json:"methods,omitempty"`
	Private bool     `json:"private,omitempty"`
	Admits  bool     `json:"admits"`
	Why     string   `json:"why,omitempty"` // why not
}

var stepNames = [...]string{"caller", "destination", "scope", "grant", "user", "state", "rule"}

// Explain decides as [Decide] does and reports why. The rules are listed once the decision comes to them.
func Explain(req *Request, snap Snapshot, reach Reach) Report {
	d := Decide(req, snap, reach)
	last, _, _ := judge(req, snap)
	r := Report{Decision: keybearer.Refuse, Code: d.Code, Reason: d.Reason, Addresses: reach.String()}
	if d.Allowed() {
		r.Decision, r.Rule = keybearer.Allow, d.Rule.String()
	}
	if req != nil {
		r.Method = req.Method
		if req.Target != nil {
			r.URL = d.Destination.String() + req.Target.Path
		}
	}
	for s := range last {
		r.Steps = append(r.Steps, Step{stepNames[s], true, passed(s, req, snap)})
	}
	r.Steps = append(r.Steps, Step{stepNames[last], d.Allowed(), d.Reason})
	if d.Allowed() {
		r.WouldRefuse = WouldRefuse(snap.Credential.Trial, &d.Admission, req.Target, req.Method, reach)
	}
	if last == stepRule {
		rules := snap.Credential.Current.Terms.Rules
		r.Nearest = nearest(rules, &d.Destination, req.Target.Path, req.Method, reach)
		for i := range rules {
			rule := &rules[i]
			m := compare(rule, &d.Destination, req.Target.Path, req.Method, reach)
			r.Rules = append(r.Rules, RuleReport{rule.String(), slices.Clone(rule.Methods), rule.Private, m == 0, m.why(rule, &d.Destination)})
		}
	}
	return r
}

// passed says what let the request pass a step.
func passed(s step, req *Request, snap Snapshot) string {
	switch s {
	case stepCaller:
		return "the caller is app:" + req.Caller.Name
	case stepDestination:
		return "the host is " + req.Target.Host
	case stepScope:
		if snap.Scope.Name == keybearer.GlobalScope {
			return "the credential is global"
		}
		return "the caller is bound to scope " + snap.Scope.Name
	case stepGrant:
		return "app:" + req.Caller.Name + " holds " + levelOf(snap.Credential.Grants, "app", req.Caller.Name).String()
	case stepUser:
		if req.User == "" {
			return "no acting user is needed"
		}
		return "user:" + req.User + " holds " + userLevel(snap.Credential.Grants, req.User, req.Groups).String()
	}
	return "the credential is active"
}

// why says in which ways the rule differs from the request.
func (m mismatch) why(r *keybearer.Rule, d *Destination) string {
	var why []string
	if m&hostDiffers != 0 {
		if !admitsHost(r.Host, d.Host, d.Addr.IsValid()) {
			why = append(why, "it is for another host")
		}
		if r.Scheme != d.Scheme {
			why = append(why, "it is for "+r.Scheme+" and the request for "+d.Scheme)
		}
		if r.Port != d.Port {
			why = append(why, "it is for another port")
		}
	}
	if m&pathDiffers != 0 {
		why = append(why, "the path is not at or below its path")
	}
	if m&pathUnclear != 0 {
		why = append(why, "it restricts methods or paths, and the path holds .., //, ; or an encoded dot, slash, backslash, percent or NUL")
	}
	if m&methodDiffers != 0 {
		why = append(why, "it does not admit the method")
	}
	if m&addressDiffers != 0 {
		if r.Private {
			why = append(why, "it reaches only addresses in allow_private")
		} else {
			why = append(why, "it reaches only public addresses")
		}
	}
	return strings.Join(why, "; ")
}
