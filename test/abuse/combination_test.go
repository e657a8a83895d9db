package abuse

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// combinations are so many random requests; a fixed seed makes them the same each time.
const combinations, seed = 5000, 1

// Names that the injected field goes by somewhere: its cases, and what CGI, WSGI, Rack and PHP write alike.
var aliases = []string{
	"Authorization", "authorization", "AUTHORIZATION", "aUTHORIZATION", "X-Api-Key", "x-api-key", "X-API-KEY", "X_Api_Key", "x_api_key", "X-Api_Key", "X_Api-Key",
	"X.Api.Key", "X-Api.Key", "X_Api.Key",
}

// hops are fields for the next hop alone, and such as speak for a proxy or for us.
var hops = []string{
	"Keep-Alive: timeout=5, max=100", "Proxy-Connection: keep-alive, X-Api-Key", "TE: trailers", "TE: gzip, trailers", "Trailer: Authorization", "Trailer: X-Api-Key",
	"Upgrade: h2c", "Upgrade: websocket", "HTTP2-Settings: AAMAAABk", "Proxy-Authenticate: Basic", "Proxy-Status: keybearer", "Via: 1.1 x", "Forwarded: for=x",
	"X-Forwarded-For: x", "X-Forwarded-Proto: http", "X_Forwarded_For: x", "Max-Forwards: 1", "Proxy-Features: x", "Proxy_Authorization: x",
	"Keybearer_Credential: docs/other", "Keybearer.Destination: https://evil.example.net", "Content_Length: 7", "Transfer_Encoding: chunked",
}

// nominees are what Connection may name: what would strip the credential, the tags or the framing, were it done last.
var nominees = []string{
	"close", "keep-alive", "Authorization", "authorization", "X-Api-Key", "x-api-key", "X_Api_Key", "Keybearer-Credential", "Keybearer-Destination", "Keybearer-Request-Id",
	"Proxy-Authorization", "Host", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "X-Test-Other", "", " ", "*",
}

var trailers = []string{
	"Authorization: Bearer trailed", "X-Api-Key: trailed", "x_api_key: trailed", "Keybearer-Credential: docs/other", "Host: evil.example.net", "Content-Length: 9",
	"Transfer-Encoding: chunked", "X-Test-Trailer: x", "Connection: Authorization", "Proxy-Authorization: Basic eA==",
}

// some returns a few of the list, repeats included, up to n.
func some(r *rand.Rand, list []string, n int) (picked []string) {
	for range r.IntN(n + 1) {
		picked = append(picked, list[r.IntN(len(list))])
	}
	return picked
}

// combination makes the i-th random request. ends says that nothing behind it is served.
func (l *lab) combination(i int, d *destination) (w *way, id, wire string, ends bool) {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	w, id = &ways[r.IntN(len(ways))], fmt.Sprintf("combination-%d", i)
	lines := some(r, hops, 5)
	for n, name := range some(r, aliases, 6) {
		lines = append(lines, fmt.Sprintf("%s: mine-%d", name, n))
	}
	named := false
	for range r.IntN(3) {
		names := some(r, nominees, 6)
		named = named || slices.Contains(names, "X-Test-Other")
		ends = ends || slices.Contains(names, "close")
		lines = append(lines, "Connection: "+strings.Join(names, []string{",", ", ", " ,\t"}[r.IntN(3)]))
	}
	if named {
		lines = append(lines, "X-Test-Other: named", "x-test-other: named too")
	} else {
		lines = append(lines, "X-Test-Other: passes")
	}
	method, body := "GET", ""
	switch r.IntN(3) {
	case 1:
		method, body = "POST", "abc"
		lines = append(lines, "Content-Length: 3")
	case 2:
		method, ends = "POST", true
		body = "3\r\nabc\r\n0\r\n" + strings.Join(append(some(r, trailers, 4), ""), "\r\n") + "\r\n"
		lines = append(lines, "Transfer-Encoding: chunked")
	}
	r.Shuffle(len(lines), func(a, b int) { lines[a], lines[b] = lines[b], lines[a] })
	return w, id, w.request(l, d, id, method, "/combination", lines...) + body, ends
}

// Of hop-by-hop fields, aliases, duplicates and trailers in random combinations, whatever they are, exactly one credential arrives.
func TestExactlyOneCredentialArrives(t *testing.T) {
	l := newLab(t)
	d := l.raw
	sent, wires := map[string]*way{}, map[string]string{}
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var c *conversation // kept until a request ends it, per way
			for !t.Failed() {
				i := int(next.Add(1)) - 1
				if i >= combinations {
					return
				}
				w, id, wire, ends := l.combination(i, d)
				if c == nil || c.way != w {
					if c != nil {
						c.conn.Close()
					}
					c = l.open(t, w, d)
				}
				c.answers = nil
				if _, err := io.WriteString(c.conn, wire); err != nil {
					t.Errorf("%s: %v", id, err)
				}
				ok, err := c.read("GET")
				if !ok || err != nil || c.answers[0].StatusCode != 200 || c.answers[0].Header.Get(harness.IDHeader) != id {
					t.Errorf("%v, %v: %v to\n%s", ok, err, c.statuses(), wire)
				}
				mu.Lock()
				sent[id], wires[id] = w, wire
				mu.Unlock()
				if ends {
					c.conn.Close()
					c = nil
				}
			}
		})
	}
	wg.Wait()
	arrived := d.all()
	if len(arrived) != combinations {
		t.Errorf("%d of %d arrived", len(arrived), combinations)
	}
	for _, a := range arrived {
		w := sent[a.ID()]
		if w == nil {
			t.Errorf("%s arrived twice, or was never sent", a.ID())
			continue
		}
		delete(sent, a.ID())
		if err := l.Misdeed(a, w.credential); err != nil {
			t.Errorf("%s, %s: %v\n%s", w.name, a.ID(), err, a.Head)
		}
		if other := strings.Join(a.Values("X-Test-Other"), ", "); other != "passes" && other != "" || other == "" && !strings.Contains(wires[a.ID()], "named") {
			t.Errorf("%s: X-Test-Other is %q to\n%s", a.ID(), other, wires[a.ID()])
		}
		if a.Method == "POST" && string(a.Body) != "abc" {
			t.Errorf("%s: the body is %q", a.ID(), a.Body)
		}
	}
	t.Attr("cases", strconv.Itoa(combinations))
}
