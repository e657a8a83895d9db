package main

import (
	"context"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const source = `package p

func guard(a, b int, on bool) bool {
	if a > b && on {
		return true
	}
	return a == b
}
`

func TestMutantsOfAGuard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.go")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &mutator{fset: token.NewFileSet(), seen: map[string]int{}}
	text, err := m.mutate(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"always: a > b && on", "never: a > b && on", "without the left of: a > b && on", "without the right of: a > b && on", "with the boundary: a > b",
		"turned over: true", "turned over: a == b",
	}
	for i := range want {
		want[i] = "p.go guard: " + want[i]
	}
	if diff := cmp.Diff(want, m.names); diff != "" || strings.Count(string(text), "mutant(") != len(want) {
		t.Errorf("%s\n%s", diff, text)
	}
}

// A mutant that no test comes to lives, as does one that those who come to it do not notice; and a package that fails by itself is not measured.
func TestAPackageWithAHoleInItsTests(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"p.go": source,
		"p_test.go": `package p

import "testing"

func TestGuard(t *testing.T) {
	if !guard(2, 1, true) || guard(1, 2, true) || guard(2, 1, false) || !guard(1, 1, false) {
		t.Error("wrong")
	}
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Dir(dir))
	if err := os.WriteFile("go.mod", []byte("module m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, names, err := build(t.Context(), target{dir: filepath.Base(dir), files: []string{"p.go"}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	var lives []string
	for id, name := range names {
		if !s.kills(t.Context(), id, "p.go guard", 0) {
			lives = append(lives, name)
		}
	}
	if diff := cmp.Diff([]string{"p.go guard: with the boundary: a > b"}, lives); diff != "" { // guard(1, 1, true) is true either way
		t.Error(diff)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.try(gone, []string{"TestGuard"}, time.Minute, ""); err == nil {
		t.Error("tests that did not run have passed")
	}
}

func TestThePageKeepsWhatWasNotRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	first := score{dir: "policy", files: 2, mutants: 10, killed: 8, explained: 1, survivors: []string{"a.go f: never: x"}, holes: []string{"a.go g: always: y"}}
	second := score{dir: "internal/inject", files: 1, mutants: 6, killed: 6}
	explained := map[string]string{"a.go f*": "slower"}
	read := func() string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := report(path, []score{first, second}, explained); err != nil {
		t.Fatal(err)
	}
	all := read()
	for _, want := range []string{
		"| `policy` | 2 | 10 | 8 (80.0 %) | 1 | 1 | 88.9 % |", "| `internal/inject` | 1 | 6 | 6 (100.0 %) | 0 | 0 | 100.0 % |", "| together | 3 | 16 | 14 (87.5 %) | 1 | 1 | 93.3 % |",
		"- `a.go f: never: x`: slower\n", "- `a.go g: always: y`: **a hole", "### `internal/inject`\n\nNone.\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("it lacks %q:\n%s", want, all)
		}
	}
	for _, again := range []score{second, first} {
		if err := report(path, []score{again}, explained); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, read()); diff != "" {
			t.Errorf("%s again: %s", again.dir, diff)
		}
	}
}
