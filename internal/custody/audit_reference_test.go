package custody

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
)

var update = flag.Bool("update", false, "write docs/audit.md anew")

const auditIntroduction = `# The audit log

Written from the source by ` + "`go test ./internal/custody -run TestAuditReference -update`" + `; a test keeps it so.

Every use, every refusal and every change is one line of JSON in the file that [` + "`audit file`" + `](caddyfile-reference.md#audit-file) names. **Nothing is sent that the log
does not hold**: a use is written as an intent before its request goes out, and as an outcome when it has ended. When the log cannot be written, requests and
changes are refused with 503 ` + "`audit_unavailable`" + `. No line holds a secret, a token, a query string, a body or a new value.

## Read it

` + "```sh" + `
keybearer run &
keybearer scope create docs
keybearer scope generate-key docs
printf 's3cret' | keybearer credential create docs/crm --kind bearer --domain api.example.com
TOKEN=$(keybearer caller create billing --scope docs)
keybearer grant add docs/crm app:billing use
curl -x http://127.0.0.1:9080 -H 'Keybearer-Credential: docs/crm' \
     --proxy-header "Proxy-Authorization: Bearer $TOKEN" -d '{}' http://api.example.com/hook

keybearer audit tail                                  # for people; -f follows
keybearer audit tail --credential docs/crm -o json    # the lines themselves
keybearer audit tail --event refusal --since 7d
keybearer audit tail --event change --operator ada
keybearer audit export -o csv --since 30d > "$(mktemp)"
` + "```" + `

[The console](console.md) shows the same, live. Programs read ` + "`GET /api/v1/audit`" + ` ([the API](api.md)), or the file itself: append-only, one writer, a line is whole or
not there. Rotate it with logrotate as you like; Keybearer notices by itself. To keep it where nobody on this machine can rewrite it, ship it as it grows.

## Lines

`

// samples are lines as they are written.
func samples() []struct {
	title string
	event keybearer.Event
} {
	at := time.Date(2026, 11, 26, 9, 14, 3, 512_300_000, time.UTC)
	use := keybearer.Event{
		Time: at, ID: "req_3k9f0c2m7q5x8d1v", Phase: keybearer.Intent, Kind: keybearer.UseEvent, Scope: "docs", Credential: "crm", CredentialID: "crd_7h2p5s9t4w1y6z3b",
		SecretVersion: 2, Caller: "billing", TokenID: "tok_5n8r2v6x0c4f7j1m", Method: "POST", Scheme: "https", Host: "api.example.com", Port: 443, Path: "/hook",
		Decision: keybearer.Allow, Rule: "https://api.example.com",
	}
	done := use
	done.Time, done.Phase, done.DestinationStatus, done.DurationMS, done.BytesOut, done.BytesIn = at.Add(41*time.Millisecond), keybearer.Outcome, 200, 41.2, 2, 64
	failed := done
	failed.Code, failed.DestinationStatus, failed.BytesIn = keybearer.DestinationTimeout, 0, 0
	refused := done
	refused.Kind, refused.Decision, refused.Code = keybearer.RefusalEvent, keybearer.Refuse, keybearer.DestinationNotAllowed
	refused.Host, refused.Rule, refused.DestinationStatus, refused.DurationMS, refused.BytesIn, refused.BytesOut = "collect.example", "", 0, 0.2, 0, 0
	change := keybearer.Event{
		Time: at, ID: "req_0b6d9g3k7n1q5t8w", Phase: keybearer.Outcome, Kind: keybearer.ChangeEvent, Scope: "docs", Credential: "crm", CredentialID: use.CredentialID,
		SecretVersion: 2, Operator: "ada", Decision: keybearer.Allow, Action: string(CredentialEdit), Changed: []string{"description", "expires_at"},
	}
	denied := keybearer.Event{
		Time: at, ID: "req_4c8f2h6k0n4q8t2w", Phase: keybearer.Outcome, Kind: keybearer.RefusalEvent, Scope: "docs", Credential: "crm", CredentialID: use.CredentialID,
		Operator: "bob", Decision: keybearer.Refuse, Code: keybearer.Forbidden, Action: string(CredentialDelete),
	}
	return []struct {
		title string
		event keybearer.Event
	}{
		{"A use: the intent, before anything is sent", use},
		{"and its outcome, with the same `id`", done},
		{"A use that was allowed and failed", failed},
		{"A refused request", refused},
		{"A change", change},
		{"A change that was refused to an operator", denied},
	}
}

// docs/audit.md is what the source says of events and actions, written by: go test ./internal/custody -run TestAuditReference -update
func TestAuditReference(t *testing.T) {
	var b strings.Builder
	b.WriteString(auditIntroduction)
	for i, s := range samples() {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:\n\n```json\n%s\n```\n", s.title, audit.AppendEvent(nil, &s.event))
	}
	b.WriteString(`
Refusals of senders who proved nothing, and refusals for [limits](limits.md), are sampled, 20 a second, so that a flood does not fill the disk; the metrics count all of them.

## Keys

In this order; what is empty is left out. Keys may be added, so pass over those that you do not know.

| key | type | meaning | in |
|---|---|---|---|
`)
	comments := fieldComments(t, "../../audit.go", "Event")
	for f := range reflect.TypeFor[keybearer.Event]().Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		meaning, in, ok := strings.Cut(strings.TrimSuffix(comments[f.Name], "."), ". In ")
		if !ok {
			t.Errorf("the comment of Event.%s does not end with a sentence that begins with In", f.Name)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", key, typeInWords(t, f.Type), meaning, in)
	}
	b.WriteString(`
## Actions

What ` + "`action`" + ` can be in a change, and what an operator needs for it. Reading changes nothing and is in no line, unless it was refused. ` + "`credential.test`" + ` stands in refusals only: the test itself is a use.

| action | needs |
|---|---|
`)
	for _, a := range actionsInSource(t) {
		n := needs[Action(a.value)]
		if n.reads {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", a.value, needInWords(t, a.value, n, a.comment))
	}
	b.WriteString("| `audit.resume` | by the server itself: the log can be written again, and lines before this one may be missing |\n")

	const path = "../../docs/audit.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Errorf("docs/audit.md is not what the source says (%v); run: go test ./internal/custody -run TestAuditReference -update", err)
	}
}

// needInWords tells what an action takes; of those that nobody is given leave for, the comment tells who does them.
func needInWords(t *testing.T, action string, n need, comment string) string {
	var words []string
	if n.level > keybearer.NoLevel {
		words = append(words, "`"+n.level.String()+"` on the credential")
	}
	role := map[role]string{scopeAdmin: "`scope-admin` of the scope", instanceAdmin: "`instance-admin`"}[n.role]
	if n.self {
		role += ", for oneself"
	}
	if n.role != noRole {
		words = append(words, role)
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, ", or ")
	case strings.HasPrefix(comment, "by "):
		return comment
	case strings.HasPrefix(comment, "of the first operator, "):
		return strings.TrimPrefix(comment, "of the first operator, ")
	}
	t.Errorf("%s: nobody may do it, and its comment does not say by whom it is done", action)
	return ""
}

func typeInWords(t *testing.T, typ reflect.Type) string {
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return "time, RFC 3339 in UTC, six decimals"
	case typ == reflect.TypeFor[keybearer.Phase]():
		return fmt.Sprintf("`%s` or `%s`", keybearer.Intent, keybearer.Outcome)
	case typ == reflect.TypeFor[keybearer.EventKind]():
		return fmt.Sprintf("`%s`, `%s` or `%s`", keybearer.UseEvent, keybearer.RefusalEvent, keybearer.ChangeEvent)
	case typ == reflect.TypeFor[keybearer.Code]():
		return "a [code](errors.md)"
	}
	switch typ.Kind() {
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "list of text"
	case reflect.Float64:
		return "number, with a fraction"
	case reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint64:
		return "number"
	}
	t.Errorf("%s has no words", typ)
	return ""
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fieldComments returns the comments of a struct's fields, each in one line.
func fieldComments(t *testing.T, file, name string) map[string]string {
	t.Helper()
	comments := map[string]string{}
	ast.Inspect(parse(t, file), func(n ast.Node) bool {
		typ, ok := n.(*ast.TypeSpec)
		if !ok || typ.Name.Name != name {
			return true
		}
		for _, f := range typ.Type.(*ast.StructType).Fields.List {
			comments[f.Names[0].Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
		}
		return false
	})
	return comments
}

// actionsInSource returns the actions in their order.
func actionsInSource(t *testing.T) (all []struct{ value, comment string }) {
	t.Helper()
	ast.Inspect(parse(t, "action.go"), func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Action" {
			value := strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`)
			all = append(all, struct{ value, comment string }{value, strings.TrimSpace(v.Comment.Text())})
		}
		return true
	})
	if len(all) < 40 {
		t.Fatalf("only %d actions were found", len(all))
	}
	return all
}
