package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/caddymodule"
	"github.com/keybearer/keybearer/internal/anchor"
)

// anchorLine is what is told of one store's anchor.
type anchorLine struct {
	ID      string  `json:"id"`
	Store   string  `json:"store"`
	Change  uint64  `json:"change"`          // number of the last change that was seen
	Refused bool    `json:"refused"`         // the store was found to hold less
	Found   *uint64 `json:"found,omitempty"` // number of the last change that it held then
}

func (c *cli) anchorCommand() *cobra.Command {
	var config, adapter string
	show := &cobra.Command{
		Use:   "show",
		Short: "Show how far the store's history went, and whether it is refused",
		Long: `Show the file that remembers, outside the store, the number of the last change that this server has seen. It reads that file alone
and needs no running server.`,
		Example: "  keybearer anchor show\n  keybearer anchor show -o json",
		Args:    need(),
		RunE: func(*cobra.Command, []string) error {
			path, err := c.anchorPath(config, adapter)
			if err != nil {
				return err
			}
			entries, err := anchor.Read(path)
			if err != nil {
				return err
			}
			lines := make([]anchorLine, len(entries))
			for i, e := range entries {
				lines[i] = lineOf(e)
			}
			return printList(c, lines, listing[anchorLine]{
				heads: []string{"ID", "STORE", "CHANGE", "REFUSED"},
				cells: func(l anchorLine) []cell {
					refused := plain("no")
					if l.Refused {
						refused = bad("ends with change " + strconv.FormatUint(*l.Found, 10))
					}
					return []cell{bold(l.ID), plain(l.Store), plain(strconv.FormatUint(l.Change, 10)), refused}
				},
				name:  func(l anchorLine) string { return l.ID },
				empty: "there is no anchor at " + path + "; a server makes it when it starts",
			})
		},
	}
	accept := &cobra.Command{
		Use:   "accept [id]",
		Short: "Accept that a store lost changes, so that it serves again",
		Long: `Accept a store that is refused because it is older than what this server has seen of it: a backup was restored, or a standby took over that
lacked the last changes. What was revoked since is valid again and must be revoked again; the audit log tells what that was.

It changes the anchor's file alone. A server that runs takes notice within two seconds; in a fleet every server has an anchor of its own.`,
		Example: "  keybearer anchor accept",
		Args:    optional("[id]"),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := c.anchorPath(config, adapter)
			if err != nil {
				return err
			}
			id := ""
			if len(args) == 1 {
				id = args[0]
			}
			was, err := anchor.Accept(path, id)
			if err != nil {
				return err
			}
			first, last := was.Lost()
			c.warn("%s lost: revoke again what was revoked in them; the audit log tells (action, time)", changes(first, last))
			c.done("the store %s is accepted as it was found, at change %d", was.Kind, was.Found)
			return printChanged(c, lineOf(was), was.ID, func(l anchorLine) []field {
				return []field{
					row("id", plain(l.ID)),
					row("store", plain(l.Store)),
					row("change", plain(strconv.FormatUint(l.Change, 10))),
					row("found", plain(strconv.FormatUint(*l.Found, 10))),
				}
			})
		},
	}
	cmd := noun("anchor", "See whether a store is older than it was, and accept that",
		`The anchor is a small file outside the store, in which each server keeps the number of the last change that it has seen. A store that ends
before it is not served from: a restored backup would make valid again what was revoked since.`,
		show, accept)
	for _, verb := range []*cobra.Command{show, accept} {
		configFlags(verb, &config, &adapter)
	}
	c.outputFlag(cmd)
	return cmd
}

// anchorPath finds the anchor as the server does that runs with the same configuration.
func (c *cli) anchorPath(config, adapter string) (path string, err error) {
	err = c.caddyVoice(func() error {
		text, source, _, err := loadConfig(config, adapter)
		if err != nil {
			return err
		}
		if path, err = caddymodule.AnchorPath(text); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		return nil
	})
	return path, err
}

func lineOf(e anchor.Entry) anchorLine {
	l := anchorLine{ID: e.ID, Store: e.Kind, Change: e.Sequence, Refused: e.Refused}
	if e.Refused {
		l.Found = &e.Found
	}
	return l
}

func changes(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("change %d is", first)
	}
	return fmt.Sprintf("changes %d to %d are", first, last)
}
