package demo

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxBody bounds what is kept of a request's body.
const maxBody = 1 << 20

// Destination is an HTTPS server on the loopback interface that keeps what it receives. It is safe for concurrent use.
type Destination struct {
	Addr string // host:port

	ca      *authority
	server  *http.Server
	arrived chan struct{}

	mu       sync.Mutex
	received []Received
}

// Received is one request as it arrived.
type Received struct {
	Proto  string // "HTTP/2.0"
	TLS    string // "TLS 1.3"
	Method string
	Target string // path and query
	Host   string
	Header http.Header
	Body   []byte
}

// NewDestination starts a destination on a free port of 127.0.0.1. It answers every request with 200 and {"ok":true}. The caller
// closes it.
func NewDestination() (*Destination, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	cert, err := ca.issue(net.IPv4(127, 0, 0, 1))
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &Destination{Addr: listener.Addr().String(), ca: ca, arrived: make(chan struct{}, 1)}
	d.server = &http.Server{
		Handler:           d,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	go func() { _ = d.server.ServeTLS(listener, "", "") }()
	return d, nil
}

// RootPEM returns the certificate that vouches for the destination.
func (d *Destination) RootPEM() []byte { return d.ca.PEM() }

// Close ends the server and its connections.
func (d *Destination) Close() { _ = d.server.Close() }

// ServeHTTP keeps the request and answers it.
func (d *Destination) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		http.Error(w, "the body broke off", http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	d.received = append(d.received, Received{
		Proto: r.Proto, TLS: tls.VersionName(r.TLS.Version), Method: r.Method, Target: r.URL.RequestURI(), Host: r.Host,
		Header: r.Header.Clone(), Body: body,
	})
	d.mu.Unlock()
	select {
	case d.arrived <- struct{}{}:
	default:
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"ok":true}`+"\n")
}

// Arrived tells that there is something to [Destination.Take].
func (d *Destination) Arrived() <-chan struct{} { return d.arrived }

// Take returns what was received since the last call, and forgets it.
func (d *Destination) Take() []Received {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.received
	d.received = nil
	return taken
}
