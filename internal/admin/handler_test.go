package admin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/custody"
)

// do sends one raw request to a handler. Headers are pairs.
func do(h http.Handler, method, target, body string, headers ...string) *http.Response {
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, b)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

const jsonType = "application/json"

// problem reads a problem answer and checks its form.
func problem(t *testing.T, res *http.Response) admin.Problem {
	t.Helper()
	var p admin.Problem
	d := json.NewDecoder(res.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("status %d: %v", res.StatusCode, err)
	}
	info := p.Code.Info()
	if res.Header.Get("Content-Type") != "application/problem+json" || p.Status != res.StatusCode || info.Code != p.Code || info.Status != p.Status ||
		p.Title != info.Title || p.Type != "urn:keybearer:problem:"+string(p.Code) || p.Detail == "" || p.RequestID == "" ||
		res.Header.Get("Keybearer-Request-Id") != p.RequestID || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("ETag") != "" {
		t.Fatalf("%v %+v", res.Header, p)
	}
	return p
}

func TestPreconditions(t *testing.T) {
	l := newLab(t)
	c := l.docs()
	const path = "/api/v1/scopes/docs/credentials/crm"
	res := do(l.peers, "GET", path, "")
	if got, want := res.Header.Get("ETag"), fmt.Sprintf("%q", fmt.Sprint(c.Revision)); got != want || res.StatusCode != 200 {
		t.Fatalf("ETag %s, want %s", got, want)
	}
	for _, tc := range []struct {
		match []string
		want  keybearer.Code
	}{
		{nil, keybearer.PreconditionRequired},
		{[]string{"If-Match", ""}, keybearer.PreconditionRequired},
		{[]string{"If-Match", `"1"`, "If-Match", `"2"`}, keybearer.PreconditionRequired},
		{[]string{"If-Match", `"1"`}, keybearer.Stale},
		{[]string{"If-Match", fmt.Sprintf(`W/"%d"`, c.Revision)}, keybearer.Stale},
		{[]string{"If-Match", fmt.Sprint(c.Revision)}, keybearer.Stale},
		{[]string{"If-Match", fmt.Sprintf(`"0%d"`, c.Revision)}, keybearer.Stale},
		{[]string{"If-Match", `"0"`}, keybearer.Stale},
		{[]string{"If-Match", `""`}, keybearer.Stale},
		{[]string{"If-Match", `"-1"`}, keybearer.Stale},
	} {
		if p := problem(t, do(l.peers, "POST", path+":disable", "", tc.match...)); p.Code != tc.want {
			t.Errorf("%v: %s, want %s", tc.match, p.Code, tc.want)
		}
	}
	if res := do(l.peers, "POST", path+":disable", "", "If-Match", fmt.Sprintf(`"%d"`, c.Revision)); res.StatusCode != 200 || res.Header.Get("ETag") == fmt.Sprintf(`"%d"`, c.Revision) {
		t.Fatal(res.Status, res.Header)
	}
}

// Every operation that changes something asks for what was read, and does nothing when that is not what there is any more.
func TestEveryChangeAsksForWhatWasRead(t *testing.T) {
	l := newLab(t)
	l.everything()
	before, n := l.dump(), 0
	for i := range admin.Operations {
		op := &admin.Operations[i]
		if op.Match == 0 {
			makes := op.Status == http.StatusCreated
			if op.Method != http.MethodGet && !makes && op.ID != "check" && op.ID != "testCredential" && op.ID != "moveStore" {
				t.Errorf("%s changes something and does not ask", op.ID)
			}
			continue
		}
		n++
		r := routeOf(t, op)
		for _, tc := range []struct {
			match []string
			want  keybearer.Code
		}{{nil, keybearer.PreconditionRequired}, {[]string{"If-Match", `"1"`}, keybearer.Stale}, {[]string{"If-Match", `W/"*"`}, keybearer.Stale}} {
			if p := problem(t, do(l.peers, r.method, r.path, r.body, append(tc.match, "Content-Type", jsonType)...)); p.Code != tc.want {
				t.Errorf("%s with %v: %s, want %s", op.ID, tc.match, p.Code, tc.want)
			}
		}
	}
	if after := l.dump(); n < 35 || after != before {
		t.Errorf("%d changes, and something was changed:\n%s", n, cmp.Diff(before, after))
	}
}

type route struct{ method, path, body string }

// routeOf is a good request of an operation, in a lab with everything.
func routeOf(t *testing.T, op *admin.Operation) route {
	t.Helper()
	r := route{op.Method, whereOf(op), ""}
	for _, p := range op.Query {
		if p.Required {
			r.path += "?" + p.Name + "=" + map[string]string{"subject": "user:ada", "rule": "api.example.com"}[p.Name]
		}
	}
	if typ := op.Body(); typ != nil {
		r.body = goodBody(t, typ)
	}
	return r
}

// writes are good requests of all operations that are no GET.
func writes(t *testing.T) (out []route) {
	for i := range admin.Operations {
		if op := &admin.Operations[i]; op.Method != http.MethodGet {
			out = append(out, routeOf(t, op))
		}
	}
	return out
}

func TestBodiesAreStrict(t *testing.T) {
	l := newLab(t)
	l.everything()
	for _, r := range writes(t) {
		match := []string{"If-Match", "*"}
		send := func(body, kind string) keybearer.Code {
			t.Helper()
			return problem(t, do(l.peers, r.method, r.path, body, append(match, "Content-Type", kind)...)).Code
		}
		if r.body == "" {
			if got := send("{}", jsonType); got != keybearer.Invalid {
				t.Errorf("%s %s with a body: %s", r.method, r.path, got)
			}
			continue
		}
		inner, _ := strings.CutSuffix(r.body, "}")
		extra := inner + `,"canary":1}`
		if r.body == "{}" {
			extra = `{"canary":1}`
		}
		for name, bad := range map[string]string{
			"an unknown field": extra, "two values": r.body + r.body, "cut off": inner, "nothing": "", "an array": "[" + r.body + "]", "a string": `"x"`,
			"trailing text": r.body + "x",
		} {
			if got := send(bad, jsonType); got != keybearer.Invalid {
				t.Errorf("%s %s with %s: %s", r.method, r.path, name, got)
			}
		}
		if got := send(r.body, "text/plain"); got != keybearer.Invalid {
			t.Errorf("%s %s as text: %s", r.method, r.path, got)
		}
		if got := send(inner+`,"description":"`+strings.Repeat("x", 1<<20)+`"}`, jsonType); got != keybearer.Invalid {
			t.Errorf("%s %s with a megabyte: %s", r.method, r.path, got)
		}
	}
	for _, target := range []string{
		"/api/v1/scopes?limit=0", "/api/v1/scopes?limit=x", "/api/v1/scopes?limit=1&limit=2", "/api/v1/scopes?nonsense=1", "/api/v1/scopes?deleted=yes",
		"/api/v1/scopes?q=%zz", "/api/v1/usage?since=yesterday", "/api/v1/usage?credential=x", "/api/v1/audit?follow=1", "/api/v1/audit?scope=a&credential=b/c",
	} {
		if p := problem(t, do(l.peers, "GET", target, "")); p.Code != keybearer.Invalid {
			t.Errorf("%s: %s", target, p.Code)
		}
	}
}

func TestNoSuchOperation(t *testing.T) {
	l := newLab(t)
	l.docs()
	for _, r := range []route{
		{"GET", "/", ""},
		{"GET", "/api/v1", ""},
		{"GET", "/api/v1/", ""},
		{"GET", "/api/v2/scopes", ""},
		{"GET", "/api/v1/scopes/", ""},
		{"GET", "/api/v1//scopes", ""},
		{"GET", "/api/v1/./scopes", ""},
		{"GET", "/api/v1/scopes/../callers", ""},
		{"GET", "/api/v1/scopes/docs%2F..%2Fglobal", ""},
		{"DELETE", "/api/v1/scopes/docs", ""},
		{"PUT", "/api/v1/scopes/docs", ""},
		{"POST", "/api/v1/scopes/docs", ""},
		{"POST", "/api/v1/scopes/docs:steal", ""},
		{"POST", "/api/v1/scopes/docs/key:steal", ""},
		{"GET", "/api/v1/scopes/docs/credentials/crm/secret", ""},
		{"GET", "/api/v1/callers/app/tokens", ""},
		{"POST", "/api/v1/scopes/docs/credentials/crm:reveal", ""},
		{"POST", "/api/v1/callers/app:x", ""},
		{"OPTIONS", "/api/v1/scopes", ""},
		{"TRACE", "/api/v1/scopes", ""},
	} {
		res := do(l.peers, r.method, r.path, r.body, "If-Match", "*")
		if p := problem(t, res); p.Code != keybearer.NotFound || res.Header.Get("Location") != "" {
			t.Errorf("%s %s: %s", r.method, r.path, p.Code)
		}
	}
}

func TestWhoAsks(t *testing.T) {
	l := newLab(t)
	l.docs()
	const path = "/api/v1/scopes"
	own := uint32(os.Geteuid())
	for _, tc := range []struct {
		peer *keybearer.PeerCredentials
		want int
	}{{nil, 401}, {&keybearer.PeerCredentials{UID: 0}, 200}, {&keybearer.PeerCredentials{UID: own}, 200}, {&keybearer.PeerCredentials{UID: own + 1}, 401}} {
		l.peer = tc.peer
		res := do(l.peers, "GET", path, "")
		if res.StatusCode != tc.want {
			t.Errorf("%+v: %d", tc.peer, res.StatusCode)
		}
		if tc.want == 401 {
			if p := problem(t, res); p.Code != keybearer.Unauthenticated || res.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%+v", p)
			}
		}
	}
	l.peer = &keybearer.PeerCredentials{UID: own}
	o, err := l.CreateOperator(t.Context(), admin.NewOperator{Name: "ada", Roles: []string{"instance-admin"}})
	if err != nil {
		t.Fatal(err)
	}
	token := o.Token.Reveal()
	for _, tc := range []struct {
		headers []string
		want    int
	}{
		{nil, 401},
		{[]string{"Authorization", "Bearer " + token}, 200},
		{[]string{"Authorization", "bearer " + token}, 200},
		{[]string{"Authorization", token}, 401},
		{[]string{"Authorization", "Basic " + token}, 401},
		{[]string{"Authorization", "Bearer  " + token}, 401},
		{[]string{"Authorization", "Bearer " + token + "x"}, 401},
		{[]string{"Authorization", "Bearer kbo_"}, 401},
		{[]string{"Authorization", "Bearer " + token, "Authorization", "Bearer " + token}, 401},
		{[]string{"Proxy-Authorization", "Bearer " + token}, 401},
		{[]string{"Cookie", "token=" + token}, 401},
		{[]string{"Authorization", "Bearer " + token, "Origin", "https://evil.example"}, 403},
		{[]string{"Authorization", "Bearer " + token, "Origin", "null"}, 403},
		{[]string{"Authorization", "Bearer " + token, "Origin", "http://example.com"}, 200}, // httptest's own host
		{[]string{"Authorization", "Bearer " + token, "Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Authorization", "Bearer " + token, "Sec-Fetch-Site", "same-site"}, 403},
		{[]string{"Authorization", "Bearer " + token, "Sec-Fetch-Site", "same-origin"}, 200},
		{[]string{"Authorization", "Bearer " + token, "Sec-Fetch-Site", "none"}, 200},
	} {
		if res := do(l.tokens, "GET", path, "", tc.headers...); res.StatusCode != tc.want {
			t.Errorf("%q: %d, want %d", tc.headers, res.StatusCode, tc.want)
		}
	}
	// Nothing at all is answered before it is known who asks, not even that a route does not exist.
	all := []route{{"GET", "/nonsense", ""}}
	for i := range admin.Operations {
		if op := &admin.Operations[i]; !op.Open {
			all = append(all, routeOf(t, op))
		}
	}
	for _, r := range all {
		if res := do(l.tokens, r.method, r.path, r.body, "If-Match", "*", "Content-Type", jsonType); res.StatusCode != 401 {
			t.Errorf("%s %s: %d", r.method, r.path, res.StatusCode)
		}
	}
}

func TestServerSentEvents(t *testing.T) {
	l := newLab(t)
	l.docs()
	res := do(l.peers, "GET", "/api/v1/audit?credential=docs/crm", "", "Accept", "text/event-stream")
	body, _ := io.ReadAll(res.Body)
	head, rest, ok := strings.Cut(string(body), "\ndata: ")
	if res.Header.Get("Content-Type") != "text/event-stream" || !ok || !strings.HasSuffix(rest, "}\n\n") {
		t.Fatalf("%v %q", res.Header, body)
	}
	var e keybearer.Event
	if err := json.Unmarshal([]byte(rest), &e); err != nil || e.Action != "credential.create" || head != "id: "+e.ID+".outcome\nevent: change" {
		t.Fatal(e, err, head)
	}
	res = do(l.peers, "GET", "/api/v1/audit", "")
	if body, _ = io.ReadAll(res.Body); res.Header.Get("Content-Type") != "application/jsonl" || strings.Count(string(body), "\n") != 4 {
		t.Fatalf("%v %q", res.Header, body)
	}
	bare := admin.New(admin.Config{Custody: l.custody, Authenticate: admin.Peers(func(*http.Request) *keybearer.PeerCredentials { return l.peer })})
	if p := problem(t, do(bare, "GET", "/api/v1/audit", "")); p.Code != keybearer.AuditUnavailable {
		t.Fatal(p)
	}
}

// Anybody who reaches the listener may read the description, and gets nothing else for it.
func TestTheDescriptionIsForAnybody(t *testing.T) {
	l := newLab(t)
	const path = "/api/v1/openapi.json"
	res := do(l.tokens, "GET", path, "")
	body, _ := io.ReadAll(res.Body)
	tag := res.Header.Get("ETag")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != jsonType || tag == "" || !json.Valid(body) || res.Header.Get("Cache-Control") != "no-cache" || res.Header.Get("Set-Cookie") != "" {
		t.Fatal(res.Status, res.Header)
	}
	res = do(l.tokens, "GET", path, "", "If-None-Match", tag)
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 304 || len(body) > 0 {
		t.Error(res.Status, string(body))
	}
	if res := do(l.tokens, "GET", path, "", "If-None-Match", `"other"`, "Authorization", "Bearer kbo_nonsense"); res.StatusCode != 200 {
		t.Error(res.Status) // a proof that does not hold is not looked at
	}
	for name, res := range map[string]*http.Response{
		"a body": do(l.tokens, "GET", path, "{}"), "a parameter": do(l.tokens, "GET", path+"?x=1", ""), "another site": do(l.tokens, "GET", path, "", "Origin", "https://evil.example"),
		"another method": do(l.tokens, "POST", path, ""), "what lies beside it": do(l.tokens, "GET", "/api/v1/openapi.yaml", ""),
	} {
		if res.StatusCode < 400 {
			t.Errorf("%s: %s", name, res.Status)
		}
		problem(t, res)
	}
}

func TestPanicsAreProblems(t *testing.T) {
	l := newLab(t)
	h := admin.New(admin.Config{Custody: l.custody, Authenticate: func(*http.Request) (custody.Actor, error) { panic("kanarienvogel") }})
	res := do(h, "GET", "/api/v1/scopes", "")
	if p := problem(t, res); p.Code != keybearer.Internal || p.Status != 500 {
		t.Fatal(p)
	}
}

func TestExpiryOnTheWire(t *testing.T) {
	at := time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	for body, want := range map[string]admin.Expiry{
		`{}`:                                    {},
		`{"expires_at":null}`:                   {Set: true},
		`{"expires_at":"2027-01-31T12:00:00Z"}`: {Set: true, Time: at},
		`{"expires_at":"2027-01-31T13:00:00+01:00"}`: {Set: true, Time: at},
	} {
		var p admin.CredentialPatch
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p.ExpiresAt); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var again admin.CredentialPatch
		if err := json.Unmarshal(b, &again); err != nil || !again.ExpiresAt.Time.Equal(want.Time) || again.ExpiresAt.Set != want.Set {
			t.Errorf("%s came back as %s", body, b)
		}
	}
}
