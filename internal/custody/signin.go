package custody

import (
	"context"

	"github.com/keybearer/keybearer"
)

// SignedIn records that the actor begins a session in a browser, with the token of that id or, where it is "", in another way. id is the request's. It returns
// [keybearer.AuditUnavailable] when that cannot be recorded; then there is to be no session.
func (c *Custody) SignedIn(ctx context.Context, id string, actor Actor, tokenID string) error {
	e := c.sessionEvent(OperatorSignIn, id, actor)
	e.TokenID = tokenID
	if err := c.auditor.Record(ctx, &e); err != nil {
		return keybearer.NewError(keybearer.AuditUnavailable, "the audit log cannot be written, so nobody signs in").Wrap(err)
	}
	return nil
}

// SignedOut records that the actor ends a session, or all of them.
func (c *Custody) SignedOut(id string, actor Actor) {
	e := c.sessionEvent(OperatorSignOut, id, actor)
	c.auditor.Post(&e)
}

// SignInRefused records that somebody was not signed in, if there is room: strangers decide how many of these there are, so whoever calls it
// samples them. It never waits.
func (c *Custody) SignInRefused(id string, code keybearer.Code) {
	e := c.sessionEvent(OperatorSignIn, id, Actor{})
	e.Kind, e.Decision, e.Code = keybearer.RefusalEvent, keybearer.Refuse, code
	c.auditor.Offer(&e)
}

func (c *Custody) sessionEvent(action Action, id string, actor Actor) keybearer.Event {
	_, name := actor.Subject.Split()
	return keybearer.Event{
		Time: c.moment(), ID: id, Phase: keybearer.Outcome, Kind: keybearer.ChangeEvent, Decision: keybearer.Allow, Action: string(action), Operator: name,
	}
}
