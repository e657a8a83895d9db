package main

import (
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/keybearer/keybearer"
)

// session is one program at a terminal.
type session struct {
	*terminal
	cmd  *exec.Cmd
	from int
}

func (x *terminal) start(t *testing.T, home string, args ...string) session {
	from := x.shown.Len()
	return session{x, x.run(t, home, args...), from}
}

// shows waits until the program has shown the text.
func (s session) shows(t *testing.T, text string) {
	t.Helper()
	s.awaitSince(t, s.from, text)
}

// ends waits for the program and compares its exit code.
func ends(t *testing.T, cmd *exec.Cmd, want int) {
	t.Helper()
	got := 0
	if err := cmd.Wait(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatal(err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		t.Errorf("exit code %d, want %d", got, want)
	}
}

// What destroys or deletes asks at a terminal, and does nothing without the name.
func TestTypedNames(t *testing.T) {
	home := stockedHome(t, stocked)
	server, err := startServer(t.Context(), home, socketOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	names := func() string { return shell(t, home, home, "keybearer credential list -o name") }

	x := newTerminal(t)
	p := x.start(t, home, "credential", "delete", "docs/aws")
	p.shows(t, "nobody used docs/aws in the last 30 days")
	p.shows(t, "to delete docs/aws, type its name: ")
	x.typed(t, "docs/crm\r")
	p.shows(t, "that is not docs/aws: nothing was changed")
	ends(t, p.cmd, keybearer.ExitUsage)
	if !strings.Contains(names(), "docs/aws") {
		t.Fatal("docs/aws was deleted without its name")
	}
	p = x.start(t, home, "credential", "delete", "docs/aws")
	p.shows(t, "type its name: ")
	x.typed(t, "docs/aws\r")
	p.shows(t, "deleted credential docs/aws")
	ends(t, p.cmd, 0)

	p = x.start(t, home, "credential", "delete", "docs/legacy")
	p.shows(t, "type its name: ")
	x.typed(t, "\x03")
	ends(t, p.cmd, exitInterrupted)

	p = x.start(t, home, "scope", "regenerate-key", "docs")
	p.shows(t, "docs/crm  https://api.example.com")
	p.shows(t, "this destroys the secrets of 2 credentials and of 1 deleted credential of scope docs")
	p.shows(t, "to regenerate the key of scope docs, type its name: ")
	x.typed(t, "yes\r")
	p.shows(t, "that is not docs: nothing was changed")
	ends(t, p.cmd, keybearer.ExitUsage)
	if got := names(); got != "docs/crm\ndocs/legacy\n" {
		t.Fatalf("after a no: %q", got)
	}
	p = x.start(t, home, "scope", "regenerate-key", "docs")
	p.shows(t, "type its name: ")
	x.typed(t, "docs\r")
	p.shows(t, "regenerated the key of scope docs; 3 secrets destroyed")
	ends(t, p.cmd, 0)
	if got := names(); got != "" {
		t.Fatalf("after a yes: %q", got)
	}
}

// A token comes with lines that can be pasted; into a file it comes alone.
func TestATokenAtATerminal(t *testing.T) {
	home := stockedHome(t, scopesOnly)
	server, err := startServer(t.Context(), home, socketOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()

	x := newTerminal(t)
	p := x.start(t, home, "caller", "create", "billing", "--scope", "docs")
	p.shows(t, "@127.0.0.1:9080\r\n")
	ends(t, p.cmd, 0)
	shown := strings.ReplaceAll(x.shown.String(), "\r", "")
	token := regexp.MustCompile(`(?m)^kb_[a-z2-7]{52}$`).FindString(shown)
	if token == "" {
		t.Fatalf("no token on a line of its own:\n%s", shown)
	}
	for _, line := range []string{
		"  curl -x http://127.0.0.1:9080 -H 'Proxy-Authorization: Bearer " + token + "' -H 'Keybearer-Credential: docs/NAME' http://HOST/\n",
		"  HTTP_PROXY=http://docs%2FNAME:" + token + "@127.0.0.1:9080\n",
	} {
		if !strings.Contains(shown, line) {
			t.Errorf("no line %q in:\n%s", line, shown)
		}
	}
	p = x.start(t, home, "caller", "token", "rotate", "billing", "--overlap", "24h")
	p.shows(t, "@127.0.0.1:9080\r\n")
	ends(t, p.cmd, 0)
	p = x.start(t, home, "operator", "create", "ada")
	p.shows(t, "KEYBEARER_TOKEN_FILE=FILE keybearer whoami")
	ends(t, p.cmd, 0)
	if strings.Contains(shell(t, home, home, "keybearer caller token add billing 2>&1"), "HTTP_PROXY") {
		t.Error("the lines come without a terminal too")
	}
}

// A server that nobody manages yet says at a terminal how to begin, and never a link; once there is an operator it does not.
func TestRunHintsAtTheConsole(t *testing.T) {
	for _, c := range []struct {
		stock []string
		hint  bool
	}{{nil, true}, {[]string{"keybearer operator create ada"}, false}} {
		home := stockedHome(t, c.stock)
		x := newTerminal(t)
		p := x.start(t, home, "run", "--config", home+"/Caddyfile")
		p.shows(t, "serving with ") // the hint comes before it
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = p.cmd.Wait()
		shown := x.shown.String()
		if strings.Contains(shown, "hint:\x1b[0m no operator yet; for the console run: keybearer operator setup\r\n") != c.hint || strings.Contains(shown, "http") {
			t.Errorf("hint wanted: %v\n%s", c.hint, shown)
		}
	}
}
