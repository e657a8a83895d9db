package manifest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer"
)

// problem is one mistake in a file.
type problem struct {
	file int // its place among the files
	line int // 0: of the file as a whole
	text string
}

// problems collects what is wrong with all files, so that it can be mended at once.
type problems []problem

const mostProblems = 20

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b problem) int { return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line)) })
	lines := make([]string, 0, len(p))
	for _, x := range p {
		lines = append(lines, x.text)
	}
	return keybearer.NewError(keybearer.Invalid, joined(lines)).WithHint("keybearer export shows the form; docs/gitops.md explains it")
}

// joined puts the first of many lines below each other.
func joined(lines []string) string {
	if more := len(lines) - mostProblems; more > 0 {
		lines = append(lines[:mostProblems:mostProblems], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// source is one file while it is read. What it says of a node never holds a value: any could be a secret in the wrong place.
type source struct {
	file     string
	index    int // among the files
	problems *problems
}

func (s *source) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", s.file, n.Line) }

func (s *source) bad(n *yaml.Node, format string, args ...any) {
	*s.problems = append(*s.problems, problem{s.index, n.Line, s.at(n) + ": " + fmt.Sprintf(format, args...)})
}

// plain refuses what makes YAML say one thing and mean another.
func (s *source) plain(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		s.bad(n, "anchors and aliases are not used here; write it out")
		return false
	case n.Style&yaml.TaggedStyle != 0:
		s.bad(n, "tags are not used here; leave out what begins with !")
		return false
	}
	for _, child := range n.Content {
		if !s.plain(child) {
			return false
		}
	}
	return true
}

// field is one that a mapping may have.
type field struct {
	name string
	read func(*yaml.Node)
}

// fields reads a mapping of known fields.
func (s *source) fields(n *yaml.Node, what string, known ...field) {
	s.mapping(n, what, func(key, value *yaml.Node) {
		i := slices.IndexFunc(known, func(f field) bool { return f.name == key.Value })
		if i >= 0 {
			known[i].read(value)
			return
		}
		names := make([]string, len(known))
		for i, f := range known {
			names[i] = f.name
		}
		s.bad(key, "%s has no field%s; %s", what, shown(key.Value), meant(key.Value, names))
	})
}

// mapping calls each for every entry; nothing at all is an empty mapping.
func (s *source) mapping(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	switch {
	case isNull(n):
		return
	case n.Kind != yaml.MappingNode:
		s.bad(n, "%s is a mapping, of names to values", what)
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			s.bad(key, "a name in %s is text", what)
			continue
		}
		if line, again := seen[key.Value]; again {
			s.bad(key, "%s has%s twice; the first is in line %d", what, shown(key.Value), line)
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
}

func (s *source) list(n *yaml.Node, what string, each func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		s.bad(n, "%s is a list", what)
		return
	}
	for _, item := range n.Content {
		each(item)
	}
}

func (s *source) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		hint := ""
		if n.Kind == yaml.ScalarNode && !isNull(n) {
			hint = "; put it in quotes"
		}
		s.bad(n, "%s is text%s", what, hint)
		return ""
	}
	return n.Value
}

func (s *source) texts(n *yaml.Node, what, item string) []string {
	out := []string{}
	s.list(n, what, func(n *yaml.Node) { out = append(out, s.text(n, item)) })
	return out
}

func (s *source) truth(n *yaml.Node, what string) bool {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		switch n.Value {
		case "true":
			return true
		case "false":
			return false
		}
	}
	s.bad(n, "%s is true or false", what)
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

var fieldLike = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]{0,31}$`)

// shown is a name as a message may repeat it: only what looks like one, since a secret may stand where a name belongs.
func shown(name string) string {
	if fieldLike.MatchString(name) {
		return " " + name
	}
	if _, err := keybearer.ParseRef(name); err == nil {
		return " " + name
	}
	if _, err := keybearer.ParseSubject(name); err == nil && len(name) < 64 {
		return " " + name
	}
	return " of this name"
}

// meant suggests the nearest of the known names, or lists them all.
func meant(name string, known []string) string {
	best, least := "", 1+min(3, max(len(name), 1)/2)
	for _, k := range known {
		if d := distance(strings.ToLower(strings.ReplaceAll(name, "-", "_")), strings.ToLower(k)); d < least || strings.HasPrefix(k, name) && len(name) > 2 {
			best, least = k, min(d, least)
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "it may have " + strings.Join(known, ", ")
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
