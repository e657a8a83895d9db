package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) scopeCommand() *cobra.Command {
	cmd := noun("scope", "Manage scopes and their keys",
		`A scope holds credentials and has one scope key, which seals their secrets. The scope "global" is there from the start; apps use
its credentials and those of the scopes that they are bound to, each by grant only.`,
		c.scopeCreate(), c.scopeList(), c.scopeShow(), c.scopeEdit(), c.scopeDelete(),
		c.scopeGenerateKey(), c.scopeRotateKey(), c.scopeRegenerateKey())
	c.outputFlag(cmd)
	return cmd
}

func (c *cli) scopeCreate() *cobra.Command {
	var n admin.NewScope
	cmd := &cobra.Command{
		Use:     "create <name>",
		Short:   "Create a scope",
		Long:    "Create a scope. It has no key yet: generate one before its first credential.",
		Example: "  keybearer scope create docs\n  keybearer scope create crm --description 'customer relations'",
		Args:    need("a name"),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			n.Name = args[0]
			s, err := client.CreateScope(ctx, n)
			if err != nil {
				return err
			}
			c.done("created scope %s; next: keybearer scope generate-key %[1]s", s.Name)
			return printChanged(c, s, s.Name, c.scopeFields)
		}),
	}
	cmd.Flags().StringVar(&n.Description, "description", "", "what it is for")
	return cmd
}

func (c *cli) scopeList() *cobra.Command {
	var q admin.ListQuery
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List scopes",
		Example: "  keybearer scope list\n  keybearer scope list -o json",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			scopes, err := all(limit, q, func(q admin.ListQuery) (admin.Page[admin.Scope], error) { return client.Scopes(ctx, q) })
			if err != nil {
				return err
			}
			return printList(c, scopes, c.scopeListing())
		}),
	}
	listFlags(cmd, &q, &limit)
	return cmd
}

func (c *cli) scopeListing() listing[admin.Scope] {
	return listing[admin.Scope]{
		heads: []string{"NAME", "KEY", "CREATED", "DESCRIPTION"},
		cells: func(s admin.Scope) []cell {
			return []cell{bold(s.Name), c.scopeKeyCell(s), plain(ago(s.CreatedAt, c.now())), plain(s.Description)}
		},
		name:  func(s admin.Scope) string { return s.Name },
		empty: "no scope that you may see",
	}
}

func (c *cli) scopeKeyCell(s admin.Scope) cell {
	switch {
	case !s.DeletedAt.IsZero():
		return bad("deleted")
	case s.Work != nil:
		return odd(fmt.Sprintf("%s %d/%d", s.Work.Kind, s.Work.Done, s.Work.Total))
	case s.Key == nil:
		return odd("none")
	}
	return plainf("generation %d, version %d", s.Key.Generation, s.Key.Version)
}

func (c *cli) scopeFields(s admin.Scope) []field {
	fields := []field{
		row("name", bold(s.Name)),
		row("id", plain(s.ID)),
		row("description", plain(s.Description)),
		row("key", c.scopeKeyCell(s)),
	}
	if s.Key != nil {
		fields = append(fields, row("key made", plain(ago(s.Key.CreatedAt, c.now()))), row("key rotated", plain(ago(s.Key.RotatedAt, c.now()))))
	}
	if s.Work != nil && s.Work.Waiting != "" {
		fields = append(fields, row("waiting", odd(string(s.Work.Waiting))))
	}
	if s.Work != nil && len(s.Work.Stuck) > 0 {
		fields = append(fields, row("do not open", bad(strings.Join(s.Work.Stuck, ", "))))
	}
	return append(fields,
		row("created", plain(ago(s.CreatedAt, c.now()))),
		row("changed", plain(ago(s.UpdatedAt, c.now()))),
		row("deleted", bad(ago(s.DeletedAt, c.now()))))
}

func (c *cli) scopeShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show <scope>",
		Short:             "Show a scope",
		Example:           "  keybearer scope show docs",
		Args:              need("a scope"),
		ValidArgsFunction: c.complete(scopeNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			s, err := client.Scope(ctx, args[0])
			if err != nil {
				return err
			}
			return printItem(c, s, s.Name, c.scopeFields(s))
		}),
	}
}

func (c *cli) scopeEdit() *cobra.Command {
	var description string
	cmd := &cobra.Command{
		Use:               "edit <scope>",
		Short:             "Change a scope's description",
		Example:           "  keybearer scope edit docs --description 'manuals and handbooks'",
		Args:              need("a scope"),
		ValidArgsFunction: c.complete(scopeNames),
	}
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	cmd.RunE = c.with(func(ctx context.Context, client *admin.Client, args []string) error {
		if !cmd.Flags().Changed("description") {
			return usagef("there is nothing to change").withHint("give --description")
		}
		s, err := client.EditScope(ctx, args[0], admin.ScopePatch{Description: &description})
		if err != nil {
			return err
		}
		c.done("changed scope %s", s.Name)
		return printChanged(c, s, s.Name, c.scopeFields)
	})
	return cmd
}

func (c *cli) scopeDelete() *cobra.Command {
	var confirm string
	var expected int
	cmd := &cobra.Command{
		Use:   "delete <scope>",
		Short: "Delete an empty scope and its key",
		Long: `Delete a scope that holds no credential, and its key. Credentials that were deleted and could have been restored are lost.
--confirm repeats the scope's name; --expected-credentials is the number of deleted ones that are still kept.`,
		Example:           "  keybearer scope delete old --confirm old --expected-credentials 0",
		Args:              need("a scope"),
		ValidArgsFunction: c.complete(scopeNames),
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "the scope's `name` again")
	cmd.Flags().IntVar(&expected, "expected-credentials", -1, "`n` credentials that are lost with it")
	cmd.RunE = c.with(func(ctx context.Context, client *admin.Client, args []string) error {
		if confirm == "" || expected < 0 {
			kept, err := all(0, admin.ListQuery{Deleted: true}, func(q admin.ListQuery) (admin.Page[admin.Credential], error) {
				return client.Credentials(ctx, args[0], q)
			})
			if err != nil {
				return err
			}
			return usagef("scope delete needs --confirm and --expected-credentials").
				withHint(fmt.Sprintf("keybearer scope delete %s --confirm %[1]s --expected-credentials %d", args[0], len(kept)))
		}
		s, err := client.DeleteScope(ctx, args[0], admin.Confirmation{Confirm: confirm, ExpectedCredentials: expected})
		if err != nil {
			return err
		}
		c.done("deleted scope %s", s.Name)
		return printChanged(c, s, s.Name, c.scopeFields)
	})
	return cmd
}

func (c *cli) scopeGenerateKey() *cobra.Command {
	return &cobra.Command{
		Use:               "generate-key <scope>",
		Short:             "Generate a scope's first key",
		Example:           "  keybearer scope generate-key docs",
		Args:              need("a scope"),
		ValidArgsFunction: c.complete(scopeNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			s, err := client.GenerateKey(ctx, args[0])
			if err != nil {
				return err
			}
			c.done("generated the key of scope %s", s.Name)
			return printChanged(c, s, s.Name, c.scopeFields)
		}),
	}
}

func (c *cli) scopeRotateKey() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-key <scope>",
		Short: "Rotate a scope's key; loses nothing",
		Long: `Make a new version of a scope's key and wrap every secret anew. Use never stops, and nothing is lost. If it is interrupted,
the server goes on by itself.`,
		Example:           "  keybearer scope rotate-key docs",
		Args:              need("a scope"),
		ValidArgsFunction: c.complete(scopeNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			s, err := client.RotateKey(ctx, args[0])
			if err == nil {
				s, err = c.waitForWork(ctx, client, s)
			}
			if err != nil {
				return err
			}
			version := uint32(0)
			if s.Key != nil {
				version = s.Key.Version
			}
			c.done("rotated the key of scope %s to version %d", s.Name, version)
			return printChanged(c, s, s.Name, c.scopeFields)
		}),
	}
}

// waitForWork waits until a long operation on the scope is finished, and tells how far it is.
func (c *cli) waitForWork(ctx context.Context, client *admin.Client, s admin.Scope) (admin.Scope, error) {
	told := time.Time{}
	for s.Work != nil {
		if now := c.now(); now.Sub(told) > 2*time.Second {
			told = now
			waiting := ""
			if s.Work.Waiting != "" {
				waiting = fmt.Sprintf(", waiting (%s)", s.Work.Waiting)
			}
			c.note("%s: %d of %d credentials%s", s.Work.Kind, s.Work.Done, s.Work.Total, waiting)
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
		var err error
		if s, err = client.Scope(ctx, s.ID); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (c *cli) scopeRegenerateKey() *cobra.Command {
	var r admin.Regenerate
	cmd := &cobra.Command{
		Use:   "regenerate-key <scope>",
		Short: "Replace a scope's key and destroy what it sealed",
		Long: `Make a new generation of a scope's key and destroy the old one with every secret that it sealed: nothing opens them again, here or
from a backup. Other scopes are not touched. Rotating the key (rotate-key) loses nothing; this is for a key or secrets that
are known to others.

--dry-run tells what would be destroyed. To do it, --confirm repeats the scope's name, and --expected-credentials the count that
the dry run gave; at a terminal, without them, it shows what would be destroyed and who used it last, and asks for the name. With
--keep-shells the credentials stay, without their secrets.`,
		Example: `  keybearer scope regenerate-key docs --dry-run
  keybearer scope regenerate-key docs --confirm docs --expected-credentials 3`,
		Args:              need("a scope"),
		ValidArgsFunction: c.complete(scopeNames),
	}
	flags := cmd.Flags()
	flags.BoolVar(&r.DryRun, "dry-run", false, "only tell what would be destroyed")
	flags.StringVar(&r.Confirm, "confirm", "", "the scope's `name` again")
	flags.IntVar(&r.ExpectedCredentials, "expected-credentials", -1, "`n` credentials that are destroyed, as the dry run counts them")
	flags.BoolVar(&r.KeepShells, "keep-shells", false, "keep the credentials, without their secrets")
	cmd.RunE = c.with(func(ctx context.Context, client *admin.Client, args []string) error {
		asked := r.Confirm != "" || r.ExpectedCredentials >= 0
		if !r.DryRun && !asked && c.canAsk() {
			if err := c.askRegenerate(ctx, client, args[0], &r); err != nil {
				return err
			}
		}
		switch {
		case r.DryRun && asked:
			return usagef("--dry-run goes without --confirm and --expected-credentials")
		case !r.DryRun && (r.Confirm == "" || r.ExpectedCredentials < 0):
			return usagef("regenerate-key destroys secrets: it needs --confirm and --expected-credentials").
				withHint(fmt.Sprintf("look first: keybearer scope regenerate-key %s --dry-run", args[0]))
		}
		if r.DryRun {
			r.ExpectedCredentials = 0
		}
		result, err := client.RegenerateKey(ctx, args[0], r)
		if err != nil {
			return err
		}
		if r.DryRun {
			return c.printDryRun(result, r.KeepShells)
		}
		if result.Scope, err = c.waitForWork(ctx, client, result.Scope); err != nil {
			return err
		}
		c.done("regenerated the key of scope %s; %s destroyed", result.Scope.Name, count(result.ExpectedCredentials(), "secret"))
		if !c.formatAsked {
			return nil
		}
		return printItem(c, result, result.Scope.Name, c.scopeFields(result.Scope))
	})
	return cmd
}

// askRegenerate shows on the error stream what would be destroyed and who used it last, and asks for the scope's name.
func (c *cli) askRegenerate(ctx context.Context, client *admin.Client, scope string, r *admin.Regenerate) error {
	look, err := client.RegenerateKey(ctx, scope, admin.Regenerate{DryRun: true, KeepShells: r.KeepShells})
	if err != nil {
		return err
	}
	c.tellDoomed(look)
	for _, x := range look.Credentials {
		c.tellUsers(x)
	}
	if err := c.confirm("regenerate the key of scope "+look.Scope.Name, look.Scope.Name); err != nil {
		return err
	}
	r.Confirm, r.ExpectedCredentials = look.Scope.Name, look.ExpectedCredentials()
	return nil
}

// tellDoomed names what a regenerate destroys, and counts it.
func (c *cli) tellDoomed(r admin.Regeneration) {
	for _, x := range r.Credentials {
		c.note("%s  %s", x.Ref(), ruleTexts(x.Destinations))
	}
	more := ""
	if n := r.ExpectedCredentials() - len(r.Credentials); n > 0 {
		more = fmt.Sprintf(" (%d of them not shown)", n)
	}
	c.note("this destroys the secrets of %s and of %s%s of scope %s: nothing opens them again, here or from a backup; rotate-key loses nothing",
		count(r.Live, "credential"), count(r.Tombstoned, "deleted credential"), more, r.Scope.Name)
}

// printDryRun lists what would die, and gives the command line that does it.
func (c *cli) printDryRun(r admin.Regeneration, shells bool) error {
	if c.format != asTable {
		names := make([]string, len(r.Credentials))
		for i := range r.Credentials {
			names[i] = r.Credentials[i].Ref().String()
		}
		return printItem(c, r, strings.Join(names, "\n"), nil)
	}
	if err := printList(c, r.Credentials, c.credentialListing()); err != nil {
		return err
	}
	more := ""
	if n := r.ExpectedCredentials() - len(r.Credentials); n > 0 {
		more = fmt.Sprintf(" (%d of them not shown)", n)
	}
	flag := ""
	if shells {
		flag = " --keep-shells"
	}
	c.note("this would destroy the secrets of %s and of %s%s; nothing was changed", count(r.Live, "credential"),
		count(r.Tombstoned, "deleted credential"), more)
	c.note("to do it: keybearer scope regenerate-key %s --confirm %[1]s --expected-credentials %d%s", r.Scope.Name, r.ExpectedCredentials(), flag)
	return nil
}
