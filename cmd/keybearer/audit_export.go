package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/audit"
)

// auditFlags choose events.
type auditFlags struct {
	q            admin.AuditQuery
	kind, code   string
	since, until string
}

func (f *auditFlags) add(c *cli, cmd *cobra.Command, since string) {
	flags := cmd.Flags()
	flags.StringVar(&f.q.Scope, "scope", "", "only of this `scope`")
	flags.StringVar(&f.q.Credential, "credential", "", "only of this credential, `<scope>/<name>`")
	flags.StringVar(&f.q.Caller, "caller", "", "only by this `caller`")
	flags.StringVar(&f.q.User, "user", "", "only for this acting `user`")
	flags.StringVar(&f.q.Operator, "operator", "", "only by this `operator`")
	flags.StringVar(&f.q.Host, "host", "", "only to this `host`")
	flags.StringVar(&f.q.Action, "action", "", "only this `action` of a change, as in credential.delete")
	flags.StringVar(&f.q.Decision, "decision", "", "only what this `decision` was made of: allow or refuse")
	flags.StringVar(&f.q.Text, "search", "", "only with this `text` in a name, host, path, rule, action or code")
	flags.StringVar(&f.kind, "event", "", "only of this `kind`: use, refusal or change")
	flags.StringVar(&f.code, "code", "", "only with this `code`, as in destination_not_allowed")
	flags.BoolVar(&f.q.WouldRefuse, "would-refuse", false, "only what rules on trial would have refused")
	sinceFlag(cmd, &f.since, since)
	flags.StringVar(&f.until, "until", "", "up to this `time`, as for --since")
	_ = cmd.RegisterFlagCompletionFunc("scope", c.completeFlag(scopeNames))
	_ = cmd.RegisterFlagCompletionFunc("credential", c.completeFlag(credentialNames))
	_ = cmd.RegisterFlagCompletionFunc("caller", c.completeFlag(callerNames))
	_ = cmd.RegisterFlagCompletionFunc("operator", c.completeFlag(operatorNames))
	_ = cmd.RegisterFlagCompletionFunc("event", words(string(keybearer.UseEvent), string(keybearer.RefusalEvent), string(keybearer.ChangeEvent)))
	_ = cmd.RegisterFlagCompletionFunc("decision", words(keybearer.Allow, keybearer.Refuse))
	_ = cmd.RegisterFlagCompletionFunc("code", words(codeNames()...))
}

// codeNames are the codes of the table of errors.
func codeNames() []string {
	var names []string
	for _, info := range keybearer.Codes() {
		names = append(names, string(info.Code))
	}
	return names
}

// query is what the flags ask for.
func (f *auditFlags) query(c *cli) (q admin.AuditQuery, err error) {
	q = f.q
	q.Kind, q.Code = keybearer.EventKind(f.kind), keybearer.Code(f.code)
	q.User, _ = bare(q.User, "user")
	q.Caller, _ = bare(q.Caller, "app")
	q.Operator, _ = bare(q.Operator, "user")
	if q.Since, err = c.past(f.since); err == nil {
		q.Until, err = c.past(f.until)
	}
	return q, err
}

// tableFile is in which form events are exported.
type tableFile string

// Set, String and Type make tableFile a flag's value.
func (f *tableFile) Set(s string) error {
	if s != "jsonl" && s != "csv" {
		return fmt.Errorf("use jsonl or csv")
	}
	*f = tableFile(s)
	return nil
}

func (f *tableFile) String() string { return string(*f) }
func (f *tableFile) Type() string   { return "form" }

func (c *cli) auditExport() *cobra.Command {
	var f auditFlags
	form := tableFile("jsonl")
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write events of the audit log as JSON lines or CSV",
		Long: `Write all events that fit, of the last 24 hours unless --since says otherwise, oldest first: as JSON lines, with the keys of the audit file, or as
CSV (RFC 4180) with these keys as its head. A cell of the CSV that a spreadsheet could take for a formula begins with an apostrophe.`,
		Example: `  keybearer audit export > audit.jsonl
  keybearer audit export -o csv --since 30d --event refusal > refusals.csv
  keybearer audit export -o csv --credential docs/crm --since 2026-11-01 --until 2026-11-22`,
		Args: need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			q, err := f.query(c)
			if err != nil {
				return err
			}
			events, err := allEvents(ctx, client, q, 1000)
			if err != nil {
				return err
			}
			if form == "csv" {
				return writeCSV(c.out, events)
			}
			for _, e := range events {
				if err := jsonLine(c.out, e); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	f.add(c, cmd, "24h")
	cmd.Flags().VarP(&form, "output", "o", "`form`: jsonl or csv")
	_ = cmd.RegisterFlagCompletionFunc("output", words("jsonl", "csv"))
	return cmd
}

// allEvents reads pages of so many events, back in time, and returns the events oldest first.
func allEvents(ctx context.Context, client *admin.Client, q admin.AuditQuery, size int) ([]keybearer.Event, error) {
	var pages [][]keybearer.Event
	q.Limit = size
	for {
		var page []keybearer.Event
		for e, err := range client.Audit(ctx, q) {
			if err != nil {
				return nil, err
			}
			page = append(page, e)
		}
		pages = append(pages, page)
		if len(page) < q.Limit {
			slices.Reverse(pages)
			return slices.Concat(pages...), nil
		}
		q.Before = audit.PlaceOf(&page[0])
	}
}

// writeCSV writes events as a table with a head.
func writeCSV(w io.Writer, events []keybearer.Event) error {
	table := csv.NewWriter(w)
	table.UseCRLF = true // RFC 4180
	_ = table.Write(audit.Columns)
	for i := range events {
		_ = table.Write(audit.Row(&events[i]))
	}
	table.Flush()
	return table.Error()
}
