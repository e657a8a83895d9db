package museum

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// destinations are attacks on the question where a request goes.
var destinations = []exhibit{
	{
		"Capital One 2019", "a proxy was talked into asking the cloud's metadata address, and gave out its credentials",
		"metadata addresses are refused after resolution, and behind a switch of their own",
		func(h *hall) {
			h.specials("169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "169.254.170.2")
			h.targets(403, "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/")
		},
	},
	{
		"GHSA-vwq2-jx9q-9h9f", "soft-serve: webhooks went to internal networks and metadata services, since nobody looked at the address",
		"special addresses are refused whatever name leads to them",
		func(h *hall) {
			h.specials("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.1.1", "::1", "fd12::1", "fe80::1", "0.0.0.0")
		},
	},
	{
		"GHSA-c4v7-xg93-qf8g", "gogs: the address of a webhook was checked, that of the redirect which it answered with was not",
		"redirects go back to the app and are followed by nobody here",
		func(h *hall) { h.redirects("docs/crm", []int{301, 302}, "http://169.254.169.254/metadata/v1.json") },
	},
	{
		"GHSA-2pmr-289p-44r3", "gotenberg: a name was resolved to be checked, and resolved again to be used",
		"a name is resolved once, and the connection goes to the address that was judged",
		rebinding,
	},
	{
		"GHSA-h6gw-8f77-mmmp", "WeKnora: a name server that changed its answer between check and use opened internal services",
		"one address that is refused among several refuses them all, and the kernel's address is judged once more",
		func(h *hall) {
			h.DNS.Set("mixed.example.com", netip.MustParseAddr("93.184.215.14"), netip.MustParseAddr("127.0.0.1"))
			h.refused(403, ask{target: "http://mixed.example.com/", credential: "docs/public"})
			rebinding(h)
		},
	},
	{
		"CVE-2024-24790", "Go: the predicates for private and loopback addresses did not know IPv4 inside IPv6",
		"mapped addresses are unwrapped before they are judged",
		func(h *hall) { h.specials("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254") },
	},
	{
		"CVE-2021-29923", "Go: 010.8.8.8 was read as decimal where everybody else reads octal",
		"a last label that is a number makes no name, and an address has one spelling",
		func(h *hall) { h.targets(400, "http://010.8.8.8/", "http://127.0.0.01/", "http://0177.0.0.1/") },
	},
	{
		"CVE-2021-28918", "netmask (npm): octets with leading zeros were cut to public addresses",
		"leading zeros are refused",
		func(h *hall) { h.targets(400, "http://0127.0.0.1/", "http://10.0.0.010/", "http://192.168.01.1/") },
	},
	{
		"CVE-2026-69192", "ip-address (npm): one text was two addresses to two readers",
		"odd spellings of addresses are refused, not interpreted",
		func(h *hall) {
			h.targets(400, "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://[::ffff:127.1]/", "http://[::127.0.0.1%25lo]/")
		},
	},
	{
		"CVE-2024-29415", "ip (npm): 127.1, 01200034567 and ::fFFf:7f00:1 passed for public addresses",
		"the same texts are refused here, or judged as what they are",
		func(h *hall) {
			h.targets(400, "http://127.1/", "http://01200034567/", "http://012.1.2.3/", "http://000:0:0000::01/", "http://[::fFFf:7f00:1]/", "http://[::ffff:127.0.0.1]/")
			h.specials("::ffff:7f00:1")
		},
	},
	{
		"CVE-2023-42282", "ip (npm): 0x7f.1 passed for a public address",
		"hexadecimal labels make no name",
		func(h *hall) { h.targets(400, "http://0x7f.1/", "http://0x7f.0x0.0x0.0x1/", "http://0xA9FEA9FE/") },
	},
	{
		"CVE-2022-24825", "Smokescreen: a trailing dot on the host went past the deny list",
		"one trailing dot is stripped before any rule is asked, two are refused",
		func(h *hall) {
			h.outside("api.example.com", "http://evil.example.net./", "http://api.example.com.evil.net./")
			h.targets(400, "http://api.example.com../")
			h.arrives(ask{target: "http://api.example.com./"})
		},
	},
	{
		"CVE-2022-29188", "Smokescreen: a name in brackets went past the deny list",
		"brackets hold an IPv6 address or nothing",
		func(h *hall) { h.targets(400, "http://[api.example.com]/", "http://[127.0.0.1]/", "http://[::1/") },
	},
	{
		"CVE-2026-27588", "Caddy: a long list of hosts was compared with regard to case",
		"names are lower case before they are compared, and there is no second way to compare",
		func(h *hall) {
			h.arrives(ask{target: "http://API.Example.COM/"})
			h.outside("api.example.com", "http://API.EXAMPLE.NET/")
		},
	},
	{
		"CVE-2022-27780", "curl: a percent-encoded slash in the host made another host of it",
		"a percent sign makes no host",
		func(h *hall) {
			h.targets(400, "http://evil.example.net%2fapi.example.com/", "http://api%2eexample.com/", "http://api.example.com%00.evil.net/")
		},
	},
	{
		"CVE-2022-43551", "curl: full-width dots went past the list of hosts that need TLS, and became dots later",
		"names are mapped once, before anything is asked; request-targets are ASCII",
		func(h *hall) {
			h.targets(400, "http://api\u3002example\u3002com/", "http://\uff41pi.example.com/", "http://api.example\u3002com/")
		},
	},
	{
		"CVE-2022-42916", "curl: the same with IDN characters that fold to a dot",
		"the same",
		func(h *hall) { h.targets(400, "http://api\uff0eexample.com/", "http://api.example.com\uff61/") },
	},
	{
		"CVE-2019-9636", "Python: characters that normalise to / ? # @ : split the host after it was checked",
		"the host is ASCII before it is split, and nothing is normalised afterwards",
		func(h *hall) {
			h.targets(400, "http://evil.example.net\uff03@api.example.com/", "http://api.example.com\u2100.evil.net/", "http://api.example.com\uff0fevil/")
		},
	},
	{
		"CVE-2024-22243", "Spring: user information and brackets made the parser see another host than the client",
		"user information, backslashes and stray brackets are refused",
		func(h *hall) {
			h.targets(400, "http://api.example.com@evil.example.net/", "http://evil.example.net\\@api.example.com/", "http://evil.example.net[@api.example.com/", "http://:@evil.example.net/")
		},
	},
	{
		"CVE-2021-22947", "curl: what came before TLS was believed after it",
		"TLS begins with the first byte, and nothing that came before counts",
		func(h *hall) {
			ln, err := net.Listen("tcp", netip.AddrPortFrom(harness.Address(), 443).String())
			if err != nil {
				h.Fatal(err)
			}
			defer ln.Close()
			heard := make(chan string, 1)
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				b, _ := io.ReadAll(conn)
				heard <- string(b)
			}()
			h.At("starttls.example.com", netip.MustParseAddrPort(ln.Addr().String()))
			if got, _ := h.send(ask{target: "http://starttls.example.com/"}); got.StatusCode != 502 {
				h.Errorf("%d", got.StatusCode)
			}
			if text := <-heard; strings.Contains(text, "HTTP") || strings.Contains(text, "canary") {
				h.Errorf("sent in clear: %q", text)
			}
		},
	},
	{
		"caddyserver/caddy#7859", "Caddy: what was judged and what was dialled came from two values",
		"one value is judged, dialled, named in Host and SNI and audited",
		func(h *hall) {
			a := h.arrives(ask{target: "http://api.example.com/", host: "evil.example.net"})
			if a.Host != "api.example.com" || a.SNI != "api.example.com" {
				h.Errorf("Host %q, SNI %q", a.Host, a.SNI)
			}
		},
	},
	{
		"authelia/authelia#3799", "Authelia: a pattern for hosts matched more than its author meant",
		"rules are compared label by label; regular expressions are refused",
		func(h *hall) {
			h.noRule(`^api\.example\.com$`, "api.*.example.com", "*api.example.com", "*", "**", "a*.example.com", "(a|b).example.com")
			h.outside("*.example.com", "https://example.com/", "https://a.b.example.com/", "https://example.com.evil.net/", "https://evilexample.com/")
			h.outside("api.example.com", "https://apixexample.com/", "https://api.example.com.evil.net/", "https://xapi.example.com/")
		},
	},
	{
		"1Password/passkey-rs#92", "passkey-rs: a wildcard reached across a public suffix",
		"no wildcard stands over a public suffix, and none reaches across one",
		func(h *hall) {
			h.noRule("*.com", "**.com", "*.co.uk", "*.github.io", "**.github.io", "*.s3.amazonaws.com")
			h.outside("**.amazonaws.com", "https://bucket.s3.amazonaws.com/")
		},
	},
	{
		"CVE-2025-3454", "Grafana: a second slash in the path went past the rule for that path",
		"a rule with a path refuses paths that servers may read in another way",
		func(h *hall) {
			h.outside("api.example.com/hooks", "https://api.example.com//hooks/../admin", "https://api.example.com/hooks/../admin", "https://api.example.com/hooks/%2e%2e/admin",
				"https://api.example.com/hooks/..%2fadmin", "https://api.example.com/hooks/..%5cadmin", "https://api.example.com/hooks/%252e%252e/admin", "https://api.example.com/hooks/..;/admin", "https://api.example.com//admin")
		},
	},
	{
		"CVE-2021-40438", "Apache mod_proxy: a crafted URI made it connect to another server, a unix socket among them",
		"a destination is http or https with host and port",
		func(h *hall) {
			h.targets(400, "unix:/run/docker.sock|http://api.example.com/", "http://unix:/run/docker.sock/", "ftp://api.example.com/", "file:///etc/passwd", "gopher://api.example.com:70/_x")
		},
	},
	{
		"CVE-2022-35949", "undici: a path that began with two slashes became the host",
		"a path is sent to the host that was judged, byte for byte",
		func(h *hall) {
			for _, path := range []string{"//evil.example.net/", "//evil.example.net:80/x", "///evil.example.net"} {
				if a := h.arrives(ask{target: "http://api.example.com" + path}); a.Host != "api.example.com" || a.Target != path {
					h.Errorf("%s at %s", a.Target, a.Host)
				}
			}
		},
	},
	{
		"CVE-2016-5386", "httpoxy, in Go's CGI: a Proxy header of the request became the HTTP_PROXY of the server behind it",
		"the environment's proxies are never used, and a field named Proxy is the app's own affair",
		func(h *hall) {
			h.arrives(ask{lines: "Proxy: http://evil.example.net/\r\nProxy-Url: http://evil.example.net/\r\n"})
		},
	},
	{
		"CVE-2025-68121", "Go: a TLS session was resumed though the roots had changed meanwhile",
		"connections and sessions are kept apart by scope and reach; a certificate of another authority is refused each time",
		func(h *hall) {
			other := harness.NewCA(h)
			r := harness.StartRecorder(h, harness.RecorderOptions{Name: "foreign", TLS: harness.ServerTLS(other.Issue(h, time.Time{}, "foreign.example.com"))})
			h.At("foreign.example.com", r.Addr)
			for range 3 {
				if got, _ := h.send(ask{target: "http://foreign.example.com/"}); got.StatusCode != 502 || !strings.Contains(got.body, "destination_tls_failed") {
					h.Errorf("%d %s", got.StatusCode, got.body)
				}
			}
			if r.Len() > 0 {
				h.Error("a request was sent")
			}
		},
	},
	{
		"CVE-2026-8932", "curl: a connection was used again under another TLS configuration",
		"a connection belongs to one scope, one reach and one host",
		func(h *hall) {
			twin := harness.StartRecorder(h, harness.RecorderOptions{
				Name: "twin", Answer: harness.Echo,
				TLS: harness.ServerTLS(h.CA.Issue(h, time.Time{}, "one.example.com", "two.example.com")),
			})
			h.At("one.example.com", twin.Addr)
			h.At("two.example.com", twin.Addr)
			for _, host := range []string{"one.example.com", "two.example.com", "one.example.com"} {
				if got, _ := h.send(ask{target: "http://" + host + "/"}); got.StatusCode != 200 {
					h.Errorf("%d %s", got.StatusCode, got.body)
				}
			}
			for _, a := range twin.All() {
				if a.SNI != a.Host {
					h.Errorf("%s came on the connection of %s", a.Host, a.SNI)
				}
			}
		},
	},
	{
		"CVE-2026-5545", "curl: a connection that one user had authenticated carried another user's request",
		"no scheme is spoken that authenticates a connection; each request carries its own credential",
		func(h *hall) {
			for range 2 {
				for _, c := range []string{"docs/crm", "docs/aws", "docs/legacy"} {
					h.arrives(ask{credential: c})
				}
			}
			got := h.destination("HTTP/1.1 401 x\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n", ask{})
			if got.StatusCode != 401 {
				h.Errorf("%d", got.StatusCode)
			}
		},
	},
	{
		"CVE-2011-3389", "TLS 1.0: BEAST read the secrets of a connection block by block",
		"TLS 1.2 at least: an older server gets no request",
		func(h *hall) {
			old := harness.StartRecorder(h, harness.RecorderOptions{Name: "old", TLS: &tls.Config{
				Certificates: []tls.Certificate{h.CA.Issue(h, time.Time{}, "old.example.com")}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
			}})
			h.At("old.example.com", old.Addr)
			if got, _ := h.send(ask{target: "http://old.example.com/"}); got.StatusCode != 502 || old.Len() > 0 {
				h.Errorf("%d, %d requests", got.StatusCode, old.Len())
			}
		},
	},
}

// rebinding flips a name between a destination and a trap.
func rebinding(h *hall) {
	trap := harness.StartRecorder(h, harness.RecorderOptions{Name: "rebound", Addr: netip.AddrPortFrom(harness.Address(), 443)})
	for i := range 20 {
		if i%2 == 0 {
			h.DNS.Set("flip.example.com", netip.MustParseAddr("192.0.2.1"))
		} else {
			h.DNS.Set("flip.example.com", trap.Addr.Addr())
		}
		h.refused(403, ask{target: "http://flip.example.com/", credential: "docs/public"})
	}
	if trap.Len() > 0 {
		h.Error("the trap was reached")
	}
}
