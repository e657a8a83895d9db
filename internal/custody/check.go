package custody

import (
	"context"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// CheckRequest asks what would become of a request through the proxy.
type CheckRequest struct {
	Credential keybearer.Ref
	Caller     string   // name or id; "": the caller whose token asks
	User       string   // acting user's id
	Groups     []string // of the acting user
	Method     string
	URL        string // absolute, as the app would ask for it: "http" means https there, unless only a rule for http admits it
}

// Check decides as the proxy would, on what the store holds now, for an actor who may see the credential. It opens no secret and no socket: addresses
// are not judged. A caller's token checks for that caller alone. It returns [keybearer.DestinationInvalid] for
// a URL that is not one.
func (c *Custody) Check(ctx context.Context, ask Ask, r CheckRequest) (policy.Report, error) {
	on, err := c.find(ctx, r.Credential)
	if err != nil {
		return policy.Report{}, err
	}
	if _, err := c.authorise(ask, CredentialCheck, on); err != nil {
		return policy.Report{}, err
	}
	if on.credential == nil {
		return policy.Report{}, keybearer.NewError(keybearer.NotFound, "")
	}
	caller, err := c.checkedCaller(ctx, &ask.Actor, r.Caller)
	if err != nil {
		return policy.Report{}, err
	}
	if !keybearer.ForwardableMethod(r.Method) {
		return policy.Report{}, keybearer.NewError(keybearer.Invalid, "a method is one of "+strings.Join(keybearer.Methods, ", "))
	}
	t, err := policy.ParseAbsolute(r.URL)
	if err != nil {
		return policy.Report{}, keybearer.AsError(err)
	}
	req := policy.Request{Target: &t, Method: r.Method, Caller: caller, User: r.User, Groups: r.Groups, Now: c.now()}
	report := policy.Explain(&req, policy.Snapshot{Scope: on.scope, Credential: on.credential}, policy.Unresolved)
	if !ask.Actor.listsGrants(on) { // the steps tell levels
		report.Steps = nil
	}
	return report, nil
}

// checkedCaller is the caller to check for.
func (c *Custody) checkedCaller(ctx context.Context, a *Actor, name string) (*keybearer.Caller, error) {
	if a.Caller != nil {
		if name == "" || name == a.Caller.Name || name == a.Caller.ID {
			return a.Caller, nil
		}
		return nil, keybearer.NewError(keybearer.Forbidden, "a caller's token checks for that caller alone")
	}
	if name == "" {
		return nil, keybearer.NewError(keybearer.Invalid, "a check needs the caller").WithHint("--caller app:<name>")
	}
	cl, err := missing(c.store.Caller(ctx, strings.TrimPrefix(name, "app:")))
	if err != nil {
		return nil, err
	}
	if cl == nil {
		return nil, keybearer.NewError(keybearer.Invalid, "there is no caller of that name")
	}
	return cl, nil
}

// Usage is what is known of the use of one credential, or of all together.
type Usage struct {
	Credential *keybearer.Usage // nil for all together, and when nothing is known
	Hours      []keybearer.UsageHour
	Refusals   []keybearer.RefusalCount // by code, most first
	Counted    bool                     // false: nothing is known of use
}

// Usage tells how the credential was used since a time; with the zero Ref, for instance admins, all of them together.
func (c *Custody) Usage(ctx context.Context, ask Ask, ref keybearer.Ref, since time.Time) (Usage, error) {
	var out Usage
	id := ""
	if ref == (keybearer.Ref{}) {
		if _, err := c.authorise(ask, UsageShow, target{}); err != nil {
			return out, err
		}
	} else {
		cred, err := c.Credential(ctx, ask, ref)
		if err != nil {
			return out, err
		}
		id, out.Credential = cred.ID, cred.Usage
	}
	if c.ledger == nil {
		return out, nil
	}
	hours, err := c.ledger.UsageHours(ctx, since, id)
	if err != nil {
		return out, keybearer.AsError(err)
	}
	out.Hours, out.Counted = hours[id], true
	if out.Refusals, err = c.ledger.Refusals(ctx, since, id); err != nil {
		return out, keybearer.AsError(err)
	}
	return out, nil
}

// AuditFilter returns which events of the audit log the actor may read: instance admins all, scope admins those of their scopes.
func (c *Custody) AuditFilter(ctx context.Context, ask Ask) (func(*keybearer.Event) bool, error) {
	if ask.Actor.InstanceAdmin() {
		return func(*keybearer.Event) bool { return true }, nil
	}
	names := map[string]bool{} // a scope's name is never given to another
	for _, id := range ask.Actor.scopeIDs() {
		s, err := missing(c.store.Scope(ctx, id))
		if err != nil {
			return nil, err
		}
		if s != nil {
			names[s.Name] = true
		}
	}
	if len(names) == 0 {
		_, err := c.authorise(ask, AuditRead, target{scope: &keybearer.Scope{}})
		return nil, err
	}
	return func(e *keybearer.Event) bool { return e.Scope != "" && names[e.Scope] }, nil
}
