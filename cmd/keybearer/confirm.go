package main

import (
	"strings"

	"golang.org/x/term"
)

// canAsk reports whether a person sits at the command: what is asked is shown, and can be answered.
func (c *cli) canAsk() bool { return isTerminal(c.in) && isTerminal(c.err) }

// confirm asks whoever sits at the terminal to type the name of what will be gone. Anything else is a usage error, and nothing is done.
func (c *cli) confirm(what, name string) error {
	return c.atTerminal(func(t *term.Terminal) error {
		t.SetPrompt("to " + what + ", type its name: ")
		typed, err := t.ReadLine()
		if err != nil {
			return err
		}
		if strings.TrimSpace(typed) != name {
			return usagef("that is not %s: nothing was changed", name)
		}
		return nil
	})
}
