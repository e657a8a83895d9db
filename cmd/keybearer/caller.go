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

func (c *cli) callerCommand() *cobra.Command {
	cmd := noun("caller", "Manage callers: the apps that send through Keybearer",
		`A caller is an app. It proves itself with a token, is bound to scopes, and holds grants as app:<name>. A token is shown once, when it is
made, and kept as a hash.`,
		c.callerCreate(), c.callerList(), c.callerShow(), c.callerEdit(), c.callerToken(), c.callerRevoke(),
		c.callerVerb("disable", "Refuse the app at once; can be taken back", "disabled", (*admin.Client).DisableCaller),
		c.callerVerb("enable", "Take back a disable", "enabled", (*admin.Client).EnableCaller),
		c.callerBinding("bind", "Let an app be granted credentials of a scope", "bound caller %s to scope %s", (*admin.Client).BindCaller),
		c.callerBinding("unbind", "Refuse an app every credential of a scope", "unbound caller %s from scope %s", (*admin.Client).UnbindCaller),
		c.callerVerb("delete", "Delete a caller for good; its name stays reserved", "deleted", (*admin.Client).DeleteCaller))
	c.outputFlag(cmd)
	return cmd
}

func (c *cli) callerCreate() *cobra.Command {
	var n admin.NewCaller
	var expires string
	var limits limitFlags
	cmd := &cobra.Command{
		Use:   "create <name>",
		Short: "Create a caller and print its token, this once",
		Long: `Create a caller. Its token goes to standard output, alone, and is not shown again; the app presents it as the password in its proxy URL,
or in Proxy-Authorization: Bearer.`,
		Example: "  keybearer caller create billing --scope docs\n  keybearer caller create shop --scope docs --scope crm --rate 100/s --concurrency 50",
		Args:    need("a name"),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) (err error) {
			n.Name = args[0]
			if n.ExpiresAt, err = c.tokenExpiry(expires, n.NoToken); err != nil {
				return err
			}
			if n.Limits, err = limits.over(keybearer.Limits{}); err != nil {
				return err
			}
			issued, err := client.CreateCaller(ctx, n)
			if err != nil {
				return err
			}
			c.done("created caller %s%s", issued.Caller.Name, boundTo(issued.Caller))
			return c.printToken(issued, issued.Token, c.callerLines(issued.Caller))
		}),
	}
	cmd.Flags().StringArrayVar(&n.Scopes, "scope", nil, "bind it to this `scope`; may be repeated")
	cmd.Flags().StringVar(&n.Description, "description", "", "what it is")
	cmd.Flags().BoolVar(&n.NoToken, "no-token", false, "make no token: it proves itself in another way")
	expiresFlag(cmd, &expires)
	limits.add(cmd)
	_ = cmd.RegisterFlagCompletionFunc("scope", c.completeFlag(scopeNames))
	return cmd
}

// expiresFlag is how a new token's end is given.
func expiresFlag(cmd *cobra.Command, expires *string) {
	cmd.Flags().StringVar(expires, "expires", "", "when the token ends: 90d, 2027-01-31, an RFC 3339 `time`, or never")
}

// tokenExpiry reads the flag; there is nothing to end without a token.
func (c *cli) tokenExpiry(text string, noToken bool) (time.Time, error) {
	if noToken && text != "" {
		return time.Time{}, usagef("--expires is about the token, and --no-token makes none")
	}
	return c.expiry(text)
}

func boundTo(x admin.Caller) string {
	if len(x.Scopes) == 0 {
		return ", bound to no scope"
	}
	return ", bound to " + strings.Join(x.Scopes, ", ")
}

func (c *cli) callerList() *cobra.Command {
	var q admin.ListQuery
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List callers",
		Example: "  keybearer caller list\n  keybearer caller list --search shop -o name",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			callers, err := all(limit, q, func(q admin.ListQuery) (admin.Page[admin.Caller], error) { return client.Callers(ctx, q) })
			if err != nil {
				return err
			}
			return printList(c, callers, c.callerListing())
		}),
	}
	listFlags(cmd, &q, &limit)
	return cmd
}

func (c *cli) callerListing() listing[admin.Caller] {
	return listing[admin.Caller]{
		heads: []string{"NAME", "STATE", "SCOPES", "TOKENS", "CREATED", "DESCRIPTION"},
		cells: func(x admin.Caller) []cell {
			return []cell{
				bold(x.Name), liveCell(x.Disabled, x.DeletedAt), plain(strings.Join(x.Scopes, ", ")), plain(fmt.Sprint(len(x.Tokens))),
				plain(ago(x.CreatedAt, c.now())), plain(x.Description),
			}
		},
		name:  func(x admin.Caller) string { return x.Name },
		empty: "no callers",
	}
}

func liveCell(disabled bool, deleted time.Time) cell {
	switch {
	case !deleted.IsZero():
		return bad("deleted")
	case disabled:
		return bad("disabled")
	}
	return good("active")
}

func (c *cli) callerFields(x admin.Caller) []field {
	return []field{
		row("name", bold(x.Name)),
		row("id", plain(x.ID)),
		row("subject", plain(string(keybearer.AppSubject(x.Name)))),
		row("description", plain(x.Description)),
		row("state", liveCell(x.Disabled, x.DeletedAt)),
		row("scopes", plain(strings.Join(x.Scopes, ", "))),
		row("limits", plain(x.Limits.Words())),
		row("tokens", c.tokenCells(x.Tokens)...),
		row("last used", plain(c.lastUse(x.LastUsedAt))),
		row("created", plain(ago(x.CreatedAt, c.now()))),
		row("changed", plain(ago(x.UpdatedAt, c.now()))),
	}
}

func (c *cli) tokenCells(tokens []admin.Token) []cell {
	cells := make([]cell, len(tokens))
	for i, t := range tokens {
		text := t.ID + "  made " + ago(t.CreatedAt, c.now())
		if !t.ExpiresAt.IsZero() {
			text += ", ends " + ago(t.ExpiresAt, c.now())
		}
		if last := c.lastUse(t.LastUsedAt); last != "" {
			text += ", last used " + last
		}
		cells[i] = plain(text)
	}
	return cells
}

// lastUse says when, and nothing for never: a store without a ledger does not know.
func (c *cli) lastUse(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return ago(at, c.now())
}

func (c *cli) callerShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show <name>",
		Short:             "Show a caller; never its tokens",
		Example:           "  keybearer caller show billing",
		Args:              need("a caller"),
		ValidArgsFunction: c.complete(callerNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			x, err := client.Caller(ctx, args[0])
			if err != nil {
				return err
			}
			return printItem(c, x, x.Name, c.callerFields(x))
		}),
	}
}

func (c *cli) callerEdit() *cobra.Command {
	var description string
	var limits limitFlags
	cmd := &cobra.Command{
		Use:               "edit <name>",
		Short:             "Change a caller's description and limits",
		Long:              "Change a caller's description and limits. Limits hold on each node by itself, from the next request on.",
		Example:           "  keybearer caller edit billing --description 'invoices'\n  keybearer caller edit billing --rate 100/s --burst 200 --concurrency 50\n  keybearer caller edit billing --rate default",
		Args:              need("a caller"),
		ValidArgsFunction: c.complete(callerNames),
	}
	cmd.Flags().StringVar(&description, "description", "", "what it is")
	limits.add(cmd)
	cmd.RunE = c.with(func(ctx context.Context, client *admin.Client, args []string) error {
		var p admin.CallerPatch
		if cmd.Flags().Changed("description") {
			p.Description = &description
		}
		switch {
		case limits.given():
			now, err := client.Caller(ctx, args[0])
			if err != nil {
				return err
			}
			next, err := limits.over(now.Limits)
			if err != nil {
				return err
			}
			p.Limits, ctx = &next, admin.IfRevision(ctx, now.Revision)
		case p.Description == nil:
			return usagef("there is nothing to change").
				withHint("give --description, --rate, --burst or --concurrency; scopes are changed with keybearer caller bind and unbind")
		}
		x, err := client.EditCaller(ctx, args[0], p)
		if err != nil {
			return err
		}
		c.done("changed caller %s", x.Name)
		return printChanged(c, x, x.Name, c.callerFields)
	})
	return cmd
}

func (c *cli) callerToken() *cobra.Command {
	return noun("token", "Make a new token for a caller", "",
		c.tokenRotate("caller", "billing", callerNames, func(ctx context.Context, client *admin.Client, name string, expires time.Time, overlap time.Duration) (any, admin.Plaintext, tokenLines, error) {
			issued, err := client.RotateCallerToken(ctx, name, expires, overlap)
			return issued, issued.Token, c.callerLines(issued.Caller), err
		}),
		c.tokenAdd("caller", "billing", callerNames, func(ctx context.Context, client *admin.Client, name string, expires time.Time) (any, admin.Plaintext, tokenLines, error) {
			issued, err := client.AddCallerToken(ctx, name, expires)
			return issued, issued.Token, c.callerLines(issued.Caller), err
		}))
}

type nameSource = func(context.Context, *admin.Client) ([]string, error)

// tokenRotate makes the command that replaces the tokens of a caller or operator.
func (c *cli) tokenRotate(what, example string, names nameSource,
	rotate func(context.Context, *admin.Client, string, time.Time, time.Duration) (any, admin.Plaintext, tokenLines, error),
) *cobra.Command {
	var overlap, expires string
	cmd := &cobra.Command{
		Use:   "rotate <name>",
		Short: "Print a new token, this once, in place of those there are",
		Long: `Make a new token and print it, this once. Those there are end at once, or, with --overlap, after that time, so that whoever uses
them can be changed over.`,
		Example: fmt.Sprintf("  keybearer %s token rotate %s\n  keybearer %[1]s token rotate %[2]s --overlap 24h", what, example),
		Args:    need("a " + what),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			d, ok := lapse(overlap)
			if !ok {
				return usagef("%q is no duration", overlap).withHint("use 0, 30m, 24h or 7d")
			}
			end, err := c.expiry(expires)
			if err != nil {
				return err
			}
			issued, token, lines, err := rotate(ctx, client, args[0], end, d)
			if err != nil {
				return err
			}
			ends := "have ended"
			if d > 0 {
				ends = "end in " + span(d)
			}
			c.done("made a new token for %s %s; older ones %s", what, args[0], ends)
			return c.printToken(issued, token, lines)
		}),
		ValidArgsFunction: c.complete(names),
	}
	cmd.Flags().StringVar(&overlap, "overlap", "0", "how `long` older tokens stay good: 30m, 24h, 7d")
	expiresFlag(cmd, &expires)
	return cmd
}

// tokenAdd makes the command that gives a caller or operator one more token.
func (c *cli) tokenAdd(what, example string, names nameSource,
	add func(context.Context, *admin.Client, string, time.Time) (any, admin.Plaintext, tokenLines, error),
) *cobra.Command {
	var expires string
	cmd := &cobra.Command{
		Use:               "add <name>",
		Short:             "Print one more token, this once; older ones stay good",
		Example:           fmt.Sprintf("  keybearer %s token add %s\n  keybearer %[1]s token add %[2]s --expires 90d", what, example),
		Args:              need("a " + what),
		ValidArgsFunction: c.complete(names),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			end, err := c.expiry(expires)
			if err != nil {
				return err
			}
			issued, token, lines, err := add(ctx, client, args[0], end)
			if err != nil {
				return err
			}
			c.done("made one more token for %s %s", what, args[0])
			return c.printToken(issued, token, lines)
		}),
	}
	expiresFlag(cmd, &expires)
	return cmd
}

func (c *cli) callerRevoke() *cobra.Command {
	var token string
	cmd := &cobra.Command{
		Use:               "revoke <name>",
		Short:             "Revoke a caller's tokens; holds for the next request",
		Example:           "  keybearer caller revoke billing",
		Args:              need("a caller"),
		ValidArgsFunction: c.complete(callerNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			x, err := client.RevokeCallerToken(ctx, args[0], token)
			if err != nil {
				return err
			}
			c.done("revoked %s of caller %s", revoked(token), x.Name)
			return printChanged(c, x, x.Name, c.callerFields)
		}),
	}
	cmd.Flags().StringVar(&token, "token", "", "only the token with this `id`, as caller show gives it")
	return cmd
}

func revoked(token string) string {
	if token == "" {
		return "every token"
	}
	return "token " + token
}

// callerVerb makes a command that does one thing to one caller.
func (c *cli) callerVerb(verb, short, did string, do func(*admin.Client, context.Context, string) (admin.Caller, error)) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " <name>",
		Short:             short,
		Example:           "  keybearer caller " + verb + " billing",
		Args:              need("a caller"),
		ValidArgsFunction: c.complete(callerNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			x, err := do(client, ctx, args[0])
			if err != nil {
				return err
			}
			c.done("%s caller %s", did, x.Name)
			return printChanged(c, x, x.Name, c.callerFields)
		}),
	}
}

func (c *cli) callerBinding(verb, short, told string, do func(*admin.Client, context.Context, string, string) (admin.Caller, error)) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " <name> <scope>...",
		Short:             short,
		Example:           "  keybearer caller " + verb + " billing crm",
		Args:              need("a caller", "a scope..."),
		ValidArgsFunction: c.complete(callerNames, scopeNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			var last admin.Caller
			for _, scope := range args[1:] {
				x, err := do(client, ctx, args[0], scope)
				if err != nil {
					return err
				}
				c.done(told, x.Name, scope)
				last = x
			}
			return printChanged(c, last, last.Name, c.callerFields)
		}),
	}
}
