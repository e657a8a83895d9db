package admin_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

var update = flag.Bool("update", false, "write openapi.json and the table in docs/api.md anew")

// openapi.json is what the table of operations, the types that serve and their comments say, written by: go generate ./internal/admin
func TestTheDescriptionIsCurrent(t *testing.T) {
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := e.Encode(document(t)); err != nil {
		t.Fatal(err)
	}
	current(t, "openapi.json", want.Bytes())
}

// docs/api.md holds a table of all operations.
func TestTheTableInTheDocumentationIsCurrent(t *testing.T) {
	const path, begin, end = "../../docs/api.md", "<!-- operations: written by go generate ./internal/admin -->\n", "<!-- end of operations -->\n"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("docs/api.md has no place for the table")
	}
	var b strings.Builder
	b.WriteString("\n| operation | does | needs | If-Match |\n|---|---|---|---|\n")
	for i := range admin.Operations {
		op := &admin.Operations[i]
		match := map[any]string{admin.MustMatch: "required", admin.MayMatch: "required, but for a dry run"}[op.Match]
		path := strings.TrimPrefix(op.Path, "/api/v1")
		fmt.Fprintf(&b, "| `%s %s` | %s | %s | %s |\n", op.Method, path, op.Summary, op.Needs, match)
	}
	b.WriteString("\n")
	current(t, path, []byte(before+begin+b.String()+end+after))
}

// current compares a file with what it should hold, or with -update writes that.
func current(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the table of operations says; run: go generate ./internal/admin", path)
	}
}

// document is the whole description.
func document(t *testing.T) object {
	t.Helper()
	s := &schemas{source: readSource(t, ".", "../..", "../custody"), shown: map[reflect.Type]bool{}, made: map[string]object{}}
	s.source.values["keybearer.Code"] = nil
	for _, c := range keybearer.Codes() { // in the order of the documentation
		s.source.values["keybearer.Code"] = append(s.source.values["keybearer.Code"], string(c.Code))
	}
	reach(reflect.TypeFor[admin.Problem](), s.shown)
	for i := range admin.Operations {
		if op := &admin.Operations[i]; op.Answer != nil {
			reach(op.Answer, s.shown)
		}
	}
	paths := object{}
	for i := range admin.Operations {
		op := &admin.Operations[i]
		method := member{strings.ToLower(op.Method), s.operation(op)}
		if at := slices.IndexFunc(paths, func(m member) bool { return m.name == op.Path }); at >= 0 {
			paths[at].value = append(paths[at].value.(object), method)
		} else {
			paths = append(paths, member{op.Path, object{method}})
		}
	}
	s.of(reflect.TypeFor[admin.Problem]())
	components := object{}
	for _, name := range s.names {
		components = append(components, member{name, s.made[name]})
	}
	return object{
		{"openapi", "3.1.1"},
		{"info", object{
			{"title", "Keybearer admin API"},
			{"version", "1"},
			{"description", "Manages scopes, credentials, callers and operators. Served on a unix socket, where the peer's uid says who asks, and on the listeners with keybearer_admin, where a token does. " +
				"Secrets are taken and never given back. Unknown fields, parameters and bodies are refused, and no error repeats anything of a request. " +
				"Answers may gain fields: clients pass over those that they do not know."},
		}},
		{"security", []object{{{"token", []string{}}}}},
		{"paths", paths},
		{"components", append(object{{"schemas", components}}, s.parts()...)},
	}
}

var pathParameters = map[string]string{
	"scope": "name or id of the scope", "name": "name or id", "token": "id of the token",
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func (s *schemas) operation(op *admin.Operation) object {
	var parameters []object
	for _, m := range pathParameter.FindAllStringSubmatch(op.Path, -1) {
		parameters = append(parameters, object{{"name", m[1]}, {"in", "path"}, {"required", true}, {"description", pathParameters[m[1]]}, {"schema", object{{"type", "string"}}}})
	}
	for _, p := range op.Query {
		parameters = append(parameters, s.parameter(p, "query"))
	}
	for _, p := range op.Header {
		parameters = append(parameters, s.parameter(p, "header"))
	}
	if op.Match != 0 {
		text := "ETag of what is to be changed as it was read, or * for whatever it is now"
		if op.Match == admin.MayMatch {
			text += "; not needed for a dry run"
		}
		parameters = append(parameters, object{{"name", "If-Match"}, {"in", "header"}, {"required", op.Match == admin.MustMatch}, {"description", text}, {"schema", object{{"type", "string"}}}})
	}
	out := object{{"operationId", op.ID}, {"tags", []string{tagOf(op.Path)}}, {"summary", op.Summary}, {"description", "Needs " + op.Needs + "."}}
	if len(parameters) > 0 {
		out = append(out, member{"parameters", parameters})
	}
	if body := op.Body(); body != nil {
		out = append(out, member{"requestBody", object{{"required", true}, {"content", object{{"application/json", object{{"schema", s.of(body)}}}}}}})
	}
	out = append(out, member{"responses", s.responses(op)})
	if op.Open {
		out = append(out, member{"security", []object{}})
	}
	return out
}

func tagOf(path string) string {
	for _, tag := range []string{"credentials", "scopes", "callers", "operators", "audit", "usage"} {
		if strings.Contains(path, "/"+tag) && !(tag == "scopes" && strings.Contains(path, "/callers")) {
			return tag
		}
	}
	return "server"
}

func (s *schemas) parameter(p admin.Parameter, in string) object {
	schema := s.of(p.Type)
	if p.High != 0 {
		schema = object{{"type", "integer"}, {"minimum", p.Low}, {"maximum", p.High}, {"default", p.Else}}
	}
	out := object{{"name", p.Name}, {"in", in}}
	if p.Required {
		out = append(out, member{"required", true})
	}
	return append(out, member{"description", p.Description}, member{"schema", schema})
}

// common are the codes that every operation of its kind can answer with.
func common(op *admin.Operation) []keybearer.Code {
	out := []keybearer.Code{keybearer.Invalid, keybearer.Forbidden, keybearer.Internal}
	if !op.Open {
		out = append(out, keybearer.Unauthenticated, keybearer.NotFound, keybearer.StoreUnavailable)
	}
	if op.Method != http.MethodGet {
		out = append(out, keybearer.AuditUnavailable, keybearer.Stale)
	}
	if op.Match != 0 {
		out = append(out, keybearer.PreconditionRequired)
	}
	return out
}

func (s *schemas) responses(op *admin.Operation) object {
	headers := object{{"Keybearer-Request-Id", reference("headers", "RequestId")}}
	if op.Tagged || op.Open {
		headers = append(headers, member{"ETag", reference("headers", "ETag")})
	}
	content := object{}
	switch {
	case op.ID == "readAudit":
		ref := s.of(op.Answer)[0].value.(string)
		for i, about := range []string{"each line is a JSON object as " + ref + " has it", "each event has as its data a JSON object as " + ref + " has it; an event named gap says that some are missing", "a header line, then one line for each event"} {
			content = append(content, member{op.Media[i], object{{"schema", object{{"type", "string"}, {"description", about}}}}})
		}
	case op.Answer != nil:
		content = append(content, member{"application/json", object{{"schema", s.of(op.Answer)}}})
	default:
		content = append(content, member{op.Media[0], object{{"schema", object{{"type", "object"}}}}})
	}
	out := object{{strconv.Itoa(cmp.Or(op.Status, 200)), object{{"description", "done"}, {"headers", headers}, {"content", content}}}}
	if op.Open {
		out = append(out, member{"304", object{{"description", "the description is still that of If-None-Match"}, {"headers", headers}}})
	}
	codes := map[int][]string{}
	answers := map[int]string{http.StatusUnauthorized: "Unauthenticated"}
	for _, c := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(common(op), op.Codes)))) {
		info := c.Info()
		codes[info.Status] = append(codes[info.Status], fmt.Sprintf("`%s`: %s", c, info.Title))
		if info.Retry {
			answers[info.Status] = "Later"
		}
	}
	for _, status := range slices.Sorted(maps.Keys(codes)) {
		response := reference("responses", cmp.Or(answers[status], "Problem"))
		out = append(out, member{strconv.Itoa(status), append(response, member{"description", strings.Join(codes[status], "; ")})})
	}
	return out
}

func reference(kind, name string) object {
	return object{{"$ref", "#/components/" + kind + "/" + name}}
}

// parts are the components that are no schemas.
func (s *schemas) parts() object {
	header := func(about string) object {
		return object{{"description", about}, {"schema", object{{"type", "string"}}}}
	}
	id := member{"Keybearer-Request-Id", reference("headers", "RequestId")}
	problem := func(about string, more ...member) object {
		content := object{{"application/problem+json", object{{"schema", s.of(reflect.TypeFor[admin.Problem]())}}}}
		return object{{"description", about}, {"headers", append(object{id}, more...)}, {"content", content}}
	}
	return object{
		{"headers", object{
			{"RequestId", header("id of this request, as in the audit log")},
			{"ETag", header("of what the answer shows")},
			{"RetryAfter", header("seconds")},
			{"Authenticate", header("Bearer")},
		}},
		{"responses", object{
			{"Problem", problem("what is wrong, with a code (RFC 9457)")},
			{"Later", problem("what does not work now, with a code (RFC 9457)", member{"Retry-After", reference("headers", "RetryAfter")})},
			{"Unauthenticated", problem("no proof of who asks", member{"WWW-Authenticate", reference("headers", "Authenticate")})},
		}},
		{"securitySchemes", object{{"token", object{{"type", "http"}, {"scheme", "bearer"}, {
			"description", "An operator's token (kbo_…), or a caller's (kb_…), which lists, shows and checks only. On the unix socket none is needed.",
		}}}}},
	}
}
