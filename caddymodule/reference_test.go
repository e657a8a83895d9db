package caddymodule

import (
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// described are the directives and options that docs/caddyfile-reference.md tells of, in its order. The first code block of the comment of UnmarshalCaddyfile is
// the grammar of the type; blocks in others are those of part.
var described = []struct {
	title, typ string
	part       string // the type of the fields in further code blocks
	see        string // page and its title
	parse      func(d *caddyfile.Dispenser) error
}{
	{"The global option `keybearer`", "App", "", "caddyfile.md: a whole Caddyfile", unmarshal[App]},
	{"`store sqlite`", "SQLite", "", "", unmarshal[SQLite]},
	{"`store postgres`", "Postgres", "", "postgres.md: PostgreSQL", unmarshal[Postgres]},
	{"`store vault_kv`", "VaultKV", "", "vault-kv.md: records in Vault KV", unmarshal[VaultKV]},
	{"`keyring local`", "LocalKeyring", "", "hardening.md: hardening", unmarshal[LocalKeyring]},
	{"`keyring vault_transit`", "VaultTransit", "VaultAuth", "vault.md: keys in Vault Transit", unmarshal[VaultTransit]},
	{"`audit file`", "AuditFile", "", "audit.md: the audit log", unmarshal[AuditFile]},
	{"`identity token`", "TokenIdentity", "", "identities.md: how apps prove who they are", unmarshal[TokenIdentity]},
	{"`identity fixed`", "FixedIdentity", "", "identities.md: how apps prove who they are", unmarshal[FixedIdentity]},
	{"`identity mtls`", "MTLSIdentity", "", "identities.md: how apps prove who they are", unmarshal[MTLSIdentity]},
	{"`identity unix_peer`", "UnixPeerIdentity", "", "identities.md: how apps prove who they are", unmarshal[UnixPeerIdentity]},
	{"`identity jwt`", "JWTIdentity", "", "callers-jwt.md: callers by JWT", unmarshal[JWTIdentity]},
	{"`acting_user`", "ActingUser", "", "acting-users.md: acting users", func(d *caddyfile.Dispenser) error { d.Next(); return new(ActingUser).unmarshalCaddyfile(d) }},
	{"The directive `keybearer`", "Handler", "", "wire.md: on the wire", unmarshal[Handler]},
	{"The directive `keybearer_admin`", "AdminHandler", "", "console.md: the console", unmarshal[AdminHandler]},
}

// elsewhereInJSON says which field an option of the Caddyfile sets, where the two do not have one name.
var elsewhereInJSON = map[string]string{
	"App.identity": "identities", "App.acting_user": "acting_users",
	"Limits.caller_rate": "caller_rate caller_burst", "SQLite.sqlite": "path", "LocalKeyring.local": "path", "AuditFile.file": "path", "Postgres.postgres": "dsn",
	"VaultKV.cert": "cert key", "VaultTransit.cert": "cert key", "TokenIdentity.token": "off", "FixedIdentity.fixed": "off",
	"VaultAuth.cert": "role",
}

// withinJSON names the type whose fields the options of another are, one object for each line.
var withinJSON = map[string]string{"UnixPeerIdentity": "PeerMapping"}

func unmarshal[T any](d *caddyfile.Dispenser) error {
	return any(new(T)).(caddyfile.Unmarshaler).UnmarshalCaddyfile(d)
}

// source is what the comments of this package say.
type source struct {
	types    map[string]*ast.StructType
	docs     map[string]*comment.Doc // by the name of a type, and "Type.UnmarshalCaddyfile"
	notFound []string
}

func readSource(t *testing.T) *source {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	s := &source{types: map[string]*ast.StructType{}, docs: map[string]*comment.Doc{}}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil && strings.EqualFold(d.Name.Name, "UnmarshalCaddyfile") && d.Doc != nil {
					if star, ok := d.Recv.List[0].Type.(*ast.StarExpr); ok {
						s.docs[fmt.Sprint(star.X)+".UnmarshalCaddyfile"] = new(comment.Parser).Parse(d.Doc.Text())
					}
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if typ, ok := spec.(*ast.TypeSpec); ok {
						if st, ok := typ.Type.(*ast.StructType); ok {
							s.types[typ.Name.Name] = st
							s.docs[typ.Name.Name] = new(comment.Parser).Parse(d.Doc.Text())
						}
					}
				}
			}
		}
	}
	return s
}

// field is one that JSON has a name for.
type field struct{ json, text, typ string }

// fields returns those of a type, with those of the types that it embeds.
func (s *source) fields(typ string) (all []field) {
	st := s.types[typ]
	if st == nil {
		return nil
	}
	for _, f := range st.Fields.List {
		name := strings.TrimLeft(nameOf(f.Type), "*")
		if len(f.Names) == 0 {
			all = append(all, s.fields(name)...)
			continue
		}
		if f.Tag == nil {
			continue
		}
		tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
		tag, _, _ = strings.Cut(tag, ",")
		all = append(all, field{tag, strings.Join(strings.Fields(f.Doc.Text()), " "), name})
	}
	return all
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return nameOf(e.X)
	case *ast.ArrayType:
		return nameOf(e.Elt)
	}
	return ""
}

// option is a line of a grammar.
type option struct {
	path   []string // the options around it
	syntax string
	field  string // "Type.json"
	texts  []string
	own    bool // the line of the module itself, as in "store sqlite [<path>]"
}

// options reads a grammar of a type: the first line is its own, or, in a part, opens one of its blocks.
func (s *source) options(typ, grammar string, part bool) (all []option) {
	type level struct{ name, typ string }
	var around []level
	at := func() string {
		if len(around) == 0 {
			return typ
		}
		return around[len(around)-1].typ
	}
	for i, line := range strings.Split(strings.TrimSpace(grammar), "\n") {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		opens := words[len(words)-1] == "{"
		switch {
		case line == "}":
			around = around[:len(around)-1]
			continue
		case i == 0 && !part:
			// "store sqlite [<path>]": the option is what the line sets beyond its name.
			name := strings.TrimSuffix(line, " {")
			if json := elsewhereInJSON[typ+"."+second(words)]; json != "" {
				o := s.option(typ, nil, second(words), name[strings.Index(name, second(words)):])
				o.own = true
				all = append(all, o)
			}
			if opens {
				around = append(around, level{"", typ})
			}
			continue
		}
		var path []string
		for _, l := range around {
			if l.name != "" {
				path = append(path, l.name)
			}
		}
		where := at()
		if where == "" { // below an option whose type is told elsewhere
			if opens {
				around = append(around, level{words[0], ""})
			}
			continue
		}
		if within := withinJSON[where]; within != "" {
			where = within
		}
		if part && len(around) == 0 {
			around = append(around, level{words[0], typ})
			if json := elsewhereInJSON[typ+"."+words[0]]; json != "" {
				all = append(all, s.option(typ, nil, words[0], strings.TrimSuffix(line, " {")))
			}
			continue
		}
		o := s.option(where, path, words[0], strings.Join(strings.Fields(strings.TrimSuffix(line, " {")), " "))
		if opens {
			inner := ""
			for _, f := range s.fields(where) {
				if f.json == words[0] && s.types[f.typ] != nil && f.typ != "VaultAuth" {
					inner = f.typ
				}
			}
			around = append(around, level{words[0], inner})
			if inner != "" && !strings.Contains(o.syntax, "{") {
				o.syntax += " { … }"
			}
		}
		all = append(all, o)
	}
	return all
}

func second(words []string) string {
	if len(words) > 1 && words[1] != "{" {
		return words[1]
	}
	return ""
}

func (s *source) option(typ string, path []string, name, syntax string) option {
	json := name
	if other := elsewhereInJSON[typ+"."+name]; other != "" {
		json = other
	}
	o := option{path: path, syntax: syntax, field: typ + "." + json}
	for _, f := range s.fields(typ) {
		if slices.Contains(strings.Fields(json), f.json) {
			o.texts = append(o.texts, f.text)
		}
	}
	if len(o.texts) != len(strings.Fields(json)) {
		s.notFound = append(s.notFound, typ+"."+name)
	}
	return o
}

// row is the option in a table. A sentence that begins with "Default:" ends the comment of a field; "Required." may stand anywhere.
func (o option) row() string {
	var meaning, defaults []string
	for part := range strings.SplitAfterSeq(strings.Join(o.texts, " "), ". ") {
		sentence := strings.TrimSpace(part)
		switch {
		case sentence == "Required.":
			defaults = append(defaults, "required")
		case strings.HasPrefix(sentence, "Default: "):
			defaults = append(defaults, strings.TrimSuffix(strings.TrimPrefix(sentence, "Default: "), "."))
		default:
			meaning = append(meaning, sentence)
		}
	}
	if defaults == nil {
		defaults = []string{"–"}
	}
	name := "`" + strings.Join(append(slices.Clone(o.path), o.syntax), " › ") + "`"
	row := []string{name, strings.Join(defaults, "; "), marked(strings.Join(meaning, " "))}
	for i := range row {
		row[i] = strings.ReplaceAll(row[i], "|", `\|`)
	}
	return "| " + strings.Join(row, " | ") + " |\n"
}

var (
	quoted = regexp.MustCompile(`"([^"]*<[^"]*)"`)
	named  = regexp.MustCompile(`docs/([a-z-]+)\.md`)
)

// marked is a comment as Markdown: what has angle brackets is code, and pages are links.
func marked(text string) string {
	return named.ReplaceAllString(quoted.ReplaceAllString(text, "`$1`"), "[$1]($1.md)")
}

const caddyfileIntroduction = `# Caddyfile reference

Written from the source by ` + "`go test ./caddymodule -run TestCaddyfileReference -update`" + `; a test keeps it so. A whole Caddyfile to start from, and what
reloading does: [Caddyfile](caddyfile.md).

` + "`<…>`" + ` stands for a value, ` + "`…`" + ` behind a word for one or more of them, ` + "`[…]`" + ` for what may be left out, ` + "`|`" + ` for "or"; ` + "`›`" + ` leads into a block.
Every secret that an option needs is read from a file or from a placeholder, ` + "`{env.NAME}` or `{file./path}`" + `; none is ever written into the configuration.
`

// docs/caddyfile-reference.md is what the comments of UnmarshalCaddyfile and of the fields say, written by: go test ./caddymodule -run TestCaddyfileReference -update
func TestCaddyfileReference(t *testing.T) {
	s := readSource(t)
	var b strings.Builder
	b.WriteString(caddyfileIntroduction)
	reached := map[string]bool{}
	for _, d := range described {
		about, grammar := s.docs[d.typ], s.docs[d.typ+".UnmarshalCaddyfile"]
		if about == nil || grammar == nil {
			t.Fatalf("%s has no comment", d.typ)
		}
		fmt.Fprintf(&b, "\n## %s\n", d.title)
		printer := new(comment.Printer)
		paragraphs := func(doc *comment.Doc, skipCode bool) {
			for i, block := range doc.Content {
				if _, code := block.(*comment.Code); code || skipCode && i == 0 {
					continue
				}
				text := strings.Join(strings.Fields(string(printer.Text(&comment.Doc{Content: []comment.Block{block}}))), " ")
				if strings.HasSuffix(text, ":") { // leads to a block that stands above
					continue
				}
				if rest, ok := strings.CutPrefix(text, d.typ+" "); ok {
					rest = strings.TrimPrefix(rest, "is ")
					text = strings.ToUpper(rest[:1]) + rest[1:]
				}
				fmt.Fprintf(&b, "\n%s\n", marked(text))
			}
		}
		paragraphs(about, false)
		var all []option
		codes := 0
		for _, block := range grammar.Content {
			code, ok := block.(*comment.Code)
			if !ok {
				continue
			}
			typ := d.typ
			if codes++; codes > 1 {
				typ = d.part
			}
			fmt.Fprintf(&b, "\n```\n%s```\n", code.Text)
			all = append(all, s.options(typ, code.Text, codes > 1)...)
		}
		paragraphs(grammar, true)
		if len(all) > 0 {
			b.WriteString("\n| option | default | meaning |\n|---|---|---|\n")
		}
		for _, o := range all {
			typ, names, _ := strings.Cut(o.field, ".")
			for _, name := range strings.Fields(names) {
				reached[typ+"."+name] = true
			}
			if strings.Join(o.texts, "") == "" {
				t.Errorf("%s: %s has no comment", d.typ, o.syntax)
			}
			b.WriteString(o.row())
		}
		if page, title, ok := strings.Cut(d.see, ": "); ok {
			fmt.Fprintf(&b, "\nMore: [%s](%s).\n", title, page)
		}
	}
	for _, name := range s.notFound {
		t.Errorf("the grammar has %s, and there is no such field: mend one of them, or say in elsewhereInJSON which it is", name)
	}
	s.everyFieldIsTold(t, reached)

	const path = "../docs/caddyfile-reference.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Errorf("docs/caddyfile-reference.md is not what the source says (%v); run: go test ./caddymodule -run TestCaddyfileReference -update", err)
	}
}

// everyFieldIsTold fails for fields of the configuration that no grammar leads to.
func (s *source) everyFieldIsTold(t *testing.T, reached map[string]bool) {
	t.Helper()
	// What a grammar spreads over words that are no field's name.
	otherwise := map[string]string{
		"VaultAuth.method": "the word behind auth", "PeerMapping.caller": "the last word of each line", "UnixPeerIdentity.map": "one object for each line",
		"CertificateMapping.subject": "map <subject> …", "CertificateMapping.caller": "map … app:<name>",
	}
	told := map[string]bool{}
	for typ := range s.types {
		for _, f := range s.fields(typ) {
			name := typ + "." + f.json
			if reached[name] || otherwise[name] != "" {
				told[f.json+f.text] = true // an embedded field is told where it is embedded
			}
		}
	}
	for typ := range s.types {
		if typ == "Backup" { // what a command returns, and no configuration
			continue
		}
		for _, f := range s.fields(typ) {
			if !told[f.json+f.text] {
				t.Errorf("no grammar leads to %s.%s", typ, f.json)
			}
		}
	}
}

// Each option that the reference has is one that the parser knows.
func TestTheParserKnowsEveryOptionOfTheReference(t *testing.T) {
	s := readSource(t)
	tried := 0
	for _, d := range described {
		for i, block := range s.docs[d.typ+".UnmarshalCaddyfile"].Content {
			code, ok := block.(*comment.Code)
			if !ok || i > 1 { // a part is no grammar of its own
				continue
			}
			for _, o := range s.options(d.typ, code.Text, false) {
				if o.own {
					continue
				}
				name := strings.Fields(o.syntax)[0]
				text := name + "\n"
				for _, around := range slices.Backward(o.path) {
					text = around + " {\n" + text + "}\n"
				}
				err := d.parse(caddyfile.NewTestDispenser("x {\n" + text + "}"))
				if err != nil && strings.Contains(err.Error(), "unknown") {
					t.Errorf("%s: %s: %v", d.typ, o.syntax, err)
				}
				tried++
			}
		}
	}
	if tried < 60 {
		t.Errorf("only %d options were tried", tried)
	}
}
