package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/proxy"
)

// served is an HTTP handler that exists while the app runs.
type served struct {
	app  *App
	next http.Handler // set when the app has started
}

// ServeHTTP never calls the next handler and never returns an error, which Caddy would log with the request's URI. It
// implements [caddyhttp.MiddlewareHandler].
func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	delete(w.Header(), "Server") // Caddy's; a destination may set its own
	visitor := attended(r.Context())
	visitor.begin()
	defer visitor.end()
	if !s.app.lease.take(r.Context()) {
		notRunning(w, r)
		return nil
	}
	defer s.app.lease.release()
	if s.app.lease.leaving.Load() && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	s.next.ServeHTTP(w, r)
	return nil
}

// notRunning answers while the configuration to which the request came has failed to start, or has ended.
func notRunning(w http.ResponseWriter, r *http.Request) {
	answer := proxy.Refuse(&proxy.Call{Method: r.Method, Target: r.RequestURI}, keybearer.NewID(keybearer.IDRequest),
		keybearer.NewError(keybearer.StoreUnavailable, "the server is starting or stopping"))
	for _, f := range answer.Fields {
		w.Header().Add(f.Name, f.Value)
	}
	w.Header().Set("Connection", "close")
	w.WriteHeader(answer.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(answer.Body)
	}
}
