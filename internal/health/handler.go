package health

import (
	"encoding/json"
	"net/http"
)

// Paths of the probes.
const (
	Live = "/livez"   // 200 as long as the process answers: whoever gets no answer may restart it
	Up   = "/readyz"  // 200 when the server takes requests, or else 503: whoever gets that sends them elsewhere
	Full = "/healthz" // as Up
)

// Handler serves the probes on GET and HEAD, and everything else with next. Its bodies are a [Report]: the cause is for operators, so it belongs on a
// listener of theirs.
func (c *Checker) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		probe := r.URL.Path == Live || r.URL.Path == Up || r.URL.Path == Full
		if !probe || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		report := Report{Status: Ready, Parts: []Part{}}
		if r.URL.Path != Live {
			report = c.Report()
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if report.Status == Unavailable {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(report)
	})
}
