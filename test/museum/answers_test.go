package museum

import "strings"

// answers are attacks by the destination.
var answers = []exhibit{
	{
		"Infisical/agent-vault#258", "Agent Vault: a destination that repeats the credential hands it to the agent",
		"fields and trailers of an answer are scrubbed always",
		func(h *hall) {
			h.destination("HTTP/1.1 200 OK\r\nX-Echo: {secret}\r\nX-Echo: a{secret}b\r\nX-{secret}: 1\r\nSet-Cookie: t={secret}\r\nContent-Length: 0\r\n\r\n", ask{})
			h.destination("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Echo\r\n\r\n2\r\nok\r\n0\r\nX-Echo: {secret}\r\nX-Late: {secret}\r\n\r\n", ask{})
		},
	},
	{
		"stacklok/toolhive#5293", "ToolHive: a compromised server could put a token into its answers, and the proxy passed it on",
		"the same, also in the reason, in the names of fields, and where nothing can be parsed",
		func(h *hall) {
			for _, text := range []string{"HTTP/1.1 200 {secret}\r\nContent-Length: 0\r\n\r\n", "{secret}\r\n\r\n", "HTTP/1.1 200 OK\r\n{secret}\r\n\r\n", "HTTP/1.1 {secret} OK\r\n\r\n", "HTTP/1.1 103 x\r\nX: {secret}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"} {
				h.destination(text, ask{})
			}
			if log := h.Process.Output(h); strings.Contains(log, "canary-") {
				h.Error("the log has it")
			}
		},
	},
	{
		"CVE-2023-39326", "Go: chunk extensions made a small body cost gigabytes to read",
		"the answer is cut",
		func(h *hall) {
			got := h.destination("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1;"+strings.Repeat("x", 2000)+"\r\na\r\n", 200)+"0\r\n\r\n", ask{})
			if got.err == nil {
				h.Errorf("%d bytes came through whole", len(got.body))
			}
		},
	},
	{
		"CVE-2021-31525", "Go: a huge field of an answer brought the client down",
		"more than 256 KiB of head is no answer",
		func(h *hall) {
			if got := h.destination("HTTP/1.1 200 OK\r\nConnection: "+strings.Repeat("x,", 150<<10)+"\r\n\r\n", ask{}); got.StatusCode != 502 {
				h.Errorf("%d", got.StatusCode)
			}
		},
	},
	{
		"CVE-2023-38039", "curl: a server that never stopped sending fields filled the memory",
		"the same, for many small fields and for interim answers",
		func(h *hall) {
			for _, text := range []string{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Many: 12345678901234567890\r\n", 10_000), strings.Repeat("HTTP/1.1 103 x\r\nLink: "+strings.Repeat("x", 500)+"\r\n\r\n", 1000)} {
				if got := h.destination(text, ask{}); got.StatusCode != 502 {
					h.Errorf("%d", got.StatusCode)
				}
			}
		},
	},
	{
		"CVE-2024-24791", "Go: a server that refused Expect: 100-continue left the connection in a state that failed the next request",
		"Expect is answered here and never goes on",
		func(h *hall) {
			a := h.arrives(ask{method: "POST", lines: "Expect: 100-continue\r\nContent-Length: 3\r\n", body: "abc"})
			if len(a.Values("Expect")) > 0 {
				h.Error("Expect arrived")
			}
			h.refused(417, ask{method: "POST", lines: "Expect: 100-maybe\r\nContent-Length: 3\r\n", body: "abc"})
		},
	},
	{
		"CVE-2020-8284", "curl: a server told the client in its answer where to connect next",
		"nothing in an answer makes a connection: no Location, Refresh, Alt-Svc or Link",
		func(h *hall) {
			h.destination("HTTP/1.1 200 OK\r\nAlt-Svc: h2=\"evil.example.net:443\"\r\nLink: <https://evil.example.net/>; rel=preload\r\nRefresh: 0; url=https://evil.example.net/\r\nContent-Location: https://evil.example.net/\r\nContent-Length: 0\r\n\r\n", ask{})
			if n := h.shared.trap.Len(); n > 0 {
				h.Errorf("%d requests", n)
			}
		},
	},
	{
		"CVE-2025-4673", "Go: Proxy-Authenticate and Proxy-Authorization survived a redirect to another origin",
		"no Proxy field passes in either direction",
		func(h *hall) {
			got := h.destination("HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"keybearer\"\r\nProxy-Authentication-Info: x\r\nContent-Length: 0\r\n\r\n", ask{})
			if len(got.Header["Proxy-Authenticate"])+len(got.Header["Proxy-Authentication-Info"]) > 0 {
				h.Errorf("%v", got.Header)
			}
			h.redirects("docs/crm", []int{302})
		},
	},
	{
		"CVE-2025-27152", "axios: an absolute URL in a path sent the credentials of the base URL to another host",
		"a path is a path, and a second destination is refused",
		func(h *hall) {
			head := "Host: localhost\r\nAuthorization: Bearer " + h.Token + "\r\nKeybearer-Credential: docs/crm\r\nKeybearer-Destination: https://api.example.com\r\n"
			for _, target := range []string{"http://evil.example.net/", "https://evil.example.net/", "//evil.example.net/"} {
				for _, a := range h.talk("GET "+target+" HTTP/1.1\r\n"+head+"\r\n", 1, "GET") {
					if a.StatusCode == 200 && !strings.HasPrefix(a.body, "GET //evil.example.net/\n") {
						h.Errorf("%s: %d %s", target, a.StatusCode, a.body)
					}
				}
			}
			if n := h.shared.trap.Len(); n > 0 {
				h.Errorf("%d requests", n)
			}
		},
	},
}

var all3xx = []int{300, 301, 302, 303, 305, 307, 308}

// redirects are the many ways in which clients followed a redirect with a credential in the hand.
var redirects = []exhibit{
	{
		"CVE-2024-45336", "Go: a chain of redirects brought the dropped Authorization back", "redirects are never followed",
		func(h *hall) { h.redirects("docs/crm", all3xx) },
	},
	{
		"CVE-2026-40895", "follow-redirects: fields such as X-API-Key went along to another host", "the same for every kind of credential",
		func(h *hall) { h.redirects("docs/aws", all3xx) },
	},
	{
		"CVE-2018-1000007", "curl: a custom Authorization field went along to another host", "the same",
		func(h *hall) { h.redirects("docs/legacy", []int{301, 302, 307}) },
	},
	{
		"CVE-2022-27774", "curl: credentials went along to another port or protocol of the same host", "the same, for ports and schemes of the same host",
		func(h *hall) {
			h.redirects("docs/crm", []int{302, 308}, "http://second.example.com:80/", "ftp://second.example.com/", "https://second.example.com:8443/")
		},
	},
	{
		"CVE-2018-18074", "requests (Python): Authorization went along from https to http", "the same",
		func(h *hall) { h.redirects("docs/crm", []int{301}, "http://second.example.com/down") },
	},
	{
		"CVE-2022-0155", "follow-redirects: Cookie went along to another host", "the same; and cookies pass only where the credential allows",
		func(h *hall) {
			h.redirects("docs/crm", []int{302})
			if a := h.arrives(ask{lines: "Cookie: session=mine\r\n"}); len(a.Values("Cookie")) > 0 {
				h.Error("a cookie arrived")
			}
		},
	},
	{
		"CVE-2024-28849", "follow-redirects: Proxy-Authorization went along to another host", "it goes nowhere at all",
		func(h *hall) {
			if a := h.arrives(ask{}); len(a.Values("Proxy-Authorization")) > 0 {
				h.Error("it arrived")
			}
			h.redirects("docs/crm", []int{307})
		},
	},
	{
		"CVE-2022-0235", "node-fetch: secure fields went along to another host", "redirects are never followed",
		func(h *hall) { h.redirects("docs/aws", []int{302, 303}) },
	},
	{
		"CVE-2023-28155", "request (npm): a redirect from one protocol to another went past the guard against internal addresses", "the same",
		func(h *hall) {
			h.redirects("docs/crm", []int{302}, "http://127.0.0.1/", "http://169.254.169.254/", "http://[::1]/")
		},
	},
}
