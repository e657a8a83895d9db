package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) usageCommand() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use:   "usage [<scope>/<name>]",
		Short: "Show how much a credential, or all of them, were used, hour by hour",
		Long: `Show how much a credential was used, hour by hour, and by whom last; without a credential that of all together, for instance admins. In
the table each column of the line is an hour, or several if there are many; as json the hours come with their numbers. Hours without a use are
left out there.`,
		Example:           "  keybearer usage\n  keybearer usage docs/crm --since 7d\n  keybearer usage docs/crm -o json",
		Args:              optional("a credential"),
		ValidArgsFunction: c.complete(credentialNames),
	}
	sinceFlag(cmd, &since, "24h")
	c.outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var ref keybearer.Ref
		name := "all"
		if len(args) > 0 {
			var err error
			if ref, err = keybearer.ParseRef(args[0]); err != nil {
				return err
			}
			name = ref.String()
		}
		from, err := c.past(since)
		if err != nil {
			return err
		}
		return c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			report, err := client.Usage(ctx, ref, from)
			if err != nil {
				return err
			}
			return printItem(c, report, name, c.usageFields(name, report, from))
		})(cmd, nil)
	}
	return cmd
}

func (c *cli) usageFields(name string, r admin.UsageReport, from time.Time) []field {
	now := c.now()
	var uses, refused, failed uint64
	for _, h := range r.Hours {
		uses, refused, failed = uses+h.Uses, refused+h.Refused, failed+h.Failed
	}
	fields := []field{
		row("credential", bold(name)),
		row("since", plain(ago(from, now))),
		row("used", plainf("%d", uses), plain(spark(r.Hours, from, now, func(h admin.UsageHour) uint64 { return h.Uses }))),
	}
	if refused > 0 {
		fields = append(fields, row("refused", bad(fmt.Sprint(refused)), bad(spark(r.Hours, from, now, func(h admin.UsageHour) uint64 { return h.Refused }))))
	}
	if failed > 0 {
		fields = append(fields, row("failed", odd(fmt.Sprint(failed)), odd(spark(r.Hours, from, now, func(h admin.UsageHour) uint64 { return h.Failed }))))
	}
	if u := r.Usage; u != nil {
		fields = append(fields, c.lastUseFields(*u)...)
	}
	return fields
}

// lastUseFields tell of the last use, and of all since the credential was made.
func (c *cli) lastUseFields(u admin.Usage) []field {
	now := c.now()
	var last cell
	if !u.LastAt.IsZero() {
		last = plainf("%s by %s to %s (%d)", ago(u.LastAt, now), u.LastCaller, u.LastHost, u.LastStatus)
	}
	users := make([]cell, len(u.Callers))
	for i, by := range u.Callers {
		users[i] = plainf("app:%s  %s ago, %d times", by.Caller, span(max(now.Sub(by.LastAt), 0)), by.Count)
	}
	return []field{row("last used", last), row("uses", plainf("%d, %d refused", u.Count, u.Refused)), row("used by", users...)}
}

const (
	sparks = "▁▂▃▄▅▆▇█"
	idleAt = "·" // nothing happened
	widest = 72
)

// spark draws the hours from then to now as a line of bars, one for each hour or, of very many, for several; nothing at all is "·".
func spark(hours []admin.UsageHour, from, now time.Time, of func(admin.UsageHour) uint64) string {
	first := from.UTC().Truncate(time.Hour)
	n := int(now.Sub(first)/time.Hour) + 1
	if n < 1 {
		return ""
	}
	each := (n + widest - 1) / widest
	sums := make([]uint64, (n+each-1)/each)
	highest := uint64(0)
	for _, h := range hours {
		if i := int(h.Hour.Sub(first) / time.Hour); i >= 0 && i < n {
			sums[i/each] += of(h)
			highest = max(highest, sums[i/each])
		}
	}
	bars := []rune(sparks)
	var b strings.Builder
	for _, sum := range sums {
		if sum == 0 {
			b.WriteString(idleAt)
			continue
		}
		b.WriteRune(bars[int(float64(sum)/float64(highest)*float64(len(bars)-1)+0.5)])
	}
	return b.String()
}
