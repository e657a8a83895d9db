package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// switchFile is added to the package: it says which mutant is alive, and notes the numbers of those that were asked for. Each is noted when it is
// reached for the first time, so that no process, however it ends and whoever started it, takes what it knows with it.
const switchFile = `package %s

import (
	"os"
	"strconv"
	"sync/atomic"
)

var (
	mutantAlive = mutantNumber(os.Getenv("KEYBEARER_MUTANT"))
	mutantReach = os.Getenv("KEYBEARER_MUTANT_REACH")
	mutantsSeen [%d]atomic.Bool
)

func mutantNumber(text string) int {
	if id, err := strconv.Atoi(text); err == nil {
		return id
	}
	return -1
}

func mutant(id int) bool {
	if mutantReach == "" {
		return id == mutantAlive
	}
	if !mutantsSeen[id].Swap(true) {
		f, err := os.OpenFile(mutantReach, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		if _, err := f.WriteString(strconv.Itoa(id) + "\n"); err != nil {
			panic(err)
		}
	}
	return false
}
`

// mutator rewrites the files of one package.
type mutator struct {
	fset     *token.FileSet
	file     string // base name
	function string
	names    []string       // of the mutants; their numbers are the indexes
	seen     map[string]int // names given, so that each is told apart
}

// mutate returns the changed text of a file.
func (m *mutator) mutate(path string) ([]byte, error) {
	f, err := parser.ParseFile(m.fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	m.file = filepath.Base(path)
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || fn.Name.Name == "init" {
			continue
		}
		m.function = fn.Name.Name
		m.block(fn.Body.List)
	}
	f.Comments = nil // their places are gone
	var b bytes.Buffer
	if err := printer.Fprint(&b, m.fset, f); err != nil {
		return nil, err
	}
	return format.Source(b.Bytes())
}

// name registers a mutant and returns the expression that is true while it is alive.
func (m *mutator) name(what string, n ast.Node) ast.Expr {
	name := fmt.Sprintf("%s %s: %s: %s", m.file, m.function, what, m.text(n))
	m.seen[name]++
	if k := m.seen[name]; k > 1 {
		name = fmt.Sprintf("%s (%d)", name, k)
	}
	m.names = append(m.names, name)
	return &ast.CallExpr{Fun: ast.NewIdent("mutant"), Args: []ast.Expr{&ast.BasicLit{Kind: token.INT, Value: strconv.Itoa(len(m.names) - 1)}}}
}

func (m *mutator) text(n ast.Node) string {
	var b bytes.Buffer
	_ = printer.Fprint(&b, m.fset, n)
	text := strings.Join(strings.Fields(b.String()), " ")
	if len(text) > 90 {
		text = text[:90] + "…"
	}
	return text
}

func (m *mutator) block(list []ast.Stmt) {
	for i, s := range list {
		list[i] = m.statement(s)
	}
}

// statement changes what is inside, and puts those statements that can be left out behind their mutant.
func (m *mutator) statement(s ast.Stmt) ast.Stmt {
	switch s := s.(type) {
	case *ast.IfStmt:
		s.Cond = m.condition(s.Cond)
		m.inner(s.Init)
		m.block(s.Body.List)
		if s.Else != nil {
			s.Else = m.statement(s.Else)
		}
	case *ast.ForStmt:
		m.inner(s.Init)
		m.inner(s.Post)
		m.block(s.Body.List) // a changed condition of a loop is mostly a loop without end
	case *ast.RangeStmt:
		m.block(s.Body.List)
	case *ast.BlockStmt:
		m.block(s.List)
	case *ast.LabeledStmt:
		s.Stmt = m.statement(s.Stmt)
	case *ast.SwitchStmt:
		m.inner(s.Init)
		for _, c := range s.Body.List {
			clause := c.(*ast.CaseClause)
			if s.Tag == nil {
				for i := range clause.List {
					clause.List[i] = m.condition(clause.List[i])
				}
			}
			m.block(clause.Body)
		}
	case *ast.TypeSwitchStmt:
		for _, c := range s.Body.List {
			m.block(c.(*ast.CaseClause).Body)
		}
	case *ast.SelectStmt:
		for _, c := range s.Body.List {
			m.block(c.(*ast.CommClause).Body)
		}
	case *ast.ReturnStmt:
		for i := range s.Results {
			s.Results[i] = m.value(s.Results[i])
		}
	case *ast.AssignStmt:
		for i := range s.Rhs {
			s.Rhs[i] = m.value(s.Rhs[i])
		}
		if s.Tok != token.DEFINE && !blank(s.Lhs) {
			return m.optional("left out", s)
		}
	case *ast.ExprStmt:
		m.closures(s.X)
		if call, ok := s.X.(*ast.CallExpr); ok && !harmless(m.text(call.Fun)) {
			return m.optional("left out", s)
		}
	case *ast.IncDecStmt:
		return m.optional("left out", s)
	case *ast.GoStmt:
		m.closures(s.Call)
	case *ast.DeferStmt:
		m.closures(s.Call)
	}
	return s
}

// inner changes what a statement assigns, where the statement cannot be left out.
func (m *mutator) inner(s ast.Stmt) {
	if a, ok := s.(*ast.AssignStmt); ok {
		for i := range a.Rhs {
			m.closures(a.Rhs[i])
		}
	}
}

func blank(list []ast.Expr) bool {
	for _, e := range list {
		if id, ok := e.(*ast.Ident); !ok || id.Name != "_" {
			return false
		}
	}
	return true
}

// harmless calls are those whose leaving out nobody is meant to notice: what gives back or hangs.
func harmless(fn string) bool {
	for _, end := range []string{".Unlock", ".RUnlock", ".Lock", ".RLock", ".Wait", "panic", ".Warn", ".Debug", ".Info", ".Stop", "close"} {
		if strings.HasSuffix(fn, end) {
			return true
		}
	}
	return false
}

func (m *mutator) optional(what string, s ast.Stmt) ast.Stmt {
	alive := m.name(what, s)
	return &ast.IfStmt{Cond: not(alive), Body: &ast.BlockStmt{List: []ast.Stmt{s}}}
}

// condition breaks a condition as a whole, and each part of it.
func (m *mutator) condition(e ast.Expr) ast.Expr {
	always, never := m.name("always", e), m.name("never", e)
	return both(not(never), either(always, m.boolean(e)))
}

// value breaks what is returned or assigned, where it is plainly a truth.
func (m *mutator) value(e ast.Expr) ast.Expr {
	switch x := e.(type) {
	case *ast.BinaryExpr:
		if truth(x.Op) {
			return m.boolean(e)
		}
	case *ast.UnaryExpr:
		if x.Op == token.NOT {
			return m.boolean(e)
		}
	case *ast.ParenExpr:
		x.X = m.value(x.X)
	case *ast.Ident:
		if x.Name == "true" || x.Name == "false" {
			return differs(e, m.name("turned over", e))
		}
	default:
		m.closures(e)
	}
	return e
}

func truth(op token.Token) bool {
	switch op {
	case token.LAND, token.LOR, token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ:
		return true
	}
	return false
}

// boolean breaks the parts of an expression that is a truth.
func (m *mutator) boolean(e ast.Expr) ast.Expr {
	switch x := e.(type) {
	case *ast.ParenExpr:
		return &ast.ParenExpr{X: m.boolean(x.X)}
	case *ast.UnaryExpr:
		if x.Op == token.NOT {
			return not(m.boolean(x.X))
		}
	case *ast.BinaryExpr:
		switch x.Op {
		case token.LAND: // each side left out
			left, right := m.name("without the left of", x), m.name("without the right of", x)
			return both(either(left, m.boolean(x.X)), either(right, m.boolean(x.Y)))
		case token.LOR:
			left, right := m.name("without the left of", x), m.name("without the right of", x)
			return either(both(not(left), m.boolean(x.X)), both(not(right), m.boolean(x.Y)))
		case token.EQL, token.NEQ:
			return differs(x, m.name("turned over", x))
		case token.LSS, token.GTR: // with the boundary
			return either(x, both(m.name("with the boundary", x), &ast.BinaryExpr{X: x.X, Op: token.EQL, Y: x.Y}))
		case token.LEQ, token.GEQ:
			return both(x, not(both(m.name("without the boundary", x), &ast.BinaryExpr{X: x.X, Op: token.EQL, Y: x.Y})))
		}
	}
	m.closures(e)
	return e
}

// closures changes the bodies of functions within an expression.
func (m *mutator) closures(e ast.Expr) {
	ast.Inspect(e, func(n ast.Node) bool {
		if fn, ok := n.(*ast.FuncLit); ok {
			m.block(fn.Body.List)
			return false
		}
		return true
	})
}

func not(e ast.Expr) ast.Expr { return &ast.UnaryExpr{Op: token.NOT, X: &ast.ParenExpr{X: e}} }

func both(a, b ast.Expr) ast.Expr { return pair(a, token.LAND, b) }

func either(a, b ast.Expr) ast.Expr { return pair(a, token.LOR, b) }

func differs(a, b ast.Expr) ast.Expr { return pair(a, token.NEQ, b) }

func pair(a ast.Expr, op token.Token, b ast.Expr) ast.Expr {
	return &ast.ParenExpr{X: &ast.BinaryExpr{X: &ast.ParenExpr{X: a}, Op: op, Y: &ast.ParenExpr{X: b}}}
}

// write puts the changed files of the target and the switch into dir, and returns the overlay and the mutants' names.
func write(t target, dir string) (overlay map[string]string, names []string, err error) {
	m := &mutator{fset: token.NewFileSet(), seen: map[string]int{}}
	overlay = map[string]string{}
	pkg := filepath.Base(t.dir)
	put := func(base string, text []byte) error {
		full, err := filepath.Abs(filepath.Join(t.dir, base))
		if err != nil {
			return err
		}
		overlay[full] = filepath.Join(dir, base)
		return os.WriteFile(overlay[full], text, 0o600)
	}
	for _, base := range t.files {
		text, err := m.mutate(filepath.Join(t.dir, base))
		if err != nil {
			return nil, nil, err
		}
		if err := put(base, text); err != nil {
			return nil, nil, err
		}
	}
	return overlay, m.names, put("mutant_switch.go", fmt.Appendf(nil, switchFile, pkg, len(m.names)))
}
