package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// A tunnel is a connection of its own that nobody sends away: a caller may have as many open as requests under way, beside these, until each ends.
func TestACallerMayHaveAsManyTunnelsAsRequests(t *testing.T) {
	l := limitedLab(t, keybearer.Limits{Concurrency: 2}, -1)
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	host := strings.TrimPrefix(l.destination.URL, "https://")
	connect := "CONNECT " + host + " HTTP/1.1\r\nHost: " + host + "\r\nProxy-Authorization: Bearer " + l.token + "\r\n\r\n"
	var open []*tunnel
	for range 2 {
		in := openTunnel(t, addr, connect)
		if resp, text := in.roundTrip("GET / HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\n\r\n"); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode, text)
		}
		open = append(open, in)
	}
	try := func() int {
		conn := must(net.Dial("tcp", addr))
		defer conn.Close()
		_, _ = io.WriteString(conn, connect)
		resp := must(http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "CONNECT"}))
		return resp.StatusCode
	}
	if status := try(); status != 429 {
		t.Fatalf("a third one: %d", status)
	}
	open[0].conn.Close()
	for deadline := time.Now().Add(20 * time.Second); try() != 200; { // the server has still to notice
		if time.Now().After(deadline) {
			t.Fatal("the place of a tunnel that has ended is not free")
		}
	}
}
