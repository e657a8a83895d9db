package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/keybearer/keybearer"
)

// demoIn runs a demo of the real program from this process, with a configuration of the test's.
func demoIn(t *testing.T, caddyfile func(int) string) (shown string, err error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	c, out, _ := testCLI(asTable)
	c.now = time.Now
	s := &stage{c: c, p: newScreen(out, c.style), executable: programPath(t), caddyfile: caddyfile}
	err = s.run(t.Context(), true)
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return out.String(), err
}

func TestDemoHolds(t *testing.T) {
	shown, err := demoIn(t, demoCaddyfile)
	if err != nil {
		t.Fatalf("%v\n%s", err, shown)
	}
	if !strings.Contains(shown, "checks held.") || strings.Contains(shown, "\n   ✗ ") || strings.ContainsRune(shown, '\x1b') {
		t.Errorf("shown:\n%s", shown)
	}
	for line := range strings.Lines(shown) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "   │") && utf8.RuneCountInString(line) != 110 {
			t.Errorf("a box is not straight, %d wide: %s", utf8.RuneCountInString(line), line)
		}
	}
}

// What is wrong is seen: a server that does not trust the destination, and one that does not reach its network.
func TestDemoSeesWhatIsWrong(t *testing.T) {
	for name, missing := range map[string]string{
		"destination_tls_failed": "trust {env.KEYBEARER_HOME}/ca.pem",
		"address_denied":         "allow_private 127.0.0.0/8",
	} {
		t.Run(name, func(t *testing.T) {
			shown, err := demoIn(t, func(port int) string { return strings.Replace(demoCaddyfile(port), missing, "", 1) })
			if err == nil || !strings.Contains(err.Error(), "checks failed:\narrived once") || exitStatus(err) != keybearer.ExitFailed {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(shown, name) || !strings.Contains(shown, "✗ arrived once") {
				t.Errorf("shown:\n%s", shown)
			}
		})
	}
	t.Run("no server", func(t *testing.T) {
		_, err := demoIn(t, func(int) string { return "nonsense {" })
		if err == nil || !strings.Contains(err.Error(), "the server did not start:") {
			t.Errorf("error %v", err)
		}
	})
}

// Without --once it stays up: its command lines work as they are printed, what they send is shown, and Ctrl-C clears everything away.
func TestDemoStays(t *testing.T) {
	work := t.TempDir()
	cmd := exec.CommandContext(t.Context(), programPath(t), "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+work)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var talk bytes.Buffer
	cmd.Stderr = &talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	await := func(text string) string {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return strings.TrimSpace(lines.Text())
			}
		}
		t.Fatalf("it ended before %q: %s", text, talk.String())
		return ""
	}
	await("Try it")
	var tries []string
	for range 5 {
		tries = append(tries, strings.TrimPrefix(await("$ "), "$ "))
	}
	home := filepath.Join(work, "elsewhere")
	if got := shell(t, home, work, tries[0]); got != "{\"ok\":true}\n" {
		t.Errorf("%s: %q", tries[0], got)
	}
	await("POST /orders")
	await("Authorization: Bearer crm-")
	if got := shell(t, home, work, tries[1]); got != "{\"ok\":true}\n" {
		t.Errorf("%s: %q", tries[1], got)
	}
	await("POST /anything")
	await("Authorization: Basic ")
	if got := shell(t, home, work, tries[2]); !strings.Contains(got, "destination_not_allowed") {
		t.Errorf("%s: %q", tries[2], got)
	}
	if got := shell(t, home, work, tries[3]); !strings.Contains(got, "demo/legacy") {
		t.Errorf("%s: %q", tries[3], got)
	}
	if got := shell(t, home, work, strings.TrimSuffix(tries[4], " -f")); !strings.Contains(got, "http://collect.example") && !strings.Contains(got, "https://collect.example") {
		t.Errorf("%s: %q", tries[4], got)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil || talk.Len() > 0 {
		t.Errorf("%v %s", err, talk.String())
	}
	if left, _ := os.ReadDir(work); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Ctrl-C in the middle clears everything away too.
func TestDemoInterrupted(t *testing.T) {
	work := t.TempDir()
	cmd := exec.CommandContext(t.Context(), programPath(t), "demo", "--once")
	cmd.Env = append(os.Environ(), "TMPDIR="+work)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "scope create") {
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitInterrupted {
		t.Errorf("%v, want exit code %d", err, exitInterrupted)
	}
	if left, _ := os.ReadDir(work); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
