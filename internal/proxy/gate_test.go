package proxy

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/policy"
)

// notes is an audit log that can be read, and that can fail.
type notes struct {
	keybearer.Auditor
	mu                     sync.Mutex
	fail                   error
	recorded, posted, tell []keybearer.Event
}

func (n *notes) Record(_ context.Context, e *keybearer.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail == nil {
		n.recorded = append(n.recorded, *e)
	}
	return n.fail
}

func (n *notes) Post(e *keybearer.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.posted = append(n.posted, *e)
}

func (n *notes) Offer(e *keybearer.Event) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell = append(n.tell, *e)
	return true
}

func noted(n *notes) labOption {
	return func(_ *lab, c *Config) { n.Auditor, c.Auditor = c.Auditor, n }
}

// take returns what was noted since, without times and ids.
func (n *notes) take() (recorded, posted, offered []keybearer.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, list := range [][]keybearer.Event{n.recorded, n.posted, n.tell} {
		for i := range list {
			list[i].Time, list[i].ID, list[i].CredentialID, list[i].DurationMS = time.Time{}, "", "", 0
		}
	}
	recorded, posted, offered = n.recorded, n.posted, n.tell
	n.recorded, n.posted, n.tell = nil, nil, nil
	return recorded, posted, offered
}

// What is told of a request grows with what is known of it, and ends where it is refused.
func TestTheAuditLogTellsAsMuchAsWasFound(t *testing.T) {
	n, k := &notes{}, &gatedKeyring{}
	l := newLab(t, noted(n), gated(k))
	l.credential("crm", l.bearer(), "s3cret-token")
	l.credential("shell", l.bearer(), "")
	posts := l.credential("posts", l.bearer("POST"), "s3cret-token")
	tag := func(ref string) Field { return Field{"Keybearer-Credential", ref} }
	proof := Field{"Proxy-Authorization", "Bearer " + l.token}
	at := must(netip.ParseAddrPort(strings.TrimPrefix(l.destination.URL, "https://")))
	host, port := at.Addr().String(), at.Port()
	stranger := keybearer.Event{Phase: keybearer.Outcome, Kind: keybearer.RefusalEvent, Decision: keybearer.Refuse, Method: "GET"}
	known := stranger
	known.Caller, known.TokenID = "billing", l.caller.Tokens[0].ID
	bound := known
	bound.Scheme, bound.Host, bound.Port, bound.Path = "http", host, port, "/p"
	named := bound
	named.Scope, named.Credential = "docs", "crm"
	with := func(e keybearer.Event, code keybearer.Code, change ...func(*keybearer.Event)) keybearer.Event {
		e.Code = code
		for _, c := range change {
			c(&e)
		}
		return e
	}
	for _, c := range []struct {
		name    string
		method  string
		target  string
		fields  []Field
		want    keybearer.Event
		offered bool
	}{
		{"tags that cannot be read", "GET", "/p", []Field{tag("a,b"), proof}, with(stranger, keybearer.TagInvalid), true},
		{"a method that is not forwarded", "PROPFIND", "/p", []Field{tag("docs/crm"), proof}, with(stranger, keybearer.BadRequest, func(e *keybearer.Event) { e.Method = "PROPFIND" }), true},
		{"no proof", "GET", "/p", []Field{tag("docs/crm")}, with(stranger, keybearer.CallerUnauthenticated), true},
		{"no destination", "GET", "http:///p", []Field{tag("docs/crm"), proof}, with(known, keybearer.DestinationInvalid), false},
		{"no credential", "GET", "/p", []Field{proof}, with(bound, keybearer.TagMissing), false},
		{"no name of a credential", "GET", "/p", []Field{tag("crm"), proof}, with(bound, keybearer.TagInvalid), false},
		{"unknown", "GET", "/p", []Field{tag("docs/none"), proof}, with(named, keybearer.CredentialForbidden, func(e *keybearer.Event) { e.Credential, e.Scheme = "none", "https" }), false},
		{"no secret", "GET", "/p", []Field{tag("docs/shell"), proof}, with(named, keybearer.CredentialNeedsSecret, func(e *keybearer.Event) {
			e.Credential, e.SecretVersion, e.Scheme = "shell", 1, "https"
		}), false},
		{"another method", "GET", "/p", []Field{tag("docs/posts"), proof}, with(named, keybearer.MethodNotAllowed, func(e *keybearer.Event) {
			e.Credential, e.SecretVersion, e.Scheme = "posts", 1, "https"
		}), false},
		{"another method, by ids", "GET", "/p", []Field{tag(l.scope.ID + "/" + posts.ID), proof}, with(named, keybearer.MethodNotAllowed, func(e *keybearer.Event) {
			e.Credential, e.SecretVersion, e.Scheme = "posts", 1, "https"
		}), false},
	} {
		if !strings.HasPrefix(c.target, "http:///") {
			c.target = l.plain() + c.target
		}
		_, err := l.proxy.gate.Admit(t.Context(), &Call{Method: c.method, Target: c.target, Route: &Route{}, Fields: c.fields})
		if err == nil || err.Code != c.want.Code {
			t.Errorf("%s: %v", c.name, err)
		}
		recorded, posted, offered := n.take()
		lines := posted
		if c.offered {
			lines = offered
		}
		if len(recorded) > 0 || len(posted)+len(offered) != 1 || len(lines) != 1 {
			t.Errorf("%s: %d recorded, %d posted, %d offered", c.name, len(recorded), len(posted), len(offered))
			continue
		}
		if diff := cmp.Diff(c.want, lines[0]); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}

	// What is done is recorded before it is, and how it ended behind it.
	p, err := l.proxy.gate.Admit(t.Context(), l.call("docs/crm"))
	if err != nil {
		t.Fatal(err)
	}
	recorded, posted, offered := n.take()
	if len(recorded) != 1 || len(posted)+len(offered) != 0 || recorded[0].Phase != keybearer.Intent || recorded[0].Kind != keybearer.UseEvent || recorded[0].Decision != keybearer.Allow ||
		recorded[0].Rule == "" || recorded[0].Scheme != "https" || recorded[0].Host != host || recorded[0].Port != port || recorded[0].Credential != "crm" || recorded[0].SecretVersion != 1 {
		t.Errorf("%+v, %+v, %+v", recorded, posted, offered)
	}
	p.Finish(Result{Status: 418, BytesOut: 3, BytesIn: 4, Err: keybearer.NewError(keybearer.CallerGone, "")})
	if _, posted, _ = n.take(); len(posted) != 1 || posted[0].Phase != keybearer.Outcome || posted[0].Decision != keybearer.Allow || posted[0].Kind != keybearer.UseEvent ||
		posted[0].DestinationStatus != 418 || posted[0].BytesOut != 3 || posted[0].BytesIn != 4 || posted[0].Code != keybearer.CallerGone {
		t.Errorf("%+v", posted)
	}
	l.proxy.gate.snapshots.changed([]keybearer.Change{{Kind: keybearer.CredentialRecord, ID: p.event.CredentialID}}) // its secret is to be opened again
	k.set(func() error { return errors.New("away") })
	if _, err := l.proxy.gate.Admit(t.Context(), l.call("docs/crm")); err == nil || err.Code != keybearer.KeyringUnavailable {
		t.Errorf("got %v", err)
	}
	if recorded, posted, _ = n.take(); len(recorded) != 1 || len(posted) != 1 || posted[0].Phase != keybearer.Outcome || posted[0].Kind != keybearer.UseEvent || posted[0].Decision != keybearer.Refuse || posted[0].Code != keybearer.KeyringUnavailable {
		t.Errorf("%+v, %+v", recorded, posted)
	}
	k.set(nil)
	n.fail = errors.New("full")
	if _, err := l.proxy.gate.Admit(t.Context(), l.call("docs/crm")); err == nil || err.Code != keybearer.AuditUnavailable {
		t.Errorf("got %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.proxy.gate.Admit(gone, l.call("docs/crm")); err == nil || err.Code != keybearer.CallerGone {
		t.Errorf("got %v", err)
	}
	if callers, destinations := l.under(); callers+destinations != 0 {
		t.Errorf("%d and %d places are taken by what has ended", callers, destinations)
	}
}

// How many lines are written of senders that proved nothing is not theirs to decide.
func TestStrangersFillNoAuditLog(t *testing.T) {
	n := &notes{}
	l := newLab(t, noted(n))
	for range 150 {
		_, _ = l.proxy.gate.Admit(t.Context(), &Call{Method: "GET", Target: l.plain(), Route: &Route{}})
	}
	if _, posted, offered := n.take(); len(posted) != 0 || len(offered) < 100 || len(offered) > 140 { // 100 at once, and 20 each second
		t.Errorf("%d posted, %d offered", len(posted), len(offered))
	}
	// Nor of callers that come too fast.
	l.clock.advance(time.Minute)
	for code, want := range map[keybearer.Code][2]int{keybearer.RateLimited: {0, 1}, keybearer.CredentialForbidden: {1, 0}} {
		p := l.proxy.gate.newPass(t.Context(), &Call{Method: "GET", Route: &Route{}})
		p.event.Caller = "billing"
		l.proxy.gate.refused(p, keybearer.NewError(code, ""))
		if _, posted, offered := n.take(); len(posted) != want[0] || len(offered) != want[1] {
			t.Errorf("%s: %d posted, %d offered", code, len(posted), len(offered))
		}
	}
}

// The rule that is told is the one that admits the address, not only the name.
func TestTheRuleThatAdmitsTheAddressIsTold(t *testing.T) {
	n := &notes{}
	l := newLab(t, noted(n))
	terms := l.bearer()
	terms.Rules = []keybearer.Rule{must(policy.ParseRule(l.destination.URL+"/v1", nil, false)), must(policy.ParseRule(l.destination.URL, nil, true))}
	c := l.credential("crm", terms, "s3cret-token")
	call := l.call("docs/crm")
	call.Target += "v1/x"
	p, err := l.proxy.gate.Admit(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Finish(Result{})
	if recorded, _, _ := n.take(); len(recorded) != 1 || recorded[0].Rule != terms.Rules[1].String() {
		t.Errorf("%+v", recorded)
	}
	// It is told once, however often it is judged.
	l.update(c, func(c *keybearer.Credential) { c.Description = "another one" })
	if err := p.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if recorded, _, _ := n.take(); len(recorded) != 0 {
		t.Errorf("%+v", recorded)
	}
}

func TestADestinationThatDoesNotResolve(t *testing.T) {
	s := newStand(nil)
	s.gate.dialer = dial.New(dial.Config{Resolver: "127.0.0.1:1"})
	s.shelf.credential.Current.Terms.Rules = []keybearer.Rule{must(policy.ParseRule("https://nowhere.example", nil, false))}
	_, err := s.gate.Admit(t.Context(), &Call{Method: "GET", Target: "http://nowhere.example/", Route: &Route{}, Fields: []Field{{"Keybearer-Credential", "docs/crm"}}})
	if err == nil || err.Code != keybearer.DestinationUnreachable {
		t.Errorf("got %v", err)
	}
}

// The token that is told is one that the caller has when the request is admitted.
func TestTheTokenOfACallerThatChanges(t *testing.T) {
	secret, token := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
	s := newStand(nil)
	s.shelf.credential.Current.Sealed = nil
	s.who.hook = func() {
		if s.who.asked == 1 {
			s.gate.epoch.Add(1)
			return
		}
		s.who.caller = &keybearer.Caller{ID: "cal_1", Name: "billing", Scopes: []string{"sco_1"}, Tokens: []keybearer.Token{token}}
	}
	p, err := s.gate.Admit(t.Context(), &Call{
		Method: "GET", Target: "http://1.1.1.1/", Route: &Route{}, Fields: []Field{{"Keybearer-Credential", "docs/crm"}, {"Proxy-Authorization", "Bearer " + secret.Reveal()}},
	})
	if err == nil || err.Code != keybearer.CredentialNeedsSecret || p.event.TokenID != token.ID {
		t.Errorf("%v, %q", err, p.event.TokenID)
	}
}
