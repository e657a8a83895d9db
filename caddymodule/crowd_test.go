package caddymodule

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// closing is a connection that tells when it was closed.
type closing struct {
	net.Conn
	closed chan struct{}
}

func (c *closing) Close() error { close(c.closed); return nil }

// Whatever connections come, ask and leave: those on which a request is served stay, no more than the limit wait, and who is sent away
// has waited longest.
func TestTheLongestWaitingLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &crowd{limit: rapid.IntRange(1, 5).Draw(t, "limit"), all: map[net.Conn]*visitor{}}
		var waiting, busy []*visitor // the model, in the order of their waiting
		check := func() {
			for len(waiting) > c.limit {
				first := waiting[0]
				<-first.conn.(*closing).closed
				waiting = waiting[1:]
				c.leave(first.conn)
			}
			if n := c.waiting.Len(); n != len(waiting) {
				t.Fatalf("%d wait, not %d", n, len(waiting))
			}
			for _, g := range append(append([]*visitor{}, waiting...), busy...) {
				select {
				case <-g.conn.(*closing).closed:
					t.Fatal("a visitor was sent away who should have stayed")
				default:
				}
			}
			if len(c.all) != len(waiting)+len(busy) {
				t.Fatalf("%d visitors, not %d", len(c.all), len(waiting)+len(busy))
			}
		}
		take := func(from *[]*visitor) *visitor {
			i := rapid.IntRange(0, len(*from)-1).Draw(t, "visitor")
			g := (*from)[i]
			*from = append((*from)[:i:i], (*from)[i+1:]...)
			return g
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"join": func(*rapid.T) {
				waiting = append(waiting, c.join(&closing{closed: make(chan struct{})}))
			},
			"begin": func(*rapid.T) {
				if len(waiting) > 0 {
					g := take(&waiting)
					g.begin()
					busy = append(busy, g)
				}
			},
			"end": func(*rapid.T) {
				if len(busy) > 0 {
					g := take(&busy)
					g.end()
					waiting = append(waiting, g)
				}
			},
			"leave": func(*rapid.T) {
				if len(waiting) > 0 {
					c.leave(take(&waiting).conn)
				}
			},
			"leave while served": func(*rapid.T) {
				if len(busy) > 0 {
					g := take(&busy)
					c.leave(g.conn)
					g.end()
				}
			},
		})
	})
}

// The server closes who waits too long, never who is being served; its own limit for heads would take an hour. Each handler of a site has the crowd
// watch its server: a connection is one visitor all the same.
func TestTheCrowdIsThatOfTheServer(t *testing.T) {
	for name, site := range map[string]string{
		"one handler":  site,
		"two handlers": strings.Replace(site, "keybearer", "keybearer /first\nkeybearer", 1),
	} {
		t.Run(name, func(t *testing.T) { theCrowdIsThatOf(t, site) })
	}
}

func theCrowdIsThatOf(t *testing.T, site string) {
	limit := visitors.limit
	visitors.limit = 2
	t.Cleanup(func() { visitors.limit = limit })
	s := newStand(t)
	s.mustLoad(basics+"\n}\n servers {\n timeouts {\n read_header 1h\n}", site)
	s.furnish()
	dial := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("unix", filepath.Join(s.dir, "proxy.sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		return conn, bufio.NewReader(conn)
	}
	serving, answer := dial()
	r := s.request("POST", "hello")
	r.Header.Set("Expect", "100-continue")
	var head bytes.Buffer
	if err := r.WriteProxy(&head); err != nil {
		t.Fatal(err)
	}
	_, _ = serving.Write(bytes.TrimSuffix(head.Bytes(), []byte("hello")))
	if line, err := answer.ReadString('\n'); !strings.Contains(line, "100") {
		t.Fatalf("%q, %v", line, err)
	}
	first, r1 := dial()
	_, _ = io.WriteString(first, "GET / HTTP/1.1\r\n")
	for range 2 {
		dial()
	}
	if b, err := r1.ReadByte(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("who waited longest got %q, %v", b, err)
	}
	s.works(s.proxy())
	_, _ = io.WriteString(serving, "hello")
	_, _ = answer.ReadString('\n') // the end of the 100
	if res, err := http.ReadResponse(answer, nil); err != nil || res.StatusCode != 200 {
		t.Errorf("who was being served got %v, %v", res, err)
	}
}

// Each handler of a server has it watched; a connection comes once nevertheless.
func TestAConnectionJoinsOnce(t *testing.T) {
	c := &crowd{limit: 1, all: map[net.Conn]*visitor{}}
	conn, _ := net.Pipe()
	if v := c.join(conn); c.join(conn) != v || c.waiting.Len() != 1 {
		t.Errorf("%d wait", c.waiting.Len())
	}
	c.leave(conn)
	if c.waiting.Len() != 0 {
		t.Error("it has left, and waits")
	}
}

// Whoever waits at the admin handler takes files from the same process, and is one of the crowd.
func TestWhoWaitsAtTheAdminHandlerIsOfTheCrowdToo(t *testing.T) {
	limit := visitors.limit
	visitors.limit = 2
	t.Cleanup(func() { visitors.limit = limit })
	s := newStand(t)
	s.mustLoad(basics+"\n}\n servers {\n timeouts {\n read_header 1h\n}", site+"http:// {\n bind unix/{env.STAND}/api.sock\n keybearer_admin\n}\n")
	var waiting [3]net.Conn
	for i := range waiting {
		conn, err := net.Dial("unix", filepath.Join(s.dir, "api.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n")
		waiting[i] = conn
	}
	_ = waiting[0].SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := waiting[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("who waited longest got %d bytes, %v", n, err)
	}
}
