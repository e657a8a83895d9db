package proxy

import (
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/internal/inject"
	"github.com/keybearer/keybearer/policy"
)

// Pass is leave to send one request with one secret. It belongs to the engine that asked for it and is not safe for
// concurrent use.
type Pass struct {
	Destination policy.Destination // dialled, named in SNI and Host, verified, audited: all from this one value
	Addresses   dial.Addresses     // the only ones that may be dialled
	ScopeID     string             // connections are not shared between scopes
	Target      string             // origin-form request-target, the exact bytes that were judged
	Field       inject.Field       // to be written last
	Started     time.Time

	gate     *Gate
	event    keybearer.Event
	intended bool
	filter   filter
	needles  []string
}

// ID is the request id.
func (p *Pass) ID() string { return p.event.ID }

// record notes the decision in the event.
func (p *Pass) record(s *snapshot, d *policy.Decision) {
	if d.Rule != nil {
		p.event.Rule = s.ruleText(d.Rule)
	}
	if d.Destination.Host != "" {
		p.event.Scheme, p.event.Host, p.event.Port = d.Destination.Scheme, d.Destination.Host, d.Destination.Port
	}
}

// grant takes over what was decided and opened.
func (p *Pass) grant(s *snapshot, o *opened, d *policy.Decision, a dial.Addresses) {
	p.Destination, p.Addresses, p.ScopeID = d.Destination, a, s.Scope.ID
	p.Field, p.needles = o.field, o.needles
	p.filter = filter{
		inject:  fold(o.field.Name),
		cookies: s.Credential.PassCookies,
		trace:   s.Credential.PassTrace,
		strict:  d.DropOverrides(),
	}
}

func (p *Pass) prepare(c *Call, t *policy.Target) {
	p.filter.nominate(c.Fields)
	p.Target = t.Path
	if t.HasQuery {
		p.Target += "?" + t.Query
	}
}

// Keep returns the value with which a field of the request goes on, and false when it does not. The injected
// field is the engine's to write, after all others.
func (p *Pass) Keep(name, value string) (string, bool) { return p.filter.keep(name, value) }

// Scrub returns a value of the answer without the secret, should the destination have echoed it.
func (p *Pass) Scrub(value string) string {
	for _, n := range p.needles {
		if value == n || len(n) >= minNeedle && strings.Contains(value, n) {
			value = strings.ReplaceAll(value, n, "[removed]")
		}
	}
	return value
}

// Result is how a use ended.
type Result struct {
	Status   int              // the destination's; 0 without an answer
	BytesOut int64            // of the request's body
	BytesIn  int64            // of the answer's body
	Err      *keybearer.Error // nil when the whole answer went back
}

// Finish records the outcome of a use.
func (p *Pass) Finish(r Result) { p.finish(keybearer.Allow, r) }

func (p *Pass) finish(decision string, r Result) {
	e := &p.event
	e.Time = p.gate.now()
	e.Phase, e.Kind, e.Decision = keybearer.Outcome, keybearer.UseEvent, decision
	e.DestinationStatus, e.BytesOut, e.BytesIn = r.Status, r.BytesOut, r.BytesIn
	e.DurationMS = milliseconds(e.Time.Sub(p.Started))
	if r.Err != nil {
		e.Code = r.Err.Code
	}
	p.gate.auditor.Post(e)
}
