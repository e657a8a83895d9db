package docs

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

var update = flag.Bool("update", false, "write unrun.txt anew")

// What a command block may need that is not there where the tests run. Such a block is not run but counted.
var needs = []string{"docker", "kubernetes", "systemd", "internet"}

// The languages of blocks that people type.
var typed = []string{"sh", "bash", "shell", "console", "shell-session", "sh-session", "terminal", "zsh", "fish", "powershell"}

// How lines begin that people type, whatever a block says of its language.
var command = regexp.MustCompile(`^\s*(\$ |# )?(sudo |(keybearer|curl|make|go|vault|docker|kubectl|helm|systemctl|apt|apt-get|dpkg|cosign|npm|psql|xcaddy) [a-z-])`)

// block is a fenced block of a page.
type block struct {
	page     string // its path in the repository
	line     int    // of the fence
	language string // "" where none is named
	mark     string // what the comment in the line above says, "" where there is none
	text     string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// check returns what is wrong with the block, and what it needs that is not here. A block that people type is run by this package,
// or names the test that runs it, or what it needs.
func (b block) check(root string) (need string, err error) {
	kind, what, _ := strings.Cut(b.mark, ": ")
	switch {
	case !slices.Contains(typed, b.language) && b.mark != "":
		return "", errors.New("only a block of commands has a mark")
	case !slices.Contains(typed, b.language):
		if b.language != "" && b.language != "text" {
			return "", nil
		}
		for line := range strings.Lines(b.text) {
			if command.MatchString(line) {
				return "", fmt.Errorf("this is typed, mark the block as sh: %s", strings.TrimSpace(line))
			}
		}
		return "", nil
	case b.mark == "" && b.language == "sh":
		return "", nil
	case b.mark == "":
		return "", fmt.Errorf("mark it as sh, and it is run here; %s is for blocks below a line <!-- run by: folder TestName --> or <!-- needs: %s -->", b.language, strings.Join(needs, " | "))
	case kind == "needs" && slices.Contains(needs, what):
		return what, nil
	case kind == "run by" && b.language != "sh":
		return "", b.elsewhere(root, what)
	}
	return "", fmt.Errorf("unknown mark %q: want \"needs: %s\", or \"run by: folder TestName\" on a block marked bash", b.mark, strings.Join(needs, " | "))
}

// elsewhere says whether a test of another folder reads this page.
func (b block) elsewhere(root, what string) error {
	folder, name, _ := strings.Cut(what, " ")
	files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			if strings.Contains(string(text), b.page) {
				return nil
			}
			return fmt.Errorf("%s, where %s is, does not read the page", filepath.Base(file), name)
		}
	}
	return fmt.Errorf("there is no test %q in %q", name, folder)
}

// pages returns every page of the repository.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	root := harness.Repository()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || slices.Contains([]string{"bin", "dist", "node_modules", "testdata"}, name)):
			return fs.SkipDir
		case !d.IsDir() && filepath.Ext(name) == ".md":
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			all = append(all, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// blocksOf returns the fenced blocks of a page.
func blocksOf(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Repository(), page))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parse(page, string(text))
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// parse finds the fenced blocks of a text. Fences are three backticks at the beginning of a line, so that nothing is overlooked that a reader sees as a block.
func parse(page, text string) ([]block, error) {
	var blocks []block
	var open *block
	above := ""
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		mark, isMark := strings.CutPrefix(above, "<!-- ")
		switch {
		case open != nil && line == "```":
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "```"):
			open = &block{page: page, line: number, language: line[3:]}
			if isMark {
				open.mark = strings.TrimSuffix(mark, " -->")
			}
		case strings.HasPrefix(strings.TrimLeft(line, "> \t"), "```"), strings.HasPrefix(strings.TrimLeft(line, "> \t"), "~~~"):
			return nil, fmt.Errorf("%s:%d: a fence is three backticks at the beginning of a line", page, number)
		}
		for _, kind := range []string{"<!-- needs:", "<!-- run by:"} {
			if strings.HasPrefix(above, kind) && !strings.HasPrefix(line, "```") {
				return nil, fmt.Errorf("%s:%d: a mark stands right above its block", page, number-1)
			}
		}
		above = line
	}
	if open != nil {
		return nil, fmt.Errorf("%s has no end", open)
	}
	return blocks, nil
}

// Every block that people type is run by a test, or is marked with what it needs that no test has. Those are counted in unrun.txt, so that
// a new one is seen in review: go test ./test/docs -run TestEveryBlockIsRunOrCounted -update
func TestEveryBlockIsRunOrCounted(t *testing.T) {
	counts := map[string]int{}
	for _, page := range pages(t) {
		for _, b := range blocksOf(t, page) {
			need, err := b.check(harness.Repository())
			if err != nil {
				t.Errorf("%s: %v", b, err)
			}
			if need != "" {
				counts[page+" "+need]++
			}
		}
	}
	var text strings.Builder
	text.WriteString("# How many command blocks of each page no test can run here, and what they need. Written by: go test ./test/docs -run TestEveryBlockIsRunOrCounted -update\n")
	for _, key := range slices.SortedFunc(maps.Keys(counts), cmp.Compare) {
		fmt.Fprintf(&text, "%s %d\n", key, counts[key])
	}
	if *update {
		if err := os.WriteFile("unrun.txt", []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile("unrun.txt"); err != nil || string(want) != text.String() {
		t.Errorf("unrun.txt is not what the pages say (%v); look whether a test can run the new blocks, and if none can: go test ./test/docs -run %s -update\n%s", err, t.Name(), text.String())
	}
}

func TestBlocksThatHideAreFound(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"run here":          {"```sh\nkeybearer run\n```\n", ""},
		"needs":             {"<!-- needs: docker -->\n```sh\ndocker run keybearer\n```\n", ""},
		"run elsewhere":     {"<!-- run by: internal/transit TestTheDocumentedSetUp -->\n```bash\nvault status\n```\n", ""},
		"a picture":         {"```\n app ── POST ──▶ Keybearer\n```\n", ""},
		"configuration":     {"```caddyfile\nkeybearer {\n}\n```\n", ""},
		"bash alone":        {"```bash\nkeybearer run\n```\n", "mark it as sh"},
		"console alone":     {"```console\nkeybearer run\n```\n", "mark it as sh"},
		"shell alone":       {"```shell\nkeybearer run\n```\n", "mark it as sh"},
		"text":              {"```text\nvault auth enable jwt\n```\n", "this is typed"},
		"no language":       {"```\nsudo apt install keybearer\n```\n", "this is typed"},
		"with a prompt":     {"```\n$ keybearer run\n```\n", "this is typed"},
		"unknown need":      {"<!-- needs: luck -->\n```sh\nkeybearer run\n```\n", "unknown mark"},
		"unknown mark":      {"<!-- skip -->\n```sh\nkeybearer run\n```\n", "unknown mark"},
		"no such test":      {"<!-- run by: internal/transit TestNothing -->\n```bash\nvault status\n```\n", "there is no test"},
		"reads another":     {"<!-- run by: internal/transit TestTheDocumentedPolicies -->\n```bash\nvault status\n```\n", "there is no test"},
		"sh elsewhere":      {"<!-- run by: internal/transit TestTheDocumentedSetUp -->\n```sh\nvault status\n```\n", "unknown mark"},
		"a mark on the way": {"<!-- needs: docker -->\n\n```sh\ndocker run keybearer\n```\n", "right above"},
		"a mark on a file":  {"<!-- needs: docker -->\n```yaml\na: 1\n```\n", "only a block of commands"},
		"indented":          {"1. First\n   ```sh\n   keybearer run\n   ```\n", "beginning of a line"},
		"quoted":            {"> ```sh\n> keybearer run\n> ```\n", "beginning of a line"},
		"tildes":            {"~~~sh\nkeybearer run\n~~~\n", "beginning of a line"},
		"no end":            {"```sh\nkeybearer run\n", "no end"},
	} {
		blocks, err := parse("docs/vault.md", c.text)
		if err == nil && len(blocks) > 0 {
			_, err = blocks[0].check(harness.Repository())
		}
		if got := fmt.Sprint(err); (err == nil) != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
