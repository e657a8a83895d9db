package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/keybearer/keybearer/internal/admin"
)

// contract is openapi.json, as a judge of what is sent and answered.
type contract struct {
	t        *testing.T
	doc      map[string]any
	compiler *jsonschema.Compiler
	judged   map[string]map[int]bool // statuses seen, by operation
}

const descriptionURL = "https://keybearer.invalid/openapi.json"

// newContract reads the description. Answers may gain fields, but not here: what is answered must be described.
func newContract(t *testing.T) *contract {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{t, doc.(map[string]any), jsonschema.NewCompiler(), map[string]map[int]bool{}}
	for _, s := range at(c.doc, "components", "schemas").(map[string]any) {
		if s := s.(map[string]any); s["properties"] != nil {
			s["additionalProperties"] = false
		}
	}
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource(descriptionURL, c.doc); err != nil {
		t.Fatal(err)
	}
	return c
}

// at follows keys through objects; nil where one is missing.
func at(doc any, keys ...string) any {
	for _, k := range keys {
		m, _ := doc.(map[string]any)
		doc = m[k]
	}
	return doc
}

// answer is what the description says of an answer; nil: nothing.
func (c *contract) answer(op *admin.Operation, status int) any {
	said := at(c.doc, "paths", op.Path, strings.ToLower(op.Method), "responses", strconv.Itoa(status))
	ref, ok := at(said, "$ref").(string)
	if !ok {
		return said
	}
	target := at(c.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	return map[string]any{"description": at(said, "description"), "headers": at(target, "headers"), "content": at(target, "content")}
}

// valid judges a JSON text by the schema at a place in the description.
func (c *contract) valid(pointer []string, what string, text []byte) {
	c.t.Helper()
	escaped := make([]string, len(pointer))
	for i, p := range pointer {
		escaped[i] = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(p)
	}
	schema, err := c.compiler.Compile(descriptionURL + "#/" + strings.Join(escaped, "/"))
	if err != nil {
		c.t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		c.t.Errorf("%s is not JSON: %v\n%.300s", what, err, text)
		return
	}
	if err := schema.Validate(v); err != nil {
		c.t.Errorf("%s is not as described: %v\n%.1000s", what, err, text)
	}
}

// request judges a request that is meant to be good.
func (c *contract) request(op *admin.Operation, r *http.Request, body []byte) {
	c.t.Helper()
	method := strings.ToLower(op.Method)
	described := at(c.doc, "paths", op.Path, method)
	if described == nil {
		c.t.Fatalf("%s is not described", op.ID)
	}
	switch takes := at(described, "requestBody") != nil; {
	case takes != (len(body) > 0):
		c.t.Errorf("%s: a body is taken: %v; given: %q", op.ID, takes, body)
	case takes:
		c.valid([]string{"paths", op.Path, method, "requestBody", "content", "application/json", "schema"}, "the body of "+op.ID, body)
	}
	given := map[string]string{}
	for name := range r.URL.Query() {
		given["query "+name] = r.URL.Query().Get(name)
	}
	if r.Header.Get("If-Match") != "" {
		given["header If-Match"] = r.Header.Get("If-Match")
	}
	list, _ := at(described, "parameters").([]any)
	for i, p := range list {
		p := p.(map[string]any)
		key := p["in"].(string) + " " + p["name"].(string)
		value, ok := given[key]
		delete(given, key)
		if p["required"] == true && p["in"] != "path" && !ok {
			c.t.Errorf("%s: %s is missing", op.ID, key)
		}
		if !ok {
			continue
		}
		text, _ := json.Marshal(value)
		if kind := at(p, "schema", "type"); kind == "integer" || kind == "boolean" {
			text = []byte(value)
		}
		c.valid([]string{"paths", op.Path, method, "parameters", strconv.Itoa(i), "schema"}, op.ID+"'s "+key, text)
	}
	for key := range given {
		c.t.Errorf("%s: %s is not described", op.ID, key)
	}
}

// response judges an answer, and returns its body.
func (c *contract) response(op *admin.Operation, res *http.Response) []byte {
	c.t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.judged[op.ID] == nil {
		c.judged[op.ID] = map[int]bool{}
	}
	c.judged[op.ID][res.StatusCode] = true
	said := c.answer(op, res.StatusCode)
	if said == nil {
		c.t.Errorf("%s: status %d is not described\n%.300s", op.ID, res.StatusCode, body)
		return body
	}
	for _, name := range []string{"ETag", "Keybearer-Request-Id", "Retry-After", "WWW-Authenticate"} {
		if have, want := res.Header.Get(name) != "", at(said, "headers", name) != nil; have != want {
			c.t.Errorf("%s answered %d: header %s is described: %v, is there: %v", op.ID, res.StatusCode, name, want, have)
		}
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	what := fmt.Sprintf("the answer %d of %s", res.StatusCode, op.ID)
	switch content := at(said, "content"); {
	case content == nil:
		if len(body) > 0 {
			c.t.Errorf("%s has a body that is not described: %.300s", what, body)
		}
	case at(content, media) == nil:
		c.t.Errorf("%s is %q, which is not described", what, media)
	case media == "application/problem+json":
		c.valid([]string{"components", "schemas", "Problem"}, what, body)
		var p admin.Problem
		if err := json.Unmarshal(body, &p); err != nil || p.Status != res.StatusCode || !strings.Contains(at(said, "description").(string), "`"+string(p.Code)+"`") {
			c.t.Errorf("%s has a code that is not described: %s", what, body)
		}
	case media == "application/json":
		c.valid([]string{"paths", op.Path, strings.ToLower(op.Method), "responses", strconv.Itoa(res.StatusCode), "content", media, "schema"}, what, body)
	case media == "application/jsonl":
		for line := range bytes.Lines(body) {
			c.valid([]string{"components", "schemas", "Event"}, what, line)
		}
	}
	return body
}

// The description is a good OpenAPI 3.1 document, whose every schema is one, whose every reference leads somewhere, and every parameter of a path is described.
func TestTheDescriptionIsOpenAPI(t *testing.T) {
	c := newContract(t)
	official, err := os.ReadFile("testdata/openapi-3.1-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	meta, err := jsonschema.UnmarshalJSON(bytes.NewReader(official))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("https://spec.openapis.org/oas/3.1/schema/2022-10-07", meta); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("https://spec.openapis.org/oas/3.1/schema/2022-10-07")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(c.doc); err != nil {
		t.Error(err)
	}
	for name := range at(c.doc, "components", "schemas").(map[string]any) {
		if _, err := c.compiler.Compile(descriptionURL + "#/components/schemas/" + name); err != nil {
			t.Error(err)
		}
	}
	ids, references := map[string]bool{}, 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				references++
				if at(c.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			if id, ok := v["operationId"].(string); ok {
				if ids[id] {
					t.Errorf("%s is there twice", id)
				}
				ids[id] = true
			}
			if v["writeOnly"] == true && (v["example"] != nil || v["examples"] != nil || v["default"] != nil) {
				t.Errorf("a secret has an example: %v", v)
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(c.doc)
	if len(ids) != len(admin.Operations) || references < 100 {
		t.Errorf("%d operations and %d references are described, of %d", len(ids), references, len(admin.Operations))
	}
	for path, methods := range at(c.doc, "paths").(map[string]any) {
		for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
			for method, op := range methods.(map[string]any) {
				if !slices.ContainsFunc(at(op, "parameters").([]any), func(p any) bool { return at(p, "name") == m[1] && at(p, "in") == "path" }) {
					t.Errorf("%s %s: {%s} is not described", method, path, m[1])
				}
			}
		}
	}
	for _, secret := range []string{"NewCredential", "CredentialPatch", "SecretInput", "DestinationChange"} {
		for _, field := range []string{"secret", "username"} {
			if at(c.doc, "components", "schemas", secret, "properties", field, "writeOnly") != true {
				t.Errorf("%s.%s is not write-only", secret, field)
			}
		}
	}
}
