package custody

import (
	"context"
	"errors"
	"slices"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// target is what an action concerns. Nil fields: nothing of the kind, or what was named does not exist.
type target struct {
	scope      *keybearer.Scope
	credential *keybearer.Credential
	subject    keybearer.Subject // of a grant
	caller     string            // of an operation on callers
}

// permit says that the actor may do the action to the target. Only authorise makes one, and only a permit commits.
type permit struct {
	c      *Custody
	ask    Ask
	action Action
	on     target
}

// authorise is the one place where permissions are checked. It returns a permit, or the error that tells the actor no more than they may
// see; a refusal is audited. A permit to change anything is given only while the audit log can be written.
func (c *Custody) authorise(ask Ask, action Action, on target) (*permit, error) {
	p := &permit{c, ask, action, on}
	if ask.ID == "" {
		p.ask.ID = keybearer.NewID(keybearer.IDRequest)
	}
	n := needOf(action, on)
	if !p.admits(n) {
		return nil, p.refuse(n)
	}
	if !n.reads {
		if err := c.auditor.Ready(); err != nil {
			return nil, keybearer.NewError(keybearer.AuditUnavailable, "the audit log cannot be written, so nothing is changed").Wrap(err)
		}
	}
	return p, nil
}

// raise asks for a higher level on the credential, for a part of what was asked.
func (p *permit) raise(level keybearer.Level) error {
	if n := (need{level: level}); !p.admits(n) {
		return p.refuse(n)
	}
	return nil
}

func (p *permit) admits(n need) bool {
	a := &p.ask.Actor
	if a.Subject == "" || a.Caller != nil && !n.callers {
		return false
	}
	if n.level > keybearer.NoLevel && a.level(p.on) >= n.level {
		return true
	}
	if n.self && p.on.subject != a.Subject {
		return false
	}
	switch n.role {
	case scopeAdmin:
		if p.on.scope == nil {
			return a.InstanceAdmin() // sees that there is no such scope
		}
		return a.ScopeAdmin(p.on.scope.ID)
	case instanceAdmin:
		return a.InstanceAdmin()
	}
	return false
}

// level that the actor holds on the credential. A caller's counts only in the scopes that it is bound to.
func (a *Actor) level(on target) keybearer.Level {
	if on.scope == nil || on.credential == nil || on.credential.ScopeID != on.scope.ID {
		return keybearer.NoLevel
	}
	if a.Caller != nil && (!a.Caller.Live() || on.scope.Name != keybearer.GlobalScope && !a.Caller.BoundTo(on.scope.ID)) {
		return keybearer.NoLevel
	}
	return policy.LevelOf(on.credential.Grants, a.subjects()...)
}

// sees reports whether the actor may see the credential's metadata.
func (a *Actor) sees(on target) bool {
	return a.level(on) >= keybearer.View || on.scope != nil && a.ScopeAdmin(on.scope.ID)
}

// refuse audits the refusal and returns its error.
func (p *permit) refuse(n need) error {
	hidden := n.level > keybearer.NoLevel && !p.ask.Actor.sees(p.on)
	code := keybearer.Forbidden
	if hidden {
		code = keybearer.NotFound
	}
	if !hidden || p.on.credential != nil {
		e := p.event(keybearer.RefusalEvent)
		e.Decision, e.Code = keybearer.Refuse, keybearer.Forbidden
		p.c.auditor.Post(&e)
	}
	switch {
	case p.ask.Actor.Subject == "":
		return keybearer.NewError(keybearer.Unauthenticated, "")
	case hidden:
		return keybearer.NewError(code, "")
	case p.ask.Actor.Caller != nil:
		return keybearer.NewError(code, "a caller's token lists, shows and checks, and nothing else")
	case n.level > keybearer.NoLevel:
		e := keybearer.NewError(code, "this needs "+n.level.String()+" on the credential")
		if p.on.scope != nil && p.ask.Actor.ScopeAdmin(p.on.scope.ID) {
			return e.WithHint("as an admin of the scope you can grant it to yourself: keybearer grant add <scope>/<name> " +
				string(p.ask.Actor.Subject) + " " + n.level.String())
		}
		return e.WithHint("ask someone who holds administer on it")
	case n.role == instanceAdmin:
		return keybearer.NewError(code, "this needs the role instance-admin").WithHint("on the server's machine root and the server's own user hold it")
	}
	return keybearer.NewError(code, "this needs the role scope-admin of the scope").WithHint("ask an instance admin for the role")
}

// event of this action, as the audit log gets it.
func (p *permit) event(kind keybearer.EventKind) keybearer.Event {
	e := keybearer.Event{
		Time: p.c.moment(), ID: p.ask.ID, Phase: keybearer.Outcome, Kind: kind,
		Decision: keybearer.Allow, Action: string(p.action), Caller: p.on.caller,
	}
	if p.on.scope != nil {
		e.Scope = p.on.scope.Name
	}
	if p.on.credential != nil {
		e.Credential, e.CredentialID = p.on.credential.Name, p.on.credential.ID
	}
	_, name := p.ask.Actor.Subject.Split()
	if p.ask.Actor.Caller != nil {
		e.Caller = name
	} else {
		e.Operator = name
	}
	return e
}

// commit writes the records together with the one audit event, whose changed names fields, and delivers the event. It returns the
// new revision. The version in the event is that of the first credential written.
func (p *permit) commit(ctx context.Context, changed []string, writes ...keybearer.Write) (uint64, error) {
	e := p.event(keybearer.ChangeEvent)
	e.Changed = slices.Compact(slices.Sorted(slices.Values(changed)))
	for _, w := range writes {
		if w.Credential != nil {
			e.SecretVersion = w.Credential.Current.Number
			break
		}
	}
	seq, err := p.c.write(ctx, keybearer.Batch{Writes: writes, Events: []keybearer.Event{e}})
	if err != nil {
		return 0, err
	}
	p.c.drain(ctx)
	return seq, nil
}

// system permits what the server does of itself.
func (c *Custody) system(action Action, on target) *permit {
	return &permit{c, Ask{ID: keybearer.NewID(keybearer.IDRequest)}, action, on}
}

// write commits. A cancelled request does not interrupt it: what was begun is finished and known. What it returns without an error is known to
// the anchor too.
func (c *Custody) write(ctx context.Context, b keybearer.Batch) (uint64, error) {
	if err := c.anchor.Ready(); err != nil {
		return 0, keybearer.AsError(err)
	}
	seq, err := c.store.Commit(context.WithoutCancel(ctx), b)
	if err != nil {
		return 0, keybearer.AsError(err)
	}
	if err := c.anchor.Advance(seq); err != nil {
		e := *keybearer.AsError(err) // the anchor's own, which others get too
		e.Detail = "the change was made, but a restored backup could take it back unnoticed: " + e.Message()
		return 0, &e
	}
	return seq, nil
}

// missing turns NotFound into nil, for look-ups whose answer depends on who asks.
func missing[T any](r *T, err error) (*T, error) {
	if errors.Is(err, &keybearer.Error{Code: keybearer.NotFound}) {
		return nil, nil
	}
	if err != nil {
		return nil, keybearer.AsError(err)
	}
	return r, nil
}
