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

func (c *cli) operatorCommand() *cobra.Command {
	cmd := noun("operator", "Manage operators: who may manage",
		`An operator is a person or program that uses the admin API from elsewhere than the socket, where the server's own user and root are
instance admin. It proves itself with a token (KEYBEARER_TOKEN_FILE), holds grants as user:<name>, and may have the roles
instance-admin and scope-admin:<scope>.`,
		c.operatorSetUp(), c.operatorCreate(), c.operatorList(), c.operatorShow(), c.operatorEdit(), c.operatorToken(), c.operatorRevoke(),
		c.operatorVerb("disable", "Refuse an operator at once; can be taken back", "disabled", (*admin.Client).DisableOperator),
		c.operatorVerb("enable", "Take back a disable", "enabled", (*admin.Client).EnableOperator),
		c.operatorVerb("delete", "Delete an operator for good; the name stays reserved", "deleted", (*admin.Client).DeleteOperator))
	c.outputFlag(cmd)
	return cmd
}

func (c *cli) operatorSetUp() *cobra.Command {
	return &cobra.Command{
		Use:   "setup",
		Short: "Print a link that makes the first operator in a browser",
		Long: `Print the address of a page on which the first operator is made, with the role instance-admin. It works once, for 15 minutes, while there is no
operator, and only on the server that made it. A new link ends the one before it. Only the server's own user and root may ask for one, over the admin socket.`,
		Example: "  keybearer operator setup",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			link, err := client.MakeSetUpLink(ctx)
			if err != nil {
				return err
			}
			if c.format == asJSON || c.format == asYAML {
				return c.encode(link)
			}
			c.note("open this once, within 15 minutes; whoever has it becomes the first operator:")
			_, err = fmt.Fprintln(c.out, link.URL.Reveal())
			return err
		}),
	}
}

func (c *cli) operatorCreate() *cobra.Command {
	var n admin.NewOperator
	var expires string
	cmd := &cobra.Command{
		Use:     "create <name>",
		Short:   "Create an operator and print its token, this once",
		Example: "  keybearer operator create ada --role scope-admin:docs --group sales\n  keybearer operator create deploy --role instance-admin > deploy.token",
		Args:    need("a name"),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			n.Name = args[0]
			var err error
			if n.ExpiresAt, err = c.tokenExpiry(expires, n.NoToken); err != nil {
				return err
			}
			issued, err := client.CreateOperator(ctx, n)
			if err != nil {
				return err
			}
			c.done("created operator %s", issued.Operator.Name)
			return c.printToken(issued, issued.Token, c.operatorLines())
		}),
	}
	c.roleFlags(cmd, &n.Roles, &n.Groups)
	cmd.Flags().StringVar(&n.Description, "description", "", "who it is")
	cmd.Flags().BoolVar(&n.NoToken, "no-token", false, "make no token: it proves itself in another way")
	expiresFlag(cmd, &expires)
	return cmd
}

func (c *cli) roleFlags(cmd *cobra.Command, roles, groups *[]string) {
	cmd.Flags().StringArrayVar(roles, "role", nil, "a `role`, instance-admin or scope-admin:<scope>; may be repeated")
	cmd.Flags().StringArrayVar(groups, "group", nil, "a `group` that it is in; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("role", c.completeFlag(func(ctx context.Context, client *admin.Client) ([]string, error) {
		roles := []string{keybearer.RoleInstanceAdmin}
		scopes, err := scopeNames(ctx, client)
		for _, s := range scopes {
			roles = append(roles, keybearer.RoleScopeAdmin+s)
		}
		return roles, err
	}))
}

func (c *cli) operatorList() *cobra.Command {
	var q admin.ListQuery
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List operators",
		Example: "  keybearer operator list",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			operators, err := all(limit, q, func(q admin.ListQuery) (admin.Page[admin.Operator], error) { return client.Operators(ctx, q) })
			if err != nil {
				return err
			}
			return printList(c, operators, listing[admin.Operator]{
				heads: []string{"NAME", "STATE", "ROLES", "GROUPS", "TOKENS", "CREATED"},
				cells: func(x admin.Operator) []cell {
					return []cell{
						bold(x.Name), liveCell(x.Disabled, x.DeletedAt), plain(strings.Join(x.Roles, ", ")), plain(strings.Join(x.Groups, ", ")),
						plain(fmt.Sprint(len(x.Tokens))), plain(ago(x.CreatedAt, c.now())),
					}
				},
				name:  func(x admin.Operator) string { return x.Name },
				empty: "no operators; the socket needs none",
			})
		}),
	}
	listFlags(cmd, &q, &limit)
	return cmd
}

func (c *cli) operatorFields(x admin.Operator) []field {
	return []field{
		row("name", bold(x.Name)),
		row("id", plain(x.ID)),
		row("subject", plain(string(keybearer.UserSubject(x.Name)))),
		row("description", plain(x.Description)),
		row("state", liveCell(x.Disabled, x.DeletedAt)),
		row("roles", plain(strings.Join(x.Roles, ", "))),
		row("groups", plain(strings.Join(x.Groups, ", "))),
		row("tokens", c.tokenCells(x.Tokens)...),
		row("created", plain(ago(x.CreatedAt, c.now()))),
		row("changed", plain(ago(x.UpdatedAt, c.now()))),
	}
}

func (c *cli) operatorShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show <name>",
		Short:             "Show an operator; never its tokens",
		Example:           "  keybearer operator show ada",
		Args:              need("an operator"),
		ValidArgsFunction: c.complete(operatorNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			x, err := client.Operator(ctx, args[0])
			if err != nil {
				return err
			}
			return printItem(c, x, x.Name, c.operatorFields(x))
		}),
	}
}

func (c *cli) operatorEdit() *cobra.Command {
	var description string
	var roles, groups []string
	cmd := &cobra.Command{
		Use:   "edit <name>",
		Short: "Change an operator's description, roles or groups",
		Long: `Change an operator; what is not given stays. --role and --group give all of them, in place of those there are; --role '' and --group ''
take all away.`,
		Example:           "  keybearer operator edit ada --role scope-admin:docs --role scope-admin:crm\n  keybearer operator edit ada --group ''",
		Args:              need("an operator"),
		ValidArgsFunction: c.complete(operatorNames),
	}
	c.roleFlags(cmd, &roles, &groups)
	cmd.Flags().StringVar(&description, "description", "", "who it is")
	cmd.RunE = c.with(func(ctx context.Context, client *admin.Client, args []string) error {
		var p admin.OperatorPatch
		if cmd.Flags().Changed("description") {
			p.Description = &description
		}
		if cmd.Flags().Changed("role") {
			p.Roles = whole(roles)
		}
		if cmd.Flags().Changed("group") {
			p.Groups = whole(groups)
		}
		if p == (admin.OperatorPatch{}) {
			return usagef("there is nothing to change").withHint("give --description, --role or --group")
		}
		x, err := client.EditOperator(ctx, args[0], p)
		if err != nil {
			return err
		}
		c.done("changed operator %s", x.Name)
		return printChanged(c, x, x.Name, c.operatorFields)
	})
	return cmd
}

// whole returns the list without empty words, never nil.
func whole(list []string) *[]string {
	out := []string{}
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return &out
}

func (c *cli) operatorToken() *cobra.Command {
	return noun("token", "Make a new token for an operator", "",
		c.tokenRotate("operator", "ada", operatorNames, func(ctx context.Context, client *admin.Client, name string, expires time.Time, overlap time.Duration) (any, admin.Plaintext, tokenLines, error) {
			issued, err := client.RotateOperatorToken(ctx, name, expires, overlap)
			return issued, issued.Token, c.operatorLines(), err
		}),
		c.tokenAdd("operator", "ada", operatorNames, func(ctx context.Context, client *admin.Client, name string, expires time.Time) (any, admin.Plaintext, tokenLines, error) {
			issued, err := client.AddOperatorToken(ctx, name, expires)
			return issued, issued.Token, c.operatorLines(), err
		}))
}

func (c *cli) operatorRevoke() *cobra.Command {
	var token string
	cmd := &cobra.Command{
		Use:               "revoke <name>",
		Short:             "Revoke an operator's tokens; holds for the next request",
		Example:           "  keybearer operator revoke ada",
		Args:              need("an operator"),
		ValidArgsFunction: c.complete(operatorNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			x, err := client.RevokeOperatorToken(ctx, args[0], token)
			if err != nil {
				return err
			}
			c.done("revoked %s of operator %s", revoked(token), x.Name)
			return printChanged(c, x, x.Name, c.operatorFields)
		}),
	}
	cmd.Flags().StringVar(&token, "token", "", "only the token with this `id`, as operator show gives it")
	return cmd
}

// operatorVerb makes a command that does one thing to one operator.
func (c *cli) operatorVerb(verb, short, did string, do func(*admin.Client, context.Context, string) (admin.Operator, error)) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " <name>",
		Short:             short,
		Example:           "  keybearer operator " + verb + " ada",
		Args:              need("an operator"),
		ValidArgsFunction: c.complete(operatorNames),
		RunE: c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			x, err := do(client, ctx, args[0])
			if err != nil {
				return err
			}
			c.done("%s operator %s", did, x.Name)
			return printChanged(c, x, x.Name, c.operatorFields)
		}),
	}
}
