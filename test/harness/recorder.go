package harness

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Recorder is a destination that speaks HTTP/1.1 on bare bytes: it keeps each request exactly as it came, and
// answers with exactly the bytes that it is told to.
type Recorder struct {
	Arrivals
	Name string
	Addr netip.AddrPort

	answer func(*Arrival) []byte
	once   atomic.Bool // each connection is closed after one answer
	mu     sync.Mutex
	conns  map[net.Conn]bool
}

// RecorderOptions say what a Recorder does. The zero value is a plain HTTP server that answers 200.
type RecorderOptions struct {
	Name string
	Addr netip.AddrPort // zero: port 443 (80 without TLS) of an address of its own
	TLS  *tls.Config    // nil: plain HTTP
	// Answer returns the bytes of the answer; nil ones close the connection. Nil: 200 with the IDHeader, and "ok" as the body.
	Answer func(*Arrival) []byte
}

// StartRecorder starts a Recorder.
func StartRecorder(tb TB, o RecorderOptions) *Recorder {
	tb.Helper()
	r := &Recorder{Name: o.Name, Addr: o.Addr, answer: o.Answer, conns: map[net.Conn]bool{}}
	if r.answer == nil {
		r.answer = func(a *Arrival) []byte {
			return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\n%s: %s\r\nContent-Length: 2\r\n\r\nok", IDHeader, a.ID())
		}
	}
	ln := listen(tb, &r.Addr, o.TLS != nil)
	tb.Cleanup(func() {
		_ = ln.Close()
		r.CloseConnections()
	})
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			if o.TLS != nil {
				conn = tls.Server(conn, o.TLS)
			}
			go r.serve(conn)
		}
	}()
	return r
}

// listen listens on *addr, or on the scheme's own port of an address of its own, which it then sets.
func listen(tb TB, addr *netip.AddrPort, secure bool) net.Listener {
	tb.Helper()
	if !addr.IsValid() {
		port := uint16(80)
		if secure {
			port = 443
		}
		*addr = netip.AddrPortFrom(Address(), port)
	}
	ln, err := net.Listen("tcp", addr.String())
	if err != nil {
		tb.Fatalf("listen (ports below 1024 need root): %v", err)
	}
	return ln
}

// CloseConnections closes all connections that are open now, idle or not.
func (r *Recorder) CloseConnections() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

// CloseAfterAnswer makes the Recorder close each connection once it has answered on it.
func (r *Recorder) CloseAfterAnswer() { r.once.Store(true) }

func (r *Recorder) serve(conn net.Conn) {
	r.mu.Lock()
	r.conns[conn] = true
	r.mu.Unlock()
	defer func() {
		_ = conn.Close()
		r.mu.Lock()
		delete(r.conns, conn)
		r.mu.Unlock()
	}()
	in := bufio.NewReader(conn)
	for {
		a, err := r.read(in)
		if err != nil {
			return
		}
		if t, ok := conn.(*tls.Conn); ok {
			a.SNI = t.ConnectionState().ServerName
		}
		r.add(a)
		answer := r.answer(a)
		if answer == nil {
			return
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := conn.Write(answer); err != nil || r.once.Load() {
			return
		}
	}
}

func (r *Recorder) read(in *bufio.Reader) (*Arrival, error) {
	var head bytes.Buffer
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		head.Write(line)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
	}
	a := &Arrival{Destination: r.Name, Head: head.String()}
	first, rest, _ := strings.Cut(a.Head, "\r\n")
	for line := range strings.SplitSeq(strings.TrimRight(rest, "\r\n"), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		a.Header = append(a.Header, Field{name, strings.Trim(value, " \t")})
	}
	if parts := strings.Split(first, " "); len(parts) == 3 {
		a.Method, a.Target, a.Proto = parts[0], parts[1], parts[2]
	}
	req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(&head, in)))
	if err != nil {
		return nil, err
	}
	a.Host = req.Host
	a.Body, err = io.ReadAll(req.Body)
	return a, err
}
