package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) credentialCommand() *cobra.Command {
	cmd := noun("credential", "Manage credentials: what is sent, and where it may go",
		`A credential holds one secret, the destinations that it may be sent to, and grants that say who may use it. It is named
<scope>/<name>. Secrets are written only: no command shows one.`,
		c.credentialCreate(), c.credentialList(), c.credentialShow(), c.credentialEdit(), c.credentialSetSecret(),
		c.credentialVerb("disable", "Refuse every use at once; can be taken back", "disabled",
			(*admin.Client).DisableCredential),
		c.credentialVerb("enable", "Take back a disable", "enabled", (*admin.Client).EnableCredential),
		c.credentialVerb("rollback", "Go back to the secret before this one", "rolled back", (*admin.Client).RollbackCredential),
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

// secretFlags are the flags of every command that takes a secret.
type secretFlags struct {
	file       string
	keepBlanks bool
}

func (s *secretFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "secret-file", "", "read the secret from this `file`; - is standard input")
	cmd.Flags().BoolVar(&s.keepBlanks, "keep-blanks", false, "blanks at the secret's beginning or end are meant")
}

// read takes the secret as the API wants it.
func (s *secretFlags) read(c *cli, kind keybearer.Kind) (admin.SecretInput, error) {
	in, err := c.readSecret(kind, s.file)
	if err != nil {
		return admin.SecretInput{}, err
	}
	return admin.SecretInput{
		Username:   admin.NewPlaintext(in.Username),
		Secret:     admin.Plaintext{Secret: in.Secret},
		KeepBlanks: s.keepBlanks,
	}, nil
}

// withSecretIfNeeded makes a change that may widen what the secret is used for: without the secret first unless a file is named, and with it when
// the server asks for it.
func (s *secretFlags) withSecretIfNeeded(ctx context.Context, c *cli, client *admin.Client, ref keybearer.Ref, kind keybearer.Kind,
	change func(context.Context, admin.SecretInput) (admin.Credential, error),
) (admin.Credential, error) {
	if s.file == "" {
		made, err := change(ctx, admin.SecretInput{})
		if keybearer.CodeOf(err) != keybearer.SecretRequired {
			return made, err
		}
		if isTerminal(c.in) {
			c.note("this widens where the secret may go, so it has to be given again")
		}
	}
	if kind == "" {
		now, err := client.Credential(ctx, ref)
		if err != nil {
			return now, err
		}
		kind = now.Kind
		ctx = admin.IfRevision(ctx, now.Revision)
	}
	in, err := s.read(c, kind)
	if err != nil {
		return admin.Credential{}, widening(err)
	}
	return change(ctx, in)
}

// widening says why a secret was wanted at all, when none was given.
func widening(err error) error {
	if e := keybearer.AsError(err); e.Code == keybearer.SecretInvalid && e.Hint == secretHint {
		return &keybearer.Error{Code: keybearer.SecretRequired, Hint: secretHint}
	}
	return err
}

// termsFlags are the flags that say how a secret is written and when.
type termsFlags struct {
	kind, header, prefix, description, expires string
	requireUser, websocket                     bool
	passCookies, passTrace                     bool
}

func (t *termsFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.kind, "kind", "", "`kind`: basic, bearer or header")
	f.StringVar(&t.header, "header", "", "kind header: the `name` of the header that is written")
	f.StringVar(&t.prefix, "prefix", "", "kind header: `text` before the secret, as in 'Token '")
	f.StringVar(&t.description, "description", "", "what it is for")
	f.StringVar(&t.expires, "expires", "", "`when` it stops: 90d, 12h, 2027-01-31, an RFC 3339 time, or never")
	f.BoolVar(&t.requireUser, "require-user", false, "use it only on behalf of a person who holds use")
	f.BoolVar(&t.websocket, "websocket", false, "let requests become websockets")
	f.BoolVar(&t.passCookies, "pass-cookies", false, "let the app's Cookie header through")
	f.BoolVar(&t.passTrace, "pass-trace", false, "let traceparent, tracestate and baggage through")
	_ = cmd.RegisterFlagCompletionFunc("kind", words(string(keybearer.Basic), string(keybearer.Bearer), string(keybearer.Header)))
}

func words(list ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

// domainFlags are rules as the command line gives them; methods and private apply to all of them.
type domainFlags struct {
	methods []string
	private bool
}

func (d *domainFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&d.methods, "methods", nil, "only these `methods`, as in POST,PUT; for every domain of this command")
	cmd.Flags().BoolVar(&d.private, "private", false, "they are on private networks that the operator allows; for every domain of this command")
	_ = cmd.RegisterFlagCompletionFunc("methods", words(keybearer.Methods...))
}

func (d *domainFlags) destinations(rules []string) []admin.Destination {
	list := make([]admin.Destination, len(rules))
	for i, r := range rules {
		list[i] = admin.Destination{Rule: r, Methods: d.methods, Private: d.private}
	}
	return list
}

func (c *cli) credentialCreate() *cobra.Command {
	var t termsFlags
	var s secretFlags
	var d domainFlags
	var domains []string
	cmd := &cobra.Command{
		Use:   "create <scope>/<name>",
		Short: "Create a credential",
		Long: `Create a credential. The secret comes from standard input, from --secret-file, or is asked for at the terminal; one newline at its end
does not count. For kind basic it is two lines, the username and the password.

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
		if isTerminal(c.in) && s.file == "" { // say what would fail before anyone types a secret
			if scope, err := client.Scope(ctx, ref.Scope); err != nil {
				return err
			} else if scope.Key == nil {
				return (&keybearer.Error{Code: keybearer.ScopeKeyMissing}).WithHint("generate one first: keybearer scope generate-key " + scope.Name)
			}
		}
		in, err := s.read(c, kind)
		if err != nil {
			return err
		}
		made, err := client.CreateCredential(ctx, ref.Scope, admin.NewCredential{
			Name: ref.Name, Description: t.description, Kind: kind, Header: t.header, Prefix: t.prefix, SecretInput: in,
			Destinations: d.destinations(domains), RequireUser: t.requireUser, WebSocket: t.websocket,
			PassCookies: t.passCookies, PassTrace: t.passTrace, ExpiresAt: expires,
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

// warnClear says which destinations get the secret without TLS.
func (c *cli) warnClear(destinations []admin.Destination) {
	for _, d := range destinations {
		if d.Clear {
			c.warn("the secret is sent in clear to %s", d.Rule)
		}
	}
}

func (c *cli) credentialList() *cobra.Command {
	var q admin.ListQuery
	var limit int
	var scope, kind, subject string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List credentials that you may see",
		Example: "  keybearer credential list\n  keybearer credential list --scope docs -o json\n  keybearer credential list --search example.com --kind bearer",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			q.Kind, q.Subject = keybearer.Kind(kind), keybearer.Subject(subject)
			list, err := all(limit, q, func(q admin.ListQuery) (admin.Page[admin.Credential], error) {
				return client.Credentials(ctx, scope, q)
			})
			if err != nil {
				return err
			}
			return printList(c, list, c.credentialListing())
		}),
	}
	listFlags(cmd, &q, &limit)
	cmd.Flags().StringVar(&scope, "scope", admin.AllScopes, "only of this `scope`")
	cmd.Flags().Lookup("scope").DefValue = ""
	cmd.Flags().StringVar(&kind, "kind", "", "only of this `kind`")
	cmd.Flags().StringVar(&subject, "subject", "", "only those with a grant for this `subject`, as in app:billing")
	_ = cmd.RegisterFlagCompletionFunc("scope", c.completeFlag(scopeNames))
	_ = cmd.RegisterFlagCompletionFunc("subject", c.completeFlag(subjectNames))
	_ = cmd.RegisterFlagCompletionFunc("kind", words(string(keybearer.Basic), string(keybearer.Bearer), string(keybearer.Header)))
	return cmd
}

func (c *cli) credentialListing() listing[admin.Credential] {
	return listing[admin.Credential]{
		heads: []string{"NAME", "KIND", "STATE", "DESTINATIONS", "LAST USED", "EXPIRES"},
		cells: func(x admin.Credential) []cell {
			used := ""
			if x.Usage != nil && !x.Usage.LastAt.IsZero() {
				used = ago(x.Usage.LastAt, c.now()) + " by " + x.Usage.LastCaller
			}
			return []cell{
				bold(x.Ref().String()), plain(string(x.Kind)), stateCell(x.State), plain(ruleTexts(x.Destinations)), plain(used),
				plain(ago(x.ExpiresAt, c.now())),
			}
		},
		name:  func(x admin.Credential) string { return x.Ref().String() },
		empty: "no credential that you may see",
	}
}

func stateCell(s keybearer.State) cell {
	switch s {
	case keybearer.Active:
		return good(string(s))
	case keybearer.NeedsSecret, keybearer.Expired:
		return odd(string(s))
	}
	return bad(string(s))
}

// ruleTexts names the destinations in a few words.
func ruleTexts(destinations []admin.Destination) string {
	switch len(destinations) {
	case 0:
		return "no destination"
	case 1:
		return destinations[0].Rule
	}
	return fmt.Sprintf("%s and %d more", destinations[0].Rule, len(destinations)-1)
}

// ruleCell is one rule with what is special about it.
func ruleCell(d admin.Destination) cell {
	text := d.Rule
	if len(d.Methods) > 0 {
		text += "  " + strings.Join(d.Methods, ",")
	}
	if d.Private {
		text += "  private"
	}
	if d.Clear {
		return odd(text + "  sent in clear")
	}
	return plain(text)
}

func (c *cli) credentialFields(x admin.Credential) []field {
	var rules, grants, users []cell
	for _, d := range x.Destinations {
		rules = append(rules, ruleCell(d))
	}
	if len(rules) == 0 {
		rules = []cell{odd("none: every request is refused")}
	}
	for _, g := range x.Grants {
		grants = append(grants, plainf("%s  %s", g.Subject, g.Level))
	}
	now := c.now()
	var last, uses cell
	if u := x.Usage; u != nil {
		if !u.LastAt.IsZero() {
			last = plainf("%s by %s to %s (%d)", ago(u.LastAt, now), u.LastCaller, u.LastHost, u.LastStatus)
		}
		uses = plainf("%d, %d refused", u.Count, u.Refused)
		for _, by := range u.Callers {
			users = append(users, plainf("app:%s  %s ago, %d times", by.Caller, span(max(now.Sub(by.LastAt), 0)), by.Count))
		}
	}
	var previous cell
	if p := x.Previous; p != nil {
		previous = plainf("version %d, ends %s", p.Version, ago(p.KeptTo, now))
	}
	var writes string
	switch x.Kind {
	case keybearer.Basic, keybearer.Bearer:
		writes = "Authorization"
	default:
		writes = x.Header + ": " + x.Prefix + "…"
	}
	var options []string
	for _, o := range []struct {
		on   bool
		name string
	}{
		{x.RequireUser, "require-user"},
		{x.WebSocket, "websocket"},
		{x.PassCookies, "pass-cookies"},
		{x.PassTrace, "pass-trace"},
	} {
		if o.on {
			options = append(options, o.name)
		}
	}
	return []field{
		row("name", bold(x.Ref().String())),
		row("id", plain(x.ID)),
		row("description", plain(x.Description)),
		row("kind", plain(string(x.Kind))),
		row("writes", plain(writes)),
		row("state", stateCell(x.State)),
		row("destinations", rules...),
		row("options", plain(strings.Join(options, ", "))),
		row("grants", grants...),
		row("your level", plain(x.Level.String())),
		row("secret", plainf("version %d, %s", x.Version, ago(x.VersionAt, now))),
		row("previous", previous),
		row("expires", plain(ago(x.ExpiresAt, now))),
		row("last used", last),
		row("uses", uses),
		row("used by", users...),
		row("created", plain(ago(x.CreatedAt, now))),
		row("changed", plain(ago(x.UpdatedAt, now))),
		row("deleted", bad(ago(x.DeletedAt, now))),
		row("restorable", plain(ago(x.RestorableTo, now))),
	}
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
			return printItem(c, x, x.Ref().String(), c.credentialFields(x))
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

// patch holds the flags that were written.
func (t *termsFlags) patch(c *cli, cmd *cobra.Command) (admin.CredentialPatch, error) {
	var p admin.CredentialPatch
	f := cmd.Flags()
	changed := 0
	for name, set := range map[string]func(){
		"kind":         func() { kind := keybearer.Kind(t.kind); p.Kind = &kind },
		"header":       func() { p.Header = &t.header },
		"prefix":       func() { p.Prefix = &t.prefix },
		"description":  func() { p.Description = &t.description },
		"expires":      func() { p.ExpiresAt.Set = true },
		"require-user": func() { p.RequireUser = &t.requireUser },
		"websocket":    func() { p.WebSocket = &t.websocket },
		"pass-cookies": func() { p.PassCookies = &t.passCookies },
		"pass-trace":   func() { p.PassTrace = &t.passTrace },
	} {
		if f.Changed(name) {
			set()
			changed++
		}
	}
	if changed == 0 {
		return p, usagef("there is nothing to change").withHint("keybearer credential edit --help lists what can be; domains and grants have commands of their own")
	}
	var err error
	p.ExpiresAt.Time, err = c.expiry(t.expires)
	return p, err
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

func (c *cli) credentialDelete() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "delete <scope>/<name>",
		Short: "Delete a credential; can be restored for a while",
		Long: `Delete a credential: every use is refused at once. "credential restore" brings it back for 7 days. If it was used in the last 30 days,
this tells by whom and wants --force.`,
		Example:           "  keybearer credential delete docs/crm\n  keybearer credential delete docs/legacy --force",
		Args:              need("<scope>/<name>"),
		ValidArgsFunction: c.complete(credentialNames),
		RunE: c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, _ []string) error {
			made, err := client.DeleteCredential(ctx, ref, force)
			if keybearer.CodeOf(err) == keybearer.RecentlyUsed {
				c.tellUsers(ctx, client, ref)
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
	cmd.Flags().BoolVar(&force, "force", false, "delete it even if it was used lately")
	return cmd
}

// tellUsers says who used the credential lately.
func (c *cli) tellUsers(ctx context.Context, client *admin.Client, ref keybearer.Ref) {
	x, err := client.Credential(ctx, ref)
	if err != nil || x.Usage == nil {
		return
	}
	for _, by := range x.Usage.Callers {
		c.note("app:%s used it %s, %d times, last to %s", by.Caller, ago(by.LastAt, c.now()), by.Count, by.Host)
	}
}

// scopePrefixes completes the scope of a credential that is about to be made.
func scopePrefixes(ctx context.Context, client *admin.Client) ([]string, error) {
	names, err := scopeNames(ctx, client)
	for i := range names {
		names[i] += "/"
	}
	return names, err
}
