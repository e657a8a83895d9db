package main

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/caddymodule"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/health"
	"github.com/keybearer/keybearer/internal/manifest"
)

// document is what a command writes with -o json: one value, a list of them, or one value a line.
type document struct {
	form string
	of   reflect.Type
}

func one[T any]() document     { return document{"", reflect.TypeFor[T]()} }
func listOf[T any]() document  { return document{"a list of ", reflect.TypeFor[T]()} }
func linesOf[T any]() document { return document{"a line for each ", reflect.TypeFor[T]()} }

// documents are what the commands write. The commands not in it have no -o.
var documents = []struct {
	commands string
	document
}{
	{"scope list", listOf[admin.Scope]()},
	{"scope create, show, edit, delete, generate-key, rotate-key", one[admin.Scope]()},
	{"scope regenerate-key", one[admin.Regeneration]()},
	{"credential list", listOf[admin.Credential]()},
	{"credential create, show, edit, set-secret, disable, enable, rollback, delete, restore", one[admin.Credential]()},
	{"credential test", one[admin.TestResult]()},
	{"credential history", linesOf[keybearer.Event]()},
	{"grant list", listOf[admin.Grant]()},
	{"grant show", one[admin.Grant]()},
	{"grant add, remove", one[admin.Credential]()},
	{"domain list", listOf[admin.Destination]()},
	{"domain show", one[admin.Destination]()},
	{"domain add, remove, try, enforce, discard", one[admin.Credential]()},
	{"domain trial", one[admin.TrialReport]()},
	{"domain explain", one[admin.RuleExamples]()},
	{"caller list", listOf[admin.Caller]()},
	{"caller show, edit, revoke, disable, enable, bind, unbind, delete", one[admin.Caller]()},
	{"caller create, token rotate, token add", one[admin.IssuedCaller]()},
	{"operator setup", one[admin.SetUpLink]()},
	{"operator list", listOf[admin.Operator]()},
	{"operator show, edit, revoke, disable, enable, delete", one[admin.Operator]()},
	{"operator create, token rotate, token add", one[admin.IssuedOperator]()},
	{"check", one[admin.CheckResult]()},
	{"usage", one[admin.Activity]()},
	{"usage <scope>/<name>", one[admin.UsageReport]()},
	{"attention", one[admin.Attention]()},
	{"audit tail, show, export", linesOf[keybearer.Event]()},
	{"whoami", one[admin.Whoami]()},
	{"health", one[health.Report]()},
	{"doctor", listOf[finding]()},
	{"apply", listOf[manifest.Change]()},
	{"migrate keyring", one[admin.KeyMigration]()},
	{"migrate store", one[admin.StoreMigration]()},
	{"migrate status", one[migrations]()},
	{"backup", one[caddymodule.Backup]()},
	{"anchor show", listOf[anchorLine]()},
	{"anchor accept", one[anchorLine]()},
	{"version", one[versionInfo]()},
}

// otherwise is what has a -o of its own, which is told elsewhere.
var otherwise = map[string]bool{"export": true}

// commandsOf returns the names of a row: "caller create, token add" is "caller create" and "caller token add".
func commandsOf(row string) []string {
	row, _, _ = strings.Cut(row, " <")
	noun, verbs, ok := strings.Cut(row, " ")
	if !ok {
		return []string{row}
	}
	var names []string
	for _, verb := range strings.Split(verbs, ", ") {
		names = append(names, noun+" "+verb)
	}
	return names
}

// docs/cli-json.md is written from the types that the commands write, by: go test ./cmd/keybearer -run TestJSONReference -update
func TestJSONReference(t *testing.T) {
	const path = "../../docs/cli-json.md"
	page := jsonReference(t)
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page {
		t.Error("docs/cli-json.md is not what the types say; run: go test ./cmd/keybearer -run TestJSONReference -update")
	}
}

// Every command with -o has its document in the page, and nothing else has.
func TestEveryDocumentIsInTheReference(t *testing.T) {
	listed := map[string]bool{}
	for _, d := range documents {
		for _, name := range commandsOf(d.commands) {
			listed[name] = true
		}
	}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		name := strings.TrimPrefix(cmd.CommandPath(), "keybearer ")
		if cmd.HasSubCommands() || cmd.Hidden {
			return
		}
		_ = cmd.InheritedFlags() // joins them
		if has := cmd.Flag("output") != nil && !otherwise[name]; has != listed[name] {
			t.Errorf("%s: has -o: %v, is in the reference: %v", name, has, listed[name])
		}
		delete(listed, name)
	}
	walk(newCLI().rootCommand())
	for name := range listed {
		t.Errorf("there is no command %s", name)
	}
}

const jsonIntroduction = `# What -o json writes

Written from the types that the commands write by ` + "`go test ./cmd/keybearer -run TestJSONReference -update`" + `; a test keeps it so.

Fields and commands stay as they are within a major version: what is here keeps its name, its type and its meaning. Fields may be added, so read
those that you know and pass over the others.

` + "```sh" + `
keybearer run &
keybearer scope create docs -o json
keybearer scope generate-key docs
printf 's3cret' | keybearer credential create docs/crm --kind bearer --domain api.example.com -o json
keybearer credential list -o json
keybearer credential list -o yaml
keybearer credential list -o name
TOKEN=$(keybearer caller create billing --scope docs)
keybearer grant add docs/crm app:billing use -o json
keybearer check --caller app:billing docs/crm POST https://api.example.com/hook -o json
keybearer usage docs/crm --since 7d -o json
keybearer attention -o json
keybearer audit tail --event change -o json
keybearer audit export -o csv --since 30d > "$(mktemp)"
keybearer whoami -o json
` + "```" + `

` + "`-o json`" + ` is the document, ` + "`-o yaml`" + ` the same in YAML, ` + "`-o name`" + ` the names alone, one a line, and ` + "`-o table`" + `, the default, is for people: its columns may change at
any time. A command that changes something writes its document only when a format was asked for. Data goes to standard output and everything else to
standard error; [exit codes](errors.md#exit-codes-of-the-cli) tell how it went. Secrets are in none of these documents, and a token only in that of the
command that makes it.

Of the fields, times are RFC 3339 in UTC, a *number* is a whole one unless it is told otherwise, and one marked "–" may be absent: then it is empty, zero,
false or not known to who asks.

## Commands

| command | writes |
|---|---|
`

func jsonReference(t *testing.T) string {
	comments := map[string]string{}
	for _, dir := range []string{"../..", "../../internal/admin", "../../internal/health", "../../internal/manifest", "../../caddymodule", "."} {
		readComments(t, dir, comments)
	}
	var b strings.Builder
	b.WriteString(jsonIntroduction)
	var types []reflect.Type
	seen := map[reflect.Type]bool{}
	add := func(typ reflect.Type) {
		if !seen[typ] {
			seen[typ] = true
			types = append(types, typ)
		}
	}
	for _, d := range documents {
		add(d.of)
		fmt.Fprintf(&b, "| `%s` | %s%s |\n", strings.ReplaceAll(d.commands, ", ", "`, `"), d.form, link(d.of))
	}
	b.WriteString("\n`export` writes a [manifest](gitops.md).\n\n## Documents\n")
	for i := 0; i < len(types); i++ {
		typ := types[i]
		fmt.Fprintf(&b, "\n### %s\n\n", title(typ))
		about := comments[key(typ)]
		if about == "" {
			t.Errorf("%s has no comment", typ)
		}
		fmt.Fprintf(&b, "%s\n\n| field | | type | |\n|---|---|---|---|\n", about)
		for _, f := range flattened(typ) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			optional := ""
			if strings.Contains(options, "omit") {
				optional = "–"
			}
			text, inner := jsonType(f.Type)
			if inner != nil {
				add(inner)
			}
			if values := comments[key(f.Type)+" values"]; values != "" {
				text = "one of " + values
			}
			switch f.Type {
			case reflect.TypeFor[keybearer.Code]():
				text = "a [code](errors.md)"
			case reflect.TypeFor[keybearer.Level]():
				text = "one of `use`, `view`, `edit`, `administer`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, optional, text, strings.NewReplacer("|", `\|`, "<", `\<`).Replace(comments[key(f.owner)+"."+f.Name]))
		}
	}
	return b.String()
}

// ownedField is a field and the type that declares it.
type ownedField struct {
	reflect.StructField
	owner reflect.Type
}

// flattened are the fields that json writes, those of embedded types in their place.
func flattened(typ reflect.Type) (fields []ownedField) {
	for f := range typ.Fields() {
		switch {
		case f.Anonymous && f.Tag.Get("json") == "":
			fields = append(fields, flattened(f.Type)...)
		case f.IsExported() && f.Tag.Get("json") != "-":
			fields = append(fields, ownedField{f, typ})
		}
	}
	return fields
}

// jsonType tells a type in words, and which other document is in it.
func jsonType(typ reflect.Type) (string, reflect.Type) {
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return "time", nil
	case typ.Kind() == reflect.Pointer:
		return jsonType(typ.Elem())
	case typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()), typ == reflect.TypeFor[admin.Plaintext](), typ.Kind() == reflect.String:
		return "text", nil
	case typ.Kind() == reflect.Slice:
		text, inner := jsonType(typ.Elem())
		return "list of " + text, inner
	case typ.Kind() == reflect.Struct:
		return link(typ), typ
	case typ.Kind() == reflect.Bool:
		return "true or false", nil
	case typ.Kind() == reflect.Float64:
		return "number, with a fraction", nil
	}
	return "number", nil
}

// title is the name of a type in words: "CheckResult" is "check result".
func title(typ reflect.Type) string {
	var b strings.Builder
	for i, r := range typ.Name() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

func link(typ reflect.Type) string {
	return "[" + title(typ) + "](#" + strings.ReplaceAll(title(typ), " ", "-") + ")"
}

func key(typ reflect.Type) string {
	return typ.PkgPath()[strings.LastIndexByte(typ.PkgPath(), '/')+1:] + "." + typ.Name()
}

// readComments reads what the source says of the types of a package and their fields, and the constants of those that are texts.
func readComments(t *testing.T, dir string, into map[string]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(dir, err)
	}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		pkg := f.Name.Name
		if pkg == "main" {
			pkg = "keybearer" // as its path ends
		}
		for _, d := range f.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range decl.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && decl.Tok == token.CONST && len(v.Values) == 1 {
					if typ, ok := v.Type.(*ast.Ident); ok {
						if value, ok := v.Values[0].(*ast.BasicLit); ok && value.Kind == token.STRING {
							all := pkg + "." + typ.Name + " values"
							into[all] = strings.TrimPrefix(into[all]+", `"+strings.Trim(value.Value, `"`)+"`", ", ")
						}
					}
				}
				typ, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				name := pkg + "." + typ.Name.Name
				into[name] = comment(typ.Doc, decl.Doc)
				if s, ok := typ.Type.(*ast.StructType); ok {
					for _, field := range s.Fields.List {
						for _, n := range field.Names {
							into[name+"."+n.Name] = comment(field.Doc, field.Comment)
						}
					}
				}
			}
		}
	}
}

// comment is the first paragraph of the first comment that is there, in one line.
func comment(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if text, _, _ := strings.Cut(g.Text(), "\n\n"); text != "" {
			return strings.NewReplacer("[keybearer.", "", "[", "", "]", "").Replace(strings.Join(strings.Fields(text), " "))
		}
	}
	return ""
}
