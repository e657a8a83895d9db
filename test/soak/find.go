package soak

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Test is a test function or a fuzz target.
type Test struct {
	Package string // its folder, from the root: "./policy"
	Module  string // folder of the nested module that it is in: "test/vaultserver"; "" of the repository's own
	Name    string
}

// newTest is a test in the folder.
func newTest(root, dir string) (Test, error) {
	var t Test
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return t, err
	}
	if t.Package = filepath.ToSlash(rel); t.Package != "." {
		t.Package = "./" + t.Package
	}
	for at := rel; at != "."; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(root, at, "go.mod")); err == nil {
			t.Module = filepath.ToSlash(at)
			break
		}
	}
	return t, nil
}

func (t Test) String() string { return t.Package + " " + t.Name }

// Command is what runs a long test, from the root.
func (t Test) Command() []string {
	c := []string{"go", "test"}
	pkg := t.Package
	if t.Module != "" {
		c = append(c, "-C", t.Module)
		pkg = "." + strings.TrimPrefix(pkg, "./"+t.Module)
	}
	if strings.Contains(t.Name, "Race") {
		c = append(c, "-race")
	}
	return append(c, "-count=1", "-timeout", "5h", pkg, "-run", "^"+t.Name+"$")
}

// line is the command as it is typed.
func (t Test) line() string {
	c := t.Command()
	c[len(c)-1] = "'" + c[len(c)-1] + "'"
	return strings.Join(c, " ")
}

// Find returns the functions in test files under root that are named as prefix says and, behind it, have one of the words in their
// names, in the order of folder and name. Nested modules are looked through too.
func Find(root, prefix string, words ...string) ([]Test, error) {
	var found []Test
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		test, err := newTest(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil {
				continue
			}
			rest, ok := strings.CutPrefix(f.Name.Name, prefix)
			has := func(word string) bool { return strings.Contains(rest, word) }
			if ok && rest != "" && (len(words) == 0 || slices.ContainsFunc(words, has)) {
				test.Name = f.Name.Name
				found = append(found, test)
			}
		}
		return nil
	})
	slices.SortFunc(found, func(a, b Test) int { return strings.Compare(a.String(), b.String()) })
	return found, err
}

// Count writes a number with commas for people.
func Count(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
