package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keybearer/keybearer"
)

// exitInterrupted is what shells give to a program that SIGINT ended.
const exitInterrupted = 130

// usageError says that the command line itself is wrong: exit code 2.
type usageError struct {
	message string
	hint    string
}

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) *usageError {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

func (e *usageError) withHint(hint string) *usageError { e.hint = hint; return e }

// hintedError is an error without a code, and how to mend it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// exitError fixes the exit code, whatever the code of err says; a nil err has been told already.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// errInterrupted ends a command without a word: whoever pressed the key knows.
var errInterrupted = &exitError{status: exitInterrupted}

// exitStatus returns the exit code of err by the table of codes; 1 for errors that have none.
func exitStatus(err error) int {
	if err == nil {
		return keybearer.ExitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.status
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return keybearer.ExitUsage
	}
	if e, ok := errors.AsType[*keybearer.Error](err); ok {
		return e.Code.Info().Exit
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	return keybearer.ExitFailed
}

// describe returns what is said of err, and the hint; both may be empty.
func describe(err error) (message, hint string) {
	if e, ok := errors.AsType[*exitError](err); ok {
		if e.err == nil {
			return "", ""
		}
		err = e.err
	}
	if errors.Is(err, context.Canceled) {
		return "", ""
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		return e.message, e.hint
	}
	if e, ok := errors.AsType[*keybearer.Error](err); ok {
		message = e.Message()
		if e.Code == keybearer.Internal && e.Detail == "" && e.Err != nil {
			message = e.Error()
		}
		return fmt.Sprintf("%s (%s)", message, e.Code), e.Advice()
	}
	message = err.Error()
	if e, ok := errors.AsType[*hintedError](err); ok {
		hint = e.hint
	}
	return message, hint
}

// fail tells err on the error stream and returns the exit code.
func (c *cli) fail(err error) int {
	if err == nil {
		return keybearer.ExitOK
	}
	message, hint := describe(err)
	if message != "" {
		c.say(c.errStyle.red("error:"), message)
	}
	if hint != "" {
		c.say(c.errStyle.cyan("hint:"), hint)
	}
	return exitStatus(err)
}

// warn tells something that the command goes on in spite of.
func (c *cli) warn(format string, args ...any) {
	c.say(c.errStyle.yellow("warning:"), fmt.Sprintf(format, args...))
}

func (c *cli) say(kind, text string) {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
	_, _ = fmt.Fprintf(c.err, "keybearer: %s %s\n", kind, printable(text, true))
}

// done tells that a change was made.
func (c *cli) done(format string, args ...any) {
	mark := ""
	if c.errStyle.on {
		mark = c.errStyle.green("✓") + " "
	}
	_, _ = fmt.Fprintf(c.err, "%s%s\n", mark, printable(fmt.Sprintf(format, args...), false))
}

// note tells something that is no result and no error.
func (c *cli) note(format string, args ...any) {
	_, _ = fmt.Fprintf(c.err, "%s\n", printable(fmt.Sprintf(format, args...), false))
}
