package custody

import (
	"context"
	"slices"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// TryDestinations puts rules on trial, in the place of those that are: nothing is refused by them, but what they would refuse is reported. Each has to
// lie within a rule in force, else it is [keybearer.RuleInvalid]. It needs no secret.
func (c *Custody) TryDestinations(ctx context.Context, ask Ask, ref keybearer.Ref, given []Destination) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, DestinationTry, "", func(ch *change) error {
		rules, err := parseRules(given)
		if err != nil {
			return err
		}
		force := ch.was.Current.Terms.Rules
		if len(rules) == 0 {
			return keybearer.NewError(keybearer.Invalid, "there is no rule to try").WithHint("to refuse everything, disable the credential")
		}
		for _, r := range rules {
			if !policy.Within(r, force) {
				return keybearer.NewError(keybearer.RuleInvalid, "a rule is not within one rule that is in force; a trial is for narrowing").
					WithHint("try only what keybearer domain list shows, or less of it, with no more methods and the same --private; to widen: keybearer domain add")
			}
		}
		if !slices.ContainsFunc(force, func(r keybearer.Rule) bool { return !policy.Within(r, rules) }) {
			return keybearer.NewError(keybearer.Invalid, "these rules admit all that those in force admit: there is nothing to try").
				WithHint("leave out a rule, or add a path or methods")
		}
		if t := ch.was.Trial; t != nil && slices.EqualFunc(t.Rules, rules, sameRule) {
			return nil
		}
		ch.next.Trial = &keybearer.Trial{ID: keybearer.NewID(keybearer.IDTrial), Rules: rules, Since: ch.now, By: ch.ask.Actor.Subject}
		ch.note("trial")
		return nil
	})
}

// EnforceTrial puts the rules on trial into force. It narrows, so that it needs no secret: should it widen by now, it is [keybearer.SecretRequired]. It
// returns [keybearer.Conflict] when there is no trial.
func (c *Custody) EnforceTrial(ctx context.Context, ask Ask, ref keybearer.Ref) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, DestinationEnforce, "", func(ch *change) error {
		if ch.was.Trial == nil {
			return noTrial()
		}
		ch.next.Current.Terms.Rules, ch.next.Trial = ch.next.Trial.Rules, nil
		ch.note("rules", "trial")
		if len(ch.widens()) > 0 { // whether there is a secret or not
			return keybearer.NewError(keybearer.SecretRequired, "the rules on trial are wider than those in force").
				WithHint("keybearer domain discard <scope>/<name>, and try others")
		}
		return ch.guard(&Secret{})
	})
}

// DiscardTrial ends a trial without a change of the rules. It returns [keybearer.Conflict] when there is none.
func (c *Custody) DiscardTrial(ctx context.Context, ask Ask, ref keybearer.Ref) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, DestinationDiscard, "", func(ch *change) error {
		if ch.was.Trial == nil {
			return noTrial()
		}
		ch.next.Trial = nil
		ch.note("trial")
		return nil
	})
}

func noTrial() error {
	return keybearer.NewError(keybearer.Conflict, "the credential has no rules on trial").WithHint("keybearer domain try <scope>/<name> <rule>")
}

// Trial is a trial and what it would have refused so far.
type Trial struct {
	*keybearer.Trial                      // nil: there is none
	Uses             []keybearer.TrialUse // most often first
	Counted          bool                 // false: this store keeps no counts, and the audit log alone knows
	Revision         uint64               // of the credential
}

// Trial shows the trial of a credential to who may see the credential.
func (c *Custody) Trial(ctx context.Context, ask Ask, ref keybearer.Ref) (Trial, error) {
	cred, err := c.Credential(ctx, ask, ref)
	if err != nil {
		return Trial{}, err
	}
	t := Trial{Trial: cred.Trial, Counted: c.ledger != nil, Revision: cred.Revision}
	if t.Trial == nil || c.ledger == nil {
		return t, nil
	}
	if t.Uses, err = c.ledger.Trial(ctx, t.ID); err != nil {
		return Trial{}, keybearer.AsError(err)
	}
	return t, nil
}

// fitTrial keeps the rules on trial within those that come into force, and ends a trial that would refuse nothing any more.
func (ch *change) fitTrial() {
	t := ch.next.Trial
	if t == nil || slices.EqualFunc(ch.next.Current.Terms.Rules, ch.was.Current.Terms.Rules, sameRule) {
		return
	}
	rules := policy.Fit(t.Rules, ch.next.Current.Terms.Rules)
	switch {
	case rules == nil:
		ch.next.Trial = nil
	case slices.EqualFunc(rules, t.Rules, sameRule):
		return
	default:
		t.Rules = keybearer.Terms{Rules: rules}.Clone().Rules
	}
	ch.note("trial")
}
