package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/metrics"
)

// counts returns the metrics of a family, histograms by their count, as "label=value label=value".
func counts(t *testing.T, m *metrics.Meter, family string) map[string]int {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := m.Register(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]int{}
	for _, f := range families {
		if f.GetName() != family {
			continue
		}
		for _, one := range f.Metric {
			var labels []string
			for _, l := range one.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			if n := int(one.GetCounter().GetValue() + float64(one.GetHistogram().GetSampleCount())); n > 0 {
				values[strings.Join(labels, " ")] = n
			}
		}
	}
	return values
}

func metered(m *metrics.Meter) labOption { return func(_ *lab, c *Config) { c.Meter = m } }

func TestRequestsAreCounted(t *testing.T) {
	m := metrics.New("test")
	l := newLab(t, metered(m))
	l.credential("crm", l.bearer(), "s3cret")
	ask := func(credential, token, url string) int {
		r := httptest.NewRequest("POST", url, strings.NewReader("{}"))
		r.Header.Set("Keybearer-Credential", credential)
		r.Header.Set("Proxy-Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		must(l.proxy.Handler(Route{})).ServeHTTP(w, r)
		return w.Code
	}
	for range 3 {
		if status := ask("docs/crm", l.token, l.plain()+"/hook"); status != 200 {
			t.Fatal(status)
		}
	}
	ask("docs/crm", l.token, "http://elsewhere.example/")
	ask("docs/crm", "kb_wrong", l.plain()+"/hook")
	for i := range 300 { // whatever a caller makes up is one series
		ask(fmt.Sprintf("made-up-%d/crm-%d", i, i), l.token, fmt.Sprintf("http://host-%d.example/", i))
	}
	l.destination.Close()
	ask("docs/crm", l.token, l.plain()+"/hook")

	if diff := cmp.Diff(map[string]int{
		"code=ok decision=allow scope=docs":                       3,
		"code=destination_unreachable decision=allow scope=docs":  1,
		"code=destination_not_allowed decision=refuse scope=docs": 1,
		"code=caller_unauthenticated decision=refuse scope=":      1,
		"code=credential_forbidden decision=refuse scope=":        300,
	}, counts(t, m, "keybearer_requests_total")); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	phases := counts(t, m, "keybearer_request_duration_seconds")
	if phases["phase=decide"] != 306 || phases["phase=total"] != 306 || phases["phase=open"] != 4 || phases["phase=destination"] != 4 {
		t.Errorf("%v", phases)
	}
	if n := phases["phase=dial"]; n < 1 || n > 4 { // the first one, at least
		t.Errorf("%d connections", n)
	}
	if diff := cmp.Diff(map[string]int{"result=miss": 1, "result=hit": 3}, counts(t, m, "keybearer_secret_cache_total")); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// A secret that serves past its time is counted as such.
func TestStaleSecretsAreCounted(t *testing.T) {
	m := metrics.New("test")
	k := new(gatedKeyring)
	l := newLab(t, metered(m), gated(k))
	l.credential("crm", l.bearer(), "s3cret")
	ask := func() {
		t.Helper()
		p, err := l.proxy.Gate().Admit(t.Context(), l.call("docs/crm"))
		if err != nil {
			t.Fatal(err)
		}
		p.Finish(Result{Status: 200})
	}
	ask()
	k.set(func() error { return keybearer.NewError(keybearer.KeyringUnavailable, "connection refused") })
	l.clock.advance(6 * time.Minute) // past secret_ttl, within keyring_max_stale
	ask()
	ask()
	if diff := cmp.Diff(map[string]int{"result=miss": 1, "result=stale": 2}, counts(t, m, "keybearer_secret_cache_total")); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestATracedRequestHasSpans(t *testing.T) {
	m := metrics.New("test")
	l := newLab(t, metered(m))
	terms := l.bearer()
	for i := range terms.Rules {
		terms.Rules[i].Path = "/services/T0/path-is-secret"
	}
	l.credential("crm", terms, "s3cret")
	exporter := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(exporter))
	frame := func(url, credential string) (spans tracetest.SpanStubs) {
		t.Helper()
		exporter.Reset()
		ctx, span := provider.Tracer("frame").Start(t.Context(), "outbound")
		r := httptest.NewRequest("POST", url, strings.NewReader("{}")).WithContext(ctx)
		r.Header.Set("Keybearer-Credential", credential)
		r.Header.Set("Proxy-Authorization", "Bearer "+l.token)
		must(l.proxy.Handler(Route{})).ServeHTTP(httptest.NewRecorder(), r)
		span.End()
		return exporter.GetSpans()
	}
	tree := func(spans tracetest.SpanStubs) (lines []string) {
		names := map[string]string{}
		for _, s := range spans {
			names[s.SpanContext.SpanID().String()] = s.Name
		}
		for _, s := range spans {
			var about []string
			for _, a := range s.Attributes {
				if key := string(a.Key); key != "keybearer.request_id" && key != "server.port" && key != "keybearer.rule" {
					about = append(about, key+"="+a.Value.String())
				}
			}
			slices.Sort(about)
			if s.EndTime.Before(s.StartTime) || s.StartTime.IsZero() {
				t.Errorf("%s from %s to %s", s.Name, s.StartTime, s.EndTime)
			}
			lines = append(lines, strings.Join(append([]string{names[s.Parent.SpanID().String()] + "/" + s.Name + " " + s.Status.Code.String()}, about...), " "))
		}
		slices.Sort(lines)
		return lines
	}

	spans := frame(l.plain()+"/services/T0/path-is-secret?key=also-secret", "docs/crm")
	if diff := cmp.Diff([]string{
		"/outbound Unset keybearer.caller=billing keybearer.credential=crm keybearer.decision=allow keybearer.scope=docs",
		"keybearer.destination/keybearer.dial Unset",
		"outbound/keybearer.decide Unset",
		"outbound/keybearer.destination Unset http.request.method=POST http.response.status_code=200 server.address=127.0.0.1 url.scheme=https",
		"outbound/keybearer.open Unset",
	}, tree(spans)); diff != "" {
		t.Errorf("a use: -want +got\n%s", diff)
	}
	if text := fmt.Sprintf("%+v", spans); strings.Contains(text, "secret") || strings.Contains(text, "s3cret") {
		t.Error("the spans hold path, query or secret")
	}

	refused := frame("http://elsewhere.example/path-is-secret", "docs/crm")
	if diff := cmp.Diff([]string{
		"/outbound Unset keybearer.caller=billing keybearer.code=destination_not_allowed keybearer.credential=crm keybearer.decision=refuse keybearer.scope=docs",
		"outbound/keybearer.decide Error error.type=destination_not_allowed",
	}, tree(refused)); diff != "" {
		t.Errorf("a refusal: -want +got\n%s", diff)
	}

	unknown := frame("http://made-up.example/", "made-up/name")
	if text := fmt.Sprintf("%+v", unknown); strings.Contains(text, "made-up") {
		t.Errorf("the spans hold what the caller made up: %s", text)
	}
}

// The frame's span of a WebSocket ends when the WebSocket begins.
func TestATracedWebSocketIsTold(t *testing.T) {
	l := newLab(t)
	l.echoes()
	l.credential("crm", l.sockets(), "s3cret")
	exporter := tracetest.NewInMemoryExporter()
	tracer := trace.NewTracerProvider(trace.WithSyncer(exporter)).Tracer("frame")
	h := must(l.proxy.Handler(Route{}))
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Start(r.Context(), "outbound")
		h.ServeHTTP(w, r.WithContext(ctx))
		span.End()
		close(ended)
	}))
	defer server.Close()
	s := l.socket(server.Listener.Addr().String())
	<-ended
	var about []string
	for _, span := range exporter.GetSpans() {
		for _, a := range span.Attributes {
			about = append(about, span.Name+" "+string(a.Key)+"="+a.Value.String())
		}
	}
	for _, want := range []string{"outbound keybearer.request_id=" + s.resp.Header.Get("Keybearer-Request-Id"), "outbound keybearer.credential=crm"} {
		if !slices.Contains(about, want) {
			t.Errorf("no %s: %v", want, about)
		}
	}
	s.Close()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is not traced costs no span, and neither does a trace that nobody records.
func TestUnrecordedRequestsHaveNoSpans(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(exporter), trace.WithSampler(trace.NeverSample()))
	ctx, _ := provider.Tracer("frame").Start(t.Context(), "outbound")
	if recording(ctx) != nil || recording(t.Context()) != nil {
		t.Error("a span that nobody records is written")
	}
}
