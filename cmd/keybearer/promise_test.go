package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keybearer/keybearer"
)

// promises are what docs/compatibility.md says stays the same within a major version, as far as it can be listed. Each list stands in
// testdata/promise, one thing a line, as the last release had it; -update adds what is new, and never takes a line away.
var promises = map[string]struct {
	what string
	list func(*testing.T) []string
}{
	"errors":    {"error code, its status or its exit code", promisedErrors},
	"audit":     {"key or action of the audit log", promisedAudit},
	"metrics":   {"metric", promisedMetrics},
	"headers":   {"header field on the wire", promisedHeaders},
	"caddyfile": {"option of the Caddyfile", promisedOptions},
	"api":       {"operation, parameter or field of the admin API", promisedAPI},
	"cli":       {"command or flag", promisedCommands},
	"json":      {"field of -o json", promisedFields},
}

// What was released stays: whoever takes it away breaks somebody.
func TestWhatWasPromisedIsStillThere(t *testing.T) {
	for name, p := range promises {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "promise", name+".txt")
			now := p.list(t)
			slices.Sort(now)
			now = slices.Compact(now)
			if len(now) < 4 {
				t.Fatalf("only %d lines were found: the search is broken", len(now))
			}
			text, err := os.ReadFile(path)
			if err != nil && !*update {
				t.Fatal(err)
			}
			then := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
			for _, line := range then {
				if _, found := slices.BinarySearch(now, line); !found {
					t.Errorf(`the %s %q is gone, and the last release had it. Bring it back: it may go with the next major version, after it was told of under "Deprecated" `+
						`in CHANGELOG.md for six months and one minor version (docs/compatibility.md). Then, or while nothing was released, remove its line from cmd/keybearer/%s`, p.what, line, path)
				}
			}
			if *update {
				all := append(then, now...)
				slices.Sort(all)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(strings.Join(slices.Compact(all), "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func promisedErrors(*testing.T) (all []string) {
	for _, c := range keybearer.Codes() {
		all = append(all, fmt.Sprintf("%s status %d exit %d", c.Code, c.Status, c.Exit))
	}
	return all
}

func promisedAudit(t *testing.T) []string {
	var all []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[keybearer.Event]()) {
		if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); key != "" && key != "-" {
			all = append(all, "key "+key)
		}
	}
	for _, s := range literals(t, regexp.MustCompile(`^[a-z]+\.[a-z_]+$`), "../../internal/custody/action.go") {
		all = append(all, "action "+s)
	}
	return all
}

func promisedMetrics(t *testing.T) []string {
	return literals(t, regexp.MustCompile(`^keybearer_[a-z_]+$`), "../../internal/metrics/*.go")
}

func promisedHeaders(t *testing.T) []string {
	return literals(t, regexp.MustCompile(`^Keybearer-[A-Za-z-]+$`), "../../internal/proxy/*.go", "../../internal/identity/*.go")
}

// promisedOptions are the words that the Caddyfile's functions tell apart: an option is a case of a switch.
func promisedOptions(t *testing.T) (all []string) {
	for _, file := range sources(t, "../../caddymodule/*.go") {
		if !usesDispenser(file) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			clause, ok := n.(*ast.CaseClause)
			if !ok {
				return true
			}
			for _, e := range clause.List {
				if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil && s != "" {
						all = append(all, s)
					}
				}
			}
			return true
		})
	}
	return all
}

// usesDispenser reports whether a file reads a Caddyfile.
func usesDispenser(file *ast.File) bool {
	for _, i := range file.Imports {
		if strings.Contains(i.Path.Value, "caddyconfig/caddyfile") {
			return true
		}
	}
	return false
}

func promisedAPI(t *testing.T) (all []string) {
	text, err := os.ReadFile("../../internal/admin/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var api struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Parameters  []struct {
				Name string
				In   string
				Ref  string `json:"$ref"`
			}
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]json.RawMessage }
		}
	}
	if err := json.Unmarshal(text, &api); err != nil {
		t.Fatal(err)
	}
	for path, operations := range api.Paths {
		for method, op := range operations {
			if op.OperationID == "" {
				continue // parameters of the whole path
			}
			line := strings.ToUpper(method) + " " + path
			all = append(all, line+" "+op.OperationID)
			for _, p := range op.Parameters {
				all = append(all, line+" parameter "+p.Name+p.Ref)
			}
		}
	}
	for name, s := range api.Components.Schemas {
		for property := range s.Properties {
			all = append(all, "field "+name+"."+property)
		}
	}
	return all
}

func promisedCommands(*testing.T) (all []string) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.Hidden || cmd.HasSubCommands() {
			return
		}
		_ = cmd.InheritedFlags() // joins them
		path := cmd.CommandPath()
		all = append(all, path)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			all = append(all, fmt.Sprintf("%s --%s %s", path, f.Name, f.Value.Type()))
			if f.Shorthand != "" {
				all = append(all, fmt.Sprintf("%s -%s", path, f.Shorthand))
			}
		})
	}
	walk(newCLI().rootCommand())
	return all
}

// promisedFields says which document each command writes, and what each has: parts that have a name of their own are documents, too.
func promisedFields(*testing.T) (all []string) {
	seen := map[reflect.Type]bool{}
	var describe func(reflect.Type)
	describe = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		for _, f := range reflect.VisibleFields(t) {
			if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); key != "" && key != "-" {
				all = append(all, t.Name()+"."+key)
				describe(f.Type)
			}
		}
	}
	for _, d := range documents {
		for _, command := range commandsOf(d.commands) {
			all = append(all, fmt.Sprintf("%s writes %s%s", command, d.form, d.of.Name()))
		}
		describe(d.of)
	}
	return all
}

// sources are the files of the program, tests left out, that match.
func sources(t *testing.T, patterns ...string) (all []*ast.File) {
	t.Helper()
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, file)
		}
	}
	return all
}

// literals are the texts in the files that have the form.
func literals(t *testing.T, form *regexp.Regexp, patterns ...string) (all []string) {
	t.Helper()
	for _, file := range sources(t, patterns...) {
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil && form.MatchString(s) {
					all = append(all, s)
				}
			}
			return true
		})
	}
	return all
}
