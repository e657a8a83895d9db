package proxy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// benchLab is a lab for benchmarks: the audit log is written for real.
func benchLab(b *testing.B, options ...labOption) (*lab, *Call) {
	l := newLab(b, options...)
	l.credential("crm", l.bearer(), "s3cret-token")
	call := &Call{
		Method: "POST", Target: l.plain() + "/hook?x=1", Host: "api.example.com", Route: &Route{},
		Fields: []Field{
			{"Keybearer-Credential", "docs/crm"},
			{"Proxy-Authorization", "Bearer " + l.token},
			{"User-Agent", "app/1.0"},
			{"Accept", "*/*"},
			{"Content-Type", "application/json"},
			{"Content-Length", "1024"},
		},
	}
	return l, call
}

// BenchmarkGate is the whole decision on a hit, with intent and outcome in the audit log, without sending.
func BenchmarkGate(b *testing.B) { benchGate(b) }

// BenchmarkGateUnmetered is the same without metrics: what is left is what they cost.
func BenchmarkGateUnmetered(b *testing.B) { benchGate(b, metered(nil)) }

func benchGate(b *testing.B, options ...labOption) {
	l, call := benchLab(b, options...)
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, err := l.proxy.Gate().Admit(ctx, call)
			if err != nil {
				b.Error(err)
				return
			}
			p.Finish(Result{Status: 200})
		}
	})
}

// BenchmarkHandler adds the engine on net/http and a real TLS destination, without an inbound connection.
func BenchmarkHandler(b *testing.B) {
	l, _ := benchLab(b)
	l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200) })
	h := must(l.proxy.Handler(Route{}))
	body := strings.Repeat("x", 1024)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", l.plain()+"/hook", strings.NewReader(body))
		r.Header.Set("Keybearer-Credential", "docs/crm")
		r.Header.Set("Proxy-Authorization", "Bearer "+l.token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code, w.Body.String())
		}
	}
}
