package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// In route mode the app sends nothing but its request; whatever names a credential or a destination besides is refused.
func TestRouteMode(t *testing.T) {
	w := newWorld(t)
	w.billing("*.example.com")
	api := w.recorder("api.example.com", nil)
	fixed, tokens := netip.AddrPortFrom(harness.Address(), 9082), netip.AddrPortFrom(harness.Address(), 9083)
	socket := w.Home + "/app.sock"
	const route = "\t\tcredential docs/crm\n\t\tdestination https://api.example.com\n"
	w.Configure(t, w.options(), fmt.Sprintf("http://:9082 {\n\tbind %s\n\tkeybearer {\n\t\tcaller app:billing\n\t\tshared_host_ok\n%s\t}\n}\n", fixed.Addr(), route)+
		fmt.Sprintf("http://:9083 {\n\tbind %s\n\tkeybearer {\n%s\t}\n}\n", tokens.Addr(), route)+
		fmt.Sprintf("http://:9084 {\n\tbind unix/%s|0600\n\tkeybearer {\n\t\tcaller app:billing\n%s\t}\n}\n", socket, route))
	w.Restart(t)
	at := func(network, address, text string) *answer {
		t.Helper()
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		method, _, _ := strings.Cut(text, " ")
		return readAnswer(t, conn, method)
	}
	arrives := func(id string, a *answer) {
		t.Helper()
		if a.StatusCode != 200 {
			t.Fatalf("%s", a.raw)
		}
		got := api.One(t, id)
		w.right(t, got, "docs/crm")
		if got.Target != "/a?b" || got.Host != "api.example.com" {
			t.Errorf("arrived as %s", got.Head)
		}
	}
	get := func(id string, lines ...string) string {
		return request("GET", "/a?b", "localhost", append(lines, harness.IDHeader+": "+id)...)
	}
	arrives("fixed", at("tcp", fixed.String(), get("fixed")))
	arrives("socket", at("unix", socket, get("socket")))
	arrives("token", at("tcp", tokens.String(), get("token", "Authorization: Bearer "+w.tokens["billing"])))
	isRefusal(t, at("tcp", tokens.String(), get("none")), keybearer.CallerUnauthenticated, 401)
	isRefusal(t, at("tcp", fixed.String(), get("c", "Keybearer-Credential: docs/crm")), keybearer.TagInvalid, 400)
	isRefusal(t, at("tcp", fixed.String(), get("d", "Keybearer-Destination: https://api.example.com")), keybearer.TagInvalid, 400)
	isRefusal(t, at("tcp", fixed.String(), request("GET", "http://api.example.com/a?b", "api.example.com")), keybearer.TagInvalid, 400)
	isRefusal(t, at("tcp", fixed.String(), request("CONNECT", "api.example.com:80", "api.example.com:80")), keybearer.TagInvalid, 400)
	isRefusal(t, at("tcp", fixed.String(), request("GET", "/a?b", "rebound.example")), keybearer.BadRequest, 400)
	if n := api.Len(); n != 3 {
		t.Errorf("%d requests arrived, not 3", n)
	}
}

// Gateway mode over HTTP/2 without TLS, as the Caddyfile offers it.
func TestGatewayOverHTTP2(t *testing.T) {
	w := newWorld(t)
	w.billing("*.example.com")
	api := w.recorder("api.example.com", nil)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	for i, c := range []struct {
		credential string
		status     int
	}{{"docs/crm", 200}, {"docs/none", 403}, {"docs/crm", 200}} {
		id := fmt.Sprintf("h2-%d", i)
		req, err := http.NewRequest("POST", "http://"+w.Proxy.String()+"/hook?x", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{
			"Keybearer-Credential": {c.credential}, "Keybearer-Destination": {"https://api.example.com"},
			"Authorization": {"Bearer " + w.tokens["billing"]}, harness.IDHeader: {id},
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || resp.Proto != "HTTP/2.0" {
			t.Errorf("%s %s %q, %v", resp.Proto, resp.Status, body, err)
		}
		if c.status == 200 {
			w.right(t, api.One(t, id), "docs/crm")
		}
	}
}
