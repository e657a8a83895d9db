package proxy

import (
	"crypto/tls"
	"encoding/base64"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// recognizer knows one text.
type recognizer string

func (r recognizer) Recognize(text string) bool { return text == string(r) }

func basicOf(pair string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
}

func TestWhatARequestSaysToUs(t *testing.T) {
	secret, _ := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
	token := secret.Reveal()
	route := &Route{Destination: "https://h.example"}
	const (
		credential = "Keybearer-Credential"
		proxyAuth  = "Proxy-Authorization"
		crm        = "docs/crm"
	)
	for _, c := range []struct {
		name   string
		method string
		target string
		route  *Route
		tunnel *Tunnel
		fields []Field
		want   tags
		code   keybearer.Code
	}{
		{name: "a path", target: "/x", want: tags{mode: gatewayMode}},
		{name: "a whole URL", target: "http://h/", want: tags{mode: proxyMode}},
		{name: "a whole URL in capitals", target: "HTTPS://h/", want: tags{mode: proxyMode}},
		{name: "another scheme", target: "httpx://h/", want: tags{mode: gatewayMode}},
		{name: "a scheme and nothing else", target: "http://", want: tags{mode: proxyMode}},
		{name: "CONNECT", method: "CONNECT", target: "h:80", want: tags{mode: proxyMode}},
		{name: "within a tunnel", target: "/x", tunnel: &Tunnel{}, want: tags{mode: proxyMode}},
		{name: "a fixed route", target: "/x", route: route, want: tags{mode: routeMode}},
		{name: "a whole URL to a fixed route", target: "http://h/", route: route, want: tags{mode: routeMode}},

		{name: "each of ours", target: "/", fields: []Field{{"keybearer-CREDENTIAL", crm}, {"Keybearer-Destination", "https://h"}, {"Keybearer-Acting-User", "a.b.c"}}, want: tags{mode: gatewayMode, credential: crm, destination: "https://h", actingUser: "a.b.c"}},
		{name: "a comma at the front", target: "/", fields: []Field{{credential, ",docs/crm"}}, code: keybearer.TagInvalid},
		{name: "a comma within", target: "/", fields: []Field{{credential, "docs/crm,docs/b"}}, code: keybearer.TagInvalid},
		{name: "a comma in another one", target: "/", fields: []Field{{"Keybearer-Else", "a,b"}}, code: keybearer.TagInvalid},
		{name: "nothing in one", target: "/", fields: []Field{{credential, ""}}, code: keybearer.TagInvalid},
		{name: "one twice", target: "/", fields: []Field{{credential, crm}, {credential, crm}}, code: keybearer.TagInvalid},
		{name: "the second twice", target: "/", fields: []Field{{"Keybearer-Destination", "https://h"}, {"Keybearer-Destination", "https://h"}}, code: keybearer.TagInvalid},
		{name: "the third twice", target: "/", fields: []Field{{"Keybearer-Acting-User", "a"}, {"Keybearer-Acting-User", "a"}}, code: keybearer.TagInvalid},
		{name: "others", target: "/", fields: []Field{{"Keybearer-A", "1"}, {"Keybearer-B", "1"}}, want: tags{mode: gatewayMode}},
		{name: "others, one of them twice", target: "/", fields: []Field{{"Keybearer-A", "1"}, {"Keybearer-B", "1"}, {"KEYBEARER-a", "1"}}, code: keybearer.TagInvalid},
		{name: "a prefix that is not whole", target: "/", fields: []Field{{"Keybearer", "a,b"}, {"Keybearer_Credential", "a,b"}}, want: tags{mode: gatewayMode}},

		{name: "a bearer proof", target: "http://h/", fields: []Field{{proxyAuth, "bEARER  a"}}, want: tags{tokens: []string{"a"}}},
		{name: "a basic proof", target: "http://h/", fields: []Field{{proxyAuth, basicOf("docs%2Fcrm:a:b")}}, want: tags{credential: crm, tokens: []string{"a:b"}}},
		{name: "no password", target: "http://h/", fields: []Field{{proxyAuth, basicOf("docs%2Fcrm:")}}, want: tags{credential: crm}},
		{name: "no user", target: "http://h/", fields: []Field{{proxyAuth, basicOf(":a")}}, want: tags{tokens: []string{"a"}}},
		{name: "a user that names none", target: "http://h/", fields: []Field{{proxyAuth, basicOf("_:a")}}, want: tags{tokens: []string{"a"}}},
		{name: "a user that is not encoded right", target: "http://h/", fields: []Field{{proxyAuth, basicOf("docs%2:a")}}, code: keybearer.TagInvalid},
		{name: "no base64", target: "http://h/", fields: []Field{{proxyAuth, "Basic a"}}, code: keybearer.CallerUnauthenticated},
		{name: "another scheme of proof", target: "http://h/", fields: []Field{{proxyAuth, "Digest a"}}, code: keybearer.CallerUnauthenticated},
		{name: "the same user twice", target: "http://h/", fields: []Field{{proxyAuth, basicOf("docs%2Fcrm:a")}, {proxyAuth, basicOf("docs%2fcrm:b")}}, want: tags{credential: crm, tokens: []string{"a", "b"}}},
		{name: "two users", target: "http://h/", fields: []Field{{proxyAuth, basicOf("docs%2Fcrm:a")}, {proxyAuth, basicOf("docs%2Fb:a")}}, code: keybearer.TagInvalid},
		{name: "a user, then none", target: "http://h/", fields: []Field{{proxyAuth, basicOf("docs%2Fcrm:a")}, {proxyAuth, "Bearer b"}}, want: tags{credential: crm, tokens: []string{"a", "b"}}},
		{name: "no user, then one", target: "http://h/", fields: []Field{{proxyAuth, "Bearer b"}, {proxyAuth, basicOf("docs%2Fcrm:a")}}, want: tags{credential: crm, tokens: []string{"b", "a"}}},
		{name: "header and user agree", target: "http://h/", fields: []Field{{credential, crm}, {proxyAuth, basicOf("docs%2Fcrm:a")}}, want: tags{credential: crm, tokens: []string{"a"}}},
		{name: "header and user differ", target: "http://h/", fields: []Field{{credential, "docs/b"}, {proxyAuth, basicOf("docs%2Fcrm:a")}}, code: keybearer.TagInvalid},

		{name: "a token of ours to a gateway", target: "/", fields: []Field{{"authorization", "Bearer " + token}}, want: tags{mode: gatewayMode, tokens: []string{token}}},
		{name: "a foreign proof to a gateway", target: "/", fields: []Field{{"Authorization", "Bearer foreign"}}, want: tags{mode: gatewayMode, tokens: []string{"foreign"}}},
		{name: "what is meant for the destination", target: "/", fields: []Field{{"Authorization", "Bearer else"}, {"Authorization", basicOf("a:" + token)}}, want: tags{mode: gatewayMode}},
		{name: "a token of ours to a proxy", target: "http://h/", fields: []Field{{"Authorization", "Bearer " + token}}, want: tags{}},
		{name: "a token of ours to a fixed route", target: "/", route: route, fields: []Field{{"Authorization", "Bearer " + token}}, want: tags{mode: routeMode, tokens: []string{token}}},
		{name: "a token of ours under another name", target: "/", fields: []Field{{"X-Authorization", "Bearer " + token}}, want: tags{mode: gatewayMode}},

		{name: "Origin", target: "/", fields: []Field{{"origin", "null"}}, code: keybearer.BadRequest},
		{name: "Sec-Fetch-Site", target: "/", fields: []Field{{"sec-fetch-site", "none"}}, code: keybearer.BadRequest},
		{name: "Sec-Fetch-Mode alone", target: "/", fields: []Field{{"sec-fetch-mode", "cors"}}, want: tags{mode: gatewayMode}},

		{name: "a tunnel that named one", target: "/", tunnel: &Tunnel{Credential: crm, Tokens: []string{"b"}}, fields: []Field{{proxyAuth, "Bearer a"}}, want: tags{credential: crm, tokens: []string{"a", "b"}}},
		{name: "a tunnel that named none", target: "/", tunnel: &Tunnel{}, fields: []Field{{credential, crm}}, want: tags{credential: crm}},
		{name: "a tunnel that named the same", target: "/", tunnel: &Tunnel{Credential: crm}, fields: []Field{{credential, crm}}, want: tags{credential: crm}},
		{name: "a tunnel that named another", target: "/", tunnel: &Tunnel{Credential: "docs/b"}, fields: []Field{{credential, crm}}, code: keybearer.TagInvalid},
		{name: "a user beside a tunnel that named another", target: "/", tunnel: &Tunnel{Credential: "docs/b"}, fields: []Field{{proxyAuth, basicOf("docs%2Fcrm:a")}}, code: keybearer.TagInvalid},
	} {
		if c.route == nil {
			c.route = &Route{}
		}
		call := &Call{Method: c.method, Target: c.target, Fields: c.fields, Route: c.route, Tunnel: c.tunnel}
		got, err := call.read(recognize{recognizer("other"), recognizer("foreign")})
		if code := keybearer.CodeOf(asError(err)); code != c.code {
			t.Errorf("%s: %q, want %q", c.name, code, c.code)
		} else if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(tags{}), cmpopts.EquateEmpty()); c.code == "" && diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func asError(err *keybearer.Error) error {
	if err == nil {
		return nil
	}
	return err
}

func TestWhereARequestGoes(t *testing.T) {
	for _, c := range []struct {
		name        string
		mode        mode
		target      string
		host        string
		destination string
		credential  string
		tunnel      *Tunnel
		want        string // canonical
		code        keybearer.Code
	}{
		{name: "proxy", mode: proxyMode, target: "http://h.example:8080/p?q", host: "rebound.example", want: "http://h.example:8080/p?q"},
		{name: "proxy and a destination", mode: proxyMode, target: "http://h.example/", destination: "https://h.example", code: keybearer.TagInvalid},
		{name: "gateway", mode: gatewayMode, target: "/p?q", host: "localhost", destination: "https://h.example", want: "https://h.example/p?q"},
		{name: "gateway without a destination", mode: gatewayMode, target: "/", host: "localhost", code: keybearer.TagMissing},
		{name: "gateway under a foreign name", mode: gatewayMode, target: "/", host: "rebound.example", destination: "https://h.example", code: keybearer.BadRequest},
		{name: "fixed", mode: routeMode, target: "/p?q", host: "localhost", want: "https://fixed.example/p?q"},
		{name: "fixed, under a foreign name", mode: routeMode, target: "/", host: "rebound.example", code: keybearer.BadRequest},
		{name: "fixed, a whole URL", mode: routeMode, target: "http://fixed.example/", code: keybearer.TagInvalid},
		{name: "fixed, and a destination", mode: routeMode, target: "/", destination: "https://fixed.example", code: keybearer.TagInvalid},
		{name: "fixed, and a credential", mode: routeMode, target: "/", credential: "docs/crm", code: keybearer.TagInvalid},

		{name: "tunnel", mode: proxyMode, target: "/p?q", host: "h.example", tunnel: &Tunnel{Host: "h.example", Port: 80}, want: "http://h.example/p?q"},
		{name: "tunnel, with the port", mode: proxyMode, target: "/p", host: "h.example:80", tunnel: &Tunnel{Host: "h.example", Port: 80}, want: "http://h.example:80/p"},
		{name: "tunnel to a port", mode: proxyMode, target: "/p", host: "h.example:8080", tunnel: &Tunnel{Host: "h.example", Port: 8080}, want: "http://h.example:8080/p"},
		{name: "tunnel to a port, a whole URL", mode: proxyMode, target: "http://H.example:8080/p", tunnel: &Tunnel{Host: "h.example", Port: 8080}, want: "http://h.example:8080/p"},
		{name: "tunnel, another host", mode: proxyMode, target: "/p", host: "g.example", tunnel: &Tunnel{Host: "h.example", Port: 80}, code: keybearer.BadRequest},
		{name: "tunnel, another port", mode: proxyMode, target: "/p", host: "h.example:81", tunnel: &Tunnel{Host: "h.example", Port: 80}, code: keybearer.BadRequest},
		{name: "tunnel to a port, without it", mode: proxyMode, target: "/p", host: "h.example", tunnel: &Tunnel{Host: "h.example", Port: 8080}, code: keybearer.BadRequest},
		{name: "tunnel, another scheme", mode: proxyMode, target: "https://h.example/p", tunnel: &Tunnel{Host: "h.example", Port: 80}, code: keybearer.BadRequest},
		{name: "tunnel, no path", mode: proxyMode, target: "*", host: "h.example", tunnel: &Tunnel{Host: "h.example", Port: 80}, code: keybearer.BadRequest},
		{name: "tunnel, a path that joins the host", mode: proxyMode, target: ":80/", host: "h.example", tunnel: &Tunnel{Host: "h.example", Port: 80}, code: keybearer.BadRequest},
		{name: "tunnel, no host", mode: proxyMode, target: "/p", tunnel: &Tunnel{Host: "h.example", Port: 80}, code: keybearer.DestinationInvalid},
		{name: "tunnel and a destination", mode: proxyMode, target: "/p", host: "h.example", destination: "https://h.example", tunnel: &Tunnel{Host: "h.example", Port: 80}, code: keybearer.TagInvalid},

		{name: "two slashes", mode: proxyMode, target: "http://h.example//a%2Fb", want: "http://h.example//a%2Fb"},
		{name: "two slashes and what must be encoded", mode: proxyMode, target: "http://h.example//a{b}", code: keybearer.DestinationInvalid},
		{name: "one slash and what must be encoded", mode: proxyMode, target: "http://h.example/a{b}", want: "http://h.example/a{b}"},
	} {
		call := &Call{Target: c.target, Host: c.host, Tunnel: c.tunnel, Route: &Route{Destination: "https://fixed.example", Credential: keybearer.Ref{Scope: "docs", Name: "fixed"}}}
		said := tags{mode: c.mode, destination: c.destination, credential: c.credential}
		got, err := call.target(&said)
		if code := keybearer.CodeOf(asError(err)); code != c.code {
			t.Errorf("%s: %q, want %q", c.name, code, c.code)
			continue
		}
		if c.code != "" {
			continue
		}
		if diff := cmp.Diff(must(policy.ParseAbsolute(c.want)), got, cmpopts.EquateComparable(policy.Target{})); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if (said.credential == "docs/fixed") != (c.mode == routeMode) {
			t.Errorf("%s: the credential is %q", c.name, said.credential)
		}
	}
}

func TestNamesOfAListener(t *testing.T) {
	hosts := []string{"kb.internal", "other.internal:8080"}
	for host, want := range map[string]bool{
		"": true, "localhost": true, "LocalHost:80": true, "127.0.0.1": true, "127.0.0.1:80": true, "[::1]": true, "[::1]:80": true,
		"kb.internal": true, "KB.internal:1": true, "other.internal:8080": true,
		"other.internal": false, "other.internal:80": false, "rebound.example": false, "127.0.0.1.example": false, "localhost.example": false, "[localhost.example]": false,
	} {
		if err := (&Call{Host: host, Route: &Route{Hosts: hosts}}).checkHost(); (err == nil) != want {
			t.Errorf("%q: %v", host, err)
		}
		if err := (&Call{Host: host, Route: &Route{}, Peer: &keybearer.PeerCredentials{}}).checkHost(); err != nil {
			t.Errorf("%q over a unix socket: %v", host, err)
		}
	}
}

func TestEvidenceIsThatOfTheConnection(t *testing.T) {
	own, outer := &tls.ConnectionState{ServerName: "own"}, &tls.ConnectionState{ServerName: "outer"}
	peer, outside, at := &keybearer.PeerCredentials{UID: 1}, &keybearer.PeerCredentials{UID: 2}, time.Unix(1, 0)
	c := &Call{TLS: own, Peer: peer, Route: &Route{Caller: "fixed"}}
	if got := c.evidence([]string{"a"}, at); got.TLS != own || got.Peer != peer || got.Fixed != "fixed" || len(got.Tokens) != 1 || got.At != at {
		t.Errorf("%+v", got)
	}
	c.Tunnel = &Tunnel{TLS: outer, Peer: outside}
	if got := c.evidence(nil, at); got.TLS != outer || got.Peer != outside {
		t.Errorf("%+v of what is outside the tunnel", got)
	}
}
