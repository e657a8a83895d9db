package policy

import (
	"slices"

	"github.com/keybearer/keybearer"
)

// WouldRefuse returns the code with which the rules on trial would refuse what the rules in force admit, as it is sent now; "" when they would admit it,
// when there is no trial, and when it is not admitted anyway. The codes are those of [Admit]. It does not allocate more than Admit does.
func WouldRefuse(trial *keybearer.Trial, a *Admission, t *Target, method string, reach Reach) keybearer.Code {
	if trial == nil || t == nil || !a.Allowed() {
		return ""
	}
	code, _ := admitAt(trial.Rules, &a.Destination, t.Path, method, reach)
	return code
}

// Within reports whether one of the rules covers the rule.
func Within(rule keybearer.Rule, rules []keybearer.Rule) bool {
	return slices.ContainsFunc(rules, func(o keybearer.Rule) bool { return Covers(o, rule) })
}

// Fit returns what is left of rules on trial when others come into force: of each rule that lies within one of those, itself; of any other what
// is left of it. Nil: nothing is left that would refuse anything.
func Fit(trial, force []keybearer.Rule) []keybearer.Rule {
	var fits []keybearer.Rule
	for _, r := range trial {
		if Within(r, force) {
			fits = append(fits, r)
			continue
		}
		for _, left := range force {
			if Covers(r, left) {
				fits = append(fits, left)
			}
		}
	}
	if len(fits) == 0 || !slices.ContainsFunc(force, func(r keybearer.Rule) bool { return !Within(r, fits) }) {
		return nil
	}
	return CanonicalRules(fits)
}
