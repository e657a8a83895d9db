package custody_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// permitted takes a conflict for permission: there is no trial, but who asks might have ended it.
func permitted(_ custody.Credential, err error) error {
	if keybearer.CodeOf(err) == keybearer.Conflict {
		return nil
	}
	return err
}

// unsent is in the place of the proxy.
func unsent(context.Context, custody.Probe) (custody.Probed, error) { return custody.Probed{}, nil }

// The matrix is CONTRACT section 6, written down by hand: one letter for each persona, in the order of personas.
//
//	y: may   f: forbidden, says so   h: hidden, as if it were not there   u: unauthenticated
var matrix = []struct {
	action custody.Action
	// nobody, no grant, use, view, edit, administer, administer by group, admin of the scope, admin of another, instance admin,
	// caller's token: none, use, view, administer, view but not bound
	want string
	do   func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error
}{
	{custody.ScopeList, "ufffff fyyy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, _ fixture) error {
		_, err := c.Scopes(ctx, ask, keybearer.Query{})
		return err
	}},
	{custody.ScopeShow, "ufffff fyfy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.Scope(ctx, ask, f.scope)
		return err
	}},
	{custody.ScopeCreate, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.CreateScope(ctx, ask, f.scope+"-new", "")
		return err
	}},
	{custody.ScopeEdit, "ufffff fyfy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EditScope(ctx, ask, f.scope, new("words"))
		return err
	}},
	{custody.ScopeDelete, "ufffff fyfy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.DeleteScope(ctx, ask, f.empty, custody.Confirmation{Confirm: f.empty})
		return err
	}},
	{custody.ScopeGenerate, "ufffff fyfy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.GenerateKey(ctx, ask, f.empty)
		return err
	}},
	{custody.ScopeRotate, "ufffff fyfy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.RotateKey(ctx, ask, f.scope)
		return err
	}},
	{custody.ScopeRegenerate, "ufffff fyfy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.RegenerateKey(ctx, ask, f.scope, custody.Regenerate{DryRun: true})
		return err
	}},
	{custody.ScopeRegenerate, "ufffff fyfy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.RegenerateKey(ctx, ask, f.scope, custody.Regenerate{Confirmation: custody.Confirmation{Confirm: f.scope, Expected: 3}})
		return err
	}},
	{custody.ScopeMove, "ufffff fyfy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.MoveKey(ctx, ask, f.scope)
		if keybearer.CodeOf(err) == keybearer.Conflict {
			return nil // there is no former keyring, but it was permitted
		}
		return err
	}},
	{custody.CredentialList, "uhhyyy yyhy hhyyh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		page, err := c.Credentials(ctx, ask, f.scope, keybearer.Query{Text: f.cred.Name})
		if err == nil && len(page.Items) == 0 {
			return keybearer.NewError(keybearer.NotFound, "")
		}
		return err
	}},
	{custody.CredentialShow, "uhhyyy yyhy hhyyh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.Credential(ctx, ask, f.cred)
		return err
	}},
	{custody.CredentialCheck, "uhhyyy yyhy hhyyh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		caller := "app"
		if ask.Actor.Caller != nil {
			caller = ""
		}
		_, err := c.Check(ctx, ask, custody.CheckRequest{Credential: f.cred, Caller: caller, Method: "GET", URL: "https://api.example.com/"})
		return err
	}},
	{custody.CredentialTest, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.Test(ctx, ask, custody.Probe{Credential: f.cred, Caller: "app", Method: "GET", URL: "https://api.example.com/"}, unsent)
		return err
	}},
	{custody.CredentialCreate, "ufffff fyfy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.CreateCredential(ctx, ask, f.scope, bearer("another", "s3cret"))
		return err
	}},
	{custody.CredentialEdit, "uhhfyy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EditCredential(ctx, ask, f.cred, custody.Patch{Description: new("words")})
		return err
	}},
	{custody.CredentialEdit, "uhhfyy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EditCredential(ctx, ask, f.cred, custody.Patch{Kind: new(keybearer.Header), Header: new("X-Api-Key"), Secret: text("n3w")})
		return err
	}},
	{custody.CredentialEdit, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error { // what rules are to destinations
		_, err := c.EditCredential(ctx, ask, f.cred, custody.Patch{RequireUser: new(true)})
		return err
	}},
	{custody.CredentialEdit, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EditCredential(ctx, ask, f.cred, custody.Patch{WebSocket: new(true), Secret: text("n3w")})
		return err
	}},
	{custody.CredentialEdit, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EditCredential(ctx, ask, f.cred, custody.Patch{Rules: &[]custody.Destination{}})
		return err
	}},
	{custody.CredentialSetSecret, "uhhfyy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.SetSecret(ctx, ask, f.cred, text("n3w"))
		return err
	}},
	{custody.CredentialRollback, "uhhfyy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.RollbackCredential(ctx, ask, f.cred)
		return err
	}},
	{custody.CredentialRollback, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error { // to wider rules
		_, err := c.RollbackCredential(ctx, ask, f.wider)
		return err
	}},
	{custody.CredentialDisable, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.DisableCredential(ctx, ask, f.cred)
		return err
	}},
	{custody.CredentialEnable, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EnableCredential(ctx, ask, f.cred)
		return err
	}},
	{custody.CredentialDelete, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.DeleteCredential(ctx, ask, f.cred, true)
		return err
	}},
	{custody.CredentialRestore, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.RestoreCredential(ctx, ask, f.dead)
		return err
	}},
	{custody.GrantList, "uhhffy yyhy hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, _, err := c.Grants(ctx, ask, f.cred)
		return err
	}},
	{custody.GrantSet, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error { // for somebody else
		_, err := c.SetGrant(ctx, ask, f.cred, "user:eve", keybearer.Use)
		return err
	}},
	{custody.GrantSet, "uhhffy yyhy hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error { // for oneself
		subject := ask.Actor.Subject
		if subject == "" || ask.Actor.Caller != nil {
			subject = "user:eve"
		}
		_, err := c.SetGrant(ctx, ask, f.cred, subject, keybearer.Administer)
		return err
	}},
	{custody.GrantRemove, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.RemoveGrant(ctx, ask, f.cred, "user:uid-0")
		return err
	}},
	{custody.DestinationAdd, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.AddDestinations(ctx, ask, f.cred, []custody.Destination{{Rule: "b.example.com"}}, text("n3w"))
		return err
	}},
	{custody.DestinationReplace, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.ReplaceDestinations(ctx, ask, f.cred, nil, custody.Secret{})
		return err
	}},
	{custody.DestinationRemove, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.RemoveDestination(ctx, ask, f.cred, "api.example.com")
		return err
	}},
	{custody.DestinationTry, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.TryDestinations(ctx, ask, f.cred, []custody.Destination{{Rule: "api.example.com/v1"}})
		return err
	}},
	{custody.DestinationEnforce, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		return permitted(c.EnforceTrial(ctx, ask, f.cred))
	}},
	{custody.DestinationDiscard, "uhhffy yfhf hhffh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		return permitted(c.DiscardTrial(ctx, ask, f.cred))
	}},
	{custody.CredentialShow, "uhhyyy yyhy hhyyh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.Trial(ctx, ask, f.cred)
		return err
	}},
	{custody.CallerList, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, _ fixture) error {
		_, err := c.Callers(ctx, ask, keybearer.Query{})
		return err
	}},
	{custody.CallerShow, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.Caller(ctx, ask, f.caller)
		return err
	}},
	{custody.CallerCreate, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, _, err := c.CreateCaller(ctx, ask, custody.NewCaller{Name: f.caller + "-new"})
		return err
	}},
	{custody.CallerEdit, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EditCaller(ctx, ask, f.caller, custody.CallerPatch{Description: new("words")})
		return err
	}},
	{custody.CallerEdit, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.BindCaller(ctx, ask, f.caller, f.scope, true)
		return err
	}},
	{custody.CallerToken, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, _, err := c.RotateCallerToken(ctx, ask, f.caller, time.Time{}, nil)
		return err
	}},
	{custody.CallerRevoke, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.RevokeCallerToken(ctx, ask, f.caller, "")
		return err
	}},
	{custody.CallerDisable, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.DisableCaller(ctx, ask, f.caller)
		return err
	}},
	{custody.CallerEnable, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EnableCaller(ctx, ask, f.caller)
		return err
	}},
	{custody.CallerDelete, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.DeleteCaller(ctx, ask, f.caller)
		return err
	}},
	{custody.OperatorList, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, _ fixture) error {
		_, err := c.Operators(ctx, ask, keybearer.Query{})
		return err
	}},
	{custody.OperatorShow, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.Operator(ctx, ask, f.operator)
		return err
	}},
	{custody.OperatorCreate, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, _, err := c.CreateOperator(ctx, ask, custody.NewOperator{Name: f.operator + "-new"})
		return err
	}},
	{custody.OperatorEdit, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EditOperator(ctx, ask, f.operator, nil, nil, &[]string{keybearer.RoleInstanceAdmin})
		return err
	}},
	{custody.OperatorToken, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, _, err := c.RotateOperatorToken(ctx, ask, f.operator, time.Time{}, nil)
		return err
	}},
	{custody.OperatorRevoke, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.RevokeOperatorToken(ctx, ask, f.operator, "")
		return err
	}},
	{custody.OperatorDisable, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.DisableOperator(ctx, ask, f.operator)
		return err
	}},
	{custody.OperatorEnable, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.EnableOperator(ctx, ask, f.operator)
		return err
	}},
	{custody.OperatorSetUpLink, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, _ fixture) error {
		err := c.OfferSetUp(ctx, ask)
		if keybearer.CodeOf(err) == keybearer.Conflict { // there are operators
			return nil
		}
		return err
	}},
	{custody.OperatorDelete, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.DeleteOperator(ctx, ask, f.operator)
		return err
	}},
	{custody.UsageShow, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.Usage(ctx, ask, keybearer.Ref{}, f.since)
		return err
	}},
	{custody.CredentialShow, "uhhyyy yyhy hhyyh", func(ctx context.Context, c *custody.Custody, ask custody.Ask, f fixture) error {
		_, err := c.Usage(ctx, ask, f.cred, f.since)
		return err
	}},
	{custody.StatusShow, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, _ fixture) error {
		_, err := c.Status(ctx, ask)
		return err
	}},
	{custody.MigrationShow, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, _ fixture) error {
		_, err := c.KeyMigration(ctx, ask)
		return err
	}},
	{custody.StoreMove, "ufffff fffy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, _ fixture) error {
		_, err := c.MoveStore(ctx, ask)
		if keybearer.CodeOf(err) == keybearer.Conflict {
			return nil // there is no former store, but it was permitted
		}
		return err
	}},
	{custody.AuditRead, "ufffff fyyy fffff", func(ctx context.Context, c *custody.Custody, ask custody.Ask, _ fixture) error {
		_, err := c.AuditFilter(ctx, ask)
		return err
	}},
}

var personas = []string{
	"nobody", "none", "use", "view", "edit", "administer", "group", "scope admin", "other scope's admin", "instance admin",
	"caller none", "caller use", "caller view", "caller administer", "caller unbound",
}

func TestPermissions(t *testing.T) {
	l := newLab(t)
	type stage struct {
		fixture
		actor custody.Actor
	}
	standing := make([]stage, len(personas)) // for what changes nothing: reads and refusals
	for j, who := range personas {
		f := l.fixture(fmt.Sprintf("s%d", j))
		standing[j] = stage{f, f.actor(who)}
	}
	covered := map[custody.Action]bool{custody.CredentialPurge: true} // nobody may: it is the server's own
	for i, row := range matrix {
		covered[row.action] = true
		want := strings.ReplaceAll(row.want, " ", "")
		if len(want) != len(personas) {
			t.Fatalf("%s: %d letters for %d personas", row.action, len(want), len(personas))
		}
		for j, who := range personas {
			t.Run(fmt.Sprintf("%s/%d/%s", row.action, i, who), func(t *testing.T) {
				st := standing[j]
				if want[j] == 'y' && !custody.Reads(row.action) {
					f := l.fixture(fmt.Sprintf("m%d-%d", i, j))
					st = stage{f, f.actor(who)}
				}
				err := row.do(t.Context(), l.Custody, by(st.actor), st.fixture)
				got := "y"
				switch keybearer.CodeOf(err) {
				case "":
				case keybearer.Forbidden:
					got = "f"
				case keybearer.NotFound:
					got = "h"
				case keybearer.Unauthenticated:
					got = "u"
				default:
					got = "?"
				}
				if got != want[j:j+1] {
					t.Errorf("got %s (%v), want %s", got, err, want[j:j+1])
				}
			})
		}
	}
	for _, a := range custody.Needs() {
		if !covered[a] {
			t.Errorf("the matrix has no row for %s", a)
		}
	}
}

// What is hidden looks exactly like what is not there.
func TestHiddenIsAbsent(t *testing.T) {
	l := newLab(t)
	f := l.fixture("docs")
	for _, row := range matrix {
		if !strings.HasPrefix(string(row.action), "credential.") && !strings.HasPrefix(string(row.action), "grant.") && !strings.HasPrefix(string(row.action), "destination.") ||
			row.action == custody.CredentialCreate {
			continue
		}
		for _, who := range []string{"none", "use", "other scope's admin", "caller none", "caller unbound"} {
			nameless, scopeless := f, f
			for _, r := range []*keybearer.Ref{&nameless.cred, &nameless.wider, &nameless.dead} {
				r.Name = "no-such"
			}
			for _, r := range []*keybearer.Ref{&scopeless.cred, &scopeless.wider, &scopeless.dead} {
				r.Scope = "no-such"
			}
			scopeless.scope = "no-such"
			hidden := row.do(t.Context(), l.Custody, by(f.actor(who)), f)
			for _, other := range []fixture{nameless, scopeless} {
				absent := row.do(t.Context(), l.Custody, by(f.actor(who)), other)
				if h, a := keybearer.AsError(hidden), keybearer.AsError(absent); h.Code != a.Code || h.Message() != a.Message() || h.Advice() != a.Advice() {
					t.Errorf("%s as %s: hidden %q %q, absent %q %q", row.action, who, h.Message(), h.Advice(), a.Message(), a.Advice())
				}
			}
		}
	}
}

func TestGlobalIsTheInstanceAdmins(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	if _, err := l.GenerateKey(ctx, by(root), keybearer.GlobalScope); err != nil {
		t.Fatal(err)
	}
	admin := custody.Actor{Subject: "user:ada", Roles: []string{keybearer.RoleScopeAdmin + l.scopeRecord(keybearer.GlobalScope).ID}}
	if _, err := l.RotateKey(ctx, by(admin), keybearer.GlobalScope); err != nil {
		t.Fatal(err)
	}
	r := custody.Regenerate{Confirmation: custody.Confirmation{Confirm: keybearer.GlobalScope}}
	_, err := l.RegenerateKey(ctx, by(admin), keybearer.GlobalScope, r)
	wantCode(t, err, keybearer.Forbidden)
	_, err = l.DeleteScope(ctx, by(admin), keybearer.GlobalScope, r.Confirmation)
	wantCode(t, err, keybearer.Forbidden)
	if _, err = l.RegenerateKey(ctx, by(root), keybearer.GlobalScope, r); err != nil {
		t.Fatal(err)
	}
}

func TestRefusalsAreAudited(t *testing.T) {
	l := newLab(t)
	f := l.fixture("docs")
	ask := custody.Ask{Actor: f.actor("view"), ID: "req_one"}
	_, err := l.DisableCredential(t.Context(), ask, f.cred)
	wantCode(t, err, keybearer.Forbidden)
	lines := l.lines(func(e *keybearer.Event) bool { return e.ID == "req_one" })
	if len(lines) != 1 {
		t.Fatalf("%d lines", len(lines))
	}
	e := lines[0]
	if e.Kind != keybearer.RefusalEvent || e.Phase != keybearer.Outcome || e.Decision != keybearer.Refuse || e.Code != keybearer.Forbidden ||
		e.Action != "credential.disable" || e.Operator != "ada" || e.Scope != "docs" || e.Credential != "crm" || e.CredentialID == "" {
		t.Fatalf("%+v", e)
	}
}
