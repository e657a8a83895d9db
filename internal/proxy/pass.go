package proxy

import (
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/internal/inject"
	"github.com/keybearer/keybearer/internal/scrub"
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

	gate      *Gate
	asks      asks
	epoch     uint64 // at which it was judged
	judged    time.Time
	event     keybearer.Event
	intended  bool
	spent     bool // the assertion of its acting user
	place     place
	intent    intent
	filter    filter
	needles   *scrub.Set
	expires   time.Time  // the credential, unless that changes; zero: never
	handshake *handshake // of the WebSocket that it may become; nil: it may not
	times     times
}

// intent is what the audit log was told.
type intent struct {
	credentialID string
	version      uint64
	rule         string
	scheme, host string
	port         uint16
}

// ID is the request id.
func (p *Pass) ID() string { return p.event.ID }

// record notes the decision in the event.
func (p *Pass) record(s *snapshot, d *policy.Decision) {
	e := &p.event
	if s.Credential != nil {
		p.times.scope = s.Scope.Name
		e.Scope, e.Credential = s.Scope.Name, s.Credential.Name
		e.CredentialID, e.SecretVersion = s.Credential.ID, s.Credential.Current.Number
	}
	e.Rule, e.WouldRefuse, e.Trial = "", "", ""
	if d.Rule != nil {
		e.Rule = s.ruleText(d.Rule)
	}
	if d.Destination.Host != "" {
		e.Scheme, e.Host, e.Port = d.Destination.Scheme, d.Destination.Host, d.Destination.Port
	}
}

// try notes what the rules on trial would say to what is allowed. Nothing else depends on it.
func (p *Pass) try(s *snapshot, d *policy.Decision, reach policy.Reach) {
	if code := policy.WouldRefuse(s.Credential.Trial, &d.Admission, &p.asks.target, p.asks.method, reach); code != "" {
		p.event.WouldRefuse, p.event.Trial = code, s.Credential.Trial.ID
	}
}

// grant takes over what was decided and opened.
func (p *Pass) grant(s *snapshot, o *opened, d policy.Destination, a dial.Addresses, strict bool) {
	p.Destination, p.Addresses, p.ScopeID = d, a, s.Scope.ID
	p.Field, p.needles = o.field, o.needles
	f := &p.filter
	f.inject, f.cookies, f.trace, f.strict = o.folded, s.Credential.PassCookies, s.Credential.PassTrace, strict
	f.scrub = s.Credential.ScrubBody
	p.expires = s.Credential.ExpiresAt
}

func (p *Pass) prepare(c *Call) {
	p.filter.nominate(c.Fields)
	p.filter.foreign = p.gate.foreign
	p.Target = p.asks.target.Path
	if p.asks.target.HasQuery {
		p.Target += "?" + p.asks.target.Query
	}
}

// Keep returns the value with which a field of the request goes on, and false when it does not. The injected
// field is the engine's to write, after all others.
func (p *Pass) Keep(name, value string) (string, bool) { return p.filter.keep(name, value) }

// Scrub returns a value of the answer without the secret, should the destination have echoed it.
func (p *Pass) Scrub(value string) string {
	if p.needles == nil { // nothing was opened
		return value
	}
	return p.needles.Text(value)
}

// Names reports whether a field's name holds the secret, in whatever case: such a field of an answer does not come back.
func (p *Pass) Names(name string) bool { return p.needles.Names(name) }

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
	p.place.leave()
	e := &p.event
	e.Time = p.gate.now()
	e.Phase, e.Kind, e.Decision = keybearer.Outcome, keybearer.UseEvent, decision
	e.DestinationStatus, e.BytesOut, e.BytesIn = r.Status, r.BytesOut, r.BytesIn
	e.DurationMS = milliseconds(e.Time.Sub(p.Started))
	if r.Err != nil {
		e.Code = r.Err.Code
	}
	p.measure()
	p.gate.auditor.Post(e)
}
