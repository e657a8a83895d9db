package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) checkCommand() *cobra.Command {
	var r admin.CheckRequest
	var user string
	var groups []string
	cmd := &cobra.Command{
		Use:   "check <scope>/<name> <method> <url>",
		Short: "Tell whether a request would be allowed, and by which rule",
		Long: `Tell whether a request would be allowed, by which rule, and why. No secret is opened and no connection made. The exit code is 0 when it
would be allowed and 4 when it would be refused.

The URL is judged as the app would write it for the proxy: http:// means https there, unless only an http rule admits the host.`,
		Example: `  keybearer check --caller app:billing docs/crm POST https://api.example.com/hook
  keybearer check --caller app:billing --user user:ada --group sales docs/crm GET http://api.example.com/ -o json`,
		Args:              need("<scope>/<name>", "a method", "a URL"),
		ValidArgsFunction: c.complete(credentialNames, fixed(keybearer.Methods...)),
	}
	cmd.Flags().StringVar(&r.Caller, "caller", "", "the `app` that asks, as in app:billing; without it, the one whose token asks")
	cmd.Flags().StringVar(&user, "user", "", "the acting `user`, as in user:ada")
	cmd.Flags().StringArrayVar(&groups, "group", nil, "a `group` of the acting user; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("caller", c.completeFlag(appNames))
	c.outputFlag(cmd)
	cmd.RunE = c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error {
		r.Credential = ref.String()
		var ok bool
		if r.Caller, ok = bare(r.Caller, "app"); !ok {
			return usagef("--caller wants app:<name>")
		}
		if r.User, ok = bare(user, "user"); !ok {
			return usagef("--user wants user:<id>")
		}
		for _, g := range groups {
			name, ok := bare(g, "group")
			if !ok {
				return usagef("--group wants group:<name>")
			}
			r.Groups = append(r.Groups, name)
		}
		r.Method, r.URL = args[0], args[1]
		result, err := client.Check(ctx, r)
		if err != nil {
			return err
		}
		if err := printItem(c, result, verdict(result), checkFields(result)); err != nil {
			return err
		}
		if !result.Allowed {
			return &exitError{keybearer.ExitRefused, &keybearer.Error{Code: result.Code, Detail: result.Reason, Hint: result.Hint}}
		}
		return nil
	})
	return cmd
}

// bare takes the kind off a subject; a name without one stays as it is.
func bare(subject, kind string) (string, bool) {
	before, name, found := strings.Cut(subject, ":")
	if !found {
		return subject, true
	}
	return name, before == kind
}

func verdict(r admin.CheckResult) string {
	if r.Allowed {
		return keybearer.Allow
	}
	return keybearer.Refuse
}

func checkFields(r admin.CheckResult) []field {
	decision := good("allowed")
	if !r.Allowed {
		decision = bad("refused (" + string(r.Code) + ")")
	}
	private := ""
	if r.Private {
		private = "only to addresses in allow_private, judged when the name resolves"
	}
	var steps, rules []cell
	var trial cell
	if r.WouldRefuse != "" {
		trial = odd("the rules on trial would refuse it (" + string(r.WouldRefuse) + ")")
	}
	for _, s := range r.Steps {
		steps = append(steps, passedCell(s.Passed, s.Step+": "+s.Detail))
	}
	for _, rule := range r.Rules {
		text := ruleCell(admin.Destination{Rule: rule.Rule, Methods: rule.Methods, Private: rule.Private}).text
		if rule.Why != "" {
			text += ": " + rule.Why
		}
		rules = append(rules, passedCell(rule.Admits, text))
	}
	fields := []field{
		row("decision", decision),
		row("why", plain(r.Reason)),
		row("rule", bold(r.Rule)),
		row("destination", plain(r.Destination)),
		row("network", plain(private)),
		row("trial", trial),
		row("steps", steps...),
		row("rules", rules...),
	}
	if x := r.Examples; x != nil {
		fields = append(fields, row("for example", plain(x.Rule)))
		fields = append(fields, exampleFields(*x)...)
	}
	return fields
}

func passedCell(passed bool, text string) cell {
	if passed {
		return good("✓ " + text)
	}
	return bad("✗ " + text)
}
