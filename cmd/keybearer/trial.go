package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/policy"
)

func (c *cli) domainTry() *cobra.Command {
	var d domainFlags
	cmd := &cobra.Command{
		Use:   "try <scope>/<name> <rule>...",
		Short: "Try narrower rules, which report and refuse nothing",
		Long: `Put narrower rules on trial. Nothing is refused by them: the rules there are stay in force, and whatever the ones on trial would refuse is
marked in the audit log and counted. keybearer domain trial shows it, domain enforce puts them into force, domain discard ends the trial.

The rules given are all that there would be. Each has to lie within one that is in force; no secret is needed.`,
		Example:           "  keybearer domain try docs/crm api.example.com/v1 --methods POST",
		Args:              need("<scope>/<name>", "a rule..."),
		ValidArgsFunction: c.completeDomain,
	}
	d.add(cmd)
	cmd.RunE = c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error {
		tried := d.destinations(args)
		if err := withinForce(ctx, client, ref, tried); err != nil {
			return err
		}
		x, err := client.TryDestinations(ctx, ref, tried)
		if err != nil {
			return err
		}
		c.done("%s is on trial with narrower rules; nothing is refused by them", x.Ref())
		return printChanged(c, x, x.Ref().String(), c.credentialFields)
	})
	return cmd
}

// withinForce names the rule that lies within none in force: the server's answers never repeat what was written.
func withinForce(ctx context.Context, client *admin.Client, ref keybearer.Ref, tried []admin.Destination) error {
	page, err := client.Destinations(ctx, ref)
	if err != nil {
		return err
	}
	var force []keybearer.Rule
	for _, d := range page.Items {
		r, err := policy.ParseRule(d.Rule, d.Methods, d.Private)
		if err != nil {
			return err
		}
		force = append(force, r)
	}
	for _, d := range tried {
		r, err := policy.ParseRule(d.Rule, d.Methods, d.Private)
		if err != nil {
			return err
		}
		if !policy.Within(r, force) {
			return keybearer.NewError(keybearer.RuleInvalid, r.String()+" is not within one rule that is in force; a trial is for narrowing").
				WithHint("keybearer domain list " + ref.String() + " shows those there are; to widen: keybearer domain add")
		}
	}
	return nil
}

func (c *cli) domainTrial() *cobra.Command {
	return &cobra.Command{
		Use:               "trial <scope>/<name>",
		Short:             "Show the rules on trial, and what they would have refused so far",
		Example:           "  keybearer domain trial docs/crm",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			t, err := client.Trial(ctx, ref)
			if err != nil {
				return err
			}
			if t.Trial == nil {
				return keybearer.NewError(keybearer.NotFound, "no rules of "+ref.String()+" are on trial").
					WithHint("keybearer domain try " + ref.String() + " <rule>")
			}
			return printItem(c, t, t.Trial.ID, c.trialFields(t))
		}),
	}
}

func (c *cli) trialFields(t admin.TrialReport) []field {
	var rules, uses []cell
	for _, d := range t.Trial.Destinations {
		rules = append(rules, ruleCell(d))
	}
	for _, u := range t.WouldRefuse {
		host := u.Host
		if host == "" {
			host = "further hosts"
		}
		uses = append(uses, odd(fmt.Sprintf("%s  %d × %s, last %s", host, u.Count, u.Code, ago(u.LastAt, c.now()))))
	}
	switch {
	case !t.Counted:
		uses = []cell{odd("not counted by this store: keybearer audit tail --would-refuse shows it on each node")}
	case len(uses) == 0:
		uses = []cell{good("nothing so far")}
	}
	return []field{
		row("on trial", rules...),
		row("since", plain(ago(t.Trial.Since, c.now()))),
		row("by", plain(string(t.Trial.By))),
		row("would refuse", uses...),
	}
}

func (c *cli) domainEnforce() *cobra.Command {
	return &cobra.Command{
		Use:               "enforce <scope>/<name>",
		Short:             "Put the rules on trial into force; needs no secret",
		Example:           "  keybearer domain enforce docs/crm",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			x, err := client.EnforceTrial(ctx, ref)
			if err != nil {
				return err
			}
			c.done("%s is now sent to %s only", x.Ref(), ruleTexts(x.Destinations))
			return printChanged(c, x, x.Ref().String(), c.credentialFields)
		}),
	}
}

func (c *cli) domainDiscard() *cobra.Command {
	return &cobra.Command{
		Use:               "discard <scope>/<name>",
		Short:             "End a trial; the rules in force stay",
		Example:           "  keybearer domain discard docs/crm",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			x, err := client.DiscardTrial(ctx, ref)
			if err != nil {
				return err
			}
			c.done("%s is not on trial any more", x.Ref())
			return printChanged(c, x, x.Ref().String(), c.credentialFields)
		}),
	}
}

func (c *cli) domainExplain() *cobra.Command {
	var d domainFlags
	cmd := &cobra.Command{
		Use:   "explain <rule>",
		Short: "Show what a rule admits and what not, by examples; asks no server",
		Long: `Show a rule in canonical form, three requests that it admits and three near misses, each judged as the proxy judges. It asks no server, so
that a rule can be looked at before it is written anywhere.`,
		Example: "  keybearer domain explain 'https://*.example.com:8443/hooks' --methods POST",
		Args:    need("a rule"),
		RunE: func(_ *cobra.Command, args []string) error {
			rule, err := policy.ParseRule(args[0], d.methods, d.private)
			if err != nil {
				return err
			}
			x := admin.ExamplesOf(rule)
			return printItem(c, x, x.Rule, append([]field{row("rule", ruleCell(x.Destination))}, exampleFields(x)...))
		},
	}
	d.add(cmd)
	return cmd
}

// exampleFields are what a rule admits and what not.
func exampleFields(x admin.RuleExamples) []field {
	var matches, misses []cell
	for _, e := range x.Matches {
		matches = append(matches, passedCell(true, e.Method+" "+e.URL))
	}
	for _, e := range x.Misses {
		misses = append(misses, passedCell(false, e.Method+" "+e.URL+": "+e.Why))
	}
	return []field{row("it admits", matches...), row("but not", misses...)}
}
