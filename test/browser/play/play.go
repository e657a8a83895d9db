// Package play drives Debian's Chromium for Go tests: it starts browser.mjs, which plays one flow, and makes a test of every check in it.
package play

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// Plan is what a flow is told before it begins.
type Plan struct {
	Flow      string   // the module, by its path in test/
	URL       string   // of what is tested, without a slash at its end
	Secrets   []string // what no page may show
	Arguments any      // what the flow finds as browser.arguments
}

// message is what a flow says: what came of a check, or what it asks for.
type message struct {
	Check *struct {
		Name       string `json:"name"`
		Detail     string `json:"detail"` // why it failed; "" if it did not
		Screenshot string `json:"screenshot"`
	} `json:"check"`
	Call *struct {
		ID   int               `json:"id"`
		Name string            `json:"name"`
		Args []json.RawMessage `json:"args"`
	} `json:"call"`
}

// answer is what a flow gets for what it asked.
type answer struct {
	ID     int     `json:"id"`
	Result any     `json:"result"`
	Error  *string `json:"error,omitempty"`
}

// Call is something that a flow may ask for by its name.
type Call func(args []json.RawMessage) (any, error)

// Play plays a flow in Chromium, makes a subtest of every check in it, and answers what it asks.
func Play(t *testing.T, p Plan, calls map[string]Call) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("the browser tests need Chromium; make setup installs it: %v", err)
	}
	tests := filepath.Join(harness.Repository(), "test")
	here := filepath.Join(tests, "browser")

	home := harness.Dir(t)
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(here, "browser.mjs"))
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home, "FONTCONFIG_FILE="+filepath.Join(here, "fonts.conf"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that it ends Chromium
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tell(t, stdin, map[string]any{
		"flow": filepath.Join(tests, p.Flow), "url": p.URL, "arguments": p.Arguments, "secrets": append([]string{}, p.Secrets...),
		"chromium": chromium, "artifacts": t.ArtifactDir(),
	})
	checks := 0
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break // it ends
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			t.Errorf("the flow wrote %q", line)
			continue
		}
		switch {
		case m.Check != nil:
			checks++
			t.Run(m.Check.Name, func(t *testing.T) {
				if m.Check.Detail != "" {
					t.Errorf("%s\nscreenshot (go test -artifacts keeps it): %s", m.Check.Detail, m.Check.Screenshot)
				}
			})
		case m.Call != nil:
			tell(t, stdin, do(m, calls))
		}
	}
	if err := cmd.Wait(); err != nil || checks == 0 {
		t.Errorf("the flow made %d checks and ended: %v\n%s", checks, err, &stderr)
	}
}

func do(m message, calls map[string]Call) answer {
	a := answer{ID: m.Call.ID}
	err := fmt.Errorf("the test offers no %q", m.Call.Name)
	if fn, ok := calls[m.Call.Name]; ok {
		a.Result, err = fn(m.Call.Args)
	}
	if err != nil {
		text := err.Error()
		a.Error = &text
	}
	return a
}

func tell(t *testing.T, w io.Writer, what any) {
	line, err := json.Marshal(what)
	if err == nil {
		_, err = w.Write(append(line, '\n'))
	}
	if err != nil {
		t.Errorf("tell the flow: %v", err)
	}
}

// Arguments reads what a flow gave with a call into the values, in their order.
func Arguments(args []json.RawMessage, into ...any) error {
	if len(args) != len(into) {
		return fmt.Errorf("%d arguments, not %d", len(args), len(into))
	}
	for i, a := range args {
		if err := json.Unmarshal(a, into[i]); err != nil {
			return err
		}
	}
	return nil
}
