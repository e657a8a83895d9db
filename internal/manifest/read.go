package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer"
)

// maxFile bounds a file, in bytes.
const maxFile = 16 << 20

// Read returns what the files say together. A directory stands for the .yaml, .yml and .json files in it, not for those below; "-" for stdin. A record
// that is listed twice, in whatever files, is refused, as is all that is not exactly the form: [keybearer.Invalid] with a line for each
// mistake, "file:line: what, and how to mend it". Errors never repeat a value. What cannot be opened gives the error of package os.
func Read(paths []string, stdin io.Reader) (*Manifest, error) {
	m := &Manifest{Scopes: map[string]Scope{}, Credentials: map[keybearer.Ref]Credential{}}
	var found problems
	documents, read := 0, 0
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); path != "-" && err == nil && info.IsDir() {
			if files, err = filesIn(path); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			text, err := readFile(file, stdin)
			if err != nil {
				return nil, err
			}
			if file == "-" {
				file = "stdin"
			}
			documents += m.add(&source{file, read, &found}, text)
			read++
		}
	}
	if len(found) == 0 && documents == 0 {
		found = problems{{text: "there is no manifest in " + strings.Join(paths, ", ")}}
	}
	return m, found.err()
}

func filesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

func readFile(path string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, keybearer.NewError(keybearer.Invalid, path+" is larger than 16 MiB")
	}
	return text, nil
}

// add reads the documents of one file and returns how many there were.
func (m *Manifest) add(s *source, text []byte) (documents int) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			*s.problems = append(*s.problems, problem{s.index, math.MaxInt, s.file + syntax(err)})
			return documents
		}
		if len(doc.Content) != 1 || isNull(doc.Content[0]) {
			continue // only comments
		}
		documents++
		if s.plain(doc.Content[0]) {
			m.document(s, doc.Content[0])
		}
	}
}

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

// syntax is what the parser says, without the one of its messages that repeats text.
func syntax(err error) string {
	line, what := "", "this is no YAML that can be read"
	if parts := yamlLine.FindStringSubmatch(err.Error()); parts != nil {
		line, what = ":"+parts[1], parts[2]
	}
	if strings.Contains(what, "anchor") || strings.Contains(err.Error(), "anchor") {
		what = "anchors and aliases are not used here; write it out"
	}
	return line + ": " + what
}

func (m *Manifest) document(s *source, n *yaml.Node) {
	version := false
	section := func(name string, read func(key, value *yaml.Node)) field {
		return field{name, func(n *yaml.Node) {
			if isNull(n) {
				s.bad(n, "%s is empty: write {} if there are none, or leave it out", name)
				return
			}
			s.mapping(n, name, read)
		}}
	}
	if n.Kind != yaml.MappingNode {
		s.bad(n, "a manifest begins with apiVersion: %s", APIVersion)
		return
	}
	callers := section("callers", func(key, value *yaml.Node) { m.caller(s, key, value) })
	operators := section("operators", func(key, value *yaml.Node) { m.operator(s, key, value) })
	s.fields(n, "a manifest",
		field{"apiVersion", func(n *yaml.Node) {
			if version = true; n.Value != APIVersion {
				s.bad(n, "apiVersion is %s", APIVersion)
			}
		}},
		section("scopes", func(key, value *yaml.Node) { m.scope(s, key, value) }),
		section("credentials", func(key, value *yaml.Node) { m.credential(s, key, value) }),
		field{"callers", func(n *yaml.Node) {
			if m.Callers == nil {
				m.Callers = map[string]Caller{}
			}
			callers.read(n)
		}},
		field{"operators", func(n *yaml.Node) {
			if m.Operators == nil {
				m.Operators = map[string]Operator{}
			}
			operators.read(n)
		}},
	)
	if !version {
		s.bad(n, "a manifest begins with apiVersion: %s", APIVersion)
	}
}

// keep puts a record into its map, unless it was listed before.
func keep[K comparable, V any](s *source, key *yaml.Node, what string, records map[K]V, name K, record V, at func(V) string) {
	if before, twice := records[name]; twice {
		s.bad(key, "%s is listed twice; the first is at %s", what, at(before))
		return
	}
	records[name] = record
}

func (m *Manifest) scope(s *source, key, n *yaml.Node) {
	if !keybearer.ValidScopeName(key.Value) {
		s.bad(key, "the name of a scope is 1 to 63 lower-case letters, digits and '-'")
		return
	}
	x := Scope{at: s.at(key)}
	s.fields(n, "a scope",
		field{"description", func(n *yaml.Node) { x.Description = s.description(n) }},
		field{"key", func(n *yaml.Node) { x.Key = s.truth(n, "key") }},
	)
	keep(s, key, "scope "+key.Value, m.Scopes, key.Value, x, func(x Scope) string { return x.at })
}

func (m *Manifest) caller(s *source, key, n *yaml.Node) {
	if !s.name(key, "a caller", keybearer.IDCaller) {
		return
	}
	x := Caller{Scopes: []string{}, at: s.at(key)}
	s.fields(n, "a caller",
		field{"description", func(n *yaml.Node) { x.Description = s.description(n) }},
		field{"scopes", func(n *yaml.Node) { x.Scopes = set(s.texts(n, "scopes", "the name of a scope")) }},
		field{"disabled", func(n *yaml.Node) { x.Disabled = s.truth(n, "disabled") }},
	)
	keep(s, key, "caller "+key.Value, m.Callers, key.Value, x, func(x Caller) string { return x.at })
}

func (m *Manifest) operator(s *source, key, n *yaml.Node) {
	if !s.name(key, "an operator", keybearer.IDOperator, "uid-") {
		return
	}
	x := Operator{Groups: []string{}, Roles: []string{}, at: s.at(key)}
	s.fields(n, "an operator",
		field{"description", func(n *yaml.Node) { x.Description = s.description(n) }},
		field{"groups", func(n *yaml.Node) {
			s.list(n, "groups", func(n *yaml.Node) {
				g := s.text(n, "a group")
				if _, err := keybearer.ParseSubject(string(keybearer.GroupSubject(g))); err != nil && g != "" {
					s.bad(n, "a group's name is 1 to 255 printable characters without blanks")
				}
				x.Groups = append(x.Groups, g)
			})
		}},
		field{"roles", func(n *yaml.Node) {
			s.list(n, "roles", func(n *yaml.Node) {
				role := s.text(n, "a role")
				if scope, of := strings.CutPrefix(role, keybearer.RoleScopeAdmin); !(of && keybearer.ValidScopeName(scope)) && role != keybearer.RoleInstanceAdmin {
					s.bad(n, "a role is instance-admin or scope-admin:<scope>")
				}
				x.Roles = append(x.Roles, role)
			})
		}},
		field{"disabled", func(n *yaml.Node) { x.Disabled = s.truth(n, "disabled") }},
	)
	x.Groups, x.Roles = set(x.Groups), set(x.Roles)
	keep(s, key, "operator "+key.Value, m.Operators, key.Value, x, func(x Operator) string { return x.at })
}

// name checks the name of a record, which may not look like an id.
func (s *source) name(key *yaml.Node, what string, not ...string) bool {
	if keybearer.ValidName(key.Value) && !slices.ContainsFunc(not, func(p string) bool { return strings.HasPrefix(key.Value, p) }) {
		return true
	}
	s.bad(key, "the name of %s is 1 to 63 lower-case letters, digits, '-', '.' and '_', and does not begin with %s", what, strings.Join(not, " or "))
	return false
}

func (s *source) description(n *yaml.Node) string {
	text := s.text(n, "description")
	if len(text) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 }) {
		s.bad(n, "a description is at most 1000 bytes of text without control characters")
	}
	return text
}

// said is an error of the root's or the policy's as a message about a line.
func said(err error) string {
	e := keybearer.AsError(err)
	if e.Hint == "" {
		return e.Message()
	}
	return fmt.Sprintf("%s; %s", e.Message(), e.Hint)
}
