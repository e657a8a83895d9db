package admin_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/custody"
)

// What is read has no place for a secret: no type for one, no bytes, no name of one.
func TestReadModelsHoldNoSecret(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(where string, typ reflect.Type)
	walk = func(where string, typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		switch {
		case typ == reflect.TypeFor[time.Time]():
			return
		case typ == reflect.TypeFor[keybearer.Secret](), typ == reflect.TypeFor[admin.Plaintext](), typ == reflect.TypeFor[keybearer.TokenHash]():
			t.Errorf("%s is a %s", where, typ)
			return
		case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Uint8, typ.Kind() == reflect.Interface, typ.Kind() == reflect.Map:
			t.Errorf("%s is a %s, which could hold anything", where, typ)
			return
		}
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			walk(where, typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				f := typ.Field(i)
				if name := strings.ToLower(f.Name + " " + f.Tag.Get("json")); strings.Contains(name, "secret") || strings.Contains(name, "share") ||
					strings.Contains(name, "sealed") || strings.Contains(name, "hash") || strings.Contains(name, "password") || strings.Contains(name, "username") {
					t.Errorf("%s.%s", where, f.Name)
				}
				walk(where+"."+f.Name, f.Type)
			}
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[admin.Page[admin.Scope]](), reflect.TypeFor[admin.Page[admin.Credential]](), reflect.TypeFor[admin.Page[admin.Grant]](),
		reflect.TypeFor[admin.Page[admin.Destination]](), reflect.TypeFor[admin.Page[admin.Caller]](), reflect.TypeFor[admin.Page[admin.Operator]](),
		reflect.TypeFor[admin.Regeneration](), reflect.TypeFor[admin.CheckResult](), reflect.TypeFor[admin.TestResult](), reflect.TypeFor[admin.UsageReport](), reflect.TypeFor[admin.Problem](),
		// and what custody gives to whoever shows it
		reflect.TypeFor[custody.Scope](), reflect.TypeFor[custody.Credential](), reflect.TypeFor[custody.Caller](), reflect.TypeFor[custody.Operator](),
		reflect.TypeFor[custody.Regeneration](), reflect.TypeFor[custody.Usage](),
	} {
		walk(typ.String(), typ)
	}
}

// canary is what must not come back, in any form.
type canary string

func (c canary) in(s string) bool {
	plain := string(c)
	for _, form := range []string{
		plain, base64.StdEncoding.EncodeToString([]byte(plain)), base64.RawURLEncoding.EncodeToString([]byte(plain)),
		hex.EncodeToString([]byte(plain)), url.QueryEscape(plain), strings.ToUpper(plain), strings.ToLower(plain),
	} {
		if strings.Contains(s, form) {
			return true
		}
	}
	return false
}

func text(res *http.Response) string {
	var b strings.Builder
	_ = res.Header.Write(&b)
	body, _ := io.ReadAll(res.Body)
	return b.String() + string(body)
}

// No error of any operation repeats anything of a request, wherever it stood and however wrong it was: not in body or headers, not in the server's
// log, and not in the audit log. The canary is no name that anything can have, so that what stands in the audit log does not come from a success.
func TestErrorsNeverEcho(t *testing.T) {
	l := newLab(t)
	l.everything()
	const c = canary("KANARIENVOGEL-7f3a")
	n := 0
	send := func(method, target, body string, headers ...string) {
		t.Helper()
		res := do(l.peers, method, target, body, headers...)
		if res.StatusCode < 400 {
			return
		}
		n++
		if out := text(res); c.in(out) {
			t.Errorf("%s %.100s %.200s %q:\n%s", method, target, body, headers, out)
		}
	}
	for i := range admin.Operations {
		op := &admin.Operations[i]
		r := routeOf(t, op)
		c.everywhere(op, r, send)
		if op.Body() != nil {
			c.inBodies(op, r, send)
		}
		for _, proof := range []string{"Bearer " + string(c), "Bearer kbo_" + string(c), "Bearer kb_" + strings.Repeat(string(c), 100), string(c) + " x", "Basic " + string(c)} {
			if out := text(do(l.tokens, op.Method, r.path, r.body, "If-Match", "*", "Content-Type", jsonType, "Authorization", proof, "Cookie", "__Host-x="+string(c))); c.in(out) {
				t.Errorf("%s %s with the proof %.50s:\n%s", op.Method, r.path, proof, out)
			}
		}
	}
	if n < 15_000 {
		t.Fatalf("only %d errors", n)
	}
	t.Logf("%d errors", n)
	for name, path := range map[string]string{"audit log": l.log.Path(), "server's log": l.serverLog} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if c.in(line) {
				t.Errorf("the %s repeats it: %s", name, line)
			}
		}
	}
}

type sender func(method, target, body string, headers ...string)

// everywhere puts the canary where it does not belong, outside of a good body.
func (c canary) everywhere(op *admin.Operation, r route, send sender) {
	headers := []string{"If-Match", "*"}
	if r.body != "" {
		headers = append(headers, "Content-Type", jsonType)
	}
	path, query, _ := strings.Cut(r.path, "?")
	known := url.Values{}
	if query != "" {
		known, _ = url.ParseQuery(query)
	}
	with := func(name, value string) string {
		q := url.Values{name: {value}}
		for k, v := range known {
			if k != name {
				q[k] = v
			}
		}
		return path + "?" + q.Encode()
	}
	send(string(c), r.path, r.body, headers...)
	send(op.Method, path+"/"+string(c), r.body, headers...)
	send(op.Method, path+":"+string(c), r.body, headers...)
	send(op.Method, path+"%2F..%2F"+string(c), r.body, headers...)
	send(op.Method, "/"+string(c)+"/../"+r.path, r.body, headers...)
	send(op.Method, r.path, string(c), headers...)
	send(op.Method, r.path, r.body+string(c), headers...)
	send(op.Method, r.path, r.body+strings.Repeat(string(c), 40_000), headers...)
	for i, segment := range strings.Split(path, "/") {
		if i > 2 {
			send(op.Method, strings.Replace(r.path, segment, string(c), 1), r.body, headers...)
			send(op.Method, strings.Replace(r.path, segment, "crd_"+string(c), 1), r.body, headers...)
			send(op.Method, strings.Replace(r.path, segment, "%0a"+string(c)+"%00", 1), r.body, headers...)
		}
	}
	for _, value := range []string{string(c), "docs/" + string(c), "user:" + string(c) + " x", string(c) + "\n\x00", "https://u:" + string(c) + "@h/", strings.Repeat(string(c), 1000)} {
		send(op.Method, with(string(c), value), r.body, headers...)
		for _, p := range op.Query {
			if p.Name != "follow" {
				send(op.Method, with(p.Name, value), r.body, headers...)
			}
			send(op.Method, with(p.Name, "1")+"&"+p.Name+"="+url.QueryEscape(value), r.body, headers...)
		}
		if clean := strings.NewReplacer("\n", "", "\x00", "").Replace(value); len(clean) < 100 {
			for _, name := range []string{"If-Match", "If-None-Match", "Last-Event-ID", "Origin", "Sec-Fetch-Site", "Content-Type", "Accept", "Authorization", "Cookie", "X-Forwarded-For", string(c)} {
				send(op.Method, r.path, r.body, append(slices.Clone(headers), name, clean)...)
				send(op.Method, with(string(c), "1"), r.body, name, `"`+clean+`"`)
			}
		}
	}
}

// inBodies puts the canary into bodies: as a value of every field, of a wrong type, twice, broken, and as the name of a field.
func (c canary) inBodies(op *admin.Operation, r route, send sender) {
	headers := []string{"If-Match", "*", "Content-Type", jsonType}
	s := string(c)
	fields := append(fieldsOf(op.Body()), s, "secret", "password", "token")
	send(op.Method, r.path, `"`+s+`"`, headers...)
	send(op.Method, r.path, `["`+s+`"]`, headers...)
	for _, field := range fields {
		for _, value := range []string{
			`"` + s + `"`, `"Bearer ` + s + `"`, `"` + s + `\n"`, `"` + s + `\u0000\u0007"`, `["` + s + `"]`, `{"` + s + `":1}`, `{"rule":"` + s + `"}`, `{"` + s, `"` + s, `tru` + s,
			`[{"rule":"https://u:` + s + `@h/"}]`, `[{"rule":"h","methods":["` + s + `"]}]`, `[{"rule":"https://h/?` + s + `"}]`, `[{"rule":"*.` + s + `.com:x"}]`,
			`[{"rule":"https://` + s + `.example.com/?x"}]`, `"https://h/` + s + `#` + s + `"`, `"docs/` + s + `"`, `"user:` + s + ` x"`, `["scope-admin:` + s + `"]`, `12345e` + s,
			`"` + strings.Repeat(s, 5000) + `"`,
		} {
			for _, base := range []string{"{}", r.body} {
				var known map[string]json.RawMessage
				if json.Unmarshal([]byte(base), &known) != nil {
					continue
				}
				// by hand: the value need not be JSON
				delete(known, field)
				b, _ := json.Marshal(known)
				body := strings.TrimSuffix(string(b), "}")
				if body != "{" {
					body += ","
				}
				send(op.Method, r.path, body+`"`+field+`":`+value+"}", headers...)
				send(op.Method, r.path, body+`"`+field+`":1,"`+field+`":`+value+"}", headers...)
			}
		}
	}
}

// fieldsOf are the names of the fields of a body, those of embedded structs among them.
func fieldsOf(typ reflect.Type) (names []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			names = append(names, fieldsOf(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// A secret that was given comes back in no answer of any operation, and in no line of the audit log.
func TestSecretsNeverComeBack(t *testing.T) {
	l := newLab(t)
	l.docs()
	const c = canary("kanarienvogel-7f3a")
	var all strings.Builder
	send := func(method, target, body string, want int) {
		t.Helper()
		res := do(l.peers, method, target, body, "If-Match", "*", "Content-Type", jsonType)
		if res.StatusCode != want {
			t.Fatalf("%s %s: %d %s", method, target, res.StatusCode, text(res))
		}
		all.WriteString(text(res))
	}
	const one = "/api/v1/scopes/docs/credentials/basic"
	send("POST", "/api/v1/scopes/docs/credentials", `{"name":"basic","kind":"basic","username":"`+string(c)+`","secret":"`+string(c)+`"}`, 201)
	send("PUT", one+"/secret", `{"username":"`+string(c)+`","secret":"`+string(c)+`2"}`, 200)
	send("POST", one+"/destinations", `{"destinations":[{"rule":"h.example.com"}],"username":"`+string(c)+`","secret":"`+string(c)+`"}`, 200)
	send("PATCH", one, `{"kind":"header","header":"X-Key","secret":"`+string(c)+`"}`, 200)
	send("POST", one+":rollback", "", 200)
	for _, path := range []string{one, one + "/grants", one + "/destinations", "/api/v1/scopes/-/credentials", "/api/v1/scopes", "/api/v1/audit", "/api/v1/usage"} {
		send("GET", path, "", 200)
	}
	send("POST", "/api/v1/scopes/docs/key:rotate", "", 200)
	send("POST", "/api/v1/scopes/docs/key:regenerate", `{"dry_run":true}`, 200)
	send("DELETE", one, "", 200)
	send("GET", one, "", 200)
	if c.in(all.String()) {
		t.Fatal(all.String())
	}
	log, err := os.ReadFile(l.log.Path())
	if err != nil || len(log) == 0 || c.in(string(log)) {
		t.Fatalf("%v: %s", err, log)
	}
	// Tokens are shown by the operation that makes them, and by no other.
	issued, err := l.CreateCaller(t.Context(), admin.NewCaller{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/v1/callers", "/api/v1/callers/app", "/api/v1/audit"} {
		if out := text(do(l.peers, "GET", path, "")); canary(issued.Token.Reveal()).in(out) || strings.Contains(out, "hash") {
			t.Fatal(out)
		}
	}
	if out := fmt.Sprintf("%v %+v %#v %s", issued, issued, issued, issued.Token); canary(issued.Token.Reveal()).in(out) {
		t.Fatal(out)
	}
}
