package policy

import (
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Snapshot is what the store knew at one moment. Nil fields stand for what does not exist.
type Snapshot struct {
	Scope      *keybearer.Scope
	Credential *keybearer.Credential
}

// Request is what is asked, by whom. The zero value is refused.
type Request struct {
	Target *Target
	Method string
	Caller *keybearer.Caller // as authenticated
	User   string            // acting user, as asserted and verified; "" when there is none
	Groups []string          // of the acting user; without a user they count for nothing
	Bogus  bool              // an acting user was asserted, and the assertion does not hold; then there is no User
	Now    time.Time         // when it is the zero time, every credential that can expire has expired
}

// Decision is an Admission and why.
type Decision struct {
	Admission
	Reason string // one sentence for check and for the log of operators; callers without view must not see it
}

// Err returns nil when the request is allowed, and else the error to answer with. That of [keybearer.CredentialForbidden] is always the
// same; that of [keybearer.DestinationNotAllowed] names host and port, nothing else.
func (d *Decision) Err() error {
	if d.Allowed() {
		return nil
	}
	switch d.Code {
	case "":
		return keybearer.NewError(keybearer.CredentialForbidden, "")
	case keybearer.DestinationNotAllowed:
		return keybearer.NewError(d.Code, "no rule of the credential admits "+d.Destination.HostPort())
	}
	return keybearer.NewError(d.Code, "")
}

// Decide judges the request: caller, scope, grants, acting user, state, then rule, addresses and method. The first refusal counts. An unknown
// credential, another scope and a missing grant are all [keybearer.CredentialForbidden]; a deleted one is
// [keybearer.CredentialDeleted] to callers that hold view. It does not allocate when the request is allowed.
func Decide(req *Request, snap Snapshot, reach Reach) Decision {
	var d Decision
	step, code, reason := judge(req, snap)
	if step != stepRule {
		d.Code, d.Reason = code, reason
		if req != nil && req.Target != nil {
			d.Destination = req.Target.fallback()
		}
		return d
	}
	d.Admission = Admit(&snap.Credential.Current.Terms, req.Target, req.Method, reach)
	d.Reason = ruleReason(d.Code)
	return d
}

// step is a stage of the decision.
type step uint8

const (
	stepCaller step = iota
	stepDestination
	stepScope
	stepGrant
	stepUser
	stepState
	stepRule
)

// judge goes through the steps before the rules. It returns the first that refuses, with code and reason, or stepRule.
func judge(req *Request, snap Snapshot) (step, keybearer.Code, string) {
	scope, cred := snap.Scope, snap.Credential
	switch {
	case req == nil || req.Caller == nil || req.Caller.Name == "":
		return stepCaller, keybearer.CallerUnauthenticated, "the caller is not known"
	case !req.Caller.Live():
		return stepCaller, keybearer.CallerUnauthenticated, "the caller is disabled or deleted"
	case req.Target == nil || req.Target.Host == "":
		return stepDestination, keybearer.DestinationInvalid, "there is no destination"

	case scope == nil || !scope.DeletedAt.IsZero():
		return stepScope, keybearer.CredentialForbidden, "there is no such scope"
	case scope.Name != keybearer.GlobalScope && !req.Caller.BoundTo(scope.ID):
		return stepScope, keybearer.CredentialForbidden, "the caller is not bound to the scope"
	case cred == nil || cred.ScopeID != scope.ID:
		return stepScope, keybearer.CredentialForbidden, "there is no such credential in the scope"
	}

	level := levelOf(cred.Grants, "app", req.Caller.Name)
	deleted := !cred.DeletedAt.IsZero()
	switch {
	case level < keybearer.Use:
		return stepGrant, keybearer.CredentialForbidden, "the caller has no grant"
	case deleted && level < keybearer.View:
		return stepGrant, keybearer.CredentialForbidden, "the credential was deleted, and the caller does not hold view"
	case deleted:
		return stepGrant, keybearer.CredentialDeleted, "the credential was deleted"

	case req.Bogus:
		return stepUser, keybearer.UserRequired, "the assertion of the acting user does not hold"
	case req.User != "" && userLevel(cred.Grants, req.User, req.Groups) < keybearer.Use:
		return stepUser, keybearer.CredentialForbidden, "the acting user has no grant, and is in no group that has one"
	case req.User == "" && cred.Current.Terms.RequireUser:
		return stepUser, keybearer.UserRequired, "the credential is used only on behalf of a person"
	}

	now := req.Now
	if now.IsZero() {
		now = cred.ExpiresAt
	}
	switch cred.State(now) {
	case keybearer.Disabled:
		return stepState, keybearer.CredentialDisabled, "the credential is disabled"
	case keybearer.Expired:
		return stepState, keybearer.CredentialExpired, "the credential has expired"
	case keybearer.NeedsSecret:
		return stepState, keybearer.CredentialNeedsSecret, "the credential has no secret"
	case keybearer.Active:
	default:
		return stepState, keybearer.CredentialForbidden, "the credential is in a state that is not known"
	}
	if scope.Regenerating() {
		return stepState, keybearer.ScopeRegenerating, "the scope's key is being regenerated, or the scope deleted"
	}
	return stepRule, "", ""
}

func ruleReason(code keybearer.Code) string {
	switch code {
	case "":
		return "a rule admits it"
	case keybearer.AddressDenied:
		return "the destination's addresses are not ones that the rule reaches"
	case keybearer.MethodNotAllowed:
		return "the rule for this destination does not admit the method"
	}
	return "no rule admits this scheme, host, port and path"
}

// LevelOf returns the highest level that the grants give to any of the subjects.
func LevelOf(grants []keybearer.Grant, subjects ...keybearer.Subject) keybearer.Level {
	level := keybearer.NoLevel
	for _, s := range subjects {
		kind, name := s.Split()
		level = max(level, levelOf(grants, kind, name))
	}
	return level
}

// levelOf is LevelOf for one subject that need not be joined first. A level beyond the ladder is none.
func levelOf(grants []keybearer.Grant, kind, name string) keybearer.Level {
	level := keybearer.NoLevel
	for i := range grants {
		g := &grants[i]
		rest, ok := strings.CutPrefix(string(g.Subject), kind)
		if ok && name != "" && strings.HasPrefix(rest, ":") && rest[1:] == name && g.Level <= keybearer.Administer {
			level = max(level, g.Level)
		}
	}
	return level
}

func userLevel(grants []keybearer.Grant, user string, groups []string) keybearer.Level {
	level := levelOf(grants, "user", user)
	for _, g := range groups {
		level = max(level, levelOf(grants, "group", g))
	}
	return level
}
