package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/caddymodule"
)

// cli is what every command works with: the streams, the environment and the format asked for. It has no globals, so that the
// demo and the tests run commands inside their own process.
type cli struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	now      func() time.Time
	service  string // home of the machine's service

	style, errStyle style // of out and err
	format          format
	formatAsked     bool // -o was written
}

// newCLI works with the streams and the environment of the process.
func newCLI() *cli {
	return &cli{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		getenv: os.Getenv, now: time.Now, service: serviceHome,
		style: styleFor(os.Stdout, os.Getenv), errStyle: styleFor(os.Stderr, os.Getenv),
		format: asTable,
	}
}

// execute runs one command line, tells its error and returns the exit code.
func (c *cli) execute(ctx context.Context, args []string) int {
	root := c.rootCommand()
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[*usageError](err); !ok && isCobraUsage(err) {
		err = usagef("%s", strings.TrimSuffix(err.Error(), "."))
	}
	if e, ok := errors.AsType[*usageError](err); ok && e.hint == "" {
		e.hint = cmd.CommandPath() + " --help tells how it is used"
	}
	return c.fail(err)
}

// isCobraUsage reports whether err is one of the few errors that cobra makes itself, which are all about the command line; the rest
// comes through the functions that rootCommand sets.
func isCobraUsage(err error) bool {
	text := err.Error()
	for _, prefix := range []string{"unknown command ", "required flag(s) ", "if any flags in the group ", "at least one of the flags ", "invalid argument "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// home returns KEYBEARER_HOME, or its default.
func (c *cli) home() (string, error) {
	if dir := c.getenv("KEYBEARER_HOME"); dir != "" {
		return filepath.Abs(dir)
	}
	return caddymodule.Home()
}

// outputFlag gives cmd, and the commands below it, the flag -o.
func (c *cli) outputFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().VarP(&c.format, "output", "o", "`format`: table, json, yaml or name")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{string(asTable), string(asJSON), string(asYAML), string(asName)}, cobra.ShellCompDirectiveNoFileComp))
}
