package museum

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/keybearer/keybearer"
)

// secrets are attacks on what is kept.
var secrets = []exhibit{
	{
		"CVE-2025-55190", "Argo CD: the details of a project, which many may read, held the credentials of its repositories",
		"no answer holds a secret, nor its length or ends",
		func(h *hall) {
			for _, args := range [][]string{{"credential", "show", "docs/crm", "-o", "json"}, {"credential", "list", "-o", "json"}, {"export"}, {"audit", "tail", "-o", "json"}, {"credential", "show", "docs/legacy", "-o", "yaml"}} {
				r := h.CLI(h, "", args...)
				if r.Code != 0 || strings.Contains(r.Stdout+r.Stderr, "canary-") {
					h.Errorf("%v: exit code %d, %s%s", args, r.Code, r.Stdout, r.Stderr)
				}
			}
		},
	},
	{
		"CVE-2025-4166", "Vault: an error told the value that had been refused",
		"no error repeats what it was given",
		func(h *hall) {
			for _, secret := range []string{"canary-\x01control", "Bearer canary-again", " canary-blank ", "canary-\x00", "canary-a\r\nb"} {
				r := h.CLI(h, secret, "credential", "create", "docs/refused", "--kind", "bearer", "--domain", "api.example.com")
				if r.Code == 0 || strings.Contains(r.Stdout+r.Stderr, "canary") {
					h.Errorf("%q: exit code %d, %s%s", secret, r.Code, r.Stdout, r.Stderr)
				}
			}
			if strings.Contains(h.Process.Output(h), "canary") {
				h.Error("the log has it")
			}
		},
	},
	{
		"CVE-2022-35948", "undici: CR LF in the value of a field became fields of the request",
		"a secret that could not be sent as it is, or that a library would trim in silence, is refused when it is written",
		func(h *hall) {
			for _, secret := range []string{" leading", "trailing ", "\ttab", "line\nbreak", "carriage\rreturn", "nul\x00", "del\x7f", "", "****", "••••"} {
				if r := h.CLI(h, secret, "credential", "create", "docs/altered", "--kind", "bearer", "--domain", "api.example.com"); r.Code == 0 {
					h.Errorf("%q was accepted", secret)
				}
			}
		},
	},
	{
		"CVE-2024-53990", "async-http-client: a cookie of one user was sent with the request of another",
		"nothing of an answer is kept; each request has its own fields",
		func(h *hall) {
			h.destination("HTTP/1.1 200 OK\r\nSet-Cookie: session=theirs; Domain=example.com\r\nContent-Length: 0\r\n\r\n", ask{})
			if a := h.arrives(ask{}); len(a.Values("Cookie")) > 0 {
				h.Error("a cookie was kept")
			}
		},
	},
	{
		"CVE-2019-11250", "Kubernetes client-go: requests with their Authorization fields were logged",
		"neither logs nor the audit log hold a secret, a token or a query",
		func(h *hall) {
			h.arrives(ask{target: "http://api.example.com/path?q=canary-query"})
			err := filepath.WalkDir(h.Home, func(path string, d os.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				content, err := os.ReadFile(path)
				for _, s := range append(h.Secrets, "canary-query") {
					if bytes.Contains(content, []byte(s)) {
						h.Errorf("%s holds one", filepath.Base(path))
					}
				}
				return err
			})
			if err != nil || strings.Contains(h.Process.Output(h), "canary-") {
				h.Errorf("%v, or the log holds one", err)
			}
		},
	},
}

// callers are attacks on the question who asks.
var callers = []exhibit{
	{
		"n8n-io/n8n#27090", "n8n: a credential of one project was used from another",
		"a credential is found by scope and name, and the caller must be bound to that scope",
		func(h *hall) {
			h.scope("sales")
			h.Do(h, "another-secret", "credential", "create", "sales/crm", "--kind", "bearer", "--domain", "*.example.com", "--private")
			h.refused(403, ask{credential: "sales/crm"}, ask{credential: "global/crm"}, ask{credential: "nowhere/crm"})
			if r := h.CLI(h, "", "grant", "add", "sales/crm", "app:billing", "use"); r.Code == 0 {
				h.refused(403, ask{credential: "sales/crm"}) // a grant alone does not open another scope
			}
		},
	},
	{
		"CVE-2020-2234", "Jenkins: who could not use a credential could have the server connect with it all the same",
		"every use asks for the grant, and so does the check of one",
		func(h *hall) {
			token := h.Do(h, "", "caller", "create", "stranger", "--scope", "docs")
			for _, c := range []string{"docs/crm", "docs/none"} {
				_, text := h.wire(ask{credential: c})
				if all := h.talk(strings.Replace(text, h.Token, token, 1), 1, "GET"); len(all) != 1 || all[0].StatusCode != 403 || !strings.Contains(all[0].body, string(keybearer.CredentialForbidden)) {
					h.Errorf("%s: %v", c, all)
				}
			}
		},
	},
	{
		"CVE-2024-21494", "caddy-security: X-Forwarded-For told who was asking",
		"only proofs count; two of different callers are refused",
		func(h *hall) {
			other := h.Do(h, "", "caller", "create", "other", "--scope", "docs")
			h.refused(407, ask{lines: "Proxy-Authorization: Bearer " + other + "\r\n"})
			_, text := h.wire(ask{lines: "X-Forwarded-User: billing\r\nX-Forwarded-For: 127.0.0.1\r\nX-Remote-User: billing\r\n"})
			if all := h.talk(strings.Replace(text, "Proxy-Authorization: Bearer "+h.Token+"\r\n", "", 1), 1, "GET"); len(all) != 1 || all[0].StatusCode != 407 {
				h.Errorf("%v", all)
			}
		},
	},
	{
		"CVE-2018-5702", "Transmission: a web page whose name was rebound to 127.0.0.1 gave orders to the server there",
		"requests from web pages are refused, and so is an unlisted name in Host",
		func(h *hall) {
			h.refused(400, ask{lines: "Origin: https://evil.example.net\r\n"}, ask{lines: "Sec-Fetch-Site: cross-site\r\n"}, ask{lines: "Sec-Fetch-Dest: empty\r\n"})
			for _, host := range []string{"evil.example.net", "evil.example.net:9080", "localhost.evil.example.net"} {
				all := h.talk("GET / HTTP/1.1\r\nHost: "+host+"\r\nAuthorization: Bearer "+h.Token+"\r\nKeybearer-Credential: docs/crm\r\nKeybearer-Destination: https://api.example.com\r\n\r\n", 1, "GET")
				if len(all) != 1 || all[0].StatusCode != 400 {
					h.Errorf("%s: %v", host, all)
				}
			}
		},
	},
}

func (h *hall) scope(name string) {
	h.Do(h, "", "scope", "create", name)
	h.Do(h, "", "scope", "generate-key", name)
}

// floods are attacks by number and by patience.
var floods = []exhibit{
	{
		"CVE-2007-6750", "Slowloris: heads that never end held every connection of a server",
		"ten seconds for a head, and the longest waiting leaves when there are too many",
		func(h *hall) {
			for range 300 {
				c, err := net.Dial("tcp", h.Proxy.String())
				if err != nil {
					h.Fatal(err)
				}
				defer c.Close()
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nX-Slow: ")
			}
			for range 20 {
				h.arrives(ask{})
			}
		},
	},
	{
		"CVE-2023-44487", "HTTP/2 rapid reset: requests that were taken back at once cost the server all the same",
		"no more run at a time than the server admits; others are served meanwhile",
		func(h *hall) {
			h.h2(func(f *http2.Framer, head func(stream uint32, end bool) error) error {
				for i := range uint32(2000) {
					if err := head(2*i+1, true); err != nil {
						return err
					}
					if err := f.WriteRSTStream(2*i+1, http2.ErrCodeCancel); err != nil {
						return err
					}
				}
				return nil
			})
		},
	},
	{
		"CVE-2023-45288", "HTTP/2 CONTINUATION: a head without end was read and decoded for ever",
		"the connection is closed",
		func(h *hall) {
			err := h.h2(func(f *http2.Framer, head func(stream uint32, end bool) error) error {
				if err := head(1, false); err != nil {
					return err
				}
				junk := bytes.Repeat([]byte{0x40, 1, 'x', 1, 'y'}, 3000)
				for range 5000 {
					if err := f.WriteContinuation(1, false, junk); err != nil {
						return err
					}
				}
				return nil
			})
			if err == nil {
				h.Error("75 MB of head were taken")
			}
		},
	},
	{
		"CVE-2019-9512", "HTTP/2 ping flood: answers that nobody reads piled up",
		"the connection is closed",
		func(h *hall) {
			_ = h.h2(func(f *http2.Framer, _ func(uint32, bool) error) error {
				for range 50_000 {
					if err := f.WritePing(false, [8]byte{1}); err != nil {
						return err
					}
				}
				return nil
			})
		},
	},
	{
		"CVE-2016-8740", "HTTP/2: fields without bound were kept in memory",
		"16 KiB of head, in either version of HTTP",
		func(h *hall) {
			h.refused(431, ask{lines: "X-Huge: " + strings.Repeat("x", 64<<10) + "\r\n"}, ask{lines: strings.Repeat("X-Many: 1234567\r\n", 3000)})
		},
	},
}

// h2 speaks HTTP/2 without TLS to the proxy until say ends or the connection does, sees that others are served, and returns the error
// of saying.
func (h *hall) h2(say func(f *http2.Framer, head func(stream uint32, end bool) error) error) error {
	h.Helper()
	conn, err := net.Dial("tcp", h.Proxy.String())
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	before := h.RSS(h)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		h.Fatal(err)
	}
	f := http2.NewFramer(conn, conn)
	if err := f.WriteSettings(); err != nil {
		h.Fatal(err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "localhost"}} {
		if err := enc.WriteField(field); err != nil {
			h.Fatal(err)
		}
	}
	said := say(f, func(stream uint32, end bool) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: end})
	})
	h.arrives(ask{})
	if grown := h.RSS(h) - before; grown > 200<<20 {
		h.Errorf("it cost %d MiB", grown>>20)
	}
	return said
}
