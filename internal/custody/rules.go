package custody

import (
	"cmp"
	"context"
	"slices"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// AddDestinations adds rules. When they widen, the secret must come with them: it is sealed with the new rules as a new
// version. Else the error is [keybearer.SecretRequired].
func (c *Custody) AddDestinations(ctx context.Context, ask Ask, ref keybearer.Ref, add []Destination, given Secret) (Credential, error) {
	return c.changeRules(ctx, ask, ref, DestinationAdd, given, func(have []keybearer.Rule) ([]keybearer.Rule, error) {
		rules, err := parseRules(add)
		if err == nil && len(rules) == 0 {
			err = keybearer.NewError(keybearer.Invalid, "there is no rule to add")
		}
		return append(rules, have...), err
	})
}

// ReplaceDestinations puts the rules in the place of all there are; none refuse everything. Widening as in AddDestinations.
func (c *Custody) ReplaceDestinations(ctx context.Context, ask Ask, ref keybearer.Ref, rules []Destination, given Secret) (Credential, error) {
	return c.changeRules(ctx, ask, ref, DestinationReplace, given, func([]keybearer.Rule) ([]keybearer.Rule, error) { return parseRules(rules) })
}

// RemoveDestination removes the rules whose canonical text is that of the given one, whatever their methods. It never needs the secret. It
// returns [keybearer.NotFound] when there is none.
func (c *Custody) RemoveDestination(ctx context.Context, ask Ask, ref keybearer.Ref, rule string) (Credential, error) {
	return c.changeRules(ctx, ask, ref, DestinationRemove, Secret{}, func(have []keybearer.Rule) ([]keybearer.Rule, error) {
		gone, err := policy.ParseRule(rule, nil, false)
		if err != nil {
			return nil, err
		}
		left := slices.DeleteFunc(slices.Clone(have), func(r keybearer.Rule) bool { return r.String() == gone.String() })
		if len(left) == len(have) {
			return nil, keybearer.NewError(keybearer.NotFound, "the credential has no such rule").WithHint("keybearer credential show lists them")
		}
		return left, nil
	})
}

func (c *Custody) changeRules(ctx context.Context, ask Ask, ref keybearer.Ref, action Action, given Secret, fn func([]keybearer.Rule) ([]keybearer.Rule, error)) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, action, "", func(ch *change) error {
		rules, err := fn(slices.Clone(ch.was.Current.Terms.Rules))
		if err != nil {
			return err
		}
		if rules = policy.CanonicalRules(rules); len(rules) > maxRules {
			return keybearer.NewError(keybearer.RuleInvalid, "a credential has at most 200 rules")
		}
		if !slices.EqualFunc(rules, ch.was.Current.Terms.Rules, sameRule) {
			ch.next.Current.Terms.Rules = rules
			ch.note("rules")
		}
		return ch.guard(&given)
	})
}

func sameRule(a, b keybearer.Rule) bool {
	return cmp.Or(compare(a.String(), b.String()), slices.Compare(a.Methods, b.Methods)) == 0 && a.Private == b.Private
}
