package museum

import (
	"strings"
)

// tunnelSettings is what a client sends that wants HTTP/2 on a connection without TLS.
const tunnelSettings = "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"

// messages are attacks on the fields of a request.
var messages = []exhibit{
	{
		"golang/go#50580", "httputil.ReverseProxy: a client that named a field in Connection had it removed after the proxy had set it",
		"hop-by-hop fields go first, the credential is written last",
		func(h *hall) {
			h.arrives(ask{lines: "Connection: Authorization, close\r\n"})
			h.arrives(ask{credential: "docs/aws", lines: "Connection: x-api-key\r\nConnection: X-Api-Key\r\n"})
		},
	},
	{
		"CVE-2024-45410", "Traefik: the fields by which it told who was asking could be named in Connection, and were gone",
		"the same; and nothing that we say in fields is left to be named",
		func(h *hall) {
			h.arrives(ask{lines: "Connection: X-Forwarded-Host, X-Forwarded-For, Keybearer-Credential, Proxy-Authorization, Host\r\nX-Forwarded-For: 127.0.0.1\r\n"})
		},
	},
	{
		"CVE-2022-31813", "Apache mod_proxy: X-Forwarded fields vanished by the same trick, and access by address was bypassed",
		"no decision rests on a forwarded field or a source address",
		func(h *hall) {
			h.arrives(ask{lines: "Connection: X-Forwarded-For\r\n"})
			h.refused(407, ask{lines: "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nX-Real-Ip: 127.0.0.1\r\nProxy-Authorization: Bearer kb_forged\r\n"})
		},
	},
	{
		"CVE-2021-33197", "httputil.ReverseProxy: an empty Connection field kept hop-by-hop fields from being removed",
		"every Connection field is read, empty ones too",
		func(h *hall) {
			a := h.arrives(ask{lines: "Connection:\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 1\r\n"})
			if len(a.Values("X-Hop")) > 0 {
				h.Error("a hop-by-hop field arrived")
			}
		},
	},
	{
		"golang/go#80416", "httputil.ReverseProxy: Upgrade: h2c turned the connection into a tunnel that nobody looked into",
		"Upgrade is dropped, and an unasked 101 is no answer",
		func(h *hall) {
			h.arrives(ask{lines: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" + tunnelSettings})
			if got := h.destination("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", ask{lines: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" + tunnelSettings}); got.StatusCode != 502 {
				h.Errorf("%d", got.StatusCode)
			}
		},
	},
	{
		"CVE-2026-88008", "Traefik: the same upgrade went past authentication and address lists of the whole chain",
		"the same, inside tunnels too",
		func(h *hall) {
			for _, lines := range []string{"Upgrade: h2c\r\n", "Connection: upgrade\r\nUpgrade: H2C, websocket\r\n", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Key: x\r\n"} {
				h.arrives(ask{lines: lines + tunnelSettings})
			}
		},
	},
	{
		"CVE-2026-58055", "nghttpx: an Upgrade request with a body went on to a connection that was used again",
		"a request that asked for another protocol goes on as an ordinary one with its body framed anew",
		func(h *hall) {
			h.smuggles("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", "abc")
			h.arrives(ask{method: "POST", lines: "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", body: "abc"})
		},
	},
	{
		"CVE-2025-64484", "oauth2-proxy: X_Forwarded_User passed beside the stripped X-Forwarded-User, and WSGI takes both for one",
		"names are compared with _ and . as -",
		func(h *hall) {
			for _, alias := range []string{"X_Api_Key", "X-Api_Key", "x_api-key", "X.Api.Key", "X_Api.Key"} {
				h.arrives(ask{credential: "docs/aws", lines: alias + ": mine\r\n"})
			}
			h.arrives(ask{lines: "X_Forwarded_For: 127.0.0.1\r\nKeybearer_Credential: docs/other\r\n"})
		},
	},
	{
		"GHSA-7r4p-vjf4-gxv4", "Caddy forward_auth: a field that the authenticator left out came from the client instead",
		"every inbound value of the injected field goes, whatever else happens",
		func(h *hall) {
			h.arrives(ask{lines: "Authorization: Bearer mine\r\nauthorization: Basic bWluZQ==\r\nAUTHORIZATION: Digest mine\r\n"})
			h.arrives(ask{credential: "docs/aws", lines: "X-Api-Key: mine\r\nx-api-key: mine, mine\r\n"})
		},
	},
	{
		"CVE-2019-9740", "Python urllib: CR LF in a URL became fields of the request",
		"control bytes make no request-target; escaped ones stay escaped",
		func(h *hall) {
			for _, target := range []string{"http://api.example.com/\rX:y", "http://api.example.com/\x00", "http://api.example.com/?a\tb"} {
				h.refused(400, ask{target: target})
			}
			if a := h.arrives(ask{target: "http://api.example.com/?a=1%0d%0aAuthorization:%20x%0d%0a"}); a.Target != "/?a=1%0d%0aAuthorization:%20x%0d%0a" {
				h.Errorf("%q", a.Target)
			}
		},
	},
	{
		"CVE-2020-26116", "Python http.client: the method could hold CR LF and with it fields",
		"seven methods exist",
		func(h *hall) {
			for _, m := range []string{"TRACE", "TRACK", "PURGE", "get", "G\tET", "POST\x00"} {
				h.refused(400, ask{method: m})
			}
		},
	},
	{
		"CVE-2003-1567", "IIS: TRACK, like TRACE elsewhere, sent a request's credentials back to whoever could make a client ask",
		"both are refused before anything is opened",
		func(h *hall) {
			h.refused(400, ask{method: "TRACE", lines: "Max-Forwards: 0\r\n"}, ask{method: "TRACK"})
		},
	},
	{
		"CVE-2022-2880", "httputil.ReverseProxy: query parameters that Go could not parse went on, and the next server could",
		"nobody here reads the query, and its bytes go on as they came",
		func(h *hall) {
			if a := h.arrives(ask{target: "http://api.example.com/?a=%zz;b=1&&;c"}); a.Target != "/?a=%zz;b=1&&;c" {
				h.Errorf("%q", a.Target)
			}
		},
	},
	{
		"CVE-2023-29406", "Go: a Host with a slash or a line break was sent as it stood",
		"Host is written from the judged destination",
		func(h *hall) {
			h.refused(400, ask{host: "api.example.com/x"}, ask{host: "api.example.com x"}, ask{host: "a@b"})
			if a := h.arrives(ask{host: "evil.example.net:81"}); a.Host != "api.example.com" {
				h.Errorf("Host %q", a.Host)
			}
		},
	},
	{
		"CVE-2023-32681", "requests (Python): Proxy-Authorization went on to the destination",
		"whatever proved the caller goes no further, in whichever field it stands",
		func(h *hall) {
			a := h.arrives(ask{lines: "X-Copy: " + h.Token + "\r\nX-Bearer: Bearer " + h.Token + "\r\nCookie: a=" + h.Token + "\r\n"})
			if strings.Contains(a.Head, h.Token) {
				h.Error("the token arrived")
			}
		},
	},
	{
		"stacklok/toolhive#5504", "ToolHive: with the secret in a field of its own, the caller's token in Authorization went on beside it",
		"a token of ours goes no further, whichever field the secret is written to",
		func(h *hall) {
			got := h.talk("GET /x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+h.Token+"\r\nKeybearer-Credential: docs/aws\r\nKeybearer-Destination: https://api.example.com\r\nX-Test-Id: gateway\r\n\r\n", 1, "GET")
			at := h.shared.api.With("gateway")
			if len(got) != 1 || len(at) != 1 || len(at[0].Values("Authorization")) > 0 {
				h.Errorf("%v, arrived %d times", got, len(at))
			}
		},
	},
	{
		"CVE-2018-3774", "url-parse (npm): a backslash was a slash to some, and the host another one",
		"a backslash is refused",
		func(h *hall) {
			h.targets(400, "http:\\\\evil.example.net/", "http://evil.example.net\\.api.example.com/", "http://api.example.com\\@evil.example.net/")
		},
	},
}

// framing are attacks on where a message ends.
var framing = []exhibit{
	{
		"CVE-2025-22871", "Go: a chunk's size could end in a bare LF, which other servers read on over",
		"refused with the connection",
		func(h *hall) {
			if got := h.smuggles("Transfer-Encoding: chunked\r\n", "3\nabc\r\n0\r\n\r\n{smuggled}"); got.StatusCode != 400 {
				h.Errorf("%d", got.StatusCode)
			}
			if got := h.smuggles("Transfer-Encoding: chunked\r\n", "3;x=\"\n\"\r\nabc\r\n0\r\n\r\n{smuggled}"); got.StatusCode != 400 {
				h.Errorf("%d", got.StatusCode)
			}
		},
	},
	{
		"CVE-2022-1705", "Go: Transfer-Encoding that was not chunked was dropped in silence",
		"any coding but chunked is refused",
		func(h *hall) {
			for _, te := range []string{"xchunked", "chunked, identity", "identity", "chunked;x", "\x0bchunked"} {
				if got := h.smuggles("Transfer-Encoding: "+te+"\r\nContent-Length: 5\r\n", "0\r\n\r\n{smuggled}"); got.StatusCode != 501 && got.StatusCode != 400 {
					h.Errorf("%q: %d", te, got.StatusCode)
				}
			}
		},
	},
	{
		"CVE-2019-16276", "Go: a blank between a field's name and its colon was dropped, and with it the difference",
		"refused",
		func(h *hall) {
			if got := h.smuggles("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n{smuggled}"); got.StatusCode != 400 {
				h.Errorf("%d", got.StatusCode)
			}
		},
	},
	{
		"CVE-2019-18277", "HAProxy: Transfer-Encoding with a vertical tab was chunked to the server behind it alone",
		"refused",
		func(h *hall) {
			h.smuggles("Content-Length: 5\r\nTransfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n{smuggled}")
		},
	},
	{
		"CVE-2021-40346", "HAProxy: a field name of 256 bytes overflowed, and a second Content-Length came out of it",
		"lengths that differ are refused, and long names are names",
		func(h *hall) {
			h.smuggles("Content-Length0"+strings.Repeat("a", 255)+":\r\nContent-Length: 3\r\n", "abc")
			if got := h.smuggles("Content-Length: 0\r\nContent-Length: 5\r\n", "0\r\n\r\n{smuggled}"); got.StatusCode != 400 {
				h.Errorf("%d", got.StatusCode)
			}
		},
	},
	{
		"CVE-2023-25725", "HAProxy: an empty field name ended the list of fields early",
		"refused",
		func(h *hall) { h.refused(400, ask{lines: ": x\r\nAuthorization: mine\r\n"}) },
	},
	{
		"CVE-2023-40225", "HAProxy: an empty Content-Length went on to servers that read it as none",
		"refused; what goes on has a length of our writing",
		func(h *hall) {
			if got := h.smuggles("Content-Length:\r\n", "{smuggled}"); got.StatusCode != 400 {
				h.Errorf("%d", got.StatusCode)
			}
		},
	},
	{
		"CVE-2022-35256", "Node: a line of a head could end in something else than CR LF",
		"refused",
		func(h *hall) { h.refused(400, ask{lines: "X: a\rAuthorization: mine\r\n"}) },
	},
	{
		"CVE-2022-32213", "Node: Transfer-Encoding was taken for chunked where it only resembled it",
		"refused",
		func(h *hall) {
			h.smuggles("Transfer-Encoding: chunkedchunked\r\nContent-Length: 5\r\n", "0\r\n\r\n{smuggled}")
		},
	},
	{
		"CVE-2022-32215", "Node: Transfer-Encoding over several lines was read in part",
		"folded fields are unfolded and read whole; what stands behind a chunked request is not read",
		func(h *hall) {
			h.smuggles("Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n{smuggled}")
			h.smuggles("Transfer-Encoding: chunked,\r\n identity\r\nContent-Length: 5\r\n", "0\r\n\r\n{smuggled}")
		},
	},
	{
		"CVE-2023-25690", "Apache mod_proxy: CR LF that was decoded on the way split a request in two",
		"nothing is decoded on the way",
		func(h *hall) {
			target := "/x%20HTTP/1.1%0d%0aHost:%20evil%0d%0a%0d%0aGET%20/smuggled"
			if a := h.arrives(ask{target: "http://api.example.com" + target}); a.Target != target {
				h.Errorf("%q", a.Target)
			}
		},
	},
	{
		"CVE-2023-46589", "Tomcat: a trailer that could not be read left the rest of the body as a request",
		"refused with the connection; trailers of a request go no further",
		func(h *hall) {
			if got := h.smuggles("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nno field\r\n\r\n{smuggled}"); got.StatusCode != 400 {
				h.Errorf("%d", got.StatusCode)
			}
			h.smuggles("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nContent-Length: 5\r\nAuthorization: mine\r\n\r\n{smuggled}")
		},
	},
	{
		"CVE-2005-2088", "Apache: Transfer-Encoding and Content-Length in one request, each read by another server",
		"the chunks count, the length goes, and nothing behind the request is read on that connection",
		func(h *hall) {
			h.smuggles("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n{smuggled}")
			h.smuggles("Transfer-Encoding: chunked\r\nContent-Length: 500\r\n", "0\r\n\r\n{smuggled}")
		},
	},
	{
		"CVE-2022-41721", "Go h2c: a body that a limit had cut short was read on as HTTP/2",
		"the connection of a request whose body was not read is closed",
		func(h *hall) {
			h.smuggles("Content-Length: 1000\r\nKeybearer-Acting-User: a\r\nKeybearer-Acting-User: b\r\n", "{smuggled}"+strings.Repeat("x", 1000))
			h.smuggles("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"+tunnelSettings+"Content-Length: 24\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		},
	},
	{
		"httpwg/http-extensions#3048", "proxies: who opens a tunnel may send its inside before the answer, and a refusal left that to be read as requests",
		"a refused CONNECT is the last request of its connection",
		func(h *hall) {
			hidden, inner := h.wire(ask{})
			for _, target := range []string{"api.example.com:443", "api.example.com", "evil.example.net:80"} {
				_, text := h.wire(ask{method: "CONNECT", target: target})
				text = strings.Replace(text, "Bearer kb_", "Bearer x_", 1)
				if all := h.talk(text+inner, 2, "CONNECT"); len(all) != 1 || all[0].StatusCode < 400 {
					h.Errorf("%s: %d answers", target, len(all))
				}
			}
			if len(h.shared.api.With(hidden)) > 0 {
				h.Error("the inside of a refused tunnel arrived")
			}
		},
	},
}
