package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

// versionInfo tells what this binary was made of.
type versionInfo struct {
	Keybearer string `json:"keybearer"`
	Revision  string `json:"revision,omitempty"`
	Caddy     string `json:"caddy"`
	Go        string `json:"go"`
	Platform  string `json:"platform"`
}

func currentVersion() versionInfo {
	v := versionInfo{Keybearer: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	v.Caddy, _ = caddy.Version()
	if bi, ok := debug.ReadBuildInfo(); ok {
		if m := bi.Main.Version; m != "" && m != "(devel)" {
			v.Keybearer = m
		}
		if caddy.CustomVersion != "" { // set by the linker
			v.Keybearer = caddy.CustomVersion
		}
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return v
}

func (c *cli) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Tell the version",
		Example: "  keybearer version\n  keybearer version -o json",
		Args:    need(),
		RunE: func(*cobra.Command, []string) error {
			v := currentVersion()
			if c.format == asTable {
				_, err := fmt.Fprintf(c.out, "keybearer %s (caddy %s, %s %s)\n", v.Keybearer, v.Caddy, v.Go, v.Platform)
				return err
			}
			return printItem(c, v, v.Keybearer, nil)
		},
	}
	c.outputFlag(cmd)
	return cmd
}
