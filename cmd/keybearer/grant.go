package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) grantCommand() *cobra.Command {
	cmd := noun("grant", "Manage who may use, see, edit or administer a credential",
		`A grant gives a subject a level on one credential. Subjects are app:<caller>, user:<id> and group:<name>; levels are use < view <
edit < administer, each with those before it. Nobody has a level without a grant, and no level reads a secret.`,
		c.grantAdd(), c.grantList(), c.grantShow(), c.grantRemove())
	c.outputFlag(cmd)
	return cmd
}

func (c *cli) grantAdd() *cobra.Command {
	return &cobra.Command{
		Use:               "add <scope>/<name> <subject> <level>",
		Short:             "Give a subject a level, in place of the one it has",
		Example:           "  keybearer grant add docs/crm app:billing use\n  keybearer grant add docs/crm group:sales view",
		Args:              need("<scope>/<name>", "a subject", "a level"),
		ValidArgsFunction: c.complete(credentialNames, subjectNames, fixed("use", "view", "edit", "administer")),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error {
			subject, err := keybearer.ParseSubject(args[0])
			if err != nil {
				return err
			}
			level, err := keybearer.ParseLevel(args[1])
			if err != nil {
				return err
			}
			x, err := client.SetGrant(ctx, ref, subject, level)
			if err != nil {
				return err
			}
			c.done("granted %s on %s to %s", level, x.Ref(), subject)
			return printChanged(c, x, x.Ref().String(), c.credentialFields)
		}),
	}
}

func (c *cli) grantListing() listing[admin.Grant] {
	return listing[admin.Grant]{
		heads: []string{"SUBJECT", "LEVEL"},
		cells: func(g admin.Grant) []cell { return []cell{bold(string(g.Subject)), plain(g.Level.String())} },
		name:  func(g admin.Grant) string { return string(g.Subject) },
		empty: "no grants",
	}
}

func (c *cli) grantList() *cobra.Command {
	return &cobra.Command{
		Use:               "list <scope>/<name>",
		Short:             "List the grants of a credential",
		Example:           "  keybearer grant list docs/crm",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			page, err := client.Grants(ctx, ref)
			if err != nil {
				return err
			}
			return printList(c, page.Items, c.grantListing())
		}),
	}
}

func (c *cli) grantShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show <scope>/<name> <subject>",
		Short:             "Show the grant of a subject",
		Example:           "  keybearer grant show docs/crm app:billing",
		Args:              need("<scope>/<name>", "a subject"),
		ValidArgsFunction: c.complete(credentialNames, subjectNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error {
			subject, err := keybearer.ParseSubject(args[0])
			if err != nil {
				return err
			}
			page, err := client.Grants(ctx, ref)
			if err != nil {
				return err
			}
			for _, g := range page.Items {
				if g.Subject == subject {
					return printItem(c, g, string(g.Subject), []field{row("subject", bold(string(g.Subject))), row("level", plain(g.Level.String()))})
				}
			}
			return keybearer.NewError(keybearer.NotFound, "there is no grant for "+string(subject)).
				WithHint("keybearer grant list " + ref.String() + " shows those there are")
		}),
	}
}

func (c *cli) grantRemove() *cobra.Command {
	return &cobra.Command{
		Use:               "remove <scope>/<name> <subject>",
		Short:             "Take a subject's grant away; holds for the next request",
		Example:           "  keybearer grant remove docs/crm app:billing",
		Args:              need("<scope>/<name>", "a subject"),
		ValidArgsFunction: c.complete(credentialNames, subjectNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error {
			subject, err := keybearer.ParseSubject(args[0])
			if err != nil {
				return err
			}
			x, err := client.RemoveGrant(ctx, ref, subject)
			if err != nil {
				return err
			}
			c.done("removed the grant of %s on %s", subject, x.Ref())
			return printChanged(c, x, x.Ref().String(), c.credentialFields)
		}),
	}
}
