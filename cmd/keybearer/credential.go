package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) credentialCommand() *cobra.Command {
	cmd := noun("credential", "Manage credentials: what is sent, and where it may go",
		`A credential holds one secret, the destinations that it may be sent to, and grants that say who may use it. It is named
<scope>/<name>. Secrets are written only: no command shows one.`,
		c.credentialCreate(), c.credentialList(), c.credentialShow(), c.credentialHistory(), c.credentialEdit(), c.credentialSetSecret(),
		c.credentialVerb("disable", "Refuse every use at once; can be taken back", "disabled",
			(*admin.Client).DisableCredential),
		c.credentialVerb("enable", "Take back a disable", "enabled", (*admin.Client).EnableCredential),
		c.credentialVerb("rollback", "Go back to the secret before this one", "rolled back", (*admin.Client).RollbackCredential),
		c.credentialTest(),
		c.credentialDelete(),
		c.credentialVerb("restore", "Bring a deleted credential back", "restored", (*admin.Client).RestoreCredential))
	c.outputFlag(cmd)
	return cmd
}

// onCredential wraps a function that works on the credential that the first argument names.
func (c *cli) onCredential(fn func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ref, err := keybearer.ParseRef(args[0])
		if err != nil {
			return err
		}
		return c.with(func(ctx context.Context, client *admin.Client, args []string) error {
			return fn(ctx, client, ref, args)
		})(cmd, args[1:])
	}
}

func (c *cli) credentialCreate() *cobra.Command {
	var t termsFlags
	var s secretFlags
	var d domainFlags
	var domains []string
	var noSecret bool
	cmd := &cobra.Command{
		Use:   "create <scope>/<name>",
		Short: "Create a credential",
		Long: `Create a credential. The secret comes from standard input, from --secret-file, or is asked for at the terminal; one newline at its end
does not count. For kind basic it is two lines, the username and the password. With --no-secret it is given later, by credential set-secret.

A domain is [scheme://]host[:port][/path]; https unless written. *.example.com is one label, **.example.com one or more. Without
a domain every request is refused.`,
		Example: `  printf 's3cret' | keybearer credential create docs/crm --kind bearer --domain api.example.com
  printf 'user\npass' | keybearer credential create docs/legacy --kind basic --domain 'https://*.example.com:8443/hooks'
  printf 'k' | keybearer credential create docs/aws --kind header --header X-Api-Key --prefix 'Token ' --domain aws.example.com --methods POST,PUT`,
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(scopePrefixes),
	}
	t.add(cmd)
	s.add(cmd)
	d.add(cmd)
	cmd.Flags().StringArrayVar(&domains, "domain", nil, "a destination `rule`; may be repeated")
	cmd.Flags().BoolVar(&noSecret, "no-secret", false, "make it without a secret, which is given later")
	cmd.MarkFlagsMutuallyExclusive("no-secret", "secret-file")
	cmd.RunE = c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
		kind := keybearer.Kind(t.kind)
		if t.kind == "" {
			if t.header == "" {
				return usagef("credential create needs --kind").withHint("--kind basic, bearer or header")
			}
			kind = keybearer.Header
		}
		if len(domains) == 0 && (len(d.methods) > 0 || d.private) {
			return usagef("--methods and --private say something about a --domain, and there is none")
		}
		expires, err := c.expiry(t.expires)
		if err != nil {
			return err
		}
		if isTerminal(c.in) && s.file == "" && !noSecret { // say what would fail before anyone types a secret
			if scope, err := client.Scope(ctx, ref.Scope); err != nil {
				return err
			} else if scope.Key == nil {
				return (&keybearer.Error{Code: keybearer.ScopeKeyMissing}).WithHint("generate one first: keybearer scope generate-key " + scope.Name)
			}
		}
		var in admin.SecretInput
		if !noSecret {
			if in, err = s.read(c, kind); err != nil {
				return err
			}
		}
		made, err := client.CreateCredential(ctx, ref.Scope, admin.NewCredential{
			Name: ref.Name, Description: t.description, Kind: kind, Header: t.header, Prefix: t.prefix, SecretInput: in, NoSecret: noSecret,
			Destinations: d.destinations(domains), RequireUser: t.requireUser, WebSocket: t.websocket,
			PassCookies: t.passCookies, PassTrace: t.passTrace, ScrubBody: t.scrubBody, ExpiresAt: expires,
		})
		if err != nil {
			return err
		}
		c.done("created credential %s (%s) for %s", made.Ref(), made.Kind, ruleTexts(made.Destinations))
		c.warnClear(made.Destinations)
		return printChanged(c, made, made.Ref().String(), c.credentialFields)
	})
	return cmd
}

func (c *cli) credentialShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show <scope>/<name>",
		Short:             "Show a credential; never its secret",
		Example:           "  keybearer credential show docs/crm\n  keybearer credential show docs/crm -o yaml",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			x, err := client.Credential(ctx, ref)
			if err != nil {
				return err
			}
			fields := c.credentialFields(x)
			if c.format == asTable {
				from := c.now().Add(-24 * time.Hour)
				if used, err := client.Usage(ctx, ref, from); err == nil && len(used.Hours) > 0 { // what is shown is worth showing without it
					fields = append(fields, row("last 24h", plain(spark(used.Hours, from, c.now(), func(h admin.UsageHour) uint64 { return h.Uses + h.Refused }))))
				}
			}
			return printItem(c, x, x.Ref().String(), fields)
		}),
	}
}

func (c *cli) credentialEdit() *cobra.Command {
	var t termsFlags
	var s secretFlags
	cmd := &cobra.Command{
		Use:   "edit <scope>/<name>",
		Short: "Change a credential; what is not given stays",
		Long: `Change a credential; what is not given stays. Booleans are taken back with =false. Another kind needs a whole new secret; another header,
or taking back --require-user, needs the secret again, because the secret then goes where it was not given for.`,
		Example: `  keybearer credential edit docs/crm --description 'the CRM of sales' --expires 90d
  printf 's3cret' | keybearer credential edit docs/crm --websocket
  keybearer credential edit docs/crm --expires never`,
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
	}
	t.add(cmd)
	s.add(cmd)
	cmd.RunE = c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
		patch, err := t.patch(c, cmd)
		if err != nil {
			return err
		}
		var kind keybearer.Kind
		if patch.Kind != nil {
			kind = *patch.Kind
		}
		made, err := s.withSecretIfNeeded(ctx, c, client, ref, kind, func(ctx context.Context, in admin.SecretInput) (admin.Credential, error) {
			patch.SecretInput = in
			return client.EditCredential(ctx, ref, patch)
		})
		if err != nil {
			return err
		}
		c.done("changed credential %s", made.Ref())
		return printChanged(c, made, made.Ref().String(), c.credentialFields)
	})
	return cmd
}

func (c *cli) credentialSetSecret() *cobra.Command {
	var s secretFlags
	cmd := &cobra.Command{
		Use:   "set-secret <scope>/<name>",
		Short: "Replace the secret; everything else stays",
		Long: `Replace the secret; everything else stays. The one before is kept sealed for a while: "credential rollback" goes back to it. For kind
basic the secret is two lines, the username and the password.`,
		Example: `  printf 'new' | keybearer credential set-secret docs/crm
  keybearer credential set-secret docs/crm --secret-file crm.secret`,
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
	}
	s.add(cmd)
	cmd.RunE = c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
		now, err := client.Credential(ctx, ref)
		if err != nil {
			return err
		}
		in, err := s.read(c, now.Kind)
		if err != nil {
			return err
		}
		// If the kind changed meanwhile, the secret would have another meaning.
		made, err := client.SetSecret(admin.IfRevision(ctx, now.Revision), ref, in)
		if err != nil {
			return err
		}
		c.done("set the secret of %s (version %d)", made.Ref(), made.Version)
		return printChanged(c, made, made.Ref().String(), c.credentialFields)
	})
	return cmd
}

// credentialVerb makes a command that does one thing to one credential.
func (c *cli) credentialVerb(verb, short, did string, do func(*admin.Client, context.Context, keybearer.Ref) (admin.Credential, error)) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " <scope>/<name>",
		Short:             short,
		Example:           "  keybearer credential " + verb + " docs/crm",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			made, err := do(client, ctx, ref)
			if err != nil {
				return err
			}
			c.done("%s credential %s", did, made.Ref())
			return printChanged(c, made, made.Ref().String(), c.credentialFields)
		}),
	}
}
