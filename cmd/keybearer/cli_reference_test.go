package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keybearer/keybearer"
)

const cliIntroduction = `# Command line

Written from the commands by ` + "`go test ./cmd/keybearer -run TestCLIReference -update`" + `; a test keeps it so. ` + "`keybearer <command> --help`" + ` tells the same, and
` + "`keybearer manpage`" + ` writes it as manual pages. All examples are run by the tests, each on a server that has what it names.

`

// docs/cli.md is written from the commands, by: go test ./cmd/keybearer -run TestCLIReference -update
func TestCLIReference(t *testing.T) {
	const path = "../../docs/cli.md"
	page := cliReference(newCLI().rootCommand())
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != page {
		t.Errorf("docs/cli.md is not what the commands say (%v); run: go test ./cmd/keybearer -run TestCLIReference -update", err)
	}
}

func cliReference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(cliIntroduction)
	b.WriteString(prose(root.Long))
	b.WriteString("\n## Commands\n\n| command | |\n|---|---|\n")
	for _, group := range root.Groups() {
		for _, cmd := range root.Commands() {
			if cmd.GroupID == group.ID && cmd.IsAvailableCommand() {
				fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", cmd.Name(), anchorOf(cmd), escaped(cmd.Short))
			}
		}
	}
	b.WriteString(`
## Exit codes

| code | when |
|---|---|
`)
	for status, when := range []string{
		keybearer.ExitOK:          "done; of `check`: allowed",
		keybearer.ExitFailed:      "failed",
		keybearer.ExitUsage:       "the command line, or what it was given, cannot be used",
		keybearer.ExitNotFound:    "there is no such thing, or not for you",
		keybearer.ExitRefused:     "refused; of `check`: the request would be refused",
		keybearer.ExitConflict:    "it is so already, it has changed meanwhile, or something stands in the way",
		keybearer.ExitUnreachable: "the server cannot be reached, or a part of it",
		exitInterrupted:           "interrupted at the terminal",
	} {
		if when != "" {
			fmt.Fprintf(&b, "| %d | %s |\n", status, when)
		}
	}
	b.WriteString("\nAn error that has a code ends with it in parentheses. Which code leads to which exit: [errors](errors.md). What `-o json` writes: [field by field](cli-json.md).\n")
	for _, group := range root.Groups() {
		for _, cmd := range root.Commands() {
			if cmd.GroupID == group.ID {
				describeCommand(&b, cmd, "##")
			}
		}
	}
	return b.String()
}

// describeCommand writes a command and those below it.
func describeCommand(b *strings.Builder, cmd *cobra.Command, level string) {
	if !cmd.IsAvailableCommand() {
		return
	}
	name := strings.TrimPrefix(cmd.CommandPath(), "keybearer ")
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	usage := cmd.CommandPath() + strings.TrimPrefix(cmd.Use, cmd.Name())
	if cmd.HasSubCommands() {
		usage += " <command>"
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.AddFlagSet(cmd.LocalFlags())
	flags.AddFlagSet(cmd.InheritedFlags())
	var rows strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, meaning := pflag.UnquoteUsage(f)
		flag := "--" + f.Name
		if f.Shorthand != "" {
			flag = "-" + f.Shorthand + ", " + flag
		}
		fmt.Fprintf(&rows, "| `%s` | %s |\n", strings.TrimSpace(flag+" "+value), escaped(meaning+standing(f)))
	})
	if rows.Len() > 0 {
		usage += " [flags]"
	}
	fmt.Fprintf(b, "\n%s %s\n\n%s\n`%s`\n", level, name, prose(about), usage)
	if cmd.Example != "" {
		b.WriteString("\n<!-- run by: cmd/keybearer TestExamples -->\n```bash\n")
		for line := range strings.Lines(strings.TrimRight(cmd.Example, "\n") + "\n") {
			b.WriteString(strings.TrimPrefix(line, "  "))
		}
		b.WriteString("```\n")
	}
	if rows.Len() > 0 {
		b.WriteString("\n| flag | |\n|---|---|\n" + rows.String())
	}
	for _, sub := range cmd.Commands() {
		describeCommand(b, sub, level+"#")
	}
}

// standing tells the default of a flag as the help does: only where it is not the empty value.
func standing(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "0", "0s", "[]", "<nil>":
		return ""
	}
	return " (default " + f.DefValue + ")"
}

// prose is a help text as Markdown: paragraphs, and lines that are indented as code.
func prose(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, " ") {
			line = "`" + strings.TrimSpace(line) + "`"
		} else {
			line = escaped(line)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// escaped is text in which Markdown finds nothing to obey.
func escaped(text string) string {
	return strings.NewReplacer("\\", `\\`, "*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`, "|", `\|`, "`", "\\`").Replace(text)
}

func anchorOf(cmd *cobra.Command) string {
	return strings.ReplaceAll(strings.TrimPrefix(cmd.CommandPath(), "keybearer "), " ", "-")
}
