package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) usageCommand() *cobra.Command {
	var since, scope string
	cmd := &cobra.Command{
		Use:   "usage [<scope>/<name>]",
		Short: "Show how much a credential, or all of them, were used, hour by hour",
		Long: `Show how much a credential was used, hour by hour, and by whom last. Without a credential it is all that you may see together, with what each
scope had of it and why requests were refused. In the table each column of the line is an hour, or several if there are many; as json the hours
come with their numbers, and those without a use are left out.`,
		Example: `  keybearer usage
  keybearer usage --scope docs --since 7d
  keybearer usage docs/crm -o json`,
		Args:              optional("a credential"),
		ValidArgsFunction: c.complete(credentialNames),
	}
	sinceFlag(cmd, &since, "24h")
	cmd.Flags().StringVar(&scope, "scope", "", "all of this `scope` together")
	_ = cmd.RegisterFlagCompletionFunc("scope", c.completeFlag(scopeNames))
	c.outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := c.past(since)
		if err != nil {
			return err
		}
		show := func(ctx context.Context, client *admin.Client, _ []string) error {
			all, err := client.Activity(ctx, scope, from)
			if err != nil {
				return err
			}
			return printItem(c, all, cmp.Or(scope, "all"), c.activityFields(scope, all, from))
		}
		if len(args) > 0 {
			if scope != "" {
				return usagef("--scope is about all that is in a scope, and %s is one credential", args[0])
			}
			ref, err := keybearer.ParseRef(args[0])
			if err != nil {
				return err
			}
			show = func(ctx context.Context, client *admin.Client, _ []string) error {
				report, err := client.Usage(ctx, ref, from)
				if err != nil {
					return err
				}
				fields := append([]field{row("credential", bold(ref.String()))}, c.hourFields(report.Hours, from)...)
				if report.Usage != nil {
					fields = append(fields, c.lastUseFields(*report.Usage)...)
				}
				return printItem(c, report, ref.String(), fields)
			}
		}
		return c.with(show)(cmd, nil)
	}
	return cmd
}

// hourFields draw what the hours since then had.
func (c *cli) hourFields(hours []admin.UsageHour, from time.Time) []field {
	now := c.now()
	var uses, refused, failed uint64
	for _, h := range hours {
		uses, refused, failed = uses+h.Uses, refused+h.Refused, failed+h.Failed
	}
	fields := []field{
		row("since", plain(ago(from, now))),
		row("used", plainf("%d", uses), plain(spark(hours, from, now, func(h admin.UsageHour) uint64 { return h.Uses }))),
	}
	if refused > 0 {
		fields = append(fields, row("refused", bad(fmt.Sprint(refused)), bad(spark(hours, from, now, func(h admin.UsageHour) uint64 { return h.Refused }))))
	}
	if failed > 0 {
		fields = append(fields, row("failed", odd(fmt.Sprint(failed)), odd(spark(hours, from, now, func(h admin.UsageHour) uint64 { return h.Failed }))))
	}
	return fields
}

func (c *cli) activityFields(scope string, a admin.Activity, from time.Time) []field {
	what := "all that you may see"
	if scope != "" {
		what += " of scope " + scope
	}
	fields := append([]field{row("of", bold(what))}, c.hourFields(a.Hours, from)...)
	var scopes, refusals []cell
	for _, s := range a.Scopes {
		scopes = append(scopes, plainf("%s  %d, %d refused, %d failed", s.Scope, s.Uses, s.Refused, s.Failed))
	}
	for _, r := range a.Refusals {
		refusals = append(refusals, plainf("%s  %d", r.Code, r.Count))
	}
	fields = append(fields, row("scopes", scopes...), row("refusals", refusals...))
	switch {
	case !a.Counted:
		fields = append(fields, row("counts", odd("this store keeps none; the audit log has every use")))
	case !a.Whole:
		fields = append(fields, row("counts", odd("not of all: you may see more credentials than are summed up")))
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
