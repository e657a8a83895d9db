package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// reported are the figures that the tests measured, by what they measured.
var reported struct {
	sync.Mutex
	rows map[string]string
}

// page is where they stand, as rows of the one table in it.
var page = filepath.Join(harness.Repository(), "docs", "reliability.md")

// report notes what a test measured. A measurement that the page does not have fails the test: the page is to tell of all of them.
func report(t *testing.T, what, figures string) {
	t.Helper()
	t.Logf("%s: %s", what, figures)
	reported.Lock()
	defer reported.Unlock()
	if reported.rows == nil {
		reported.rows = map[string]string{}
	}
	reported.rows[what] = figures
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("KEYBEARER_RELIABILITY") == "" && !strings.Contains(string(text), row(what, "")) {
		t.Errorf("docs/reliability.md does not tell of %q: run make reliability", what)
	}
}

func row(what, figures string) string {
	if figures == "" {
		return "| " + what + " | "
	}
	return "| " + what + " | " + figures + " |"
}

// TestMain writes what was measured into the page when it is asked to and all went well. Measurements of tests that did not run stay.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && os.Getenv("KEYBEARER_RELIABILITY") != "" && len(reported.rows) > 0 {
		if err := write(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func write() error {
	const head = "| what happened | what was seen |\n|---|---|\n"
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), head)
	if !ok {
		return fmt.Errorf("%s has no table", page)
	}
	table, after, _ := strings.Cut(rest, "\n\n")
	rows := map[string]string{}
	for line := range strings.Lines(table + "\n") {
		if parts := strings.SplitN(strings.Trim(line, "| \n"), " | ", 2); len(parts) == 2 {
			rows[parts[0]] = parts[1]
		}
	}
	for what, figures := range reported.rows {
		rows[what] = figures
	}
	var lines []string
	for what, figures := range rows {
		lines = append(lines, row(what, figures))
	}
	slices.Sort(lines)
	return os.WriteFile(page, []byte(before+head+strings.Join(lines, "\n")+"\n\n"+after), 0o644)
}

// millis rounds a time for people.
func millis(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
