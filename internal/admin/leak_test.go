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
		reflect.TypeFor[admin.Regeneration](), reflect.TypeFor[admin.CheckResult](), reflect.TypeFor[admin.UsageReport](), reflect.TypeFor[admin.Problem](),
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
		hex.EncodeToString([]byte(plain)), url.QueryEscape(plain), strings.ToUpper(plain),
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

// No error repeats anything of a request, wherever it stood and however wrong it was.
func TestErrorsNeverEcho(t *testing.T) {
	l := newLab(t)
	l.docs()
	if _, err := l.CreateCaller(t.Context(), admin.NewCaller{Name: "app", NoToken: true}); err != nil {
		t.Fatal(err)
	}
	const c = canary("kanarienvogel-7f3a")
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
	for _, r := range slices.Concat(changes, others) {
		headers := []string{"If-Match", "*", "Content-Type", jsonType}
		send(r.method, r.path+"/"+string(c), r.body, headers...)
		send(r.method, r.path+"%2F..%2F"+string(c), r.body, headers...)
		send(r.method, "/"+string(c)+"/../"+r.path, r.body, headers...)
		send(r.method, r.path+"?"+string(c)+"=1", r.body, headers...)
		send(r.method, r.path, string(c), headers...)
		send(r.method, r.path, `"`+string(c)+`"`, headers...)
		send(r.method, r.path, r.body+string(c), headers...)
		send(r.method, r.path, r.body, "If-Match", `"`+string(c)+`"`, "Content-Type", jsonType)
		send(r.method, r.path, r.body, "If-Match", "*", "Content-Type", string(c))
		send(r.method, r.path, r.body, append(headers, "Origin", "https://"+string(c))...)
		for i, segment := range strings.Split(r.path, "/") {
			if i > 3 {
				send(r.method, strings.Replace(r.path, segment, string(c), 1), r.body, headers...)
			}
		}
		for _, field := range []string{
			"name", "description", "kind", "header", "prefix", "username", "secret", "keep_blanks", "destinations", "require_user", "websocket", "expires_at",
			"confirm", "expected_credentials", "dry_run", "subject", "level", "scopes", "roles", "groups", "overlap_seconds", "credential", "caller", "user", "method", "url", string(c),
		} {
			for _, value := range []string{
				`"` + string(c) + `"`, `"Bearer ` + string(c) + `"`, `"` + string(c) + `\n"`, `["` + string(c) + `"]`, `{"` + string(c) + `":1}`, `{"rule":"` + string(c) + `"}`,
				`[{"rule":"https://u:` + string(c) + `@h/"}]`, `[{"rule":"h","methods":["` + string(c) + `"]}]`, `[{"rule":"https://h/?` + string(c) + `"}]`, `[{"rule":"*.` + string(c) + `.com:x"}]`, `[{"rule":"https://` + string(c) + `.example.com/?x"}]`,
				`"https://h/` + string(c) + `#` + string(c) + `"`, `"docs/` + string(c) + `"`, `"user:` + string(c) + ` x"`, `["scope-admin:` + string(c) + `"]`, `12345e` + string(c),
			} {
				for _, base := range []string{"{}", r.body} {
					var fields map[string]json.RawMessage
					if json.Unmarshal([]byte(base), &fields) != nil {
						continue
					}
					// by hand: the value need not be JSON
					delete(fields, field)
					b, _ := json.Marshal(fields)
					body := strings.TrimSuffix(string(b), "}")
					if body != "{" {
						body += ","
					}
					send(r.method, r.path, body+`"`+field+`":`+value+"}", headers...)
				}
			}
		}
	}
	if n < 10_000 {
		t.Fatalf("only %d errors", n)
	}
	t.Logf("%d errors", n)
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
