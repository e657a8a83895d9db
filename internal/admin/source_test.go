package admin_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// source is what the Go source says of types beyond what reflection sees: their comments and their constants.
type source struct {
	comments map[string]string   // of "package.Type" and "package.Type.Field"
	values   map[string][]string // of the text constants of a type, by "package.Type"
}

// readSource reads the packages in these directories.
func readSource(t *testing.T, dirs ...string) source {
	t.Helper()
	s := source{map[string]string{}, map[string][]string{}}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				if d, ok := d.(*ast.GenDecl); ok {
					s.declared(f.Name.Name, d)
				}
			}
		}
	}
	return s
}

func (s source) declared(pkg string, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			name := pkg + "." + spec.Name.Name
			s.comments[name] = sentence(first(spec.Doc, d.Doc, spec.Comment))
			if st, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						s.comments[name+"."+n.Name] = sentence(first(f.Doc, f.Comment))
					}
				}
			}
		case *ast.ValueSpec:
			typ, ok := spec.Type.(*ast.Ident)
			if d.Tok != token.CONST || !ok {
				continue
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						s.values[pkg+"."+typ.Name] = append(s.values[pkg+"."+typ.Name], text)
					}
				}
			}
		}
	}
}

func first(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if text := g.Text(); text != "" {
			return text
		}
	}
	return ""
}

// sentence joins the lines of a comment, less the brackets of links.
func sentence(comment string) string {
	comment, _, _ = strings.Cut(comment, "\n\n")
	return strings.NewReplacer("[keybearer.", "", "[", "", "]", "").Replace(strings.Join(strings.Fields(comment), " "))
}

// nameOf is the name of a type in the source, without type parameters.
func nameOf(typ reflect.Type) string {
	name, _, _ := strings.Cut(typ.Name(), "[")
	return typ.PkgPath()[strings.LastIndexByte(typ.PkgPath(), '/')+1:] + "." + name
}
