package proxy

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

func TestAnAppSendsPlainHTTPAndTheDestinationGetsTheSecretOverTLS(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	resp, err := l.client(addr).Do(l.request("POST", l.plain()+"/hook?a=1;b=2&c=%2f", "docs/crm", strings.NewReader(`{"n":1}`)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || string(b) != "ok" {
		t.Fatalf("got %d %q", resp.StatusCode, b)
	}
	if got := resp.Header.Get("Proxy-Status"); got != "keybearer; received-status=200" {
		t.Errorf("Proxy-Status %q", got)
	}
	r := <-l.seen
	if r.TLS == nil || r.Method != "POST" || r.RequestURI != "/hook?a=1;b=2&c=%2f" || <-l.bodies != `{"n":1}` {
		t.Errorf("arrived: tls %v, %s %s", r.TLS != nil, r.Method, r.RequestURI)
	}
	if got := r.Header["Authorization"]; len(got) != 1 || got[0] != "Bearer s3cret-token" {
		t.Errorf("Authorization %q", got)
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Keybearer") || strings.HasPrefix(name, "Proxy") || strings.HasPrefix(name, "X-Forwarded") || name == "Via" {
			t.Errorf("%s reached the destination", name)
		}
	}
	events := l.events(1)
	if len(events) != 2 || events[0].Phase != keybearer.Intent || events[1].Phase != keybearer.Outcome || events[0].ID != events[1].ID ||
		events[0].ID != resp.Header.Get("Keybearer-Request-Id") {
		t.Fatalf("audit: %+v", events)
	}
	e := events[1]
	if e.Caller != "billing" || e.Scope != "docs" || e.Credential != "crm" || e.Scheme != "https" || e.Path != "/hook" ||
		e.DestinationStatus != 200 || e.BytesOut != 7 || e.BytesIn != 2 || e.Rule != l.destination.URL {
		t.Errorf("outcome %+v", e)
	}
}

func TestEachKindWritesItsHeader(t *testing.T) {
	l := newLab(t)
	rules := l.rules(l.destination.URL)
	addr := l.serve(Route{})
	for name, tc := range map[string]struct {
		terms        keybearer.Terms
		header, want string
	}{
		"basic":  {keybearer.Terms{Kind: keybearer.Basic, Rules: rules}, "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("user:hunter22"))},
		"bearer": {keybearer.Terms{Kind: keybearer.Bearer, Rules: rules}, "Authorization", "Bearer hunter22"},
		"header": {keybearer.Terms{Kind: keybearer.Header, Header: "X-Api-Key", Rules: rules}, "X-Api-Key", "hunter22"},
		"scheme": {keybearer.Terms{Kind: keybearer.Header, Header: "Authorization", Prefix: "Token ", Rules: rules}, "Authorization", "Token hunter22"},
	} {
		t.Run(name, func(t *testing.T) {
			l.credential(name, tc.terms, "hunter22")
			resp, err := l.client(addr).Do(l.request("GET", l.plain()+"/", "docs/"+name, nil))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			<-l.bodies
			if got := (<-l.seen).Header[tc.header]; len(got) != 1 || got[0] != tc.want {
				t.Fatalf("%s: %q, want %q", tc.header, got, tc.want)
			}
		})
	}
}

func TestEveryModeReachesTheDestination(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	fixed := l.serve(Route{Caller: "billing", Credential: keybearer.Ref{Scope: "docs", Name: "crm"}, Destination: l.destination.URL})
	host := strings.TrimPrefix(l.destination.URL, "https://")
	pair := base64.StdEncoding.EncodeToString([]byte("docs%2Fcrm:" + l.token))
	decoded := base64.StdEncoding.EncodeToString([]byte("docs/crm:" + l.token))
	nobody := base64.StdEncoding.EncodeToString([]byte("_:" + l.token))
	for name, tc := range map[string]struct{ addr, request string }{
		"proxy":             {addr, "GET http://" + host + "/p HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer " + l.token + "\r\n\r\n"},
		"proxy, https":      {addr, "GET https://" + host + "/p HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer " + l.token + "\r\n\r\n"},
		"proxy, other host": {addr, "GET http://" + host + "/p HTTP/1.1\r\nHost: evil.example\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer " + l.token + "\r\n\r\n"},
		"userinfo":          {addr, "GET http://" + host + "/p HTTP/1.1\r\nHost: " + host + "\r\nProxy-Authorization: Basic " + pair + "\r\n\r\n"},
		"userinfo decoded":  {addr, "GET http://" + host + "/p HTTP/1.1\r\nHost: " + host + "\r\nProxy-Authorization: Basic " + decoded + "\r\n\r\n"},
		"userinfo and tag":  {addr, "GET http://" + host + "/p HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Basic " + decoded + "\r\n\r\n"},
		"userinfo of none":  {addr, "GET http://" + host + "/p HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Basic " + nobody + "\r\n\r\n"},
		"gateway":           {addr, "GET /p HTTP/1.1\r\nHost: " + addr + "\r\nKeybearer-Credential: docs/crm\r\nKeybearer-Destination: " + l.destination.URL + "\r\nAuthorization: Bearer " + l.token + "\r\n\r\n"},
		"gateway by id":     {addr, "GET /p HTTP/1.1\r\nHost: localhost\r\nKeybearer-Credential: " + l.scope.ID + "/crm\r\nKeybearer-Destination: " + l.destination.URL + "\r\nProxy-Authorization: Bearer " + l.token + "\r\n\r\n"},
		"route":             {fixed, "GET /p HTTP/1.1\r\nHost: " + fixed + "\r\n\r\n"},
		"route with token":  {fixed, "GET /p HTTP/1.1\r\nHost: " + fixed + "\r\nAuthorization: Bearer " + l.token + "\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := raw(t, tc.addr, tc.request)
			if resp.StatusCode != 200 || body != "ok" {
				t.Fatalf("got %d %s", resp.StatusCode, body)
			}
			<-l.bodies
			r := <-l.seen
			if got := r.Header["Authorization"]; r.RequestURI != "/p" || r.Host != host || len(got) != 1 || got[0] != "Bearer s3cret-token" {
				t.Fatalf("arrived %s at %s with %q", r.RequestURI, r.Host, got)
			}
			if r.Header.Get("Proxy-Authorization") != "" {
				t.Error("the caller's token reached the destination")
			}
		})
	}
}

func TestPlainHTTPInsideATunnel(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	host := strings.TrimPrefix(l.destination.URL, "https://")
	c := openTunnel(t, addr, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	for _, path := range []string{"/one", "/two"} { // the connection and what was proven on it last
		resp, body := c.roundTrip("POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\nContent-Length: 2\r\n\r\nhi")
		if resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("got %d %s", resp.StatusCode, body)
		}
		r := <-l.seen
		if got := r.Header["Authorization"]; r.RequestURI != path || len(got) != 1 || got[0] != "Bearer s3cret-token" || <-l.bodies != "hi" {
			t.Fatalf("arrived %s with %q", r.RequestURI, got)
		}
	}
	resp, body := c.roundTrip("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nKeybearer-Credential: docs/crm\r\n\r\n")
	if resp.StatusCode != 400 || !strings.Contains(body, `"bad_request"`) {
		t.Fatalf("another authority inside the tunnel: %d %s", resp.StatusCode, body)
	}
	resp, body = c.roundTrip("GET / HTTP/1.1\r\nHost: evil.example\r\nKeybearer-Credential: docs/crm\r\n\r\n")
	if resp.StatusCode != 400 || !strings.Contains(body, `"bad_request"`) {
		t.Fatalf("another Host inside the tunnel: %d %s", resp.StatusCode, body)
	}
	resp, body = c.roundTrip("GET / HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/other\r\n\r\n")
	if resp.StatusCode != 403 || !strings.Contains(body, `"credential_forbidden"`) {
		t.Fatalf("another credential inside the tunnel: %d %s", resp.StatusCode, body)
	}
}

func TestATLSHelloInATunnelIsRefusedInClear(t *testing.T) {
	l := newLab(t)
	addr := l.serve(Route{})
	c := openTunnel(t, addr, "CONNECT api.example.com:80 HTTP/1.1\r\nHost: api.example.com:80\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	resp, body := c.roundTrip("\x16\x03\x01\x00\xa5\x01\x00\x00\xa1")
	if resp.StatusCode != 501 || !strings.Contains(body, `"tls_tunnel_unsupported"`) {
		t.Fatalf("got %d %s", resp.StatusCode, body)
	}
}

func TestDrainingLetsARequestInsideATunnelFinishAndEndsTheTunnel(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	release := make(chan struct{})
	l.handle = func(w http.ResponseWriter, _ *http.Request) { <-release; _, _ = io.WriteString(w, "ok") }
	addr := l.serve(Route{})
	host := strings.TrimPrefix(l.destination.URL, "https://")
	connect := "CONNECT " + host + " HTTP/1.1\r\nHost: " + host + "\r\nProxy-Authorization: Bearer " + l.token + "\r\n\r\n"
	silent, busy := openTunnel(t, addr, connect), openTunnel(t, addr, connect)
	_, _ = io.WriteString(busy.conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nKeybearer-Credential: docs/crm\r\n\r\n")
	<-l.seen
	drained := make(chan struct{})
	go func() { l.tunnels().drain(time.Minute); close(drained) }()
	if _, err := silent.r.ReadByte(); err == nil {
		t.Fatal("a tunnel in which nothing was asked stays open")
	}
	select {
	case <-drained:
		t.Fatal("drained with a request under way")
	default:
	}
	close(release)
	resp, body := busy.read()
	if resp.StatusCode != 200 || body != "ok" {
		t.Fatalf("got %d %s", resp.StatusCode, body)
	}
	<-drained
	if _, err := busy.r.ReadByte(); err == nil {
		t.Fatal("the tunnel is still open")
	}
}

// Once the configuration leaves, the next answer in each tunnel is its last and says so.
func TestALeavingTunnelSaysThatItEnds(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	host := strings.TrimPrefix(l.destination.URL, "https://")
	c := openTunnel(t, l.serve(Route{}), "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	ask := "GET / HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\n\r\n"
	if resp, _ := c.roundTrip(ask); resp.StatusCode != 200 || resp.Close {
		t.Fatalf("before: %d, close: %v", resp.StatusCode, resp.Close)
	}
	for h := range l.proxy.handlers {
		h.Leave()
	}
	if resp, body := c.roundTrip(ask); resp.StatusCode != 200 || !resp.Close {
		t.Fatalf("got %d %s, close: %v", resp.StatusCode, body, resp.Close)
	}
	if _, err := c.r.ReadByte(); err == nil {
		t.Fatal("the tunnel is still open")
	}
}

func TestDrainingIsBounded(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	release := make(chan struct{})
	l.handle = func(http.ResponseWriter, *http.Request) { <-release }
	t.Cleanup(func() { close(release) })
	host := strings.TrimPrefix(l.destination.URL, "https://")
	c := openTunnel(t, l.serve(Route{}), "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	_, _ = io.WriteString(c.conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nKeybearer-Credential: docs/crm\r\n\r\n")
	<-l.seen
	l.tunnels().drain(10 * time.Millisecond) // returns
}

func TestWhatTheAppSendsOfOursOrOfAProxyNeverArrives(t *testing.T) {
	l := newLab(t)
	l.credential("key", keybearer.Terms{Kind: keybearer.Header, Header: "X-Api-Key", Rules: l.rules(l.destination.URL)}, "s3cret-token")
	addr := l.serve(Route{})
	r := l.request("POST", l.plain()+"/", "docs/key", strings.NewReader("x"))
	for name, value := range map[string]string{
		"Connection": "X-Api-Key, Authorization, X-Named", "X-Named": "1", "Keep-Alive": "5", "Te": "trailers", "Upgrade": "websocket",
		"X-Api-Key": "mine", "X_api_key": "alias", "x_API-key": "alias", "Forwarded": "for=1", "X-Forwarded-For": "1", "X-Forwarded-Host": "h",
		"Via": "1.1 x", "Cookie": "a=1", "Traceparent": "00-1", "Tracestate": "x", "Baggage": "u=1", "Proxy-Connection": "keep-alive",
		"X-Mine": "kept", "X-Leak": "token " + l.token, "Keybearer-Else": "1", "Max-Forwards": "3", "Http2-Settings": "x",
		"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+l.token)),
	} {
		r.Header[name] = []string{value}
	}
	resp, err := l.client(addr).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-l.bodies
	got := (<-l.seen).Header
	if v := got["X-Api-Key"]; len(v) != 1 || v[0] != "s3cret-token" {
		t.Errorf("X-Api-Key %q", v)
	}
	got.Del("X-Api-Key")
	want := map[string]bool{"X-Mine": true, "User-Agent": true, "Content-Length": true}
	for name, v := range got {
		if !want[name] {
			t.Errorf("%s: %q reached the destination", name, v)
		}
	}
	if got.Get("X-Mine") != "kept" {
		t.Error("the app's own header was lost")
	}
}

func TestCookiesAndTracePassOnlyWhereTheCredentialAllows(t *testing.T) {
	l := newLab(t)
	l.credential("open", l.bearer(), "s3cret-token", func(c *keybearer.Credential, _ *keybearer.Bundle) { c.PassCookies, c.PassTrace = true, true })
	addr := l.serve(Route{})
	r := l.request("GET", l.plain()+"/", "docs/open", nil)
	r.Header.Set("Cookie", "a=1; __Host-keybearer-session=x; b=2")
	r.Header.Set("Traceparent", "00-1")
	resp, err := l.client(addr).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := (<-l.seen).Header; got.Get("Cookie") != "a=1; b=2" || got.Get("Traceparent") != "00-1" {
		t.Fatalf("arrived Cookie %q, Traceparent %q", got.Get("Cookie"), got.Get("Traceparent"))
	}
}

func TestTheDestinationCannotSpeakForUsNorEchoTheSecret(t *testing.T) {
	l := newLab(t)
	l.oneOne()
	l.handle = func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Echo", "you sent "+r.Header.Get("Authorization"))
		h.Set("X-Secret", "s3cret-token")
		h.Set("Keybearer-Request-Id", "forged")
		h.Set("Proxy-Status", `keybearer; error=destination_unavailable, "keybearer";x, cdn; received-status=200`)
		h.Set("Proxy-Authenticate", "Basic")
		h.Set("Location", "https://evil.example/?t=s3cret-token")
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("Server", "theirs")
		h.Set("Trailer", "X-Sum, Proxy-Status")
		w.WriteHeader(302)
		_, _ = io.WriteString(w, "body")
		h.Set("X-Sum", "Bearer s3cret-token")
		h.Set("Proxy-Status", "keybearer; error=x")
	}
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	resp, err := l.client(addr).Do(l.request("GET", l.plain()+"/", "docs/crm", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.ReadAll(resp.Body)
	if resp.StatusCode != 302 || len(l.seen) != 1 {
		t.Fatalf("status %d, %d requests: the redirect was not passed back as it is", resp.StatusCode, len(l.seen))
	}
	for _, all := range []http.Header{resp.Header, resp.Trailer} {
		for name, values := range all {
			for _, v := range values {
				if strings.Contains(v, "s3cret-token") {
					t.Errorf("%s: %q came back", name, v)
				}
			}
		}
	}
	if got := resp.Header["Proxy-Status"]; len(got) != 1 || got[0] != "cdn;received-status=200, keybearer; received-status=302" {
		t.Errorf("Proxy-Status %q", got)
	}
	if got := resp.Header["Keybearer-Request-Id"]; len(got) != 1 || got[0] == "forged" {
		t.Errorf("Keybearer-Request-Id %q", got)
	}
	if resp.Header.Get("Proxy-Authenticate") != "" || resp.Header.Get("X-Hop") != "" || resp.Header.Get("Server") != "theirs" {
		t.Errorf("header %v", resp.Header)
	}
	if resp.Trailer.Get("X-Sum") != "Bearer [removed]" && resp.Trailer.Get("X-Sum") != "[removed]" || resp.Trailer.Get("Proxy-Status") != "" {
		t.Errorf("trailer %v", resp.Trailer)
	}
}
