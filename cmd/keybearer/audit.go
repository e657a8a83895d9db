package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) auditCommand() *cobra.Command {
	cmd := noun("audit", "Read the audit log: uses, refusals and changes", "", c.auditTail(), c.auditShow(), c.auditExport())
	c.outputFlag(cmd)
	return cmd
}

func (c *cli) auditTail() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:     "tail",
		Aliases: []string{"list"},
		Short:   "Show the newest events, and with -f those to come",
		Long: `Show the newest events, oldest of them first; with -f go on with those to come. As json it is one event a line, with the keys of the
audit file. A use has two events with the same id: its intent, written before anything is sent, and its outcome. The table shows
them as one line once the outcome is there.`,
		Example: `  keybearer audit tail
  keybearer audit tail -n 100 -o json
  keybearer audit tail --credential docs/crm --event refusal
  keybearer audit tail --caller billing --code destination_not_allowed --since 7d`,
		Args: need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			q, err := f.query(c)
			if err != nil {
				return err
			}
			if q.Follow && !q.Until.IsZero() {
				return usagef("--follow has no end, and --until is one")
			}
			// Ctrl-C is how following ends: it is no failure.
			ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
			defer stop()
			err = c.printEvents(client.Audit(ctx, q))
			switch {
			case ctx.Err() != nil:
				return nil
			case err == nil && q.Follow:
				return keybearer.NewError(keybearer.ServerUnreachable, "the server ended").WithHint("run it again when it is back")
			}
			return err
		}),
	}
	cmd.Flags().IntVarP(&f.q.Limit, "lines", "n", 20, "the newest `n` events, at most 1000")
	cmd.Flags().BoolVarP(&f.q.Follow, "follow", "f", false, "go on with new events until Ctrl-C")
	f.add(c, cmd, "")
	return cmd
}

// printEvents writes events as they come. Lines of the table have fixed columns, since the next event is not known yet.
func (c *cli) printEvents(events func(func(keybearer.Event, error) bool)) error {
	var failed error
	events(func(e keybearer.Event, err error) bool {
		if err != nil {
			failed = err
			return false
		}
		switch c.format {
		case asJSON:
			failed = jsonLine(c.out, e)
		case asYAML:
			if _, failed = fmt.Fprintln(c.out, "---"); failed == nil {
				failed = c.encode(e)
			}
		case asName:
			_, failed = fmt.Fprintln(c.out, e.ID)
		default:
			if e.Phase == keybearer.Intent {
				return true
			}
			_, failed = fmt.Fprintln(c.out, c.eventLine(e))
		}
		return failed == nil
	})
	return failed
}

// eventLine is one event for people: when, what, who, with which credential, and what came of it.
func (c *cli) eventLine(e keybearer.Event) string {
	s := c.style
	on := e.Scope
	if e.Credential != "" {
		on += "/" + e.Credential
	}
	var app, who string
	if e.Caller != "" {
		app = string(keybearer.AppSubject(e.Caller))
	}
	switch {
	case e.Kind == keybearer.ChangeEvent: // of the caller, if one is named
		who = e.Operator
		if on == "" {
			on = app
		}
	case e.ActingUser != "":
		who = app + " for user:" + e.ActingUser
	default:
		who = app
	}
	var kind, what string
	switch e.Kind {
	case keybearer.UseEvent:
		kind = s.green("use    ")
		what = target(e)
		if e.DestinationStatus != 0 {
			what += fmt.Sprintf(" → %d in %.0f ms", e.DestinationStatus, e.DurationMS)
		}
		if e.Code != "" {
			what += " → " + string(e.Code)
		}
		if e.WouldRefuse != "" {
			what += " (on trial: " + string(e.WouldRefuse) + ")"
		}
	case keybearer.RefusalEvent:
		kind = s.red("refusal")
		what = target(e) + " → " + string(e.Code)
	default:
		kind = s.cyan("change ")
		what = e.Action
		if len(e.Changed) > 0 {
			what += " (" + strings.Join(e.Changed, ", ") + ")"
		}
		if e.Code != "" {
			what += " → " + string(e.Code)
		}
	}
	return fmt.Sprintf("%s  %s  %s  %s  %s", s.dim(e.Time.Local().Format("2006-01-02 15:04:05")), kind,
		printable(pad(who, 16), false), s.bold(printable(pad(on, 20), false)), printable(what, false))
}

// target is what was asked of which destination.
func target(e keybearer.Event) string {
	if e.Host == "" {
		return e.Method
	}
	port := e.Port
	if port == 0 { // a refusal that came before the port was settled
		port = keybearer.DefaultPort(e.Scheme)
	}
	return strings.TrimSpace(e.Method + " " + e.Scheme + "://" + keybearer.JoinHost(e.Scheme, e.Host, port) + e.Path)
}

func pad(text string, width int) string {
	if text == "" {
		text = "-"
	}
	return text + strings.Repeat(" ", max(width-len([]rune(text)), 0))
}

func (c *cli) auditShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show <request id>",
		Short:   "Show the events of one request",
		Long:    `Show the events of one request, by the id that every answer carries in Keybearer-Request-Id and every refusal in its body.`,
		Example: "  keybearer audit show $(keybearer audit tail -n 1 -o name)",
		Args:    need("a request id"),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			found := false
			if c.format == asTable {
				c.format = asYAML
			}
			err := c.printEvents(func(yield func(keybearer.Event, error) bool) {
				for e, err := range client.Audit(ctx, admin.AuditQuery{ID: args[0], Limit: 10}) {
					found = found || err == nil
					if !yield(e, err) {
						return
					}
				}
			})
			if err == nil && !found {
				return keybearer.NewError(keybearer.NotFound, "the audit log has no event "+args[0]).
					WithHint("the server keeps the newest events at hand; older ones are in the audit file")
			}
			return err
		}),
	}
}
