package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// answer is an answer with the bytes that it came in.
type answer struct {
	*http.Response
	body []byte
	raw  string // head and body as received
}

// ask sends bytes to Keybearer on a connection of its own and reads one answer.
func (w *world) ask(t *testing.T, request string) *answer {
	t.Helper()
	conn, err := net.Dial("tcp", w.Proxy.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	return readAnswer(t, conn, method)
}

func readAnswer(t *testing.T, conn io.Reader, method string) *answer {
	t.Helper()
	var raw bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &raw)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("answer %q: %v", raw.String(), err)
	}
	a := &answer{Response: resp}
	if method != "CONNECT" || resp.StatusCode != 200 {
		if a.body, err = io.ReadAll(resp.Body); err != nil {
			t.Fatalf("answer %q: %v", raw.String(), err)
		}
	}
	a.raw = raw.String()
	return a
}

// request returns the bytes of a request without a body.
func request(method, target, host string, lines ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", method, target, host, strings.Join(lines, "\r\n"))
}

// isRefusal checks that an answer is ours, in the form that CONTRACT's section 3 gives it, and returns its request id.
func isRefusal(t *testing.T, a *answer, code keybearer.Code, status int) string {
	t.Helper()
	info := code.Info()
	var p struct {
		Type, Title, Code, Detail, Hint string
		Status                          int
		RequestID                       string `json:"request_id"`
	}
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("body %q: %v", a.raw, err)
	}
	id := a.Header.Get("Keybearer-Request-Id")
	switch {
	case a.StatusCode != status || p.Status != status || p.Code != string(code):
		t.Fatalf("%d %s, not %d %s:\n%s", a.StatusCode, p.Code, status, code, a.raw)
	case p.Title != info.Title || p.Detail == "" || p.Hint == "" || !strings.HasSuffix(p.Type, string(code)):
		t.Errorf("problem %+v", p)
	case a.Header.Get("Content-Type") != "application/problem+json":
		t.Errorf("Content-Type %q", a.Header.Get("Content-Type"))
	case id == "" || p.RequestID != id:
		t.Errorf("request id %q in the header, %q in the body", id, p.RequestID)
	case len(a.Header.Values("Proxy-Status")) != 1,
		a.Header.Get("Proxy-Status") != fmt.Sprintf(`keybearer; error=%s; details=%q`, info.Proxy, code):
		t.Errorf("Proxy-Status %q", a.Header.Values("Proxy-Status"))
	case a.Header.Get("Server") != "":
		t.Errorf("Server %q", a.Header.Get("Server"))
	}
	challenge := map[int]string{407: "Proxy-Authenticate", 401: "WWW-Authenticate"}[status]
	if challenge != "" && !strings.HasPrefix(a.Header.Get(challenge), "Bearer") {
		t.Errorf("%s %q", challenge, a.Header.Get(challenge))
	}
	if seconds, err := strconv.Atoi(a.Header.Get("Retry-After")); info.Retry && (err != nil || seconds < 1) {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
	return id
}

// Each code of the data path that a request alone, or the state of its credential or destination, can bring about is answered in due form,
// recorded, and sends nothing.
func TestRefusals(t *testing.T) {
	w := newWorld(t, "timeouts {", "\tresponse_header 1s", "}")
	w.billing("*.example.com")
	api := w.recorder("api.example.com", nil)
	query := "q=" + newCanary()[5:31] // must stand in no answer and no log

	// Destinations that fail in their own ways, and those that must not be reached.
	slow := make(chan struct{})
	t.Cleanup(func() { close(slow) })
	w.recorder("slow.example.com", func(*harness.Arrival) []byte { <-slow; return nil })
	w.recorder("closing.example.com", func(*harness.Arrival) []byte { return nil })
	w.dns.Set("down.example.com", harness.Address())
	untouched := []*harness.Recorder{api}
	tlsDestination := func(host string, config *tls.Config) {
		r := harness.StartRecorder(t, harness.RecorderOptions{Name: host, TLS: config})
		w.dns.Set(host, r.Addr.Addr())
		untouched = append(untouched, r)
	}
	tlsDestination("expired.example.com", harness.ServerTLS(w.ca.Issue(t, time.Now().Add(-time.Minute), "expired.example.com")))
	tlsDestination("misnamed.example.com", harness.ServerTLS(w.ca.Issue(t, tomorrow, "right.example.com")))
	tlsDestination("foreign.example.com", harness.ServerTLS(harness.NewCA(t).Issue(t, tomorrow, "foreign.example.com")))
	tlsDestination("old.example.com", &tls.Config{
		Certificates: []tls.Certificate{w.ca.Issue(t, tomorrow, "old.example.com")}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	})
	plain := harness.StartServer(t, harness.ServerOptions{Name: "plain.example.com", Addr: netip.AddrPortFrom(harness.Address(), 443)})
	w.dns.Set("plain.example.com", plain.Addr.Addr())
	for host, addrs := range map[string][]string{
		"loopback.example.net": {api.Addr.Addr().String()}, "mixed.example.net": {"203.0.114.1", api.Addr.Addr().String()},
		"metadata.example.com": {"169.254.169.254"}, "outside.example.com": {"203.0.114.1"}, "ula.example.com": {"fd00::1"},
	} {
		for i := range addrs {
			w.dns.Set(host, append([]netip.Addr{}, parseAll(t, addrs[:i+1])...)...)
		}
	}

	// Credentials in every state.
	rule := private("*.example.com")
	w.credential("docs/public", "bearer", "--domain", "*.example.net", "--domain", "127.0.0.1", "--domain", "[::1]", "--domain", "169.254.169.254")
	w.credential("docs/narrow", "bearer", append(rule, "--methods", "POST")...)
	w.credential("docs/path", "bearer", private("https://api.example.com/hooks")...)
	w.credential("docs/user", "bearer", append(rule, "--require-user")...)
	w.credential("docs/off", "bearer", rule...)
	w.credential("docs/late", "bearer", append(rule, "--expires", time.Now().Add(2*time.Second).UTC().Format(time.RFC3339))...)
	w.credential("docs/gone", "bearer", rule...)
	w.credential("docs/gone-used", "bearer", rule...)
	w.credential("docs/locked", "bearer", rule...)
	w.scope("sales")
	w.credential("sales/crm", "bearer", rule...)
	w.scope("global")
	w.credential("global/slack", "bearer", rule...)
	w.scope("shells")
	w.credential("shells/empty", "bearer", rule...)
	w.must("", "scope", "regenerate-key", "shells", "--confirm", "shells", "--expected-credentials", "1", "--keep-shells")
	w.caller("reader", "docs", "shells")
	for _, name := range []string{"public", "narrow", "path", "user", "off", "late", "gone"} {
		w.grant("docs/"+name, "billing", map[bool]string{true: "view", false: "use"}[name == "gone"])
	}
	w.grant("docs/gone-used", "billing", "use")
	w.grant("shells/empty", "reader", "use")
	w.must("", "credential", "disable", "docs/off")
	w.must("", "credential", "delete", "docs/gone")
	w.must("", "credential", "delete", "docs/gone-used")
	w.caller("former", "docs")
	w.must("", "caller", "revoke", "former")

	token := func(caller string) string { return "Proxy-Authorization: Bearer " + w.tokens[caller] }
	names := func(credential string) string { return "Keybearer-Credential: " + credential }
	proxied := func(credential, url string, lines ...string) string {
		host, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(url, "http://"), "https://"), "/")
		return request("POST", url+"?"+query, host, append(lines, names(credential), token("billing"), "Content-Length: 0")...)
	}
	gateway := func(lines ...string) string {
		return request("POST", "/hook?"+query, w.Proxy.String(), append(lines, "Content-Length: 0")...)
	}
	crm, by := names("docs/crm"), token("billing")
	const url = "http://api.example.com/hook"
	basic := func(user, password string) string { return "Proxy-Authorization: Basic " + base64Of(user+":"+password) }

	harness.Await(t, "expiry of docs/late", 10*time.Second, func() error {
		if a := w.ask(t, proxied("docs/late", "http://down.example.com/")); a.StatusCode != 403 {
			return fmt.Errorf("%s", a.raw)
		}
		return nil
	})

	for _, r := range []struct {
		code    keybearer.Code
		status  int
		name    string
		request string
	}{
		{keybearer.BadRequest, 400, "TRACE", request("TRACE", url, "api.example.com", crm, by)},
		{keybearer.BadRequest, 400, "unknown method", request("PROPFIND", url, "api.example.com", crm, by)},
		{keybearer.BadRequest, 400, "web page", request("GET", url, "api.example.com", crm, by, "Origin: https://page.example")},
		{keybearer.BadRequest, 400, "fetch of a web page", gateway(crm, "Keybearer-Destination: https://api.example.com", "Authorization: Bearer "+w.tokens["billing"], "Sec-Fetch-Site: cross-site")},
		{keybearer.BadRequest, 400, "rebound name", request("GET", "/hook", "rebound.example", crm, "Keybearer-Destination: https://api.example.com", "Authorization: Bearer "+w.tokens["billing"])},

		{keybearer.TagMissing, 400, "no credential", request("GET", url, "api.example.com", by)},
		{keybearer.TagMissing, 400, "no destination", gateway(crm, "Authorization: Bearer "+w.tokens["billing"])},
		{keybearer.TagMissing, 400, "proxy URL names none", request("GET", url, "api.example.com", basic("_", w.tokens["billing"]))},

		{keybearer.TagInvalid, 400, "two headers", request("GET", url, "api.example.com", crm, crm, by)},
		{keybearer.TagInvalid, 400, "joined", request("GET", url, "api.example.com", crm+",docs/off", by)},
		{keybearer.TagInvalid, 400, "empty", request("GET", url, "api.example.com", "Keybearer-Credential: ", by)},
		{keybearer.TagInvalid, 400, "no scope", request("GET", url, "api.example.com", names("crm"), by)},
		{keybearer.TagInvalid, 400, "upper case", request("GET", url, "api.example.com", names("Docs/CRM"), by)},
		{keybearer.TagInvalid, 400, "header against proxy URL", request("GET", url, "api.example.com", crm, basic("docs%2Foff", w.tokens["billing"]))},
		{keybearer.TagInvalid, 400, "two destinations", request("GET", url, "api.example.com", crm, by, "Keybearer-Destination: https://api.example.com")},

		{keybearer.DestinationInvalid, 400, "decimal address", proxied("docs/crm", "http://2130706433/")},
		{keybearer.DestinationInvalid, 400, "hexadecimal address", proxied("docs/crm", "http://0x7f.1/")},
		{keybearer.DestinationInvalid, 400, "space", gateway(crm, "Keybearer-Destination: https://api.example.com /", "Authorization: Bearer "+w.tokens["billing"])},
		{keybearer.DestinationInvalid, 400, "path in the destination", gateway(crm, "Keybearer-Destination: https://api.example.com/x", "Authorization: Bearer "+w.tokens["billing"])},
		{keybearer.DestinationInvalid, 400, "other scheme", gateway(crm, "Keybearer-Destination: ftp://api.example.com", "Authorization: Bearer "+w.tokens["billing"])},

		{keybearer.CallerUnauthenticated, 407, "no proof", request("GET", url, "api.example.com", crm)},
		{keybearer.CallerUnauthenticated, 407, "unknown token", request("GET", url, "api.example.com", crm, "Proxy-Authorization: Bearer kb_"+strings.Repeat("a", 52))},
		{keybearer.CallerUnauthenticated, 407, "revoked caller", request("GET", url, "api.example.com", crm, token("former"))},
		{keybearer.CallerUnauthenticated, 407, "token in Authorization", request("GET", url, "api.example.com", crm, "Authorization: Bearer "+w.tokens["billing"])},
		{keybearer.CallerUnauthenticated, 407, "two callers", request("GET", url, "api.example.com", crm, by, token("reader"))},
		{keybearer.CallerUnauthenticated, 407, "CONNECT", request("CONNECT", "api.example.com:80", "api.example.com:80")},
		{keybearer.CallerUnauthenticated, 401, "gateway", gateway(crm, "Keybearer-Destination: https://api.example.com")},
		{keybearer.CallerUnauthenticated, 401, "gateway, unknown token", gateway(crm, "Keybearer-Destination: https://api.example.com", "Authorization: Bearer kb_"+strings.Repeat("a", 52))},

		{keybearer.CredentialForbidden, 403, "no grant", proxied("docs/locked", url)},
		{keybearer.CredentialForbidden, 403, "global without a grant", proxied("global/slack", url)},
		{keybearer.CredentialForbidden, 403, "deleted, of a caller without view", proxied("docs/gone-used", url)},
		{keybearer.UserRequired, 403, "no acting user", proxied("docs/user", url)},
		{keybearer.UserRequired, 403, "assertion that nobody can verify", proxied("docs/user", url, "Keybearer-Acting-User: eyJhbGciOiJub25lIn0.e30.")},

		{keybearer.DestinationNotAllowed, 403, "other host", proxied("docs/crm", "http://api.example.org/")},
		{keybearer.DestinationNotAllowed, 403, "apex of a wildcard", proxied("docs/crm", "http://example.com/")},
		{keybearer.DestinationNotAllowed, 403, "two labels", proxied("docs/crm", "http://a.b.example.com/")},
		{keybearer.DestinationNotAllowed, 403, "other port", proxied("docs/crm", "http://api.example.com:8443/")},
		{keybearer.DestinationNotAllowed, 403, "http in gateway mode", gateway(crm, "Keybearer-Destination: http://api.example.com", "Authorization: Bearer "+w.tokens["billing"])},
		{keybearer.DestinationNotAllowed, 403, "other path", proxied("docs/path", "http://api.example.com/hook")},
		{keybearer.DestinationNotAllowed, 403, "half a segment", proxied("docs/path", "http://api.example.com/hooksx")},
		{keybearer.DestinationNotAllowed, 403, "path that climbs", proxied("docs/path", "http://api.example.com/hooks/../admin")},
		{keybearer.MethodNotAllowed, 403, "PUT where POST is admitted", request("PUT", url, "api.example.com", names("docs/narrow"), by, "Content-Length: 0")},

		{keybearer.AddressDenied, 403, "loopback behind a name", proxied("docs/public", "http://loopback.example.net/")},
		{keybearer.AddressDenied, 403, "one of two answers", proxied("docs/public", "http://mixed.example.net/")},
		{keybearer.AddressDenied, 403, "loopback as literal", proxied("docs/public", "http://127.0.0.1/")},
		{keybearer.AddressDenied, 403, "IPv6 loopback as literal", proxied("docs/public", "http://[::1]/")},
		{keybearer.AddressDenied, 403, "metadata as literal", proxied("docs/public", "http://169.254.169.254/")},
		{keybearer.AddressDenied, 403, "metadata behind a name", proxied("docs/crm", "http://metadata.example.com/")},
		{keybearer.AddressDenied, 403, "special network that nobody listed", proxied("docs/crm", "http://ula.example.com/")},
		{keybearer.AddressDenied, 403, "public address of a private rule", proxied("docs/crm", "http://outside.example.com/")},

		{keybearer.CredentialDisabled, 403, "disabled", proxied("docs/off", url)},
		{keybearer.CredentialExpired, 403, "expired", proxied("docs/late", url)},
		{keybearer.CredentialNeedsSecret, 409, "regenerated", request("GET", url, "api.example.com", names("shells/empty"), token("reader"))},
		{keybearer.CredentialDeleted, 410, "deleted", proxied("docs/gone", url)},

		{keybearer.TLSTunnelUnsupported, 501, "CONNECT to 443", request("CONNECT", "api.example.com:443", "api.example.com:443", crm, by)},

		{keybearer.DestinationUnreachable, 502, "nobody listens", proxied("docs/crm", "http://down.example.com/")},
		{keybearer.DestinationUnreachable, 502, "no such name", proxied("docs/crm", "http://nowhere.example.com/")},
		{keybearer.DestinationUnreachable, 502, "closes without an answer", proxied("docs/crm", "http://closing.example.com/")},
		{keybearer.DestinationTLSFailed, 502, "expired certificate", proxied("docs/crm", "http://expired.example.com/")},
		{keybearer.DestinationTLSFailed, 502, "certificate of another name", proxied("docs/crm", "http://misnamed.example.com/")},
		{keybearer.DestinationTLSFailed, 502, "unknown authority", proxied("docs/crm", "http://foreign.example.com/")},
		{keybearer.DestinationTLSFailed, 502, "TLS 1.1", proxied("docs/crm", "http://old.example.com/")},
		{keybearer.DestinationTLSFailed, 502, "no TLS", proxied("docs/crm", "http://plain.example.com/")},
		{keybearer.DestinationTimeout, 504, "silence", proxied("docs/crm", "http://slow.example.com/")},
	} {
		t.Run(string(r.code)+"/"+r.name, func(t *testing.T) {
			a := w.ask(t, r.request)
			id := isRefusal(t, a, r.code, r.status)
			e := w.event(t, id, keybearer.Outcome)
			if e.Code != r.code {
				t.Errorf("recorded as %+v", e)
			}
			sent := strings.HasPrefix(string(r.code), "destination_") && r.status >= 500
			if wantKind := map[bool]keybearer.EventKind{true: keybearer.UseEvent, false: keybearer.RefusalEvent}[sent && r.name != "no such name"]; e.Kind != wantKind {
				t.Errorf("recorded as %q, not %q", e.Kind, wantKind)
			}
			hits, _, _ := find(append(w.planted, query), nil, map[string]string{"the answer": a.raw})
			for _, hit := range hits {
				t.Errorf("a secret or the query stands in %s: %s", hit, a.raw)
			}
		})
	}
	for _, r := range untouched {
		if all := r.All(); len(all) > 0 {
			t.Errorf("%d requests arrived at %s, the first: %s", len(all), r.Name, all[0].Head)
		}
	}
	if len(plain.All()) > 0 {
		t.Errorf("a request arrived in clear")
	}

	t.Run("one refusal for all that a caller may not know", func(t *testing.T) {
		var first string
		id := regexp.MustCompile(`req_[0-9a-z]+`)
		date := regexp.MustCompile(`(?m)^Date: .*\r\n`)
		for _, name := range []string{
			"docs/locked", "docs/none", "sales/crm", "nowhere/crm", "global/slack", "global/none", "docs/gone-used", "shells/empty",
		} {
			a := w.ask(t, proxied(name, url))
			isRefusal(t, a, keybearer.CredentialForbidden, 403)
			text := date.ReplaceAllString(id.ReplaceAllString(a.raw, "ID"), "")
			if strings.Count(text, "ID") < 2 {
				t.Fatalf("the request id has another form: %s", a.raw)
			}
			if first == "" {
				first = text
			} else if text != first {
				t.Errorf("%s is refused with\n%s\nand not with\n%s", name, text, first)
			}
		}
	})
	sweep(t, append(w.planted, query), []string{w.Home, w.Log}, nil)
}

func parseAll(t *testing.T, texts []string) []netip.Addr {
	t.Helper()
	addrs := make([]netip.Addr, len(texts))
	for i, text := range texts {
		var err error
		if addrs[i], err = netip.ParseAddr(text); err != nil {
			t.Fatal(err)
		}
	}
	return addrs
}

// A tunnel serves plain HTTP, for its own authority only; a TLS hello inside it is told in clear that it gets no further.
func TestTunnel(t *testing.T) {
	w := newWorld(t)
	w.billing("*.example.com")
	api := w.recorder("api.example.com", nil)
	other := w.recorder("other.example.com", nil)
	open := func() (net.Conn, func(string) *answer) {
		conn, err := net.Dial("tcp", w.Proxy.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		say := func(text string) *answer {
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			method, _, _ := strings.Cut(text, " ")
			return readAnswer(t, conn, method)
		}
		connect := say(request("CONNECT", "api.example.com:80", "api.example.com:80", "Proxy-Authorization: Bearer "+w.tokens["billing"]))
		if connect.StatusCode != 200 {
			t.Fatalf("CONNECT: %s", connect.raw)
		}
		return conn, say
	}
	const crm = "Keybearer-Credential: docs/crm"

	_, say := open()
	for i := range 3 { // on one connection; the caller's proof came with CONNECT
		id := fmt.Sprintf("tunnel-%d", i)
		if a := say(request("GET", "/hook", "api.example.com", crm, harness.IDHeader+": "+id)); a.StatusCode != 200 || string(a.body) != "ok" {
			t.Fatalf("inside the tunnel: %s", a.raw)
		}
		w.right(t, api.One(t, id), "docs/crm")
	}
	isRefusal(t, say(request("GET", "/hook", "other.example.com", crm)), keybearer.BadRequest, 400)
	_, say = open()
	isRefusal(t, say(request("GET", "http://other.example.com/hook", "other.example.com", crm)), keybearer.BadRequest, 400)
	_, say = open()
	isRefusal(t, say(request("GET", "/hook", "api.example.com")), keybearer.TagMissing, 400)
	_, say = open()
	isRefusal(t, say(request("GET", "/hook", "api.example.com", "Keybearer-Credential: docs/none")), keybearer.CredentialForbidden, 403)
	if n := other.Len(); n > 0 {
		t.Errorf("%d requests arrived at another host than the tunnel's", n)
	}

	conn, _ := open()
	hello := make(chan error, 1)
	go func() {
		hello <- tls.Client(struct{ net.Conn }{conn}, &tls.Config{ServerName: "api.example.com"}).Handshake()
	}()
	if err := <-hello; err == nil || !strings.Contains(err.Error(), "first record does not look like a TLS handshake") {
		t.Errorf("TLS inside the tunnel: %v", err)
	}
	conn, _ = open()
	if _, err := conn.Write([]byte{0x16, 3, 1, 0, 1, 1}); err != nil {
		t.Fatal(err)
	}
	isRefusal(t, readAnswer(t, conn, "GET"), keybearer.TLSTunnelUnsupported, 501)
}
