package main

import (
	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/caddymodule"
)

func (c *cli) backupCommand() *cobra.Command {
	var config, adapter string
	cmd := &cobra.Command{
		Use:   "backup <directory>",
		Short: "Copy the store and the wrapped keys, while the server runs or not",
		Long: `Write a copy of the SQLite store, as it is at one moment, and of the local keyring's wrapped scope keys into a directory, which is made if
need be. The server need not stop and is not held up. It works on the files that the configuration names, so it is run on the server's machine, as its user
or root. Both copies are in the directory and belong together, or neither is.

The key-encryption key (keyring.key) is left out on purpose: whoever holds it and the backup holds the secrets. It never changes; keep one copy of it
somewhere else. The audit log is left out too; it only grows, and an upgrade does not touch it.

To restore: stop the server, put both files back in their places, remove the files that end in -wal and -shm there, start the server, and when it
refuses a store that is older than what it has seen, keybearer anchor accept. PostgreSQL and Vault have backups of their own.`,
		Example: "  keybearer backup backup-2026-12-01\n  keybearer backup \"$(mktemp -d)\" -o json",
		Args:    need("<directory>"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := c.atRest(config, adapter)
			if err != nil {
				return err
			}
			b, err := at.Backup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			c.done("backed up the store, at change %d, into %s", b.Change, b.Store)
			if b.Keyring != "" {
				c.done("backed up the wrapped scope keys into %s", b.Keyring)
			}
			if b.KEK != "" {
				c.note("%s is not in it, and nothing opens without it: keep one copy of it somewhere else", b.KEK)
			}
			return printChanged(c, b, b.Store, func(b caddymodule.Backup) []field {
				return []field{row("store", plain(b.Store)), row("keyring", plain(b.Keyring)), row("schema", plainf("%d", b.Schema)), row("change", plainf("%d", b.Change))}
			})
		},
	}
	configFlags(cmd, &config, &adapter)
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	c.outputFlag(cmd)
	return cmd
}
