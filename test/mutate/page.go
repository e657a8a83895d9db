package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const page = "docs/mutation.md"

// score is what became of the mutants of a package.
type score struct {
	dir                        string
	files                      int
	mutants, killed, explained int
	survivors, holes           []string // names
	lines                      string   // of the page, about those two; of a package that was not run now
}

func percent(part, of int) float64 { return 100 * float64(part) / float64(max(of, 1)) }

func (s *score) row() string {
	return fmt.Sprintf("| `%s` | %d | %d | %d (%.1f %%) | %d | %d | %.1f %% |\n",
		s.dir, s.files, s.mutants, s.killed, percent(s.killed, s.mutants), s.explained, s.mutants-s.killed-s.explained, percent(s.killed, s.mutants-s.explained))
}

var row = regexp.MustCompile("(?m)^\\| `(.+)` \\| (\\d+) \\| (\\d+) \\| (\\d+) \\(.*\\) \\| (\\d+) \\|")

// report writes what was found as a page. What it tells of packages that were not run stays.
func report(path string, all []score, explained map[string]string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var b strings.Builder
	b.WriteString("# Breaking the guards\n\nWritten by `make mutate`. Every condition, comparison and statement of the guards was changed, one at a time, and the\n" +
		"package's own tests were run against each change. What a mutant is and how it is made is told in `test/mutate`. Those that survive and cannot\n" +
		"matter, since what they change makes no difference that anybody could see, are listed below with the reason.\n\n" +
		"| package | files | mutants | killed | cannot matter | holes | killed of those that matter |\n|---|---|---|---|---|---|---|\n")
	total := score{dir: "together"}
	scores := merge(string(old), all)
	for _, s := range scores {
		b.WriteString(s.row())
		total.files, total.mutants, total.killed, total.explained = total.files+s.files, total.mutants+s.mutants, total.killed+s.killed, total.explained+s.explained
	}
	b.WriteString(strings.ReplaceAll(total.row(), "`", "") + "\n## Survivors\n")
	for _, s := range scores {
		fmt.Fprintf(&b, "\n### `%s`\n\n", s.dir)
		b.WriteString(s.lines)
		for _, m := range s.holes {
			fmt.Fprintf(&b, "- `%s`: **a hole in the tests**\n", m)
		}
		for _, m := range s.survivors {
			fmt.Fprintf(&b, "- `%s`: %s\n", m, reasonFor(explained, m))
		}
		if s.lines == "" && len(s.holes)+len(s.survivors) == 0 {
			b.WriteString("None.\n")
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// merge returns the scores of all targets, in their order: of those that were not run now, what the page says.
func merge(page string, now []score) (all []score) {
	before := map[string]score{}
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		s := score{dir: m[1]}
		for i, into := range []*int{&s.files, &s.mutants, &s.killed, &s.explained} {
			*into, _ = strconv.Atoi(m[i+2]) // digits
		}
		_, section, _ := strings.Cut(page, "\n### `"+s.dir+"`\n\n")
		section, _, _ = strings.Cut(section, "\n### ")
		s.lines = section
		before[s.dir] = s
	}
	for _, t := range targets {
		if i := slices.IndexFunc(now, func(s score) bool { return s.dir == t.dir }); i >= 0 {
			all = append(all, now[i])
		} else if s, ok := before[t.dir]; ok {
			all = append(all, s)
		}
	}
	return all
}

func (s *score) sort() {
	slices.Sort(s.survivors)
	slices.Sort(s.holes)
}
