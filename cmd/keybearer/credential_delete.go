package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) credentialDelete() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "delete <scope>/<name>",
		Short: "Delete a credential; can be restored for a while",
		Long: `Delete a credential: every use is refused at once. "credential restore" brings it back for 7 days. At a terminal this tells who used it in the
last 30 days and asks for the name. Elsewhere, if it was used in the last 30 days, it tells by whom and wants --force.`,
		Example:           "  keybearer credential delete docs/crm\n  keybearer credential delete docs/legacy --force",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			if !force && c.canAsk() {
				x, err := client.Credential(ctx, ref)
				if err != nil {
					return err
				}
				if x.State != keybearer.Deleted {
					if !c.tellUsers(x) {
						c.note("nobody used %s in the last 30 days", x.Ref())
					}
					if err := c.confirm("delete "+x.Ref().String(), x.Ref().String()); err != nil {
						return err
					}
					force, ctx = true, admin.IfRevision(ctx, x.Revision)
				}
			}
			made, err := client.DeleteCredential(ctx, ref, force)
			if keybearer.CodeOf(err) == keybearer.RecentlyUsed {
				if x, err := client.Credential(ctx, ref); err == nil {
					c.tellUsers(x)
				}
				return keybearer.NewError(keybearer.RecentlyUsed, keybearer.AsError(err).Message()).
					WithHint("if nobody needs it any more: keybearer credential delete " + ref.String() + " --force")
			}
			if err != nil {
				return err
			}
			until := ""
			if !made.RestorableTo.IsZero() {
				until = "; keybearer credential restore brings it back until " + made.RestorableTo.Local().Format("2006-01-02 15:04")
			}
			c.done("deleted credential %s%s", made.Ref(), until)
			return printChanged(c, made, made.Ref().String(), c.credentialFields)
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete it even if it was used lately, and ask nothing")
	return cmd
}

// recently is for how long back a use says that a credential may still be needed.
const recently = 30 * 24 * time.Hour

// tellUsers says who used the credential lately, and reports whether anybody did.
func (c *cli) tellUsers(x admin.Credential) (told bool) {
	if x.Usage == nil {
		return false
	}
	for _, by := range x.Usage.Callers {
		if c.now().Sub(by.LastAt) < recently {
			c.note("app:%s used %s %s, %d times, last to %s", by.Caller, x.Ref(), ago(by.LastAt, c.now()), by.Count, by.Host)
			told = true
		}
	}
	return told
}
