package proxy

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/keybearer/keybearer/internal/metrics"
)

// interval is a stretch of time; the zero value is none.
type interval struct {
	began time.Time
	took  time.Duration
}

// add adds the time since then.
func (i *interval) add(began time.Time) {
	if i.began.IsZero() {
		i.began = began
	}
	i.took += time.Since(began)
}

// once is add, the first time.
func (i *interval) once(began time.Time) {
	if i.began.IsZero() {
		i.add(began)
	}
}

// times are those of a request, on the machine's own clock, and what they are counted by.
type times struct {
	began                     time.Time
	decide, open, destination interval
	dial                      *interval  // nil: no connection was made for it
	scope                     string     // name of the credential's; "": none is known
	span                      trace.Span // that records the request in the frame; nil: none does
}

// recording returns the span of the frame if somebody will see it.
func recording(ctx context.Context) trace.Span {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		return span
	}
	return nil
}

// measure counts a request that has been answered.
func (p *Pass) measure() {
	t, e, m := &p.times, &p.event, p.gate.meter
	total := time.Since(t.began)
	var x metrics.Exemplar
	if t.span != nil {
		x = metrics.Exemplar{TraceID: t.span.SpanContext().TraceID().String(), RequestID: e.ID}
		p.trace()
	}
	m.Request(t.scope, e.Decision, e.Code, x)
	m.Observe(metrics.Decide, t.decide.took, x)
	if t.open.took > 0 {
		m.Observe(metrics.Open, t.open.took, x)
	}
	if t.destination.took > 0 {
		m.Observe(metrics.Destination, t.destination.took, x)
	}
	if e.DestinationStatus != http.StatusSwitchingProtocols { // how long people keep a WebSocket open says nothing of speed
		m.Observe(metrics.Total, total, x)
	}
}

// tracerName says who made our spans.
const tracerName = "github.com/keybearer/keybearer"

// introduce tells the frame's span what is known of the request, if there is one: before the frame ends it.
func (p *Pass) introduce() {
	t, e := &p.times, &p.event
	if t.span == nil {
		return
	}
	about := []attribute.KeyValue{
		attribute.String("keybearer.request_id", e.ID),
		attribute.String("keybearer.decision", e.Decision),
	}
	if t.scope != "" {
		about = append(about, attribute.String("keybearer.scope", t.scope), attribute.String("keybearer.credential", e.Credential))
	}
	if e.Caller != "" {
		about = append(about, attribute.String("keybearer.caller", e.Caller))
	}
	if e.Rule != "" {
		about = append(about, attribute.String("keybearer.rule", withoutPath(e.Rule)))
	}
	if e.Code != "" {
		about = append(about, attribute.String("keybearer.code", string(e.Code)))
	}
	t.span.SetAttributes(about...)
}

// withoutPath cuts the path off a rule: it may be all that is secret about a destination.
func withoutPath(rule string) string {
	scheme, rest, _ := strings.Cut(rule, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// trace writes the spans of a request, all at once and behind the work: what is not traced pays nothing for it. They hold no path, query or header, and
// no name that the caller made up.
func (p *Pass) trace() {
	p.introduce()
	t, e := &p.times, &p.event
	tracer := t.span.TracerProvider().Tracer(tracerName)
	in := trace.ContextWithSpan(context.Background(), t.span)
	span := func(parent context.Context, phase metrics.Phase, i *interval, attributes ...attribute.KeyValue) trace.Span {
		_, s := tracer.Start(parent, "keybearer."+phase.String(), trace.WithTimestamp(i.began), trace.WithAttributes(attributes...))
		return s
	}
	end := func(s trace.Span, i *interval, failed bool) {
		if failed {
			s.SetAttributes(attribute.String("error.type", string(e.Code)))
			s.SetStatus(codes.Error, string(e.Code))
		}
		s.End(trace.WithTimestamp(i.began.Add(i.took)))
	}
	failed := e.Code != ""
	end(span(in, metrics.Decide, &t.decide), &t.decide, failed && t.open.took == 0)
	if t.open.took > 0 {
		end(span(in, metrics.Open, &t.open), &t.open, failed && t.destination.took == 0)
	}
	if t.destination.took == 0 {
		return
	}
	d := span(in, metrics.Destination, &t.destination, attribute.String("http.request.method", e.Method),
		attribute.String("url.scheme", e.Scheme), attribute.String("server.address", e.Host), attribute.Int("server.port", int(e.Port)))
	if e.DestinationStatus != 0 {
		d.SetAttributes(attribute.Int("http.response.status_code", e.DestinationStatus))
	}
	if t.dial != nil {
		c := span(trace.ContextWithSpan(in, d), metrics.Dial, t.dial)
		c.End(trace.WithTimestamp(t.dial.began.Add(t.dial.took)))
	}
	end(d, &t.destination, failed)
}
