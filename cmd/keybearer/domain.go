package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/policy"
)

func (c *cli) domainCommand() *cobra.Command {
	cmd := noun("domain", "Manage where a credential may be sent",
		`A domain, or destination rule, is [scheme://]host[:port][/path]; https unless written. *.example.com is one label, **.example.com one
or more; the path is a prefix. One rule must admit a request by itself. No rule, no request.`,
		c.domainAdd(), c.domainList(), c.domainShow(), c.domainRemove(), c.domainExplain(),
		c.domainTry(), c.domainTrial(), c.domainEnforce(), c.domainDiscard())
	c.outputFlag(cmd)
	return cmd
}

func (c *cli) domainAdd() *cobra.Command {
	var d domainFlags
	var s secretFlags
	cmd := &cobra.Command{
		Use:   "add <scope>/<name> <rule>...",
		Short: "Let a credential be sent to more destinations",
		Long: `Let a credential be sent to more destinations. Because this widens where the secret goes, the secret has to be given again: from standard
input, from --secret-file, or at the terminal. What is given becomes the new secret.`,
		Example: `  printf 's3cret' | keybearer domain add docs/crm hooks.example.com
  printf 's3cret' | keybearer domain add docs/crm 'https://*.example.com/v1' --methods POST,PUT`,
		Args:              need("<scope>/<name>", "a rule..."),
		ValidArgsFunction: c.complete(credentialNames),
	}
	d.add(cmd)
	s.add(cmd)
	cmd.RunE = c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error {
		added := d.destinations(args)
		var told []string
		for _, a := range added { // the same function that the server uses; the mistake is told before anyone types a secret
			rule, err := policy.ParseRule(a.Rule, a.Methods, a.Private)
			if err != nil {
				return err
			}
			told = append(told, rule.String())
		}
		x, err := s.withSecretIfNeeded(ctx, c, client, ref, "", func(ctx context.Context, in admin.SecretInput) (admin.Credential, error) {
			return client.AddDestinations(ctx, ref, admin.DestinationChange{Destinations: added, SecretInput: in})
		})
		if err != nil {
			return err
		}
		for _, rule := range told {
			c.done("%s may now be sent to %s", x.Ref(), rule)
		}
		c.warnClear(x.Destinations)
		return printChanged(c, x, x.Ref().String(), c.credentialFields)
	})
	return cmd
}

func (c *cli) domainList() *cobra.Command {
	return &cobra.Command{
		Use:               "list <scope>/<name>",
		Short:             "List the destination rules of a credential",
		Example:           "  keybearer domain list docs/crm",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			page, err := client.Destinations(ctx, ref)
			if err != nil {
				return err
			}
			return printList(c, page.Items, listing[admin.Destination]{
				heads: []string{"DOMAIN", "METHODS", "NETWORK", "TRANSPORT"},
				cells: destinationCells,
				name:  func(d admin.Destination) string { return d.Rule },
				empty: "no destination: every request is refused",
			})
		}),
	}
}

func destinationCells(d admin.Destination) []cell {
	network, transport := plain("public"), plain("TLS")
	if d.Private {
		network = odd("private")
	}
	if d.Clear {
		transport = bad("sent in clear")
	}
	return []cell{bold(d.Rule), methodsCell(d), network, transport}
}

func methodsCell(d admin.Destination) cell {
	if len(d.Methods) == 0 {
		return plain("all")
	}
	text := d.Methods[0]
	for _, m := range d.Methods[1:] {
		text += "," + m
	}
	return plain(text)
}

func (c *cli) domainShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show <scope>/<name> <rule>",
		Short:   "Show a destination rule",
		Example: "  keybearer domain show docs/crm api.example.com",
		Args:    need("<scope>/<name>", "a rule"),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error {
			rule, err := policy.ParseRule(args[0], nil, false)
			if err != nil {
				return err
			}
			page, err := client.Destinations(ctx, ref)
			if err != nil {
				return err
			}
			for _, d := range page.Items {
				if d.Rule == rule.String() {
					cells := destinationCells(d)
					return printItem(c, d, d.Rule, []field{row("domain", cells[0]), row("methods", cells[1]), row("network", cells[2]), row("transport", cells[3])})
				}
			}
			return keybearer.NewError(keybearer.NotFound, "the credential has no rule "+rule.String()).
				WithHint("keybearer domain list " + ref.String() + " shows those there are")
		}),
		ValidArgsFunction: c.completeDomain,
	}
}

func (c *cli) domainRemove() *cobra.Command {
	return &cobra.Command{
		Use:               "remove <scope>/<name> <rule>",
		Short:             "Remove a destination rule, whatever its methods; needs no secret",
		Example:           "  keybearer domain remove docs/crm hooks.example.com",
		Args:              need("<scope>/<name>", "a rule"),
		ValidArgsFunction: c.completeDomain,
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error {
			x, err := client.RemoveDestination(ctx, ref, args[0])
			if err != nil {
				return err
			}
			c.done("%s is no longer sent to %s", x.Ref(), args[0])
			return printChanged(c, x, x.Ref().String(), c.credentialFields)
		}),
	}
}

// completeDomain completes a credential, and then one of its rules.
func (c *cli) completeDomain(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	rules := func(ctx context.Context, client *admin.Client) ([]string, error) {
		ref, err := keybearer.ParseRef(args[0])
		if err != nil {
			return nil, err
		}
		page, err := client.Destinations(ctx, ref)
		return namesOf(page.Items, func(d admin.Destination) string { return d.Rule }), err
	}
	return c.complete(credentialNames, rules)(cmd, args, prefix)
}
