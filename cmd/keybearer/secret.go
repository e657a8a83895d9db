package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/keybearer/keybearer"
)

// secretInput is a secret as an operator gives it; Username is only of kind basic.
type secretInput struct {
	Username string
	Secret   keybearer.Secret
}

const secretHint = "give it on standard input, with --secret-file, or at a terminal; never in a flag"

// readSecret takes a secret from the file, or from standard input, or asks for it at the terminal, twice and without echo. The
// first line of a basic secret is the username. One newline at the end does not count. Errors are SecretInvalid, or say what could not be read.
func (c *cli) readSecret(kind keybearer.Kind, file string) (secretInput, error) {
	if file == "" && isTerminal(c.in) {
		return c.askSecret(kind)
	}
	text, err := c.secretText(file)
	if err != nil {
		return secretInput{}, err
	}
	text = chomp(text)
	if text == "" {
		return secretInput{}, keybearer.NewError(keybearer.SecretInvalid, "no secret was given").WithHint(secretHint)
	}
	if kind != keybearer.Basic {
		return secretInput{Secret: keybearer.NewSecret(text)}, nil
	}
	user, password, ok := strings.Cut(text, "\n")
	if !ok {
		return secretInput{}, keybearer.NewError(keybearer.SecretInvalid, "a basic secret is two lines: the username, then the password").
			WithHint(`for example printf 'user\npass' | keybearer …`)
	}
	return secretInput{strings.TrimSuffix(user, "\r"), keybearer.NewSecret(password)}, nil
}

func (c *cli) secretText(file string) (string, error) {
	in := c.in
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }()
		in = f
	} else {
		// A pipe that nobody writes to would look like a hang.
		waiting := time.AfterFunc(2*time.Second, func() { c.note("waiting for the secret on standard input") })
		defer waiting.Stop()
	}
	text, err := io.ReadAll(io.LimitReader(in, keybearer.MaxBundle+1))
	if err != nil {
		return "", fmt.Errorf("the secret cannot be read: %w", err)
	}
	if len(text) > keybearer.MaxBundle {
		return "", keybearer.NewError(keybearer.SecretInvalid, "the secret exceeds 64 KiB")
	}
	return string(text), nil
}

// chomp takes one newline off the end.
func chomp(s string) string { return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r") }

// longestTyped is as much as the terminal code takes in one line; it drops the rest without a word.
const longestTyped = 4095

func (c *cli) askSecret(kind keybearer.Kind) (secretInput, error) {
	var s secretInput
	err := c.atTerminal(func(t *term.Terminal) error {
		label := "secret"
		if kind == keybearer.Basic {
			label = "password"
			t.SetPrompt("username: ")
			var err error
			if s.Username, err = t.ReadLine(); err != nil {
				return err
			}
		}
		first, err := t.ReadPassword(label + ": ")
		if err != nil {
			return err
		}
		switch {
		case first == "":
			return keybearer.NewError(keybearer.SecretInvalid, "no secret was given").WithHint(secretHint)
		case len(first) >= longestTyped:
			return keybearer.NewError(keybearer.SecretInvalid, "a terminal takes no line as long as this").WithHint("give it with --secret-file")
		}
		again, err := t.ReadPassword(label + " again: ")
		if err != nil {
			return err
		}
		if first != again {
			return usagef("the two entries differ")
		}
		s.Secret = keybearer.NewSecret(first)
		return nil
	})
	return s, err
}

// atTerminal runs fn on the terminal of standard input, which echoes nothing by itself from before the first prompt until the end, and
// puts it back as it was whatever happens. Ctrl-C, Ctrl-D and a signal give errInterrupted.
func (c *cli) atTerminal(fn func(*term.Terminal) error) error {
	f, ok := c.in.(*os.File)
	if !ok {
		return errors.New("there is no terminal to ask at")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(stop)
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(int(f.Fd()), state) }()
	done := make(chan error, 1)
	go func() {
		done <- fn(term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{f, c.err}, ""))
	}()
	select {
	case <-stop:
		return errInterrupted
	case err := <-done:
		if errors.Is(err, io.EOF) {
			return errInterrupted
		}
		return err
	}
}
