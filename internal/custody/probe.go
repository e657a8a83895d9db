package custody

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// Probe is one request without a body that an operator sends as a caller, through the proxy, to see what becomes of it.
type Probe struct {
	Operator   string // name, for the audit log
	Caller     string // name
	Credential keybearer.Ref
	Method     string // one of TestMethods
	URL        string // absolute, as the app would ask for it: "http" means https there
}

// Probed is what may be told of the answer: no value of a field, and nothing of the body.
type Probed struct {
	RequestID string
	Status    int              // of the answer, ours or the destination's
	Refusal   *keybearer.Error // ours; nil: the destination answered
	Fields    []string         // names of the header's fields
	Bytes     int64            // of the body, as far as it was read
	Cut       bool             // not all of the body was read
	Duration  time.Duration
}

// Milliseconds is how long it took.
func (p *Probed) Milliseconds() int64 { return p.Duration.Milliseconds() }

// Prober sends a probe through the proxy, which judges it as every other request. A refusal of the proxy is no error.
type Prober func(context.Context, Probe) (Probed, error)

// TestMethods are those of a probe.
var TestMethods = []string{"GET", "HEAD", "OPTIONS", "POST"}

// Test has one request sent with the credential as the caller, both of which may be named by id; the operator is the actor. It takes administer: who holds
// that could let any caller of the scope use the credential. Nil for send says that this server forwards nothing. It returns [keybearer.Invalid] for a
// caller that does not exist and a method that is not one of [TestMethods], [keybearer.DestinationInvalid] for a URL that is not one, [keybearer.Conflict] where
// nothing can be sent, and what send returns.
func (c *Custody) Test(ctx context.Context, ask Ask, p Probe, send Prober) (Probed, error) {
	on, err := c.find(ctx, p.Credential)
	if err != nil {
		return Probed{}, err
	}
	if _, err := c.authorise(ask, CredentialTest, on); err != nil {
		return Probed{}, err
	}
	if on.credential == nil {
		return Probed{}, keybearer.NewError(keybearer.NotFound, "")
	}
	if send == nil {
		return Probed{}, keybearer.NewError(keybearer.Conflict, "this server forwards nothing")
	}
	caller, err := c.checkedCaller(ctx, &ask.Actor, p.Caller)
	if err != nil {
		return Probed{}, err
	}
	if !slices.Contains(TestMethods, p.Method) {
		return Probed{}, keybearer.NewError(keybearer.Invalid, "the method of a test request is one of "+strings.Join(TestMethods, ", "))
	}
	if _, err := policy.ParseAbsolute(p.URL); err != nil {
		return Probed{}, keybearer.AsError(err)
	}
	_, p.Operator = ask.Actor.Subject.Split()
	p.Caller, p.Credential = caller.Name, keybearer.Ref{Scope: on.scope.Name, Name: on.credential.Name}
	return send(ctx, p)
}
