package custody

import (
	"fmt"
	"slices"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// Destination is a destination rule as it was given.
type Destination struct {
	Rule    string
	Methods []string
	Private bool
}

// parseRules returns the canonical rules, or the first error.
func parseRules(given []Destination) ([]keybearer.Rule, error) {
	if len(given) > maxRules {
		return nil, keybearer.NewError(keybearer.RuleInvalid, "a credential has at most 200 rules").In("destinations")
	}
	rules := make([]keybearer.Rule, 0, len(given))
	for i, d := range given {
		r, err := policy.ParseRule(d.Rule, d.Methods, d.Private)
		if err != nil {
			return nil, keybearer.AsError(err).In(fmt.Sprintf("destinations[%d]", i))
		}
		rules = append(rules, r)
	}
	return policy.CanonicalRules(rules), nil
}

// checkTerms makes kind, header and prefix fit together, and the header's name canonical.
func checkTerms(t *keybearer.Terms) (err error) {
	t.Header, err = policy.CheckHeader(t.Kind, t.Header, t.Prefix)
	return err
}

// narrowPrevious takes from the previous version's terms what this change took from the current ones, so that a rollback does not
// bring back what was taken away since.
func (ch *change) narrowPrevious() {
	prev := ch.next.Previous
	if prev == nil {
		return
	}
	before, after := &ch.was.Current.Terms, &ch.next.Current.Terms
	gone := slices.DeleteFunc(slices.Clone(before.Rules), func(r keybearer.Rule) bool { return policy.Within(r, after.Rules) })
	var kept []keybearer.Rule
	for _, r := range prev.Terms.Rules {
		if policy.Within(r, after.Rules) || !slices.ContainsFunc(gone, func(g keybearer.Rule) bool { return policy.Overlap(g, r) }) {
			kept = append(kept, r)
			continue
		}
		for _, left := range after.Rules { // what is left of it
			if policy.Covers(r, left) {
				kept = append(kept, left)
			}
		}
	}
	prev.Terms.Rules = policy.CanonicalRules(kept)
	prev.Terms.RequireUser = prev.Terms.RequireUser || after.RequireUser && !before.RequireUser
	prev.Terms.WebSocket = prev.Terms.WebSocket && (after.WebSocket || !before.WebSocket)
}
