package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// credentialFilter is what of a listing is chosen here, not by the server: it goes by the state and the use that the listing tells.
type credentialFilter struct {
	state    string
	unused   string // for this long
	expiring string // within this time
}

func (c *cli) credentialList() *cobra.Command {
	var q admin.ListQuery
	var limit int
	var scope, kind, subject string
	var f credentialFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List credentials that you may see",
		Long: `List credentials that you may see. Each flag leaves out more. --unused goes by the ledger of uses: one that was never used is
unused too.`,
		Example: `  keybearer credential list
  keybearer credential list --scope docs -o json
  keybearer credential list --search example.com --kind bearer
  keybearer credential list --subject app:billing --state active
  keybearer credential list --unused=90d
  keybearer credential list --expiring=14d -o name`,
		Args: need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			keep, err := f.keep(c.now())
			if err != nil {
				return err
			}
			q.Kind, q.Subject = keybearer.Kind(kind), keybearer.Subject(subject)
			q.Deleted = q.Deleted || f.state == string(keybearer.Deleted)
			list, err := all(limit, q, func(q admin.ListQuery) (admin.Page[admin.Credential], error) {
				page, err := client.Credentials(ctx, scope, q)
				page.Items = slices.DeleteFunc(page.Items, func(x admin.Credential) bool { return !keep(&x) })
				return page, err
			})
			if err != nil {
				return err
			}
			return printList(c, list, c.credentialListing())
		}),
	}
	listFlags(cmd, &q, &limit)
	flags := cmd.Flags()
	flags.StringVar(&scope, "scope", admin.AllScopes, "only of this `scope`")
	flags.Lookup("scope").DefValue = ""
	flags.StringVar(&kind, "kind", "", "only of this `kind`")
	flags.StringVar(&subject, "subject", "", "only those with a grant for this `subject`, as in app:billing")
	flags.StringVar(&f.state, "state", "", "only in this `state`: "+string(keybearer.Active)+", disabled, expired, needs_secret or deleted")
	flags.StringVar(&f.unused, "unused", "", "only those that nobody used for this `long`; --unused alone is 30d")
	flags.Lookup("unused").NoOptDefVal = "30d"
	flags.StringVar(&f.expiring, "expiring", "", "only those that end within this `time`, or have ended; --expiring alone is 14d")
	flags.Lookup("expiring").NoOptDefVal = "14d"
	_ = cmd.RegisterFlagCompletionFunc("scope", c.completeFlag(scopeNames))
	_ = cmd.RegisterFlagCompletionFunc("subject", c.completeFlag(subjectNames))
	_ = cmd.RegisterFlagCompletionFunc("kind", words(kindNames...))
	_ = cmd.RegisterFlagCompletionFunc("state", words(stateNames...))
	return cmd
}

var (
	kindNames  = []string{string(keybearer.Basic), string(keybearer.Bearer), string(keybearer.Header)}
	stateNames = []string{
		string(keybearer.Active), string(keybearer.Disabled), string(keybearer.Expired), string(keybearer.NeedsSecret), string(keybearer.Deleted),
	}
)

// keep returns which credentials stay in the list.
func (f *credentialFilter) keep(now time.Time) (func(*admin.Credential) bool, error) {
	if f.state != "" && !slices.Contains(stateNames, f.state) {
		return nil, usagef("there is no state %q", f.state).withHint("use active, disabled, expired, needs_secret or deleted")
	}
	var idle, left time.Duration
	for _, x := range []struct {
		text string
		to   *time.Duration
	}{{f.unused, &idle}, {f.expiring, &left}} {
		if x.text == "" {
			continue
		}
		var ok bool
		if *x.to, ok = lapse(x.text); !ok {
			return nil, usagef("%q is no duration", x.text).withHint("use 12h, 14d or 90d, with an equals sign: --unused=90d")
		}
	}
	return func(x *admin.Credential) bool {
		if f.state != "" && f.state != string(x.State) {
			return false
		}
		if f.unused != "" && x.Usage != nil && now.Sub(x.Usage.LastAt) < idle {
			return false
		}
		return f.expiring == "" || !x.ExpiresAt.IsZero() && x.ExpiresAt.Sub(now) <= left
	}, nil
}

func (c *cli) credentialHistory() *cobra.Command {
	var n int
	cmd := &cobra.Command{
		Use:   "history <scope>/<name>",
		Short: "Show what was changed of a credential, when and by whom",
		Long: `Show what was changed of a credential, when and by whom, from the audit log: names of the fields that changed, never values. Whoever
administers the scope may read it.`,
		Example:           "  keybearer credential history docs/crm\n  keybearer credential history docs/crm -n 100 -o json",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			x, err := client.Credential(ctx, ref)
			if err != nil {
				return err
			}
			// By its id: an older credential may have had the name.
			return c.printEvents(client.Audit(ctx, admin.AuditQuery{Scope: x.Scope, Credential: x.ID, Kind: keybearer.ChangeEvent, Limit: n}))
		}),
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 20, "the newest `n` changes, at most 1000")
	return cmd
}
