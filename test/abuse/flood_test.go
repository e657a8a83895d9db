package abuse

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

const (
	files    = 800       // that Keybearer may have open, so that what is scarce becomes scarce soon
	siege    = 1000      // connections of each attack
	headroom = 150 << 20 // bytes that a siege may cost
)

// siegeOf is how a flood of connections behaves: what each sends at once, and then again and again; what it reads is nothing.
type siegeOf struct {
	name        string
	first, then string
	n           int // connections; 0: siege
}

// Whatever hundreds of connections do that nobody has to prove anything for, or that one caller opens, those who ask are served, and memory
// stays bounded. A process with few files shows what would otherwise take thousands.
func TestHonestRequestsAreServedUnderSiege(t *testing.T) {
	l := &lab{Lab: harness.StartLab(t, harness.LabOptions{Files: files})}
	l.raw = &destination{name: "raw", host: "raw.example.com"}
	l.raw.all = l.Raw(l.raw.host, harness.Echo).All
	l.Raw("large.example.com", func(*harness.Arrival) []byte {
		return append([]byte("HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n"), bytes.Repeat([]byte{'x'}, 4_000_000)...)
	})
	large := &destination{host: "large.example.com"}
	sieges := []siegeOf{
		{"connections that say nothing", "", "", 0},
		{"heads that never end", "GET / HTTP/1.1\r\nHost: x\r\n", "X: y\r\n", 0},
		{"request lines that never end", "GET /", "x", 0},
		{"heads that grow", "GET / HTTP/1.1\r\nHost: x\r\n", huge(4<<10) + "\r\n", 0},
		{"TLS where there is none", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x00", 0},
		{"HTTP/2 that never asks", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", 0},
		{"bodies of strangers", "POST http://raw.example.com/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", "x", 0},
		{"refusals that nobody reads", strings.Repeat("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 100), "", 0},
		{"answers that nobody reads", ways[0].request(l, large, "large", "GET", "/"), "", 150}, // of a caller, who is known
	}
	for _, s := range sieges {
		t.Run(s.name, func(t *testing.T) {
			before := l.RSS(t)
			conns := l.besiege(t, s)
			defer func() {
				for _, c := range conns {
					_ = c.Close()
				}
			}()
			for i := range 50 { // each on a connection of its own
				w := &ways[i%2]
				l.victim(t, w, l.raw, fmt.Sprintf("%s-%d", strings.ReplaceAll(s.name, " ", "-"), i))
			}
			if grown := l.RSS(t) - before; grown > headroom {
				t.Errorf("%d connections cost %d MiB", len(conns), grown>>20)
			}
		})
	}
	if l.Ended() {
		t.Error("the server has ended")
	}
	t.Attr("cases", strconv.Itoa(len(sieges)))
}

// besiege opens the connections of an attack. Some may be closed by Keybearer meanwhile: that is the point.
func (l *lab) besiege(t *testing.T, s siegeOf) (conns []net.Conn) {
	t.Helper()
	for range cmp.Or(s.n, siege) {
		c, err := net.Dial("tcp", l.Proxy.String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // who does not read us may make us wait
		_, _ = io.WriteString(c, s.first)
	}
	for range 4 {
		for _, c := range conns {
			if s.then != "" {
				_ = c.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = io.WriteString(c, s.then)
			}
		}
	}
	return conns
}
