package admin

import (
	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// CheckRequest asks whether a request would be allowed. No secret is opened and no connection made.
type CheckRequest struct {
	Credential string   `json:"credential"`       // "<scope>/<name>"
	Caller     string   `json:"caller,omitempty"` // name; absent: the caller whose token asks
	User       string   `json:"user,omitempty"`   // acting user's id
	Groups     []string `json:"groups,omitempty"` // of the acting user
	Method     string   `json:"method"`
	URL        string   `json:"url"` // as the app would ask for it through the proxy: http means https there
}

// CheckResult is the decision and why.
type CheckResult struct {
	Allowed     bool           `json:"allowed"`
	Code        keybearer.Code `json:"code,omitempty"` // when refused
	Reason      string         `json:"reason"`
	Rule        string         `json:"rule,omitempty"`        // that admits it
	Destination string         `json:"destination,omitempty"` // canonical, scheme and port settled, without query
	Private     bool           `json:"private,omitempty"`     // the rule reaches only addresses in allow_private, which are judged when it resolves
	Hint        string         `json:"hint,omitempty"`
	WouldRefuse keybearer.Code `json:"would_refuse,omitempty"` // when it is allowed: what the rules on trial would refuse it with
	Examples    *RuleExamples  `json:"examples,omitempty"`     // of the rule that admits it, or is nearest to that; once the decision comes to the rules
	Steps       []CheckStep    `json:"steps,omitempty"`        // shown to those who may list the grants; up to the refusal
	Rules       []CheckRule    `json:"rules,omitempty"`        // once the decision comes to them
}

// RuleExamples are requests that a rule admits by itself, and near misses. Addresses are not judged.
type RuleExamples struct {
	Destination
	Matches []Example `json:"matches"`
	Misses  []Example `json:"misses"`
}

// Example is one such request.
type Example struct {
	Method string `json:"method"`
	URL    string `json:"url"`           // its scheme is meant as written
	Why    string `json:"why,omitempty"` // of a miss
}

// ExamplesOf returns examples of a canonical rule. It asks nobody.
func ExamplesOf(r keybearer.Rule) RuleExamples {
	matches, misses := policy.Examples(r)
	x := RuleExamples{Destination: wireRules([]keybearer.Rule{r})[0], Matches: []Example{}, Misses: []Example{}}
	for _, e := range matches {
		x.Matches = append(x.Matches, Example{e.Method, e.URL, ""})
	}
	for _, e := range misses {
		x.Misses = append(x.Misses, Example(e))
	}
	return x
}

// CheckStep is one stage of the decision.
type CheckStep struct {
	Step   string `json:"step"` // caller, destination, scope, grant, user, state, rule
	Passed bool   `json:"passed"`
	Detail string `json:"detail"`
}

// CheckRule is what one rule says to the request.
type CheckRule struct {
	Rule    string   `json:"rule"`
	Methods []string `json:"methods,omitempty"`
	Private bool     `json:"private,omitempty"`
	Admits  bool     `json:"admits"`
	Why     string   `json:"why,omitempty"` // why not
}
