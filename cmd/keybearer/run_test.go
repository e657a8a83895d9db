package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/keybearer/keybearer/internal/demo"
)

// Without a configuration the built-in one is used, said to be used, and read again on SIGUSR1.
func TestRunBuiltIn(t *testing.T) {
	work := t.TempDir()
	cmd := exec.CommandContext(t.Context(), programPath(t), "run", "--pidfile", "pid")
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "KEYBEARER_HOME="+filepath.Join(work, "home"), "HOME="+work)
	for _, name := range []string{"KEYBEARER_PORT", "KEYBEARER_ADMIN_PORT"} {
		port, err := demo.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, name+"="+strconv.Itoa(port))
	}
	talk, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(talk)
	await := func(text string) {
		t.Helper()
		var seen []string
		for lines.Scan() {
			seen = append(seen, lines.Text())
			if strings.Contains(lines.Text(), text) {
				return
			}
			if strings.Contains(lines.Text(), "failed to reload") {
				break
			}
		}
		t.Fatalf("no %q in\n%s", text, strings.Join(seen, "\n"))
	}
	await("serving with the built-in Caddyfile")
	if pid, err := os.ReadFile(filepath.Join(work, "pid")); err != nil || strings.TrimSpace(string(pid)) != strconv.Itoa(cmd.Process.Pid) {
		t.Errorf("pidfile holds %q, %v", pid, err)
	}
	shell(t, filepath.Join(work, "home"), work, "keybearer scope create docs")
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	await("successfully reloaded config")
	shell(t, filepath.Join(work, "home"), work, "keybearer scope show docs")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not end well: %v", err)
	}
}
