package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/manifest"
)

// applyFlags are the flags of apply.
type applyFlags struct {
	files                                  []string
	dryRun, exitCode, prune, force, secret bool
}

func (c *cli) applyCommand() *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use:     "apply",
		Aliases: []string{"import"},
		Short:   "Make the server's records what a manifest says",
		Long: `Compare a manifest with what the server has, show the difference, and make it so, step by step. What the manifest does not list is left
alone. A record that it lists becomes what is written; of a credential, grants and secret only if they are written.

A manifest names where a secret is, "{file./run/secrets/crm}" or "{env.CRM_TOKEN}", and never holds one. It is read and sent
when the credential is made, has none, or when a change widens where it may go; --secrets replaces all that have a reference.

Everything that can be known is checked first. A record that someone else changes meanwhile ends it with exit code 5; what was done holds,
and applying again goes on from there.

"import" is another name of this command.`,
		Example: `  keybearer export > keybearer.yaml
  keybearer apply -f keybearer.yaml --dry-run
  keybearer apply -f keybearer.yaml
  keybearer export --scope docs | keybearer apply -f - --prune --dry-run --exit-code`,
		Args: need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			return c.apply(ctx, client, &f)
		}),
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "file", "f", nil, "the manifest: a `file`, a directory, or - for standard input; may be repeated")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only show the difference; nothing is changed and no secret is sent")
	flags.BoolVar(&f.exitCode, "exit-code", false, "with --dry-run: exit with 1 when there is a difference")
	flags.BoolVar(&f.prune, "prune", false, "delete what is not listed: credentials of listed scopes, callers, operators")
	flags.BoolVar(&f.force, "force", false, "with --prune: delete credentials even if they were used lately")
	flags.BoolVar(&f.secret, "secrets", false, "replace every secret that has a reference")
	_ = cmd.RegisterFlagCompletionFunc("file", cobra.FixedCompletions([]string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt))
	c.outputFlag(cmd)
	return cmd
}

func (c *cli) apply(ctx context.Context, client *admin.Client, f *applyFlags) error {
	switch {
	case len(f.files) == 0:
		return usagef("apply needs -f").withHint("a file, a directory, or - for standard input; keybearer export writes one")
	case f.exitCode && !f.dryRun:
		return usagef("--exit-code goes with --dry-run")
	case f.force && !f.prune:
		return usagef("--force goes with --prune")
	}
	want, err := manifest.Read(f.files, c.in)
	if err != nil {
		return err
	}
	have, err := manifest.Load(ctx, client, want.Select())
	if err != nil {
		return err
	}
	plan, err := manifest.NewPlan(want, have, manifest.Options{
		Prune: f.prune, Force: f.force, Secrets: f.secret, DryRun: f.dryRun, Getenv: c.getenv, Now: c.now,
	})
	if err != nil {
		return err
	}
	for _, w := range plan.Warnings {
		c.warn("%s", w)
	}
	if err := c.printChanges(plan.Changes); err != nil {
		return err
	}
	switch {
	case len(plan.Changes) == 0:
		c.note("nothing to change")
	case f.dryRun:
		c.note("%s; nothing was changed", tally(plan.Changes, false))
		if f.exitCode {
			return &exitError{status: keybearer.ExitFailed}
		}
		return nil
	default:
		if err := plan.Apply(ctx, client, func(done string) { c.done("%s", done) }); err != nil {
			return c.unfinished(err)
		}
		c.note("%s", tally(plan.Changes, true))
	}
	for _, n := range plan.Notes {
		c.note("%s", n)
	}
	return nil
}

// unfinished says what was not done.
func (c *cli) unfinished(err error) error {
	if u, ok := errors.AsType[*manifest.Unfinished](err); ok {
		c.note("%s done, and not taken back; not done:", count(u.Done, "step"))
		c.note("  %s", u.Failed)
		for _, left := range u.Left {
			c.note("  %s", left)
		}
	}
	return err
}
