package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/health"
)

// healthTime is how long the server may take: a probe that waits longer says nothing that a failed one does not.
const healthTime = 5 * time.Second

func (c *cli) healthCommand() *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tell whether the server takes requests: for probes",
		Long: `Tell whether the server takes requests, and what is wrong when it does not: for the probes of containers and services, which look at the
exit code. It is 0 when the server is ready; also when it is degraded, which is when a part is away and requests are served from memory
for now. It is 1 when requests are refused, and 6 when no server answers. With --live only the last one counts.

It asks on the admin socket, where /livez and /readyz answer the same in JSON. keybearer doctor looks deeper, and tells how to mend.`,
		Example: "  keybearer health\n  keybearer health --live\n  keybearer health -o json",
		Args:    need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.serverConfig()
			if err != nil {
				return err
			}
			cfg.Timeout = healthTime
			client, err := admin.NewClient(cfg)
			if err != nil {
				return err
			}
			defer client.Close()
			return c.tellHealth(cmd.Context(), client, live)
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "only whether the server runs")
	c.outputFlag(cmd)
	return cmd
}

func (c *cli) tellHealth(ctx context.Context, client *admin.Client, live bool) error {
	report, err := client.Health(ctx, live)
	if err != nil {
		return err
	}
	word := map[health.Status]func(string) cell{health.Ready: good, health.Degraded: odd, health.Unavailable: bad}
	fields := []field{row("status", word[report.Status](string(report.Status)))}
	for _, p := range report.Parts {
		if p.Status == health.Ready {
			fields = append(fields, row(p.Name, good("ok")))
			continue
		}
		text := p.Detail + " (" + string(p.Code) + "), seen first " + ago(p.Since, c.now())
		if p.Hint != "" {
			text += "; " + p.Hint
		}
		fields = append(fields, row(p.Name, word[p.Status](text)))
	}
	if err := printItem(c, report, string(report.Status), fields); err != nil {
		return err
	}
	if report.Status == health.Unavailable {
		return &exitError{status: keybearer.ExitFailed}
	}
	return nil
}
