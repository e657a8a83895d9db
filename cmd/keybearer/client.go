package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// serviceHome is where the service of the package keeps everything; root and the service's user alone see into it.
const serviceHome = "/var/lib/keybearer"

// serverConfig reads where the admin API is from the environment: the socket in KEYBEARER_HOME, or what KEYBEARER_ADDR names,
// "https://host:port" with the token in KEYBEARER_TOKEN_FILE, or "unix/<path>". Errors name what to set. Who names nothing and never ran a server of
// their own means the service of this machine, if they may see it.
func (c *cli) serverConfig() (admin.ClientConfig, error) {
	address := strings.TrimSpace(c.getenv("KEYBEARER_ADDR"))
	if address == "" {
		home, err := c.home()
		if err != nil {
			return admin.ClientConfig{}, err
		}
		if service := filepath.Join(c.service, "admin.sock"); c.getenv("KEYBEARER_HOME") == "" && !exists(home) && exists(service) {
			return admin.ClientConfig{Socket: service}, nil
		}
		return admin.ClientConfig{Socket: filepath.Join(home, "admin.sock")}, nil
	}
	for _, prefix := range []string{"unix//", "unix:", "/"} {
		if path, ok := strings.CutPrefix(address, prefix); ok {
			return admin.ClientConfig{Socket: filepath.Clean("/" + path)}, nil
		}
	}
	cfg := admin.ClientConfig{Address: address}
	if file := c.getenv("KEYBEARER_TOKEN_FILE"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return cfg, &hintedError{err, "KEYBEARER_TOKEN_FILE names a file that holds one operator token"}
		}
		cfg.Token = keybearer.NewSecret(strings.TrimSpace(string(text)))
	}
	return cfg, nil
}

// client speaks to the server that the environment names. It connects when it is first used.
func (c *cli) client() (*admin.Client, error) {
	cfg, err := c.serverConfig()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(cfg)
}

// with wraps a function that needs a client as what a command runs. At a terminal it waits for a server that is about to start.
func (c *cli) with(fn func(ctx context.Context, client *admin.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.await(cmd.Context())
		client, err := c.client()
		if err != nil {
			return err
		}
		return fn(cmd.Context(), client, args)
	}
}

// all reads every page of a listing, or the first so many records if limit is not 0.
func all[T any](limit int, q admin.ListQuery, page func(admin.ListQuery) (admin.Page[T], error)) ([]T, error) {
	var items []T
	for {
		q.Limit = 1000
		if limit > 0 {
			q.Limit = min(limit-len(items), q.Limit)
		}
		p, err := page(q)
		if err != nil {
			return nil, err
		}
		items = append(items, p.Items...)
		if p.Next == "" || limit > 0 && len(items) >= limit {
			return items, nil
		}
		q.Cursor = p.Next
	}
}

// listFlags are the flags that every list has.
func listFlags(cmd *cobra.Command, q *admin.ListQuery, limit *int) {
	cmd.Flags().StringVar(&q.Text, "search", "", "only those with this `text` in name, description or destination")
	cmd.Flags().BoolVar(&q.Deleted, "deleted", false, "deleted ones too")
	cmd.Flags().IntVar(limit, "limit", 0, "at most `n`; 0: all")
}

// complete makes what completes the nth argument with names from the running server; it is silent when there is none.
func (c *cli) complete(sources ...func(context.Context, *admin.Client) ([]string, error)) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(sources) || sources[len(args)] == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.names(prefix, sources[len(args)])
	}
}

// completeFlag makes what completes the value of a flag.
func (c *cli) completeFlag(source func(context.Context, *admin.Client) ([]string, error)) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return c.names(prefix, source)
	}
}

func (c *cli) names(prefix string, source func(context.Context, *admin.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	client, err := c.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	names, err := source(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var fit []string
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			fit = append(fit, name)
		}
	}
	return fit, cobra.ShellCompDirectiveNoFileComp
}

// fixed completes with words.
func fixed(words ...string) func(context.Context, *admin.Client) ([]string, error) {
	return func(context.Context, *admin.Client) ([]string, error) { return words, nil }
}

func scopeNames(ctx context.Context, client *admin.Client) ([]string, error) {
	page, err := client.Scopes(ctx, admin.ListQuery{Limit: 1000})
	return namesOf(page.Items, func(s admin.Scope) string { return s.Name }), err
}

func credentialNames(ctx context.Context, client *admin.Client) ([]string, error) {
	page, err := client.Credentials(ctx, admin.AllScopes, admin.ListQuery{Limit: 1000, Deleted: true})
	return namesOf(page.Items, func(c admin.Credential) string { return c.Ref().String() }), err
}

func callerNames(ctx context.Context, client *admin.Client) ([]string, error) {
	page, err := client.Callers(ctx, admin.ListQuery{Limit: 1000})
	return namesOf(page.Items, func(c admin.Caller) string { return c.Name }), err
}

// subjectNames are whom a grant may be for, as far as the server knows them: callers, operators and operators' groups.
func subjectNames(ctx context.Context, client *admin.Client) ([]string, error) {
	names, err := appNames(ctx, client)
	page, err2 := client.Operators(ctx, admin.ListQuery{Limit: 1000})
	var groups []string
	for _, o := range page.Items {
		names = append(names, string(keybearer.UserSubject(o.Name)))
		for _, g := range o.Groups {
			groups = append(groups, string(keybearer.GroupSubject(g)))
		}
	}
	slices.Sort(groups)
	return append(names, slices.Compact(groups)...), cmp.Or(err, err2)
}

func appNames(ctx context.Context, client *admin.Client) ([]string, error) {
	names, err := callerNames(ctx, client)
	for i, name := range names {
		names[i] = string(keybearer.AppSubject(name))
	}
	return names, err
}

func operatorNames(ctx context.Context, client *admin.Client) ([]string, error) {
	page, err := client.Operators(ctx, admin.ListQuery{Limit: 1000})
	return namesOf(page.Items, func(o admin.Operator) string { return o.Name }), err
}

func namesOf[T any](items []T, name func(T) string) []string {
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = name(item)
	}
	return names
}

// scopePrefixes completes the scope of a credential that is about to be made.
func scopePrefixes(ctx context.Context, client *admin.Client) ([]string, error) {
	names, err := scopeNames(ctx, client)
	for i := range names {
		names[i] += "/"
	}
	return names, err
}
