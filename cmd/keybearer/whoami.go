package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) whoamiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "whoami",
		Short:   "Tell who the server takes you for",
		Long:    `Tell under which subject, and in which groups, the server takes whoever runs this command: grants for these are the ones that count.`,
		Example: "  keybearer whoami\n  keybearer whoami -o name",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			x, err := client.Whoami(ctx)
			if err != nil {
				return err
			}
			return printItem(c, x, string(x.Subject), []field{
				row("subject", bold(string(x.Subject))),
				row("groups", plain(strings.Join(x.Groups, ", "))),
			})
		}),
	}
	c.outputFlag(cmd)
	return cmd
}
