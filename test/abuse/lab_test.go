// Package abuse attacks the real keybearer binary on the wire, from both sides, with bytes that no client library would send, and
// with real servers as destinations that may read them in another way: nginx, HAProxy, Apache, Node and Go.
//
// What must hold whatever the attack is said once, in [conversation.judge]; what becomes of each attack stands in its table.
package abuse

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// destination is a server that tells in its answers how it saw the request, and keeps what arrived.
type destination struct {
	name, host string
	route      netip.AddrPort // listener in route mode that leads here
	all        func() []*harness.Arrival
	seen       int // arrivals that were judged already
}

// fresh returns what has arrived since the last call.
func (d *destination) fresh() []*harness.Arrival {
	all := d.all()
	fresh := all[d.seen:]
	d.seen = len(all)
	return fresh
}

type lab struct {
	*harness.Lab
	destinations []*destination
	raw          *destination // on bare bytes
}

// newLab starts Keybearer between a client and the five servers.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := new(lab)
	var sites strings.Builder
	for _, server := range slices.Concat(harness.Fronts, []string{"node", "go", "raw"}) {
		d := &destination{name: server, host: server + ".example.com", route: netip.AddrPortFrom(harness.Address(), 9082)}
		if l.destinations = append(l.destinations, d); server == "raw" {
			l.raw, l.destinations = d, l.destinations[:len(l.destinations)-1]
		}
		fmt.Fprintf(&sites, "http://:%d {\n\tbind %s\n\tkeybearer {\n\t\tcaller app:billing\n\t\tshared_host_ok\n\t\tcredential docs/crm\n\t\tdestination https://%s\n\t}\n}\n",
			d.route.Port(), d.route.Addr(), d.host)
	}
	l.Lab = harness.StartLab(t, harness.LabOptions{Sites: sites.String()})
	l.raw.all = l.Raw(l.raw.host, harness.Echo).All
	for _, d := range l.destinations {
		switch d.name {
		case "node":
			n := harness.StartNode(t, l.CA, d.host)
			l.At(d.host, n.Addr)
			d.all = func() []*harness.Arrival { return n.All(t) }
		case "go":
			e := new(echo)
			s := harness.StartServer(t, harness.ServerOptions{
				Name: d.host, TLS: harness.ServerTLS(l.CA.Issue(t, time.Time{}, d.host)), Handler: e, Forget: true,
			})
			l.At(d.host, s.Addr)
			d.all = e.all
		default:
			f := harness.StartFront(t, l.CA, d.name, d.host, harness.Echo)
			l.At(d.host, f.Addr)
			d.all = f.All
		}
	}
	return l
}

// echo is [harness.Echo] on net/http. Like the other servers it counts what arrived whole.
type echo struct {
	mu   sync.Mutex
	list []*harness.Arrival
}

func (e *echo) all() []*harness.Arrival {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &harness.Arrival{Destination: "go", Proto: r.Proto, Method: r.Method, Target: r.RequestURI, Host: r.Host}
	for name, values := range r.Header {
		for _, v := range values {
			a.Header = append(a.Header, harness.Field{Name: name, Value: v})
		}
	}
	var err error
	if a.Body, err = io.ReadAll(r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	for name := range r.Trailer {
		a.Header = append(a.Header, harness.Field{Name: "Trailer", Value: name})
	}
	e.mu.Lock()
	e.list = append(e.list, a)
	e.mu.Unlock()
	_, body, _ := bytes.Cut(harness.Echo(a), []byte("\r\n\r\n"))
	w.Header().Set(harness.IDHeader, a.ID())
	_, _ = w.Write(body)
}

// way is how a client reaches a destination through Keybearer.
type way struct {
	name       string
	credential string
	addr       func(l *lab, d *destination) string
	connect    bool // the requests go through a tunnel
	// start returns a request line and the fields without which nothing is sent; its own fields and the empty line are to follow.
	start func(l *lab, d *destination, method, path string) string
}

func proxyAddr(l *lab, _ *destination) string { return l.Proxy.String() }

var ways = []way{
	{
		name: "proxy", credential: "docs/crm", addr: proxyAddr,
		start: func(l *lab, d *destination, method, path string) string {
			return fmt.Sprintf("%s http://%s%s HTTP/1.1\r\nHost: %[2]s\r\nProxy-Authorization: Bearer %[4]s\r\nKeybearer-Credential: docs/crm\r\n", method, d.host, path, l.Token)
		},
	},
	{
		name: "gateway", credential: "docs/legacy", addr: proxyAddr,
		start: func(l *lab, d *destination, method, path string) string {
			return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nKeybearer-Credential: docs/legacy\r\nKeybearer-Destination: https://%s\r\n", method, path, l.Token, d.host)
		},
	},
	{
		name: "route", credential: "docs/crm", addr: func(_ *lab, d *destination) string { return d.route.String() },
		start: func(_ *lab, _ *destination, method, path string) string {
			return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path)
		},
	},
	{
		name: "tunnel", credential: "docs/aws", addr: proxyAddr, connect: true,
		start: func(_ *lab, d *destination, method, path string) string {
			return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nKeybearer-Credential: docs/aws\r\n", method, path, d.host)
		},
	},
}

// request returns the bytes of a whole head with these further lines.
func (w *way) request(l *lab, d *destination, id, method, path string, lines ...string) string {
	return w.start(l, d, method, path) + strings.Join(append(lines, harness.IDHeader+": "+id), "\r\n") + "\r\n\r\n"
}

// conversation is one connection of a client, and what came of it.
type conversation struct {
	way  *way
	d    *destination
	conn net.Conn
	in   *bufio.Reader

	answers []*answered
	closed  bool // by Keybearer, after the answers
}

type answered struct {
	*http.Response
	body string
}

// refused reports whether the answer is not the destination's.
func (a *answered) refused() bool {
	return !strings.Contains(a.Header.Get("Proxy-Status"), "received-status")
}

func (l *lab) open(t *testing.T, w *way, d *destination) *conversation {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr(l, d))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	c := &conversation{way: w, d: d, conn: conn, in: bufio.NewReader(conn)}
	if w.connect {
		fmt.Fprintf(conn, "CONNECT %s:80 HTTP/1.1\r\nHost: %[1]s:80\r\nProxy-Authorization: Bearer %s\r\n\r\n", d.host, l.Token)
		resp, err := http.ReadResponse(c.in, &http.Request{Method: "CONNECT"})
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("CONNECT: %v, %v", resp, err)
		}
	}
	return c
}

// read reads one answer to a request with the method. It returns false when there is none, because the connection was closed.
func (c *conversation) read(method string) (bool, error) {
	for {
		resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
		if err != nil {
			if c.closed = ended(err); c.closed {
				return false, nil
			}
			return false, err
		}
		if resp.StatusCode == 100 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil && !ended(err) {
			return false, err
		}
		c.answers = append(c.answers, &answered{resp, string(body)})
		return true, nil
	}
}

// ended reports whether a connection was closed, rather than silent. Who closes while bytes are still coming in resets it.
func ended(err error) bool {
	return err != nil && (err == io.EOF || strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "reset by peer") || strings.Contains(err.Error(), "broken pipe"))
}
