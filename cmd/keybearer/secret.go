package main

import (
	"bufio"
	"bytes"
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

func (c *cli) askSecret(kind keybearer.Kind) (secretInput, error) {
	var s secretInput
	label := "secret"
	if kind == keybearer.Basic {
		var err error
		if s.Username, err = c.ask("username: "); err != nil {
			return s, err
		}
		label = "password"
	}
	first, err := c.askHidden(label + ": ")
	if err != nil {
		return s, err
	}
	if first == "" {
		return s, keybearer.NewError(keybearer.SecretInvalid, "no secret was given").WithHint(secretHint)
	}
	again, err := c.askHidden(label + " again: ")
	if err != nil {
		return s, err
	}
	if first != again {
		return s, usagef("the two entries differ")
	}
	s.Secret = keybearer.NewSecret(first)
	return s, nil
}

// ask reads a line at the terminal.
func (c *cli) ask(label string) (string, error) {
	_, _ = fmt.Fprint(c.err, label)
	// One byte at a time: what comes after the line belongs to the next question.
	line, err := bufio.NewReaderSize(oneByte{c.in}, 16).ReadString('\n')
	if err != nil && line == "" {
		return "", errInterrupted
	}
	return strings.TrimRight(line, "\r\n"), nil
}

type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

// askHidden reads a line at the terminal without echo, and puts the echo back whatever happens.
func (c *cli) askHidden(label string) (string, error) {
	f, ok := c.in.(*os.File)
	if !ok {
		return "", errors.New("there is no terminal to ask at")
	}
	fd := int(f.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(fd, state) }()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)

	_, _ = fmt.Fprint(c.err, label)
	defer func() { _, _ = fmt.Fprintln(c.err) }()
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		answers <- answer{text, err}
	}()
	select {
	case <-stop:
		return "", errInterrupted
	case a := <-answers:
		if errors.Is(a.err, io.EOF) {
			return "", errInterrupted
		}
		return string(bytes.TrimRight(a.text, "\r\n")), a.err
	}
}
