package custody_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func TestCallers(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	docs := l.scope("docs")
	l.scope("ops")
	c, token, err := l.CreateCaller(ctx, by(root), custody.NewCaller{Name: "billing", Scopes: []string{"ops", docs.ID, "docs"}})
	if err != nil || !strings.HasPrefix(token.Reveal(), "kb_") || !slices.Equal(c.Scopes, []string{"docs", "ops"}) || len(c.Tokens) != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	good := func(token keybearer.Secret, want keybearer.Code) {
		t.Helper()
		a, err := l.ActorByToken(ctx, token)
		wantCode(t, err, want)
		if err == nil && (a.Subject != "app:billing" || a.Caller == nil || a.Roles != nil) {
			t.Fatalf("%+v", a)
		}
	}
	good(token, "")
	good(keybearer.NewSecret(token.Reveal()+"x"), keybearer.Unauthenticated)
	good(keybearer.NewSecret("kbo_"+strings.TrimPrefix(token.Reveal(), "kb_")), keybearer.Unauthenticated)
	_, _, err = l.CreateCaller(ctx, by(root), custody.NewCaller{Name: "billing"})
	wantCode(t, err, keybearer.AlreadyExists)
	_, _, err = l.CreateCaller(ctx, by(root), custody.NewCaller{Name: "other", Scopes: []string{"nowhere"}})
	wantCode(t, err, keybearer.NotFound)

	_, _, err = l.CreateCaller(ctx, by(root), custody.NewCaller{Name: "late", ExpiresAt: l.clock.Now()})
	wantCode(t, err, keybearer.Invalid)
	_, _, err = l.RotateCallerToken(ctx, by(root), "billing", l.clock.Now(), nil)
	wantCode(t, err, keybearer.Invalid)

	// One that ends by itself.
	hour := time.Hour
	_, short, err := l.RotateCallerToken(ctx, by(root), "billing", l.clock.Now().Add(hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	good(short, "")
	l.clock.Add(hour)
	good(short, keybearer.Unauthenticated)

	// The ledger knows when the caller and each of its tokens was last used.
	at := l.clock.Now().UTC().Truncate(time.Microsecond)
	use := keybearer.UseRecord{CredentialID: "crd_a", Caller: "billing", TokenID: c.Tokens[0].ID, At: at}
	if err := l.store.RecordUses(ctx, []keybearer.UseRecord{use}, keybearer.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	seen, err := l.Caller(ctx, by(root), "billing")
	if err != nil || !seen.LastUsedAt.Equal(at) || !seen.Tokens[0].LastUsedAt.Equal(at) || !seen.Tokens[1].LastUsedAt.IsZero() {
		t.Fatalf("%+v, %v", seen, err)
	}
	if all, err := l.Callers(ctx, by(root), keybearer.Query{}); err != nil || !all.Items[0].Tokens[0].LastUsedAt.Equal(at) {
		t.Fatalf("%+v, %v", all, err)
	}

	// Two live tokens for the overlap, then one.
	c, second, err := l.RotateCallerToken(ctx, by(root), "billing", time.Time{}, &hour)
	if err != nil || len(c.Tokens) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	good(token, "")
	good(second, "")
	l.clock.Add(time.Hour)
	good(token, keybearer.Unauthenticated)
	good(second, "")
	_, third, err := l.RotateCallerToken(ctx, by(root), "billing", time.Time{}, nil) // stays
	if err != nil {
		t.Fatal(err)
	}
	good(second, "")
	if c, err = l.Caller(ctx, by(root), "billing"); err != nil || len(c.Tokens) != 2 { // the ended one is forgotten
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err = l.RevokeCallerToken(ctx, by(root), "billing", c.Tokens[1].ID); err != nil {
		t.Fatal(err)
	}
	good(third, keybearer.Unauthenticated)
	good(second, "")
	_, err = l.RevokeCallerToken(ctx, by(root), "billing", c.Tokens[1].ID)
	wantCode(t, err, keybearer.NotFound)
	zero := time.Duration(0)
	_, fourth, err := l.RotateCallerToken(ctx, by(root), "billing", time.Time{}, &zero)
	if err != nil {
		t.Fatal(err)
	}
	good(second, keybearer.Unauthenticated)
	if _, err = l.DisableCaller(ctx, by(root), "billing"); err != nil {
		t.Fatal(err)
	}
	good(fourth, keybearer.Unauthenticated)
	if _, err = l.EnableCaller(ctx, by(root), "billing"); err != nil {
		t.Fatal(err)
	}
	good(fourth, "")

	if c, err = l.BindCaller(ctx, by(root), "billing", "ops", false); err != nil || !slices.Equal(c.Scopes, []string{"docs"}) {
		t.Fatalf("%+v, %v", c, err)
	}
	limits := keybearer.Limits{Rate: 100, Burst: 200, Concurrency: 50}
	if c, err = l.EditCaller(ctx, by(root), "billing", custody.CallerPatch{Limits: &limits}); err != nil || c.Limits != limits {
		t.Fatal(c, err)
	}
	if _, err := l.EditCaller(ctx, by(root), "billing", custody.CallerPatch{Limits: &keybearer.Limits{Concurrency: -7}}); keybearer.CodeOf(err) != keybearer.Invalid {
		t.Fatal(err)
	}
	if c, err = l.EditCaller(ctx, by(root), "billing", custody.CallerPatch{Description: new("the shop"), Scopes: &[]string{"ops"}}); err != nil || !slices.Equal(c.Scopes, []string{"ops"}) || c.Description != "the shop" {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = l.DeleteCaller(ctx, by(root), "billing"); err != nil || c.DeletedAt.IsZero() || len(c.Tokens)+len(c.Scopes) != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	good(fourth, keybearer.Unauthenticated)
	_, err = l.EnableCaller(ctx, by(root), "billing")
	wantCode(t, err, keybearer.NotFound)
	_, _, err = l.CreateCaller(ctx, by(root), custody.NewCaller{Name: "billing"}) // old grants would fit the new one
	wantCode(t, err, keybearer.AlreadyExists)
}

func TestOperators(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	docs := l.scope("docs")
	o, token, err := l.CreateOperator(ctx, by(root), custody.NewOperator{Name: "ada", Groups: []string{"sales", "sales"}, Roles: []string{"scope-admin:docs"}})
	if err != nil || !slices.Equal(o.Roles, []string{"scope-admin:docs"}) || !slices.Equal(o.Groups, []string{"sales"}) {
		t.Fatalf("%+v, %v", o, err)
	}
	a, err := l.ActorByToken(ctx, token)
	if err != nil || a.Subject != "user:ada" || !slices.Equal(a.Roles, []string{keybearer.RoleScopeAdmin + docs.ID}) || !slices.Equal(a.Groups, []string{"sales"}) {
		t.Fatalf("%+v, %v", a, err)
	}
	for _, roles := range [][]string{{"admin"}, {"scope-admin"}, {"instance-admin:docs"}} {
		_, _, err := l.CreateOperator(ctx, by(root), custody.NewOperator{Name: "eve", Roles: roles})
		wantCode(t, err, keybearer.Invalid)
	}
	_, _, err = l.CreateOperator(ctx, by(root), custody.NewOperator{Name: "eve", Roles: []string{"scope-admin:nowhere"}})
	wantCode(t, err, keybearer.NotFound)
	_, _, err = l.CreateOperator(ctx, by(root), custody.NewOperator{Name: "eve", Groups: []string{"a b"}})
	wantCode(t, err, keybearer.Invalid)

	if o, err = l.EditOperator(ctx, by(root), "ada", nil, &[]string{}, &[]string{"instance-admin"}); err != nil || !slices.Equal(o.Roles, []string{"instance-admin"}) || len(o.Groups) != 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	if a, err = l.ActorByToken(ctx, token); err != nil || !slices.Equal(a.Roles, []string{"instance-admin"}) {
		t.Fatalf("%+v, %v", a, err)
	}
	if _, err = l.CreateScope(ctx, by(a), "hers", ""); err != nil {
		t.Fatal(err)
	}
	if _, err = l.DisableOperator(ctx, by(root), "ada"); err != nil {
		t.Fatal(err)
	}
	_, err = l.ActorByToken(ctx, token)
	wantCode(t, err, keybearer.Unauthenticated)
	if _, err = l.EnableOperator(ctx, by(root), "ada"); err != nil {
		t.Fatal(err)
	}
	zero := time.Duration(0)
	_, second, err := l.RotateOperatorToken(ctx, by(root), "ada", time.Time{}, &zero)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.ActorByToken(ctx, token)
	wantCode(t, err, keybearer.Unauthenticated)
	if _, err = l.RevokeOperatorToken(ctx, by(root), "ada", ""); err != nil {
		t.Fatal(err)
	}
	_, err = l.ActorByToken(ctx, second)
	wantCode(t, err, keybearer.Unauthenticated)
	if o, err = l.DeleteOperator(ctx, by(root), "ada"); err != nil || o.DeletedAt.IsZero() || len(o.Roles) != 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	_, _, err = l.CreateOperator(ctx, by(root), custody.NewOperator{Name: "ada"})
	wantCode(t, err, keybearer.AlreadyExists)
	page, err := l.Operators(ctx, by(root), keybearer.Query{})
	if err != nil || len(page.Items) != 0 {
		t.Fatalf("%+v, %v", page, err)
	}
}

// The roles of who asks count, not those of whom they asked for: a scope's tombstone gives nothing.
func TestRolesOfDeletedScopes(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	docs := l.scope("docs")
	if _, _, err := l.CreateOperator(ctx, by(root), custody.NewOperator{Name: "ada", Roles: []string{"scope-admin:docs"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteScope(ctx, by(root), "docs", custody.Confirmation{Confirm: "docs"}); err != nil {
		t.Fatal(err)
	}
	o, err := l.Operator(ctx, by(root), "ada")
	if err != nil || len(o.Roles) != 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	ada := custody.Actor{Subject: "user:ada", Roles: []string{keybearer.RoleScopeAdmin + docs.ID}}
	_, err = l.CreateCredential(ctx, by(ada), "docs", bearer("x", "x"))
	wantCode(t, err, keybearer.Forbidden)
	keep, err := l.AuditFilter(ctx, by(ada)) // what was done there is still hers to read
	if err != nil || !keep(&keybearer.Event{Scope: "docs"}) || keep(&keybearer.Event{Scope: "ops"}) || keep(&keybearer.Event{}) {
		t.Fatal(err)
	}
}
