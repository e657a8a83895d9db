package museum

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// The page and the line from which on it is written by TestTheSecurityPage. What stands before is for people to write.
var securityPage = filepath.Join(harness.Repository(), "docs", "security.md")

const generated = "<!-- From here on written by make security; a test keeps it so. -->\n"

// proof is a test and how many cases it went through.
type proof struct{ pkg, test string }

func (th *threat) proofs() (all []proof) {
	for group := range strings.SplitSeq(th.tests, "; ") {
		pkg, tests, _ := strings.Cut(group, ": ")
		for _, test := range strings.Fields(tests) {
			all = append(all, proof{pkg, test})
		}
	}
	return all
}

// docs/security.md tells of every threat and every exhibit. With KEYBEARER_SECURITY=write all the tests that it names are run, their cases
// counted, and the page is written; with KEYBEARER_SECURITY=text it is written with the counts that it has; else it must be as it would be
// written.
func TestTheSecurityPage(t *testing.T) {
	text, err := os.ReadFile(securityPage)
	if err != nil {
		t.Fatal(err)
	}
	before, current, ok := strings.Cut(string(text), generated)
	if !ok {
		t.Fatalf("%s has no line %q", securityPage, generated)
	}
	missing(t)
	mode := os.Getenv("KEYBEARER_SECURITY")
	var counts []int
	if mode == "write" {
		counts = counted(t)
	} else {
		counts = believed(t, current)
	}
	want := page(counts)
	if mode != "" && !t.Failed() {
		if err := os.WriteFile(securityPage, []byte(before+generated+want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if current != want {
		t.Error("docs/security.md does not tell what the tests are; run: make security")
	}
}

// missing fails the test for each named test that does not exist.
func missing(t *testing.T) {
	sources := map[string]string{}
	for i := range threats {
		for _, p := range threats[i].proofs() {
			if sources[p.pkg] == "" {
				files, err := filepath.Glob(filepath.Join(harness.Repository(), p.pkg, "*_test.go"))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					b, err := os.ReadFile(f)
					if err != nil {
						t.Fatal(err)
					}
					sources[p.pkg] += string(b)
				}
			}
			if !strings.Contains(sources[p.pkg], "\nfunc "+p.test+"(") {
				t.Errorf("%s has no %s", p.pkg, p.test)
			}
		}
	}
}

// believed reads the counts of the page.
func believed(t *testing.T, current string) []int {
	counts := make([]int, len(threats))
	rows := regexp.MustCompile(`(?m)^\|.*\| ([0-9,]+) \|$`).FindAllStringSubmatch(current, -1)
	if len(rows) != len(threats) {
		t.Errorf("the page has %d threats, not %d; run: make security", len(rows), len(threats))
		return counts
	}
	for i, row := range rows {
		counts[i], _ = strconv.Atoi(strings.ReplaceAll(row[1], ",", "")) // digits
		if counts[i] == 0 {
			t.Errorf("no case proves: %s", threats[i].what)
		}
	}
	return counts
}

// counted runs the named tests, package by package.
func counted(t *testing.T) []int {
	tests := map[string][]string{}
	for i := range threats {
		for _, p := range threats[i].proofs() {
			if !slices.Contains(tests[p.pkg], p.test) {
				tests[p.pkg] = append(tests[p.pkg], p.test)
			}
		}
	}
	cases := map[proof]int{}
	for _, pkg := range slices.Sorted(maps.Keys(tests)) {
		run(t, pkg, tests[pkg], cases)
	}
	counts := make([]int, len(threats))
	for i := range threats {
		for _, p := range threats[i].proofs() {
			counts[i] += cases[p]
		}
	}
	return counts
}

// run runs tests of a package and counts their cases: what a test says of itself in the attribute "cases", else its subtests, or itself.
func run(t *testing.T, pkg string, tests []string, cases map[proof]int) {
	cmd := exec.Command("go", "test", "-json", "-count=1", "-timeout=20m", "-run", "^("+strings.Join(tests, "|")+")$", "./"+pkg)
	cmd.Dir = harness.Repository()
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "KEYBEARER_SECURITY=") })
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v", pkg, err)
	}
	said, parents, passed := map[string]int{}, map[string]bool{}, map[string]bool{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var e struct{ Action, Test, Key, Value string }
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Test == "" {
			continue
		}
		switch e.Action {
		case "attr":
			if n, err := strconv.Atoi(e.Value); err == nil && e.Key == "cases" {
				said[e.Test] += n
			}
		case "pass":
			passed[e.Test] = true
			for name := e.Test; strings.Contains(name, "/"); {
				name = name[:strings.LastIndex(name, "/")]
				parents[name] = true
			}
		}
	}
	for name := range passed {
		root, _, _ := strings.Cut(name, "/")
		if said[root] == 0 && !parents[name] {
			cases[proof{pkg, root}]++
		}
	}
	for name, n := range said {
		cases[proof{pkg, name}] = n
	}
	for _, test := range tests {
		t.Logf("%s %s: %d", pkg, test, cases[proof{pkg, test}])
		if cases[proof{pkg, test}] == 0 {
			t.Errorf("%s %s did not run", pkg, test)
		}
	}
}

func page(counts []int) string {
	var b strings.Builder
	part := ""
	for i, th := range threats {
		if th.part != part {
			part = th.part
			fmt.Fprintf(&b, "\n### %s\n\n| threat | answer | proved by | cases |\n|---|---|---|---|\n", part)
		}
		proofs := strings.ReplaceAll(strings.ReplaceAll(th.tests, "; ", "<br>"), ".: ", "keybearer: ")
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", th.what, th.answer, proofs, thousands(counts[i]))
	}
	all := rooms()
	fmt.Fprintf(&b, "\n## The museum\n\n%d attacks that worked elsewhere, each replayed here (`test/museum`).\n\n| | what happened there | what is done here |\n|---|---|---|\n", len(all))
	for _, e := range all {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", reference(e.id), e.there, e.here)
	}
	return b.String()
}

// reference links an identifier to the authority that gave it.
func reference(id string) string {
	switch {
	case strings.HasPrefix(id, "CVE-"):
		return "[" + id + "](https://www.cve.org/CVERecord?id=" + id + ")"
	case strings.HasPrefix(id, "GHSA-"):
		return "[" + id + "](https://github.com/advisories/" + id + ")"
	}
	return id
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
