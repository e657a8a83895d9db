package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

// byteEngine is a second wire engine under the same gate: HTTP/1.1 by hand, one request a connection, bodies by
// Content-Length. It uses nothing of net/http and stands for any faster engine: were the gate to need more than a Call and
// a Pass, it could not be written.
type byteEngine struct {
	proxy *Proxy
	route *Route
}

func (l *lab) serveBytes(r Route) string {
	l.t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	l.t.Cleanup(func() { listener.Close() })
	e := &byteEngine{l.proxy, &r}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				e.serve(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func (e *byteEngine) serve(conn net.Conn) {
	ctx := context.Background()
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		return
	}
	parts := strings.Split(strings.TrimSuffix(line, "\r\n"), " ")
	call := &Call{Method: parts[0], Target: parts[1], Route: e.route}
	length := 0
	for {
		line, err = r.ReadString('\n')
		if err != nil {
			return
		}
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r\n"), ":")
		if !ok {
			break
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "host":
			call.Host = value
			continue
		case "content-length":
			length, _ = strconv.Atoi(value)
		}
		call.Fields = append(call.Fields, Field{name, value})
	}
	if call.Method == "CONNECT" {
		_, id, err := e.proxy.gate.AdmitTunnel(ctx, call)
		if err != nil {
			e.refuse(conn, call, id, err)
		}
		return
	}
	p, kerr := e.proxy.gate.Admit(ctx, call)
	if kerr != nil {
		e.refuse(conn, call, p.ID(), kerr)
		return
	}
	result := Result{BytesOut: int64(length)}
	if kerr = e.forward(ctx, conn, io.LimitReader(r, int64(length)), call, p, &result); kerr != nil {
		result.Err = kerr
		e.refuse(conn, call, p.ID(), kerr)
	}
	p.Finish(result)
}

func (e *byteEngine) refuse(w io.Writer, call *Call, id string, err *keybearer.Error) {
	a := Refuse(call, id, err)
	fmt.Fprintf(w, "HTTP/1.1 %d Refused\r\n", a.Status)
	for _, f := range a.Fields {
		fmt.Fprintf(w, "%s: %s\r\n", f.Name, f.Value)
	}
	fmt.Fprintf(w, "Connection: close\r\n\r\n%s", a.Body)
}

func (e *byteEngine) forward(ctx context.Context, w io.Writer, body io.Reader, call *Call, p *Pass, result *Result) *keybearer.Error {
	conn, err := e.proxy.transports.dialer.Connect(ctx, p.Addresses, p.Destination.Port)
	if err != nil {
		return keybearer.AsError(err)
	}
	defer conn.Close()
	secure := tls.Client(conn, &tls.Config{ServerName: p.Destination.Host, RootCAs: e.proxy.transports.roots})
	if err := secure.HandshakeContext(ctx); err != nil {
		return sendError(ctx, err)
	}
	out := bufio.NewWriter(secure)
	fmt.Fprintf(out, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", call.Method, p.Target, keybearer.JoinHost(p.Destination.Scheme, p.Destination.Host, p.Destination.Port))
	for _, f := range call.Fields {
		if v, ok := p.Keep(f.Name, f.Value); ok {
			fmt.Fprintf(out, "%s: %s\r\n", f.Name, v)
		}
	}
	fmt.Fprintf(out, "Content-Length: %d\r\n%s: %s\r\n\r\n", result.BytesOut, p.Field.Name, p.Field.Value.Reveal())
	_, _ = io.Copy(out, body)
	if err := out.Flush(); err != nil {
		return sendError(ctx, err)
	}
	result.BytesIn, err = io.Copy(w, secure) // the answer's bytes as they are: enough for a test
	result.Status = 200
	if err != nil {
		return sendError(ctx, err)
	}
	return nil
}

func TestASecondEngineForwardsUnderTheSameGate(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serveBytes(Route{})
	host := strings.TrimPrefix(l.destination.URL, "https://")
	resp, body := raw(t, addr, "POST http://"+host+"/p?q HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: Authorization\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\nhi")
	if resp.StatusCode != 200 || body != "ok" {
		t.Fatalf("got %d %s", resp.StatusCode, body)
	}
	r := <-l.seen
	if got := r.Header["Authorization"]; r.RequestURI != "/p?q" || len(got) != 1 || got[0] != "Bearer s3cret-token" || <-l.bodies != "hi" {
		t.Fatalf("arrived %s with %q", r.RequestURI, got)
	}
	if e := l.events(1); len(e) != 2 || e[1].DestinationStatus != 200 {
		t.Fatalf("audit %+v", e)
	}
}
