package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/custody"
)

func (c *cli) migrateCommand() *cobra.Command {
	cmd := noun("migrate", "Move to another keyring or store while everything is used",
		`Move secrets to another keyring (from the local one to Vault, from one Vault to another), or records to another store (from SQLite to
PostgreSQL), while apps go on sending and operators go on editing. The Caddyfile names both at the same time: the new one in keyring or
store, the old one in former_keyring or former_store. Reload, run the command, and remove the line that it names at the end.

A move that is interrupted loses nothing: run the command again and it goes on.`,
		c.migrateKeyring(), c.migrateStore(), c.migrateStatus())
	c.outputFlag(cmd)
	return cmd
}

const (
	movesAtATime = 8                      // scopes
	lookEvery    = 250 * time.Millisecond // how often the server is asked for the progress
	tellEvery    = 2 * time.Second        // how often it is told
)

func (c *cli) migrateKeyring() *cobra.Command {
	var scopes []string
	cmd := &cobra.Command{
		Use:   "keyring",
		Short: "Move the secrets of scopes from former_keyring to keyring",
		Long: `Move the secrets of all scopes, or of those named, from the keyring in former_keyring to the one in keyring. Each secret is opened with the
old key, sealed with a new one, opened again and compared; then the old key is destroyed. Use and changes go on meanwhile.

A secret that does not open with its old key is left as it is and named, and the old key is kept for it. Delete that credential or set its
secret anew, and the move goes on.`,
		Example: "  keybearer migrate keyring --scope docs\n  keybearer migrate keyring\n  keybearer migrate keyring -o json",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			return c.moveKeys(ctx, client, scopes)
		}),
	}
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "only this `scope`; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("scope", c.completeFlag(scopeNames))
	return cmd
}

// moveKeys moves the named scopes, or all, and tells how far they are.
func (c *cli) moveKeys(ctx context.Context, client *admin.Client, names []string) error {
	m, err := client.KeyMigration(ctx)
	if err != nil {
		return err
	}
	if !m.Former {
		return keybearer.NewError(keybearer.Conflict, "there is no former keyring to move secrets from").
			WithHint("in the Caddyfile, name the new keyring in keyring and the old one in former_keyring, and reload")
	}
	asked := func(s admin.ScopePlace) bool {
		return len(names) == 0 || slices.Contains(names, s.Name) || slices.Contains(names, s.ID)
	}
	for _, name := range names {
		if !slices.ContainsFunc(m.Scopes, func(s admin.ScopePlace) bool { return s.Name == name || s.ID == name }) {
			return keybearer.NewError(keybearer.NotFound, "there is no scope "+name+" with a key")
		}
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- startMoves(work, client, m.Scopes, asked) }()
	if m, err = c.watchKeys(ctx, client, asked, failed); err != nil {
		return err
	}
	if m.Done {
		c.done("all secrets are in the new keyring; now remove the line former_keyring from the Caddyfile and reload")
	} else {
		c.note("other scopes are still in the former keyring: leave the line former_keyring in the Caddyfile, and run keybearer migrate keyring")
	}
	if !c.formatAsked {
		return nil
	}
	return c.printKeys(m)
}

// startMoves asks the server to move the scopes, a few at a time, and returns the first error.
func startMoves(ctx context.Context, client *admin.Client, scopes []admin.ScopePlace, asked func(admin.ScopePlace) bool) error {
	slots := make(chan struct{}, movesAtATime)
	errs := make(chan error, len(scopes))
	started := 0
	for _, s := range scopes {
		if !asked(s) || s.Place == custody.Moved || !s.DeletedAt.IsZero() || s.Key == nil {
			continue
		}
		started++
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			var err error
			if s.Work != nil || s.Place != custody.Moving { // else only the old key is still to be destroyed, which goes on by itself
				_, err = client.MoveKey(ctx, s.ID)
			}
			if e, ok := errors.AsType[*keybearer.Error](err); ok {
				err = keybearer.NewError(e.Code, "scope "+s.Name+": "+e.Message()).WithHint(e.Advice())
			}
			errs <- err
		}()
	}
	var first error
	for range started {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// watchKeys waits until the scopes asked for have moved, or one of them cannot.
func (c *cli) watchKeys(ctx context.Context, client *admin.Client, asked func(admin.ScopePlace) bool, failed <-chan error) (admin.KeyMigration, error) {
	var told time.Time
	var failure error
	asking := true
	for {
		m, err := client.KeyMigration(ctx)
		if err != nil {
			return m, err
		}
		left := 0
		var lines, stuck []string
		for _, s := range m.Scopes {
			if !asked(s) || s.Place == custody.Moved {
				continue
			}
			left++
			switch {
			case s.Work != nil && len(s.Work.Stuck) > 0:
				stuck = append(stuck, credentialsOf(s))
			case s.Work != nil:
				lines = append(lines, moveLine(s.Name, s.Work))
			}
		}
		switch {
		case left == 0:
			return m, nil
		case len(stuck) > 0 && len(lines) == 0:
			return m, keybearer.NewError(keybearer.Conflict, "some secrets do not open with the former key: "+strings.Join(stuck, ", ")).
				WithHint("delete these credentials or set their secrets anew; the move then goes on by itself")
		case !asking && failure != nil && len(lines) == 0:
			return m, failure
		}
		if now := c.now(); len(lines) > 0 && now.Sub(told) > tellEvery {
			told = now
			for _, line := range lines {
				c.note("%s", line)
			}
		}
		select {
		case <-ctx.Done():
			return m, ctx.Err()
		case failure = <-failed:
			asking, failed = false, nil
		case <-time.After(lookEvery):
		}
	}
}

func credentialsOf(s admin.ScopePlace) string {
	names := make([]string, len(s.Work.Stuck))
	for i, name := range s.Work.Stuck {
		names[i] = s.Name + "/" + name
	}
	return strings.Join(names, ", ")
}

func moveLine(scope string, w *admin.Work) string {
	waiting := ""
	if w.Waiting != "" {
		waiting = fmt.Sprintf(", waiting (%s)", w.Waiting)
	}
	return fmt.Sprintf("%s: %d of %d credentials%s", scope, w.Done, w.Total, waiting)
}

func (c *cli) migrateStore() *cobra.Command {
	return &cobra.Command{
		Use:   "store",
		Short: "Move all records from former_store to store",
		Long: `Move all records from the store in former_store to the one in store, which must be empty. They are copied while use and changes go on. At the
end changes wait for a moment, until the last ones are copied and both stores have been compared; then the new one is in use. The old one is
left as it is, marked, and never used again.`,
		Example: "  keybearer migrate store",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			m, err := client.MoveStore(ctx)
			if err == nil {
				m, err = c.watchStore(ctx, client, m)
			}
			if err != nil {
				return err
			}
			c.done("all records are in the new store; now remove the line former_store from the Caddyfile and reload")
			if !c.formatAsked {
				return nil
			}
			return printItem(c, m, string(m.Phase), c.storeFields(m))
		}),
	}
}

// watchStore waits until the new store is in use, or the move has been given up.
func (c *cli) watchStore(ctx context.Context, client *admin.Client, m admin.StoreMigration) (admin.StoreMigration, error) {
	var told time.Time
	for m.Phase != custody.Done {
		if m.Phase == custody.Ready {
			if m.Waiting == "" {
				return m, keybearer.NewError(keybearer.Conflict, "the move was interrupted").WithHint("run keybearer migrate store again; it goes on where it was")
			}
			return m, keybearer.NewError(m.Waiting, m.Detail).WithHint(m.Hint)
		}
		if now := c.now(); now.Sub(told) > tellEvery {
			told = now
			waiting := ""
			if m.Waiting != "" {
				waiting = ", waiting: " + m.Detail
			}
			c.note("%s: %d of %d records%s", m.Phase, m.Done, m.Total, waiting)
		}
		select {
		case <-ctx.Done():
			return m, ctx.Err()
		case <-time.After(lookEvery):
		}
		var err error
		if m, err = client.StoreMigration(ctx); err != nil {
			return m, err
		}
	}
	return m, nil
}

func (c *cli) storeFields(m admin.StoreMigration) []field {
	if !m.Former {
		return []field{row("store", plain("no former_store"))}
	}
	fields := []field{row("store", plain(string(m.Phase))), row("records", plainf("%d of %d", m.Done, m.Total))}
	if m.Waiting != "" {
		fields = append(fields, row("waiting", odd(m.Detail)))
	}
	return fields
}

// migrations is how far both moves are.
type migrations struct {
	Keyring admin.KeyMigration   `json:"keyring"`
	Store   admin.StoreMigration `json:"store"`
}

func (c *cli) migrateStatus() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show what has moved and what is left",
		Example: "  keybearer migrate status\n  keybearer migrate status -o json",
		Args:    need(),
		RunE: c.with(func(ctx context.Context, client *admin.Client, _ []string) error {
			var m migrations
			var err error
			if m.Keyring, err = client.KeyMigration(ctx); err != nil {
				return err
			}
			if m.Store, err = client.StoreMigration(ctx); err != nil {
				return err
			}
			if c.format != asTable {
				return printItem(c, m, c.lines(m.Keyring), nil)
			}
			if err := writeFields(c.out, c.style, c.storeFields(m.Store)); err != nil {
				return err
			}
			if !m.Keyring.Former {
				return writeFields(c.out, c.style, []field{row("keyring", plain("no former_keyring"))})
			}
			if err := c.printKeys(m.Keyring); err != nil {
				return err
			}
			if m.Keyring.Done {
				c.note("nothing is left in the former keyring: remove the line former_keyring from the Caddyfile and reload")
			}
			if m.Store.Phase == custody.Done {
				c.note("the new store is in use: remove the line former_store from the Caddyfile and reload")
			}
			return nil
		}),
	}
}

func (c *cli) lines(m admin.KeyMigration) string {
	return strings.Join(namesOf(m.Scopes, func(s admin.ScopePlace) string { return s.Name }), "\n")
}

// printKeys lists where the scopes are.
func (c *cli) printKeys(m admin.KeyMigration) error {
	if c.format == asJSON || c.format == asYAML {
		return c.encode(m)
	}
	return printList(c, m.Scopes, listing[admin.ScopePlace]{
		heads: []string{"SCOPE", "PLACE", "KEY"},
		cells: func(s admin.ScopePlace) []cell {
			place := odd(string(s.Place))
			if s.Place == custody.Moved {
				place = plain(string(s.Place))
			}
			return []cell{bold(s.Name), place, c.scopeKeyCell(s.Scope)}
		},
		name:  func(s admin.ScopePlace) string { return s.Name },
		empty: "no scope has a key",
	})
}
