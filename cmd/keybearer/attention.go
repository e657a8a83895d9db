package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) attentionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attention",
		Short: "List the credentials that somebody should look at",
		Long: `List, of the credentials that you may see, those that somebody should look at: disabled, without a secret, ended or about to end within 30 days,
and those that nobody used for 30 days. Each stands in one of these lists, of which the first 20 are shown; "credential list" with --state, --expiring
and --unused has them all.`,
		Example: "  keybearer attention\n  keybearer attention -o json",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			x, err := client.Attention(ctx)
			if err != nil {
				return err
			}
			if c.format == asJSON || c.format == asYAML {
				return c.encode(x)
			}
			return c.printAttention(x)
		}),
	}
	c.outputFlag(cmd)
	return cmd
}

// noted is a credential and why it should be looked at.
type noted struct {
	why  string
	what admin.Credential
}

func (c *cli) printAttention(x admin.Attention) error {
	var list []noted
	for _, part := range []struct {
		why string
		of  admin.Noted
	}{{"disabled", x.Disabled}, {"needs a secret", x.NeedsSecret}, {"expires", x.Expiring}, {"unused", x.Unused}} {
		for _, credential := range part.of.Credentials {
			list = append(list, noted{part.why, credential})
		}
		if more := part.of.Total - len(part.of.Credentials); more > 0 {
			c.note("%s: %d more", part.why, more)
		}
	}
	if !x.Counted {
		c.note("this store keeps no counts: nothing is said of unused ones")
	}
	return printList(c, list, listing[noted]{
		heads: []string{"WHY", "NAME", "LAST USED", "EXPIRES", "DESCRIPTION"},
		cells: func(n noted) []cell {
			used := ""
			if n.what.Usage != nil {
				used = ago(n.what.Usage.LastAt, c.now())
			}
			return []cell{odd(n.why), bold(n.what.Ref().String()), plain(used), plain(ago(n.what.ExpiresAt, c.now())), plain(n.what.Description)}
		},
		name:  func(n noted) string { return fmt.Sprint(n.what.Ref()) },
		empty: "nothing needs attention",
	})
}
