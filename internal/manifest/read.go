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
	if strings.Contains(err.Error(), "anchor") {
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

// said is an error of the root's or the policy's as a message about a line.
func said(err error) string {
	e := keybearer.AsError(err)
	if e.Hint == "" {
		return e.Message()
	}
	return fmt.Sprintf("%s; %s", e.Message(), e.Hint)
}
