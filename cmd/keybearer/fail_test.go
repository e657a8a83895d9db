package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
)

// Every code ends a message in parentheses, brings its hint, and decides the exit code, however deep it is wrapped.
func TestFailSpeaksForEveryCode(t *testing.T) {
	for _, info := range keybearer.Codes() {
		c, _, talk := testCLI(asTable)
		err := fmt.Errorf("while trying: %w", keybearer.NewError(info.Code, "it went so"))
		if got := c.fail(err); got != info.Exit {
			t.Errorf("%s: exit code %d, want %d", info.Code, got, info.Exit)
		}
		want := fmt.Sprintf("keybearer: error: it went so (%s)\n", info.Code)
		if info.Hint != "" {
			want += "keybearer: hint: " + info.Hint + "\n"
		}
		if talk.String() != want {
			t.Errorf("%s: %q, want %q", info.Code, talk, want)
		}
	}
}

func TestFailOthers(t *testing.T) {
	for _, x := range []struct {
		err    error
		status int
		talk   string
	}{
		{nil, 0, ""},
		{errors.New("disk\x1b[2J full"), 1, "keybearer: error: disk�[2J full\n"},
		{errors.New("two\nlines"), 1, "keybearer: error: two\n  lines\n"},
		{&hintedError{errors.New("no file"), "make one"}, 1, "keybearer: error: no file\nkeybearer: hint: make one\n"},
		{usagef("it needs %s", "more").withHint("give it"), 2, "keybearer: error: it needs more\nkeybearer: hint: give it\n"},
		{&exitError{4, keybearer.NewError(keybearer.CredentialDeleted, "gone")}, 4, "keybearer: error: gone (credential_deleted)\nkeybearer: hint: restore it while it can be: keybearer credential restore <scope>/<name>\n"},
		{errInterrupted, 130, ""},
		{errors.Join(errInterrupted, nil), 130, ""},
		{context.Canceled, 130, ""},
		{&keybearer.Error{Code: keybearer.Internal, Op: "read", Err: errors.New("oops")}, 1, "keybearer: error: read: something went wrong inside: oops (internal)\nkeybearer: hint: report it with the request id\n"},
	} {
		c, _, talk := testCLI(asTable)
		if got := c.fail(x.err); got != x.status || talk.String() != x.talk {
			t.Errorf("%v: exit code %d and %q, want %d and %q", x.err, got, talk, x.status, x.talk)
		}
	}
}

// The words of the help keep to the house's style, and nothing of Caddy's shows where it is ours.
func TestHelpWords(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		c, out, _ := testCLI(asTable)
		c.writeHelp(cmd)
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") || cmd.Short[0] < 'A' || cmd.Short[0] > 'Z' || len(cmd.Short) > 72 {
			t.Errorf("%s: short text %q", path, cmd.Short)
		}
		if strings.Contains(out.String(), "caddy ") || strings.Contains(out.String(), "`") {
			t.Errorf("%s: its help has foreign marks:\n%s", path, out)
		}
		examples := false
		for line := range strings.Lines(out.String()) {
			line = strings.TrimRight(line, "\n")
			examples = line == "Examples:" || examples && line != ""
			if !examples && len([]rune(line)) > 100 {
				t.Errorf("%s: %d columns: %s", path, len([]rune(line)), line)
			}
			if strings.TrimRight(line, " ") != line {
				t.Errorf("%s: blanks at the end of %q", path, line)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newCLI().rootCommand())
}
