package main

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// fromCaddy are the commands of Caddy that stand under our root, with our own words.
var fromCaddy = []struct{ name, short, example string }{
	{"adapt", "Turn a Caddyfile into Caddy's JSON", `  keybearer adapt --config Caddyfile --pretty`},
	{"fmt", "Format a Caddyfile", `  keybearer fmt --overwrite Caddyfile
  keybearer fmt - < Caddyfile`},
	{"list-modules", "List the Caddy modules that are built in", `  keybearer list-modules --skip-standard`},
}

// caddyCommands takes over Caddy's commands: their flags and code, our voice, exit codes and argument checks.
func (c *cli) caddyCommands() []*cobra.Command {
	all := caddycmd.Commands()
	var cmds []*cobra.Command
	for _, f := range fromCaddy {
		theirs := all[f.name]
		cmd := &cobra.Command{
			Use:     f.name,
			Short:   f.short,
			Long:    strings.NewReplacer("caddy ", "keybearer ").Replace(strings.TrimSpace(theirs.Long)),
			Example: f.example,
		}
		if theirs.CobraFunc != nil {
			theirs.CobraFunc(cmd)
		} else {
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(theirs.Func)
			cmd.Flags().AddGoFlagSet(theirs.Flags)
		}
		if f.name == "fmt" {
			cmd.Use += " [file]"
			cmd.Args = optional("[file]")
		} else {
			cmd.Args = need()
		}
		run := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			return c.caddyVoice(func() error { return run(cmd, args) })
		}
		cmds = append(cmds, cmd)
	}
	return cmds
}

// caddyVoice runs a function of Caddy's that logs what it has to say: its warnings come out in our voice, its errors once, as
// what the function returns.
func (c *cli) caddyVoice(fn func() error) error {
	_, _, buffer := caddy.BufferedLog()
	err := fn()
	buffer.FlushTo(zap.New(warnings{zap.WarnLevel, c}))
	return err
}

// warnings is a zap core that tells warnings and drops everything else.
type warnings struct {
	zapcore.LevelEnabler
	c *cli
}

func (w warnings) With([]zapcore.Field) zapcore.Core { return w }
func (w warnings) Sync() error                       { return nil }

func (w warnings) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(e, w)
}

func (w warnings) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Level != zapcore.WarnLevel {
		return nil
	}
	at := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(at)
	}
	where := ""
	if file, ok := at.Fields["file"].(string); ok {
		where = fmt.Sprintf(" (%s:%v)", file, at.Fields["line"])
	}
	w.c.warn("%s%s", strings.TrimSuffix(e.Message, "."), where)
	return nil
}
