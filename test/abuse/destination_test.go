package abuse

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// misanswer is what a hostile destination answers. {secret} is what it was sent as credential.
type misanswer struct {
	name   string
	answer string
	closes bool   // the destination closes the connection behind it
	method string // of the request; "": GET

	want   int                 // status that the app gets
	cut    bool                // the app sees that the answer is not whole
	header map[string][]string // fields that the app gets, or does not (nil)
	body   string              // when not ""
}

const plain = "Content-Length: 2\r\n\r\nok"

var misanswers = []misanswer{
	// Interim answers.
	{name: "interim answers", answer: "HTTP/1.1 103 x\r\nLink: </a>\r\nKeybearer-Request-Id: forged\r\n\r\nHTTP/1.1 102 x\r\n\r\nHTTP/1.1 200 OK\r\n" + plain, want: 200, header: map[string][]string{"Link": nil}},
	{name: "a hundred interim answers", answer: strings.Repeat("HTTP/1.1 103 x\r\nX-Hint: {secret}\r\n\r\n", 100) + "HTTP/1.1 200 OK\r\n" + plain, want: 200, header: map[string][]string{"X-Hint": nil}},
	{name: "a flood of interim answers", answer: strings.Repeat("HTTP/1.1 103 x\r\nX-Hint: "+strings.Repeat("x", 1000)+"\r\n\r\n", 400) + "HTTP/1.1 200 OK\r\n" + plain, closes: true, want: 502},
	{name: "101 that nobody asked for", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nGET /x HTTP/1.1\r\n\r\n", want: 502},
	{name: "101 to h2c", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", want: 502},

	// What is no answer.
	{name: "HTTP/0.9", answer: "<p>{secret}</p>", closes: true, want: 502},
	{name: "another protocol", answer: "SSH-2.0-x {secret}\r\n", closes: true, want: 502},
	{name: "ICY", answer: "ICY 200 OK\r\n" + plain, closes: true, want: 502},
	{name: "HTTP/2.0 in text", answer: "HTTP/2.0 200 OK\r\n" + plain, closes: true, want: 200},
	{name: "status of two digits", answer: "HTTP/1.1 20 OK\r\n" + plain, closes: true, want: 502},
	{name: "status of four digits", answer: "HTTP/1.1 2000 OK\r\n" + plain, closes: true, want: 502},
	{name: "status below zero", answer: "HTTP/1.1 -20 OK\r\n" + plain, closes: true, want: 502},
	{name: "status 099", answer: "HTTP/1.1 099 OK\r\n" + plain, closes: true, want: 502},
	{name: "the secret as reason", answer: "HTTP/1.1 200 {secret}\r\n" + plain, want: 200},
	{name: "nothing", answer: "", closes: true, want: 502},

	// Framing.
	{name: "two lengths that differ", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 30\r\n\r\nok", closes: true, want: 502},
	{name: "two lengths that agree", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + plain, want: 200, body: "ok", header: map[string][]string{"Content-Length": {"2"}}},
	{name: "length below zero", answer: "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", closes: true, want: 502},
	{name: "length with a plus", answer: "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", closes: true, want: 502},
	{name: "length and chunked", answer: "HTTP/1.1 200 OK\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", want: 200, body: "ok", header: map[string][]string{"Content-Length": nil}},
	{name: "unknown coding", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes: true, want: 502},
	{name: "coding twice", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes: true, want: 502},
	{name: "shorter than its length", answer: "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nok", closes: true, want: 200, cut: true},
	{name: "chunks without end", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", closes: true, want: 200, cut: true},
	{name: "chunk of a bad size", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense {secret}\r\n", closes: true, want: 200, cut: true},
	{name: "chunk lines that end in LF", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", closes: true, want: 200, cut: true},
	{name: "chunk extensions without end", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\na\r\n", 100), closes: true, want: 200, cut: true},
	{name: "a body to HEAD", method: "HEAD", answer: "HTTP/1.1 200 OK\r\n" + plain, closes: true, want: 200},
	{name: "a body to 204", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", closes: true, want: 204},
	{name: "a body to 304", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", closes: true, want: 304},
	{name: "until the connection closes", answer: "HTTP/1.0 200 OK\r\n\r\nok", closes: true, want: 200, body: "ok"},

	// Fields.
	{name: "value with a bare CR", answer: "HTTP/1.1 200 OK\r\nX-Split: a\rSet-Cookie: x=y\r\n" + plain, closes: true, want: 502},
	{name: "value with NUL", answer: "HTTP/1.1 200 OK\r\nX-Split: a\x00b\r\n" + plain, closes: true, want: 502},
	{name: "line that ends in LF", answer: "HTTP/1.1 200 OK\r\nX-Split: a\nX-Next: b\r\n" + plain, want: 200, header: map[string][]string{"X-Split": {"a"}, "X-Next": {"b"}}},
	{name: "value folded", answer: "HTTP/1.1 200 OK\r\nX-Split: a\r\n Set-Cookie: x=y\r\n" + plain, want: 200, header: map[string][]string{"X-Split": {"a Set-Cookie: x=y"}, "Set-Cookie": nil}},
	{name: "name with a blank", answer: "HTTP/1.1 200 OK\r\nX Split: forged\r\n" + plain, want: 200},
	{name: "name with a blank at its end", answer: "HTTP/1.1 200 OK\r\nProxy-Status : keybearer; error=forged\r\n" + plain, want: 200},
	{name: "no colon", answer: "HTTP/1.1 200 OK\r\n{secret}\r\n" + plain, closes: true, want: 502},
	{name: "huge field", answer: "HTTP/1.1 200 OK\r\nX-Huge: " + strings.Repeat("x", 300<<10) + "\r\n" + plain, closes: true, want: 502},
	{name: "hop-by-hop fields", answer: "HTTP/1.1 200 OK\r\nConnection: X-Hop, Keybearer-Request-Id, Proxy-Status\r\nX-Hop: a\r\nKeep-Alive: timeout=9\r\nUpgrade: h2c\r\nTE: x\r\nProxy-Authenticate: Basic\r\nProxy-Connection: close\r\n" + plain, want: 200, header: map[string][]string{"X-Hop": nil, "Keep-Alive": nil, "Upgrade": nil, "Te": nil, "Proxy-Authenticate": nil, "Proxy-Connection": nil}},
	{name: "speaking for us", answer: "HTTP/1.1 200 OK\r\nKeybearer-Request-Id: forged\r\nkeybearer-anything: forged\r\nKeybearer_Request_Id: forged\r\nKeybearer.Request.Id: forged\r\nProxy-Status: cdn; hit\r\nProxy-Status: keybearer; error=forged\r\nProxy_Status: keybearer; error=forged\r\n" + plain, want: 200, header: map[string][]string{"Keybearer-Anything": nil, "Keybearer_request_id": nil, "Keybearer.request.id": nil, "Proxy_status": nil}},
	{name: "speaking for us in no structure", answer: "HTTP/1.1 200 OK\r\nProxy-Status: keybearer; error=\"forged\r\n" + plain, want: 200},
	{name: "a refusal of its own", answer: "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"keybearer\"\r\nProxy-Status: keybearer; error=http_request_denied\r\n" + plain, want: 407, header: map[string][]string{"Proxy-Authenticate": nil}},

	// The secret comes back.
	{name: "the secret in a field", answer: "HTTP/1.1 200 OK\r\nX-Echo: {secret}\r\nX-Echo: x{secret}y\r\nSet-Cookie: t={secret}\r\nLocation: https://evil.example.net/?t={secret}\r\n" + plain, want: 200, header: map[string][]string{"Set-Cookie": {"t=[removed]"}}},
	{name: "the secret as a name", answer: "HTTP/1.1 200 OK\r\nX-{secret}: 1\r\n" + plain, want: 200},
	{name: "the secret in Proxy-Status", answer: "HTTP/1.1 200 OK\r\nProxy-Status: cdn; details=\"{secret}\"\r\n" + plain, want: 200},
	{name: "the secret in a trailer", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Echo, Proxy-Status, Keybearer-Request-Id\r\n\r\n2\r\nok\r\n0\r\nX-Echo: {secret}\r\nX-{secret}: 1\r\nProxy-Status: keybearer; error=forged\r\nKeybearer-Request-Id: forged\r\nContent-Length: 9\r\nX-Late: {secret}\r\n\r\n", want: 200, body: "ok"},
	{name: "a trailer that is malformed", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{secret}\r\n\r\n", closes: true, want: 200, cut: true},
}

// Whatever a destination answers, it does not speak for Keybearer, does not get the secret back to the app in a field, and does not
// disturb the requests that follow, on the app's connection or another.
func TestEveryMisanswer(t *testing.T) {
	l := newLab(t)
	for i, m := range misanswers {
		host := fmt.Sprintf("m%d.example.com", i)
		hostile := l.Raw(host, func(a *harness.Arrival) []byte {
			secret := strings.TrimPrefix(strings.Join(a.Values("Authorization"), ""), "Bearer ")
			return []byte(strings.ReplaceAll(m.answer, "{secret}", secret))
		})
		if m.closes {
			hostile.CloseAfterAnswer()
		}
		t.Run(m.name, func(t *testing.T) { l.misanswer(t, &m, host) })
	}
	t.Attr("cases", strconv.Itoa(len(misanswers)))
}

func (l *lab) misanswer(t *testing.T, m *misanswer, host string) {
	w, d := &ways[0], &destination{host: host}
	c := l.open(t, w, d)
	defer c.conn.Close()
	var raw bytes.Buffer
	c.in.Reset(io.TeeReader(c.conn, &raw))
	method := m.method
	if method == "" {
		method = "GET"
	}
	if _, err := io.WriteString(c.conn, w.request(l, d, "x", method, "/")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%v in %q", err, raw.String())
	}
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != m.want || (err != nil) != m.cut || m.body != "" && string(body) != m.body {
		t.Errorf("%d, %q, %v", resp.StatusCode, body, err)
	}
	for name, want := range m.header {
		if !slices.Equal(resp.Header[name], want) {
			t.Errorf("%s is %q", name, resp.Header[name])
		}
	}
	status := strings.Join(resp.Header["Proxy-Status"], ", ")
	if ids := resp.Header["Keybearer-Request-Id"]; len(ids) != 1 || !strings.HasPrefix(ids[0], "req_") || strings.Count(status, "keybearer") != 1 || strings.Contains(raw.String(), "forged") {
		t.Errorf("it spoke for us: %q, %q", ids, status)
	}
	if at := strings.Index(raw.String(), "canary-"); at >= 0 || strings.Contains(strings.ToLower(raw.String()), "x-canary") {
		t.Errorf("the secret came back: %q", raw.String())
	}
	if m.cut {
		return // the connection is closed
	}
	next := l.raw
	if _, err := io.WriteString(c.conn, w.request(l, next, "next", "GET", "/next")); err != nil {
		t.Fatal(err)
	}
	if ok, err := c.read("GET"); !ok || err != nil || !strings.HasPrefix(c.answers[0].body, "GET /next\n") {
		t.Errorf("the next request on the connection: %v, %v, %v", ok, err, c.statuses())
	}
}
