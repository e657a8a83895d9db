package proxy

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// refusalCase is a request that must be refused. {dst} stands for host:port of the destination, {token} for the caller's token.
type refusalCase struct {
	name    string
	request string
	status  int
	code    keybearer.Code
}

const auth = "Proxy-Authorization: Bearer {token}\r\n"

func get(target, fields string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n"
}

var refusalCases = []refusalCase{
	{"no proof", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\n"), 407, keybearer.CallerUnauthenticated},
	{"no proof, gateway", get("/", "Keybearer-Credential: docs/crm\r\nKeybearer-Destination: https://{dst}\r\n"), 401, keybearer.CallerUnauthenticated},
	{"unknown token", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer kb_nope\r\n"), 407, keybearer.CallerUnauthenticated},
	{"foreign proof", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nProxy-Authorization: Digest x\r\n"), 407, keybearer.CallerUnauthenticated},
	{"two callers", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\n"+auth+"Proxy-Authorization: Bearer {other}\r\n"), 407, keybearer.CallerUnauthenticated},
	{"Authorization is no proof to a proxy", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nAuthorization: Bearer {token}\r\n"), 407, keybearer.CallerUnauthenticated},
	{"no credential", get("http://{dst}/", auth), 400, keybearer.TagMissing},
	{"no destination", get("/", "Keybearer-Credential: docs/crm\r\n"+auth), 400, keybearer.TagMissing},
	{"credential twice", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nKeybearer-Credential: docs/crm\r\n"+auth), 400, keybearer.TagInvalid},
	{"credential joined", get("http://{dst}/", "Keybearer-Credential: docs/crm, docs/other\r\n"+auth), 400, keybearer.TagInvalid},
	{"credential empty", get("http://{dst}/", "Keybearer-Credential: \r\n"+auth), 400, keybearer.TagInvalid},
	{"credential without scope", get("http://{dst}/", "Keybearer-Credential: crm\r\n"+auth), 400, keybearer.TagInvalid},
	{"credential in capitals", get("http://{dst}/", "Keybearer-Credential: Docs/crm\r\n"+auth), 400, keybearer.TagInvalid},
	{"other tag twice", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nKeybearer-Else: 1\r\nKeybearer-Else: 2\r\n"+auth), 400, keybearer.TagInvalid},
	{"two destinations", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nKeybearer-Destination: https://{dst}\r\n"+auth), 400, keybearer.TagInvalid},
	{"header and userinfo differ", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nProxy-Authorization: Basic {pair docs/other}\r\n"), 400, keybearer.TagInvalid},
	{"header and userinfo differ, beside a bearer proof", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nProxy-Authorization: Basic {pair docs/other}\r\n"+auth), 400, keybearer.TagInvalid},
	{"path that would be written in another way", get("http://{dst}//a{b}", "Keybearer-Credential: docs/crm\r\n"+auth), 400, keybearer.DestinationInvalid},
	{"destination with path", get("/", "Keybearer-Credential: docs/crm\r\nKeybearer-Destination: https://{dst}/x\r\n"+auth), 400, keybearer.DestinationInvalid},
	{"userinfo in the target", get("http://u:p@{dst}/", "Keybearer-Credential: docs/crm\r\n"+auth), 400, keybearer.DestinationInvalid},
	{"octal address", get("http://0177.0.0.1/", "Keybearer-Credential: docs/crm\r\n"+auth), 400, keybearer.DestinationInvalid},
	{"unlisted Host", "GET / HTTP/1.1\r\nHost: rebound.example\r\nKeybearer-Credential: docs/crm\r\nKeybearer-Destination: https://{dst}\r\n" + auth + "\r\n", 400, keybearer.BadRequest},
	{"from a web page", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nOrigin: https://evil.example\r\n"+auth), 400, keybearer.BadRequest},
	{"from a web page, without Origin", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nSec-Fetch-Site: cross-site\r\n"+auth), 400, keybearer.BadRequest},
	{"TRACE", strings.Replace(get("http://{dst}/", "Keybearer-Credential: docs/crm\r\n"+auth), "GET", "TRACE", 1), 400, keybearer.BadRequest},
	{"unknown credential", get("http://{dst}/", "Keybearer-Credential: docs/none\r\n"+auth), 403, keybearer.CredentialForbidden},
	{"unknown scope", get("http://{dst}/", "Keybearer-Credential: none/crm\r\n"+auth), 403, keybearer.CredentialForbidden},
	{"no fall-through to global", get("http://{dst}/", "Keybearer-Credential: global/crm\r\n"+auth), 403, keybearer.CredentialForbidden},
	{"no grant", get("http://{dst}/", "Keybearer-Credential: docs/ungranted\r\n"+auth), 403, keybearer.CredentialForbidden},
	{"other scope", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer {stranger}\r\n"), 403, keybearer.CredentialForbidden},
	{"deleted, without view", get("http://{dst}/", "Keybearer-Credential: docs/deleted\r\n"+auth), 403, keybearer.CredentialForbidden},
	{"deleted, with view", get("http://{dst}/", "Keybearer-Credential: docs/deleted-viewed\r\n"+auth), 410, keybearer.CredentialDeleted},
	{"needs a person", get("http://{dst}/", "Keybearer-Credential: docs/personal\r\n"+auth), 403, keybearer.UserRequired},
	{"unverifiable person", get("http://{dst}/", "Keybearer-Credential: docs/crm\r\nKeybearer-Acting-User: x.y.z\r\n"+auth), 403, keybearer.UserRequired},
	{"disabled", get("http://{dst}/", "Keybearer-Credential: docs/disabled\r\n"+auth), 403, keybearer.CredentialDisabled},
	{"expired", get("http://{dst}/", "Keybearer-Credential: docs/expired\r\n"+auth), 403, keybearer.CredentialExpired},
	{"no secret", get("http://{dst}/", "Keybearer-Credential: docs/shell\r\n"+auth), 409, keybearer.CredentialNeedsSecret},
	{"other host", get("http://evil.example/", "Keybearer-Credential: docs/crm\r\n"+auth), 403, keybearer.DestinationNotAllowed},
	{"other port", get("http://127.0.0.1:9/", "Keybearer-Credential: docs/crm\r\n"+auth), 403, keybearer.DestinationNotAllowed},
	{"no rules", get("http://{dst}/", "Keybearer-Credential: docs/ruleless\r\n"+auth), 403, keybearer.DestinationNotAllowed},
	{"other method", strings.Replace(get("http://{dst}/", "Keybearer-Credential: docs/posts\r\n"+auth), "GET", "DELETE", 1), 403, keybearer.MethodNotAllowed},
	{"loopback without private", get("http://{dst}/", "Keybearer-Credential: docs/public\r\n"+auth), 403, keybearer.AddressDenied},
	{"row edited to a wider rule", get("http://{dst}/", "Keybearer-Credential: docs/edited\r\n"+auth), 403, keybearer.DestinationNotAllowed},
	{"row edited to need nobody", get("http://{dst}/", "Keybearer-Credential: docs/relaxed\r\n"+auth), 403, keybearer.UserRequired},
	{"ciphertext of another row", get("http://{dst}/", "Keybearer-Credential: docs/swapped\r\n"+auth), 503, keybearer.KeyringUnavailable},
	{"scope under regeneration", get("http://{dst}/", "Keybearer-Credential: regen/crm\r\n"+auth), 503, keybearer.ScopeRegenerating},
	{"CONNECT 443", "CONNECT {host}:443 HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 501, keybearer.TLSTunnelUnsupported},
	{"CONNECT without proof", "CONNECT {host}:80 HTTP/1.1\r\nHost: x\r\n\r\n", 407, keybearer.CallerUnauthenticated},
	{"CONNECT and a destination", "CONNECT {host}:80 HTTP/1.1\r\nHost: x\r\nKeybearer-Destination: https://{dst}\r\n" + auth + "\r\n", 400, keybearer.TagInvalid},
	{"CONNECT to nowhere", "CONNECT {host} HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 400, keybearer.DestinationInvalid},
	{"nobody listens", get("http://127.0.0.1:1/", "Keybearer-Credential: docs/nobody\r\n"+auth), 502, keybearer.DestinationUnreachable},
	{"untrusted certificate", get("http://{untrusted}/", "Keybearer-Credential: docs/untrusted\r\n"+auth), 502, keybearer.DestinationTLSFailed},
}

// prepareRefusals stores what the cases need and returns what replaces the placeholders.
func prepareRefusals(l *lab) *strings.Replacer {
	type edit = func(*keybearer.Credential, *keybearer.Bundle)
	set := func(f func(*keybearer.Credential)) edit {
		return func(c *keybearer.Credential, _ *keybearer.Bundle) { f(c) }
	}
	terms := l.bearer()
	l.credential("crm", terms, "s3cret-token")
	l.credential("other", terms, "s3cret-token")
	l.credential("ungranted", terms, "s3cret-token", set(func(c *keybearer.Credential) { c.Grants = nil }))
	l.credential("deleted", terms, "s3cret-token", set(func(c *keybearer.Credential) { c.DeletedAt = l.clock.now() }))
	l.credential("deleted-viewed", terms, "s3cret-token", set(func(c *keybearer.Credential) {
		c.DeletedAt, c.Grants[0].Level = l.clock.now(), keybearer.View
	}))
	personal := terms.Clone()
	personal.RequireUser = true
	l.credential("personal", personal, "s3cret-token")
	l.credential("disabled", terms, "s3cret-token", set(func(c *keybearer.Credential) { c.Disabled = true }))
	l.credential("expired", terms, "s3cret-token", set(func(c *keybearer.Credential) { c.ExpiresAt = l.clock.now().Add(-time.Second) }))
	l.credential("shell", terms, "")
	l.credential("ruleless", keybearer.Terms{Kind: keybearer.Bearer}, "s3cret-token")
	l.credential("posts", l.bearer("POST"), "s3cret-token")
	public := terms.Clone()
	public.Rules[0].Private = false
	l.credential("public", public, "s3cret-token")
	l.credential("edited", terms, "s3cret-token", func(_ *keybearer.Credential, b *keybearer.Bundle) { b.Terms.Rules = l.rules("https://other.example") })
	l.credential("relaxed", terms, "s3cret-token", func(_ *keybearer.Credential, b *keybearer.Bundle) { b.Terms.RequireUser = true })
	donor := l.credential("donor", terms, "s3cret-token")
	swapped := l.credential("swapped", terms, "s3cret-token")
	l.update(swapped, func(c *keybearer.Credential) { c.Current.Sealed = donor.Current.Sealed })
	l.credential("nobody", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules("https://127.0.0.1:1")}, "s3cret-token")
	untrusted := serveUntrusted(l.t)
	l.credential("untrusted", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules("https://" + untrusted)}, "s3cret-token")

	_, other := l.newCaller("other", l.scope.ID)
	_, stranger := l.newCaller("stranger")

	docs := l.scope
	l.scope = l.newScope("regen")
	l.credential("crm", terms, "s3cret-token")
	regen := l.scope.Clone()
	regen.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRegenerate}
	l.commit(keybearer.Write{Scope: regen})
	bound := l.caller.Clone()
	bound.Scopes = []string{docs.ID, regen.ID}
	l.commit(keybearer.Write{Caller: bound})
	l.scope = docs

	host := strings.TrimPrefix(l.destination.URL, "https://")
	return strings.NewReplacer("{dst}", host, "{token}", l.token, "{other}", other, "{stranger}", stranger,
		"{host}", "127.0.0.1", "{untrusted}", untrusted,
		"{pair docs/other}", base64.StdEncoding.EncodeToString([]byte("docs/other:"+l.token)))
}

func TestRefusalsOnBothEngines(t *testing.T) {
	for engine, serve := range map[string]func(*lab, Route) string{
		"net/http": (*lab).serve,
		"bytes":    (*lab).serveBytes,
	} {
		t.Run(engine, func(t *testing.T) {
			l := newLab(t)
			fill := prepareRefusals(l)
			addr := serve(l, Route{})
			for _, tc := range refusalCases {
				t.Run(tc.name, func(t *testing.T) {
					resp, body := raw(t, addr, fill.Replace(tc.request))
					checkRefusal(t, resp, body, tc.status, tc.code)
				})
			}
			if len(l.seen) != 0 {
				t.Errorf("%d requests reached the destination", len(l.seen))
			}
			for _, e := range l.events(len(refusalCases)) {
				if e.Decision == keybearer.Allow && e.Phase == keybearer.Outcome && e.Code == "" {
					t.Errorf("an allowed use in the audit log: %+v", e)
				}
			}
		})
	}
}

func TestFixedRoutesRefuseEveryOtherWay(t *testing.T) {
	for engine, serve := range map[string]func(*lab, Route) string{"net/http": (*lab).serve, "bytes": (*lab).serveBytes} {
		t.Run(engine, func(t *testing.T) {
			l := newLab(t)
			fill := prepareRefusals(l)
			addr := serve(l, Route{Caller: "billing", Credential: keybearer.Ref{Scope: "docs", Name: "crm"}, Destination: l.destination.URL})
			for _, tc := range []refusalCase{
				{"names the credential", get("/", "Keybearer-Credential: docs/crm\r\n"), 400, keybearer.TagInvalid},
				{"names the destination", get("/", "Keybearer-Destination: https://{dst}\r\n"), 400, keybearer.TagInvalid},
				{"absolute form", get("http://{dst}/", ""), 400, keybearer.TagInvalid},
				{"CONNECT", "CONNECT {dst} HTTP/1.1\r\nHost: x\r\n\r\n", 400, keybearer.TagInvalid},
				{"another caller's token", get("/", "Authorization: Bearer {other}\r\n"), 401, keybearer.CallerUnauthenticated},
				{"unlisted Host", "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400, keybearer.BadRequest},
				{"from a web page", get("/", "Origin: null\r\n"), 400, keybearer.BadRequest},
			} {
				t.Run(tc.name, func(t *testing.T) {
					resp, body := raw(t, addr, fill.Replace(tc.request))
					checkRefusal(t, resp, body, tc.status, tc.code)
				})
			}
			if len(l.seen) != 0 {
				t.Errorf("%d requests reached the destination", len(l.seen))
			}
		})
	}
}

func checkRefusal(t *testing.T, resp *http.Response, body string, status int, code keybearer.Code) {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%d, no problem+json: %q", resp.StatusCode, body)
	}
	if resp.StatusCode != status || p.Code != code || p.Status != status {
		t.Fatalf("got %d %s (%s), want %d %s", resp.StatusCode, p.Code, p.Detail, status, code)
	}
	info := code.Info()
	if want := "keybearer; error=" + info.Proxy + `; details="` + string(code) + `"`; resp.Header.Get("Proxy-Status") != want {
		t.Errorf("Proxy-Status %q, want %q", resp.Header.Get("Proxy-Status"), want)
	}
	if id := resp.Header.Get("Keybearer-Request-Id"); !keybearer.IsID(id, keybearer.IDRequest) || id != p.RequestID {
		t.Errorf("request id %q in the header, %q in the body", id, p.RequestID)
	}
	if resp.Header.Get("Content-Type") != "application/problem+json" || p.Detail == "" || p.Title == "" || p.Type == "" {
		t.Errorf("incomplete: %v %s", resp.Header, body)
	}
	if (resp.Header.Get("Retry-After") != "") != info.Retry {
		t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
	}
	switch status {
	case 407:
		if resp.Header.Get("Proxy-Authenticate") == "" {
			t.Error("no challenge")
		}
	case 401:
		if resp.Header.Get("WWW-Authenticate") == "" {
			t.Error("no challenge")
		}
	}
	if strings.Contains(body, "s3cret") || strings.Contains(body, "kb_a") {
		t.Errorf("a secret in the refusal: %s", body)
	}
}

func TestForbiddenLooksTheSameWhateverTheReason(t *testing.T) {
	l := newLab(t)
	fill := prepareRefusals(l)
	addr := l.serve(Route{})
	var first string
	for _, tc := range refusalCases {
		if tc.code != keybearer.CredentialForbidden {
			continue
		}
		resp, body := raw(t, addr, fill.Replace(tc.request))
		id := resp.Header.Get("Keybearer-Request-Id")
		resp.Header.Del("Date")
		var b strings.Builder
		_ = resp.Header.Write(&b)
		got := strings.ReplaceAll(resp.Status+b.String()+body, id, "ID")
		if first == "" {
			first = got
		} else if got != first {
			t.Errorf("%s differs:\n%s\n%s", tc.name, got, first)
		}
	}
	if first == "" {
		t.Fatal("no case")
	}
}

func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	l := newLab(t)
	prepareRefusals(l)
	addr := l.serve(Route{})
	// The body is announced and never sent.
	resp, body := raw(t, addr, "POST http://evil.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	checkRefusal(t, resp, body, 403, keybearer.DestinationNotAllowed)
	if !resp.Close {
		t.Error("the connection stays open with a body unread")
	}
}

func TestARouteIsWholeOrNone(t *testing.T) {
	l := newLab(t)
	for _, r := range []Route{
		{Credential: keybearer.Ref{Scope: "docs", Name: "crm"}},
		{Destination: "https://api.example.com"},
		{Credential: keybearer.Ref{Scope: "docs", Name: "crm"}, Destination: "api.example.com/x"},
		{Credential: keybearer.Ref{Scope: "docs", Name: "C R M"}, Destination: "https://api.example.com"},
	} {
		if _, err := l.proxy.Handler(r); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}

// tunnel is a connection on which a CONNECT was accepted.
type tunnel struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func openTunnel(t *testing.T, addr, connect string) *tunnel {
	t.Helper()
	conn := must(net.Dial("tcp", addr))
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &tunnel{t, conn, bufio.NewReader(conn)}
	_, _ = io.WriteString(conn, connect)
	resp, err := http.ReadResponse(c.r, &http.Request{Method: "CONNECT"})
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("CONNECT: %v %v", resp, err)
	}
	return c
}

func (c *tunnel) roundTrip(text string) (*http.Response, string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
	return c.read()
}

func (c *tunnel) read() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, string(b)
}
