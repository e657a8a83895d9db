package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (c *cli) manpageCommand() *cobra.Command {
	var directory string
	cmd := &cobra.Command{
		Use:     "manpage",
		Short:   "Write the manual pages of all commands",
		Example: "  keybearer manpage --directory man",
		Args:    need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if directory == "" {
				return usagef("manpage needs --directory")
			}
			if err := os.MkdirAll(directory, 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "KEYBEARER", Section: "1", Source: "Keybearer"}, directory); err != nil {
				return err
			}
			c.done("wrote the manual pages to %s", directory)
			return nil
		},
	}
	cmd.Flags().StringVar(&directory, "directory", "", "`directory` for the pages; made if it is not there")
	return cmd
}
