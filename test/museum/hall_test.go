package museum

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
	"github.com/keybearer/keybearer/test/harness"
)

// hall is the real binary between a client and destinations that do what an exhibit says.
type hall struct {
	*harness.Lab
	*testing.T
	shared *visit
}

// visit is what all exhibits share.
type visit struct {
	api, trap *harness.Recorder // a destination that echoes, and one that nothing may reach
	n         int
}

func openHall(t *testing.T) *hall {
	l := harness.StartLab(t, harness.LabOptions{})
	l.Do(t, "a-public-secret", "credential", "create", "docs/public", "--kind", "bearer", "--domain", "**.example.com")
	l.Do(t, "", "grant", "add", "docs/public", "app:billing", "use")
	h := &hall{Lab: l, T: t, shared: new(visit)}
	h.shared.api = l.Raw("api.example.com", harness.Echo)
	h.shared.trap = harness.StartRecorder(t, harness.RecorderOptions{Name: "trap"})
	l.At("evil.example.net", h.shared.trap.Addr)
	return h
}

func (h *hall) with(t *testing.T) *hall { return &hall{h.Lab, t, h.shared} }

// id returns an id that no other request has.
func (h *hall) id() string {
	h.shared.n++
	return fmt.Sprintf("exhibit-%d", h.shared.n)
}

// ask describes a request in proxy mode.
type ask struct {
	method, target, host string // GET http://api.example.com/, and its host
	credential           string // docs/crm
	lines                string // further lines, each with its end
	body                 string
	version              string // HTTP/1.1
}

func (h *hall) wire(a ask) (id, text string) {
	id = h.id()
	target := cmp.Or(a.target, "http://api.example.com/")
	return id, fmt.Sprintf("%s %s %s\r\nHost: %s\r\nProxy-Authorization: Bearer %s\r\nKeybearer-Credential: %s\r\n%s: %s\r\n%s\r\n%s", cmp.Or(a.method, "GET"), target,
		cmp.Or(a.version, "HTTP/1.1"), cmp.Or(a.host, "api.example.com"), h.Token, cmp.Or(a.credential, "docs/crm"), harness.IDHeader, id, a.lines, a.body)
}

// answer is what came back, until the connection was closed or as many answers were there as were waited for.
type answer struct {
	*http.Response
	body, raw string
	err       error // of reading the body
}

// talk sends bytes on a connection of its own and reads so many answers at most.
func (h *hall) talk(text string, answers int, method string) (all []answer) {
	h.Helper()
	conn, err := net.Dial("tcp", h.Proxy.String())
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	go func() { _, _ = io.WriteString(conn, text) }()
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &raw))
	for range answers {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			break
		}
		if resp.StatusCode == 100 {
			if resp, err = http.ReadResponse(in, &http.Request{Method: method}); err != nil {
				break
			}
		}
		body, err := io.ReadAll(resp.Body)
		all = append(all, answer{resp, string(body), raw.String(), err})
	}
	return all
}

// send sends one request and returns its answer and what arrived at the destination api.
func (h *hall) send(a ask) (answer, []*harness.Arrival) {
	h.Helper()
	id, text := h.wire(a)
	all := h.talk(text, 1, a.method)
	if len(all) == 0 {
		all = []answer{{Response: &http.Response{Header: http.Header{}}}}
	}
	return all[0], h.shared.api.With(id)
}

// arrives sends a request that must be served and arrive once, rightly.
func (h *hall) arrives(a ask) *harness.Arrival {
	h.Helper()
	got, at := h.send(a)
	if got.StatusCode != 200 || len(at) != 1 {
		h.Fatalf("answered %d %s, arrived %d times", got.StatusCode, got.body, len(at))
	}
	if err := h.Misdeed(at[0], cmp.Or(a.credential, "docs/crm")); err != nil {
		h.Errorf("%v\n%s", err, at[0].Head)
	}
	return at[0]
}

// refused sends requests that must be refused with the status and arrive nowhere.
func (h *hall) refused(status int, all ...ask) {
	h.Helper()
	before := h.shared.trap.Len()
	for _, a := range all {
		got, at := h.send(a)
		if got.StatusCode != status || len(at) != 0 || h.shared.trap.Len() != before || strings.Contains(got.Header.Get("Proxy-Status"), "received-status") {
			h.Errorf("%s %s %s: %d, %s; arrived %d times", a.target, a.host, a.lines, got.StatusCode, got.body, len(at))
		}
	}
}

// targets are request-targets that must be refused with the status.
func (h *hall) targets(status int, all ...string) {
	h.Helper()
	for _, t := range all {
		h.refused(status, ask{target: t})
	}
}

// smuggles sends a request behind which another one hides, and must not find that one served or arrived.
func (h *hall) smuggles(lines, body string) answer {
	h.Helper()
	hidden, inner := h.wire(ask{target: "http://api.example.com/smuggled"})
	_, text := h.wire(ask{method: "POST", lines: lines, body: strings.ReplaceAll(body, "{smuggled}", inner)})
	_, last := h.wire(ask{lines: "Connection: close\r\n"})
	all := h.talk(text+last, 4, "POST")
	if len(h.shared.api.With(hidden)) > 0 {
		h.Error("the smuggled request arrived")
	}
	for _, a := range all {
		if a.Response.Header.Get(harness.IDHeader) == hidden {
			h.Error("the smuggled request was answered")
		}
	}
	if len(all) == 0 {
		return answer{Response: &http.Response{Header: http.Header{}}}
	}
	return all[0]
}

// destination starts one that answers with bytes, in which {secret} is what it was sent, and returns what the app gets.
func (h *hall) destination(text string, a ask) answer {
	h.Helper()
	h.shared.n++
	host := fmt.Sprintf("d%d.example.com", h.shared.n)
	r := h.Raw(host, func(a *harness.Arrival) []byte {
		secret := strings.TrimPrefix(strings.Join(a.Values("Authorization"), ""), "Bearer ")
		return []byte(strings.ReplaceAll(text, "{secret}", secret))
	})
	r.CloseAfterAnswer()
	a.target = "http://" + host + "/"
	got, _ := h.send(a)
	if strings.Contains(strings.ToLower(got.raw), "canary-") {
		h.Errorf("the secret came back: %q", got.raw)
	}
	return got
}

// specials are addresses that a name must not lead to.
func (h *hall) specials(all ...string) {
	h.Helper()
	for _, a := range all {
		h.shared.n++
		host := fmt.Sprintf("s%d.example.com", h.shared.n)
		h.DNS.Set(host, netip.MustParseAddr(a))
		got, _ := h.send(ask{target: "http://" + host + "/", credential: "docs/public"})
		if got.StatusCode != 403 || !strings.Contains(got.body, string(keybearer.AddressDenied)) {
			h.Errorf("%s: %d %s", a, got.StatusCode, got.body)
		}
	}
}

// noRule are texts that must not become rules.
func (h *hall) noRule(all ...string) {
	h.Helper()
	for _, text := range all {
		if r, err := policy.ParseRule(text, nil, false); keybearer.CodeOf(err) != keybearer.RuleInvalid {
			h.Errorf("%q is the rule %v, %v", text, r, err)
		}
	}
}

// outside are URLs that a rule must not admit.
func (h *hall) outside(rule string, all ...string) {
	h.Helper()
	r, err := policy.ParseRule(rule, nil, false)
	if err != nil {
		h.Fatal(err)
	}
	terms := &keybearer.Terms{Kind: keybearer.Bearer, Rules: []keybearer.Rule{r}}
	for _, u := range all {
		target, err := policy.ParseAbsolute(u)
		if err != nil {
			continue // refused before any rule
		}
		if a := policy.Admit(terms, &target, "GET", policy.Public); a.Allowed() {
			h.Errorf("%s admits %s", rule, u)
		}
	}
}

// redirects answers with redirects to a second destination, which must get nothing.
func (h *hall) redirects(credential string, statuses []int, locations ...string) {
	h.Helper()
	second := h.Raw("second.example.com", harness.Echo)
	for _, status := range statuses {
		for _, location := range append(locations, "https://second.example.com/", "http://second.example.com/", "//second.example.com/", "https://evil.example.net/") {
			for _, method := range []string{"GET", "POST", "HEAD"} {
				got := h.destination(fmt.Sprintf("HTTP/1.1 %d x\r\nLocation: %s\r\nRefresh: 0; url=%[2]s\r\nContent-Length: 0\r\n\r\n", status, location),
					ask{credential: credential, method: method, lines: map[bool]string{true: "Content-Length: 0\r\n"}[method == "POST"]})
				if got.StatusCode != status || got.Header.Get("Location") != location {
					h.Errorf("%d to %s came back as %d to %s", status, location, got.StatusCode, got.Header.Get("Location"))
				}
			}
		}
	}
	if n := second.Len() + h.shared.trap.Len(); n > 0 {
		h.Errorf("%d redirects were followed", n)
	}
}
