package custody_test

import (
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// fixture is a scope with all that the permission matrix acts on.
type fixture struct {
	l                *lab
	scope, empty     string
	scopeID, emptyID string
	cred             keybearer.Ref // has a previous version with the same terms
	wider            keybearer.Ref // has a previous version with wider terms
	dead             keybearer.Ref // a tombstone
	caller, operator string
	since            time.Time
}

// fixture makes one, with grants for user:ada at no level, as actor gives them.
func (l *lab) fixture(name string) fixture {
	l.t.Helper()
	ctx := l.t.Context()
	f := fixture{
		l: l, scope: name, empty: name + "-empty", cred: ref(name, "crm"), wider: ref(name, "wide"), dead: ref(name, "gone"),
		caller: name + "-app", operator: name + "-op", since: l.clock.Now().Add(-time.Hour),
	}
	f.scopeID = l.scope(f.scope).ID
	must := func(err error) {
		l.t.Helper()
		if err != nil {
			l.t.Fatal(err)
		}
	}
	empty, err := l.CreateScope(ctx, by(root), f.empty, "")
	must(err)
	f.emptyID = empty.ID
	if _, err := l.Caller(ctx, by(root), "app"); err != nil {
		_, _, err = l.CreateCaller(ctx, by(root), custody.NewCaller{Name: "app"})
		must(err)
	}
	_, _, err = l.CreateCaller(ctx, by(root), custody.NewCaller{Name: f.caller, Scopes: []string{f.scope}})
	must(err)
	_, _, err = l.CreateOperator(ctx, by(root), custody.NewOperator{Name: f.operator})
	must(err)
	l.credential(f.scope, "crm", "0ld", "api.example.com")
	_, err = l.SetSecret(ctx, by(root), f.cred, text("s3cret"))
	must(err)
	l.credential(f.scope, "wide", "0ld", "api.example.com", "b.example.com")
	_, err = l.ReplaceDestinations(ctx, by(root), f.wider, []custody.Destination{{Rule: "api.example.com"}}, text("s3cret"))
	must(err)
	l.credential(f.scope, "gone", "s3cret", "api.example.com")
	_, err = l.DeleteCredential(ctx, by(root), f.dead, true)
	must(err)
	return f
}

// actor makes who is called so, with the grants that go with it.
func (f fixture) actor(who string) custody.Actor {
	f.l.t.Helper()
	ctx := f.l.t.Context()
	grant := func(subject keybearer.Subject, level string) {
		f.l.t.Helper()
		n, err := keybearer.ParseLevel(level)
		if err != nil {
			return // no grant
		}
		for _, r := range []keybearer.Ref{f.cred, f.wider} {
			if _, err := f.l.SetGrant(ctx, by(root), r, subject, n); err != nil {
				f.l.t.Fatal(err)
			}
		}
		if _, err := f.l.RestoreCredential(ctx, by(root), f.dead); err != nil {
			f.l.t.Fatal(err)
		}
		if _, err := f.l.SetGrant(ctx, by(root), f.dead, subject, n); err != nil {
			f.l.t.Fatal(err)
		}
		if _, err := f.l.DeleteCredential(ctx, by(root), f.dead, true); err != nil {
			f.l.t.Fatal(err)
		}
	}
	if rest, ok := strings.CutPrefix(who, "caller "); ok {
		if rest == "unbound" {
			grant(keybearer.AppSubject(f.caller), "view")
			if _, err := f.l.BindCaller(ctx, by(root), f.caller, f.scope, false); err != nil {
				f.l.t.Fatal(err)
			}
		} else {
			grant(keybearer.AppSubject(f.caller), rest)
		}
		c, err := f.l.store.Caller(ctx, f.caller)
		if err != nil {
			f.l.t.Fatal(err)
		}
		return custody.Actor{Subject: keybearer.AppSubject(f.caller), Caller: c}
	}
	ada := custody.Actor{Subject: "user:ada"}
	switch who {
	case "nobody":
		return custody.Actor{}
	case "group":
		grant("group:sales", "administer")
		ada.Groups = []string{"sales"}
	case "scope admin":
		ada.Roles = []string{keybearer.RoleScopeAdmin + f.scopeID, keybearer.RoleScopeAdmin + f.emptyID}
	case "other scope's admin":
		ada.Roles = []string{keybearer.RoleScopeAdmin + f.l.scopeRecord(keybearer.GlobalScope).ID}
	case "instance admin":
		ada.Roles = []string{keybearer.RoleInstanceAdmin}
	default:
		grant("user:ada", who)
	}
	return ada
}
