package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/manifest"
)

func (c *cli) exportCommand() *cobra.Command {
	var scopes []string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write everything but secrets as a manifest, for review and git",
		Long: `Write scopes, credentials, callers and operators as a manifest that "apply" takes. It holds no secret, token or id, nothing that was deleted, and
its order depends on the names alone, so that two of them can be compared.

With --scope it holds these scopes and their credentials; callers and operators belong to no scope.`,
		Example: "  keybearer export > keybearer.yaml\n  keybearer export --scope docs -o json",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			switch {
			case !c.formatAsked:
				c.format = asYAML
			case c.format != asYAML && c.format != asJSON:
				return usagef("a manifest is yaml or json")
			}
			doc, err := manifest.Export(ctx, client, scopes)
			if err != nil {
				return err
			}
			return c.encode(doc)
		}),
	}
	cmd.Flags().StringArrayVar(&scopes, "scope", nil, "only this `scope` and its credentials; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("scope", c.completeFlag(scopeNames))
	cmd.Flags().VarP(&c.format, "output", "o", "`format`: yaml or json")
	cmd.Flags().Lookup("output").DefValue = string(asYAML)
	_ = cmd.RegisterFlagCompletionFunc("output", words(string(asYAML), string(asJSON)))
	return cmd
}
