package harness

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
)

// Server is a destination on Go's own HTTP server, which speaks HTTP/2 and does what a handler says.
type Server struct {
	Arrivals
	Name string
	Addr netip.AddrPort
}

// ServerOptions say what a Server does.
type ServerOptions struct {
	Name    string
	Addr    netip.AddrPort // zero: port 443 (80 without TLS) of an address of its own
	TLS     *tls.Config    // nil: plain HTTP/1.1
	HTTP2   bool           // offers h2 besides http/1.1
	Handler http.Handler   // nil: reads the body, then 200 with the IDHeader, and "ok" as the body
	Forget  bool           // keeps no Arrivals
}

// StartServer starts a Server. At the end of the test its connections are closed at once.
func StartServer(tb TB, o ServerOptions) *Server {
	tb.Helper()
	s := &Server{Name: o.Name, Addr: o.Addr}
	handler := o.Handler
	if handler == nil {
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // an aborted request shows at the client
			w.Header().Set(IDHeader, r.Header.Get(IDHeader))
			_, _ = io.WriteString(w, "ok")
		})
	}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !o.Forget {
				s.add(s.arrival(r))
			}
			handler.ServeHTTP(w, r)
		}),
		Protocols: new(http.Protocols),
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(o.HTTP2)
	ln := listen(tb, &s.Addr, o.TLS != nil)
	tb.Cleanup(func() { _ = srv.Close() })
	go func() {
		if o.TLS != nil {
			srv.TLSConfig = o.TLS.Clone()
			_ = srv.ServeTLS(ln, "", "") // ends with ErrServerClosed
		} else {
			_ = srv.Serve(ln)
		}
	}()
	return s
}

func (s *Server) arrival(r *http.Request) *Arrival {
	a := &Arrival{Destination: s.Name, Proto: r.Proto, Method: r.Method, Target: r.RequestURI, Host: r.Host}
	if r.TLS != nil {
		a.SNI = r.TLS.ServerName
	}
	for name, values := range r.Header {
		for _, v := range values {
			a.Header = append(a.Header, Field{name, v})
		}
	}
	slices.SortStableFunc(a.Header, func(x, y Field) int {
		if x.Name < y.Name {
			return -1
		} else if x.Name > y.Name {
			return 1
		}
		return 0
	})
	return a
}

// ServerTLS returns a configuration for a destination that shows this certificate.
func ServerTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}
