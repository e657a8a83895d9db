package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keybearer/keybearer"
)

// terminal is a pseudo terminal: what is written to keyboard is typed, and what the program shows, or the terminal echoes, is read from it.
type terminal struct {
	keyboard *os.File
	side     *os.File // the program's
	shown    bytes.Buffer
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = side.Close() })
	return &terminal{keyboard: master, side: side}
}

// run starts the program with this terminal as its controlling one.
func (x *terminal) run(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), programPath(t), args...)
	cmd.Env = append(os.Environ(), "KEYBEARER_HOME="+home, "TERM=xterm", "NO_COLOR=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.side, x.side, x.side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// await reads until the text is shown.
func (x *terminal) await(t *testing.T, text string) {
	t.Helper()
	x.awaitSince(t, x.shown.Len(), text)
}

// awaitSince reads until the text is shown, which may have been before, since so much was shown.
func (x *terminal) awaitSince(t *testing.T, from int, text string) {
	t.Helper()
	buf := make([]byte, 256)
	for !strings.Contains(x.shown.String()[from:], text) {
		n, err := x.keyboard.Read(buf)
		x.shown.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v before %q was shown:\n%s", err, text, x.shown.String())
		}
	}
}

func (x *terminal) typed(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(x.keyboard, text); err != nil {
		t.Fatal(err)
	}
}

func (x *terminal) echoes(t *testing.T) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(x.side.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

func TestPrompt(t *testing.T) {
	home := stockedHome(t, scopesOnly)
	server, err := startServer(t.Context(), home, socketOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()

	t.Run("typed without echo", func(t *testing.T) {
		x := newTerminal(t)
		cmd := x.run(t, home, "credential", "create", "docs/typed", "--kind", "basic", "--domain", "api.example.com")
		x.await(t, "username: ")
		x.typed(t, "ada\r")
		x.await(t, "password: ")
		x.typed(t, "t0psecret\r")
		x.await(t, "password again: ")
		x.typed(t, "t0psecret\r")
		x.await(t, "created credential docs/typed")
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if shown := x.shown.String(); strings.Contains(shown, "t0psecret") || !strings.Contains(shown, "ada") {
			t.Errorf("shown:\n%s", shown)
		}
		if !strings.Contains(x.shown.String(), "\x1b[32m✓") {
			t.Error("no colour on a terminal")
		}
		if !x.echoes(t) {
			t.Error("the terminal no longer echoes")
		}
	})
	t.Run("ended by a signal", func(t *testing.T) {
		x := newTerminal(t)
		cmd := x.run(t, home, "credential", "create", "docs/other", "--kind", "bearer", "--domain", "api.example.com")
		x.await(t, "secret: ")
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitInterrupted {
			t.Errorf("%v, want exit code %d", err, exitInterrupted)
		}
		if !x.echoes(t) {
			t.Error("the terminal no longer echoes")
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		x := newTerminal(t)
		cmd := x.run(t, home, "credential", "create", "docs/other", "--kind", "bearer", "--domain", "api.example.com")
		x.await(t, "secret: ")
		x.typed(t, "half\x03")
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitInterrupted {
			t.Errorf("%v, want exit code %d", err, exitInterrupted)
		}
		if !x.echoes(t) {
			t.Error("the terminal no longer echoes")
		}
	})
	t.Run("ended", func(t *testing.T) {
		x := newTerminal(t)
		cmd := x.run(t, home, "credential", "create", "docs/other", "--kind", "bearer", "--domain", "api.example.com")
		x.await(t, "secret: ")
		x.typed(t, "\x04")
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitInterrupted {
			t.Errorf("%v, want exit code %d", err, exitInterrupted)
		}
	})
	t.Run("too long", func(t *testing.T) {
		x := newTerminal(t)
		cmd := x.run(t, home, "credential", "create", "docs/other", "--kind", "bearer", "--domain", "api.example.com")
		x.await(t, "secret: ")
		x.typed(t, strings.Repeat("0123456789abcdef", 300)+"\n")
		x.await(t, "--secret-file")
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != keybearer.ExitUsage {
			t.Errorf("%v, want exit code %d", err, keybearer.ExitUsage)
		}
	})
	t.Run("no colour when told so", func(t *testing.T) {
		x := newTerminal(t)
		cmd := x.run(t, home, "scope", "list")
		cmd2 := exec.CommandContext(t.Context(), programPath(t), "scope", "list")
		cmd2.Env = append(os.Environ(), "KEYBEARER_HOME="+home, "TERM=xterm", "NO_COLOR=1")
		x.await(t, "global")
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(x.shown.String(), "\x1b[1mdocs\x1b[0m") {
			t.Errorf("no colour: %q", x.shown.String())
		}
		y := newTerminal(t)
		cmd2.Stdout, cmd2.Stderr = y.side, y.side
		if err := cmd2.Start(); err != nil {
			t.Fatal(err)
		}
		y.await(t, "global")
		if err := cmd2.Wait(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(y.shown.String(), "\x1b[") {
			t.Errorf("colour: %q", y.shown.String())
		}
	})
}
