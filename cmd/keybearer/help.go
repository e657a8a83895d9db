package main

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// writeHelp shows what a command is for, how it is written, examples, the commands below it and its flags.
func (c *cli) writeHelp(cmd *cobra.Command) {
	s := c.style
	var b strings.Builder
	section := func(title string) { fmt.Fprintf(&b, "\n%s\n", s.bold(title)) }

	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	b.WriteString(reflow(about, c.helpWidth()))

	section("Usage:")
	usage := cmd.CommandPath() + strings.TrimPrefix(cmd.Use, cmd.Name())
	if cmd.HasSubCommands() {
		usage += " <command>"
	}
	if cmd.HasAvailableLocalFlags() {
		usage += " [flags]"
	}
	fmt.Fprintf(&b, "  %s\n", usage)

	if cmd.Example != "" {
		section("Examples:")
		fmt.Fprintf(&b, "%s\n", cmd.Example)
	}
	width := 0
	for _, sub := range cmd.Commands() {
		width = max(width, len(sub.Name()))
	}
	list := func(title, group string) {
		section(title)
		for _, sub := range cmd.Commands() {
			if sub.GroupID == group && sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %s%s  %s\n", s.cyan(sub.Name()), strings.Repeat(" ", width-len(sub.Name())), sub.Short)
			}
		}
	}
	for _, group := range cmd.Groups() {
		list(group.Title, group.ID)
	}
	if cmd.HasAvailableSubCommands() && len(cmd.Groups()) == 0 {
		list("Commands:", "")
	}
	section("Flags:")
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.AddFlagSet(cmd.LocalFlags())
	flags.AddFlagSet(cmd.InheritedFlags())
	b.WriteString(flags.FlagUsagesWrapped(c.helpWidth()))
	if cmd.HasSubCommands() {
		fmt.Fprintf(&b, "\n%s\n", s.dim(cmd.CommandPath()+" <command> --help tells more."))
	}
	_, _ = fmt.Fprint(c.out, b.String())
}

// helpWidth is that of the terminal, within reason, and 100 elsewhere.
func (c *cli) helpWidth() int {
	if f, ok := c.out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return min(max(width-1, 40), 100)
		}
	}
	return 100
}

// reflow breaks paragraphs at the width; lines that are indented stay as they are.
func reflow(text string, width int) string {
	var b strings.Builder
	used := 0
	end := func() {
		if used > 0 {
			b.WriteByte('\n')
			used = 0
		}
	}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == ' ' {
			end()
			b.WriteString(line + "\n")
			continue
		}
		for word := range strings.FieldsSeq(line) {
			n := utf8.RuneCountInString(word)
			if used > 0 && used+1+n > width {
				end()
			}
			if used > 0 {
				b.WriteByte(' ')
				used++
			}
			b.WriteString(word)
			used += n
		}
	}
	end()
	return b.String()
}
