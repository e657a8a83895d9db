package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// What arrives is the app's request without what was for us or could deceive the destination, and with the secret: to the byte.
func TestExactBytesOfARequest(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.credential("docs/aws", "X-Api-Key", private("api.example.com")...)
	w.grant("docs/aws", "billing", "use")

	for credential, injected := range w.expected {
		id := "bytes-" + strings.ReplaceAll(credential, "/", "-")
		a := w.ask(t, request("POST", "http://api.example.com/a%2Fb/../c;x?q=1;r=2&%zz", "other.example.org",
			"keybearer-credential: "+credential, "Proxy-Authorization: Bearer "+w.tokens["billing"], harness.IDHeader+": "+id,
			"Content-Length: 2", "Content-Type: application/json", "User-Agent: app/1.0", "Accept: */*",
			// Every one of the following must be gone.
			"Connection: keep-alive, Authorization, X-Api-Key, X-Named", "X-Named: hop", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
			"Authorization: Bearer app", "authorization: Basic YXBw", "X-Api-Key: app", "x-api-key: app2",
			"TE: trailers", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", "Via: 1.1 app", "Forwarded: for=1.2.3.4",
			"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: h", "X-Forwarded-Proto: http", "Keybearer-Anything: x",
			"Cookie: a=b", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=b", "baggage: a=b",
			"X-Leak: "+w.tokens["billing"])+"{}")
		if a.StatusCode != 200 {
			t.Fatalf("%s", a.raw)
		}
		got := api.One(t, id)
		w.right(t, got, credential)
		lines := strings.Split(strings.TrimSuffix(got.Head, "\r\n\r\n"), "\r\n")
		want := []string{
			"POST /a%2Fb/../c;x?q=1;r=2&%zz HTTP/1.1", "Host: api.example.com", "Accept: */*", "Content-Length: 2", "Content-Type: application/json",
			"User-Agent: app/1.0", harness.IDHeader + ": " + id, injected.name + ": " + injected.value,
		}
		if injected.name != "Authorization" { // then the app's own is its own affair
			want = append(want, "Authorization: Bearer app", "Authorization: Basic YXBw")
			lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Authorization: ") })
			want = slices.DeleteFunc(want, func(l string) bool { return strings.HasPrefix(l, "Authorization: ") })
		}
		slices.Sort(lines[1:])
		slices.Sort(want[1:])
		if !slices.Equal(lines, want) {
			t.Errorf("%s: arrived as\n%s\nnot as\n%s", credential, strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
		if string(got.Body) != "{}" {
			t.Errorf("body %q", got.Body)
		}
	}
}

// A destination's answer comes back as it was, redirects included, but it cannot speak for Keybearer, hand the secret back, or hide in an
// encoding.
func TestExactBytesOfAnAnswer(t *testing.T) {
	w := newWorld(t)
	w.billing("*.example.com")
	elsewhere := w.recorder("elsewhere.example.com", nil)
	secret := w.expected["docs/crm"].value
	api := w.recorder("api.example.com", func(*harness.Arrival) []byte {
		return []byte("HTTP/1.1 302 Found\r\nServer: theirs\r\nLocation: https://elsewhere.example.com/next\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n" +
			"Keybearer-Request-Id: forged\r\nKeybearer-Other: forged\r\nProxy-Status: cdn; hit, keybearer; error=x, \"Keybearer\"; y\r\n" +
			"Connection: X-Hop\r\nX-Hop: 1\r\nX-Echo: " + secret + "\r\nX-Twice: a\r\nX-Twice: b\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8bnot")
	})
	a := w.ask(t, request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+w.tokens["billing"],
		harness.IDHeader+": echo"))
	got := map[string][]string(a.Header)
	id := a.Header.Get("Keybearer-Request-Id")
	for name, want := range map[string][]string{
		"Server": {"theirs"}, "Location": {"https://elsewhere.example.com/next"}, "Set-Cookie": {"a=b", "c=d"}, "X-Twice": {"a", "b"},
		"Keybearer-Other": nil, "X-Hop": nil, "Content-Encoding": {"gzip"}, "Proxy-Status": {"cdn;hit, keybearer; received-status=302"},
	} {
		if !slices.Equal(got[name], want) {
			t.Errorf("%s is %q, not %q", name, got[name], want)
		}
	}
	if a.StatusCode != 302 || string(a.body) != "\x1f\x8bnot" || !strings.HasPrefix(id, "req_") || len(got["Keybearer-Request-Id"]) != 1 {
		t.Errorf("answer %q", a.raw)
	}
	if hits, _, _ := find(w.planted, nil, map[string]string{"the answer": a.raw}); len(hits) > 0 {
		t.Errorf("the echoed secret came back: %q", a.raw)
	}
	if n := elsewhere.Len(); n > 0 {
		t.Errorf("the redirect was followed %d times", n)
	}
	arrived := api.One(t, "echo")
	if v := arrived.Values("Accept-Encoding"); len(v) > 0 {
		t.Errorf("Accept-Encoding %q was added", v)
	}
	if v := arrived.Values("User-Agent"); len(v) > 0 {
		t.Errorf("User-Agent %q was added", v)
	}
}

// The port that the app writes is the one that is reached, but 80, which becomes 443 unless only an http rule admits host and port.
func TestPorts(t *testing.T) {
	w := newWorld(t)
	w.scope("docs")
	w.caller("billing", "docs")
	w.credential("docs/crm", "bearer", private("api.example.com", "api.example.com:8443", "http://clear.example.com", "http://clear.example.com:8080")...)
	w.grant("docs/crm", "billing", "use")

	api := w.recorder("api.example.com", nil)
	high := harness.StartRecorder(t, harness.RecorderOptions{
		Name: "high", Addr: otherPort(api, 8443), TLS: harness.ServerTLS(w.ca.Issue(t, tomorrow, "api.example.com")),
	})
	clear80 := harness.StartRecorder(t, harness.RecorderOptions{Name: "clear80"})
	clear8080 := harness.StartRecorder(t, harness.RecorderOptions{Name: "clear8080", Addr: otherPort(clear80, 8080)})
	w.dns.Set("clear.example.com", clear80.Addr.Addr())

	for i, c := range []struct {
		url  string
		at   *harness.Recorder
		host string
	}{
		{"http://api.example.com/", api, "api.example.com"},
		{"http://api.example.com:80/", api, "api.example.com"},
		{"https://api.example.com/", api, "api.example.com"},
		{"https://api.example.com:443/", api, "api.example.com"},
		{"http://api.example.com:8443/", high, "api.example.com:8443"},
		{"https://api.example.com:8443/", high, "api.example.com:8443"},
		{"http://clear.example.com/", clear80, "clear.example.com"},
		{"http://clear.example.com:80/", clear80, "clear.example.com"},
		{"http://clear.example.com:8080/", clear8080, "clear.example.com:8080"},
		{"http://API.Example.COM./", api, "api.example.com"},
	} {
		id := fmt.Sprintf("port-%d", i)
		a := w.ask(t, request("GET", c.url, "x", "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+w.tokens["billing"], harness.IDHeader+": "+id))
		if a.StatusCode != 200 {
			t.Errorf("%s: %s", c.url, a.raw)
			continue
		}
		got := c.at.One(t, id)
		w.right(t, got, "docs/crm")
		if got.Host != c.host {
			t.Errorf("%s: Host %q, not %q", c.url, got.Host, c.host)
		}
	}
	for _, url := range []string{"https://clear.example.com/", "http://api.example.com:443x/", "http://clear.example.com:8443/"} {
		a := w.ask(t, request("GET", url, "x", "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+w.tokens["billing"]))
		if a.StatusCode != 403 && a.StatusCode != 400 {
			t.Errorf("%s: %s", url, a.raw)
		}
	}
}
