package admin_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// Every operation once, through the client, the socket, the handler, custody and the store.
func TestEveryOperation(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	made := l.docs()
	if made.Ref() != crm || made.Version != 1 || made.Level != keybearer.Administer || made.State != keybearer.Active || made.Revision == 0 ||
		len(made.Grants) != 1 || !strings.HasPrefix(string(made.Grants[0].Subject), "user:uid-") {
		t.Fatalf("%+v", made)
	}
	shown, err := l.Credential(ctx, crm)
	must(err)
	if diff := cmp.Diff(made, shown); diff != "" {
		t.Fatal(diff)
	}
	s, err := l.EditScope(ctx, "docs", admin.ScopePatch{Description: new("papers")})
	must(err)
	if s, err = l.Scope(ctx, "docs"); err != nil || s.Description != "papers" || s.Key.Generation != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	issued, err := l.CreateCaller(ctx, admin.NewCaller{Name: "billing", Scopes: []string{"docs"}})
	must(err)
	if issued.Token.IsZero() || issued.Caller.Name != "billing" || !slices.Equal(issued.Caller.Scopes, []string{"docs"}) {
		t.Fatalf("%+v", issued.Caller)
	}
	_, err = l.SetGrant(ctx, crm, "app:billing", keybearer.View)
	must(err)
	_, err = l.SetGrant(ctx, crm, "user:spiffe://corp//x?y#z", keybearer.Edit) // any printable id travels
	must(err)
	grants, err := l.Grants(ctx, crm)
	if err != nil || len(grants.Items) != 3 || grants.Items[0] != (admin.Grant{Subject: "app:billing", Level: keybearer.View}) {
		t.Fatalf("%+v, %v", grants, err)
	}
	_, err = l.RemoveGrant(ctx, crm, "user:spiffe://corp//x?y#z")
	must(err)

	app := l.with(issued.Token)
	r := admin.CheckRequest{Credential: "docs/crm", Method: "POST", URL: "https://api.example.com/hook"}
	result, err := app.Check(ctx, r)
	if err != nil || !result.Allowed || result.Rule != "https://api.example.com" || result.Destination != "https://api.example.com/hook" || result.Steps != nil {
		t.Fatalf("%+v, %v", result, err)
	}
	r.Caller, r.URL = "billing", "https://b.example.com/"
	if result, err = l.Check(ctx, r); err != nil || result.Allowed || result.Code != keybearer.DestinationNotAllowed || result.Hint == "" || len(result.Steps) == 0 || len(result.Rules) != 1 {
		t.Fatalf("%+v, %v", result, err)
	}

	more := admin.DestinationChange{Destinations: []admin.Destination{{Rule: "http://b.example.com", Methods: []string{"POST"}}}}
	_, err = l.AddDestinations(ctx, crm, more)
	wantCode(t, err, keybearer.SecretRequired)
	more.Secret = admin.NewPlaintext("again")
	c, err := l.AddDestinations(ctx, crm, more)
	if err != nil || c.Version != 2 || c.Previous == nil || c.Previous.Version != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	list, err := l.Destinations(ctx, crm)
	want := []admin.Destination{{Rule: "https://api.example.com"}, {Rule: "http://b.example.com", Methods: []string{"POST"}, Clear: true}}
	if diff := cmp.Diff(want, list.Items); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	_, err = l.RemoveDestination(ctx, crm, "http://b.example.com")
	must(err)
	if c, err = l.ReplaceDestinations(ctx, crm, admin.DestinationChange{Destinations: []admin.Destination{{Rule: "api.example.com/v1"}}}); err != nil || c.Destinations[0].Rule != "https://api.example.com/v1" {
		t.Fatalf("%+v, %v", c, err)
	}
	c, err = l.SetSecret(ctx, crm, admin.SecretInput{Secret: admin.NewPlaintext("third")})
	must(err)
	c, err = l.RollbackCredential(ctx, crm)
	if err != nil || c.Version != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	if c, err = l.EditCredential(ctx, crm, admin.CredentialPatch{ExpiresAt: admin.Expiry{Set: true, Time: until}}); err != nil || !c.ExpiresAt.Equal(until) {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = l.EditCredential(ctx, crm, admin.CredentialPatch{Description: new("words")}); err != nil || !c.ExpiresAt.Equal(until) {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = l.EditCredential(ctx, crm, admin.CredentialPatch{ExpiresAt: admin.Expiry{Set: true}}); err != nil || !c.ExpiresAt.IsZero() {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = l.DisableCredential(ctx, crm); err != nil || c.State != keybearer.Disabled {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = l.EnableCredential(ctx, crm); err != nil || c.State != keybearer.Active {
		t.Fatalf("%+v, %v", c, err)
	}
	use := keybearer.UseRecord{CredentialID: c.ID, Caller: "billing", Host: "api.example.com:443", Status: 200, At: time.Now()}
	must(l.store.RecordUses(ctx, []keybearer.UseRecord{use}, keybearer.Checkpoint{}))
	usage, err := l.Usage(ctx, crm, time.Time{})
	if err != nil || usage.Usage.Count != 1 || len(usage.Hours) != 1 || usage.Usage.Callers[0].Caller != "billing" {
		t.Fatalf("%+v, %v", usage, err)
	}
	if usage, err = l.Usage(ctx, keybearer.Ref{}, time.Now().Add(-time.Hour)); err != nil || usage.Usage != nil || len(usage.Hours) != 1 {
		t.Fatalf("%+v, %v", usage, err)
	}
	_, err = l.DeleteCredential(ctx, crm, false)
	wantCode(t, err, keybearer.RecentlyUsed)
	if c, err = l.DeleteCredential(ctx, crm, true); err != nil || c.State != keybearer.Deleted || c.RestorableTo.IsZero() {
		t.Fatalf("%+v, %v", c, err)
	}
	c, err = l.RestoreCredential(ctx, crm)
	must(err)

	if s, err = l.RotateKey(ctx, "docs"); err != nil || s.Key.Version != 2 || s.Work != nil {
		t.Fatalf("%+v, %v", s, err)
	}
	plan, err := l.RegenerateKey(ctx, "docs", admin.Regenerate{DryRun: true})
	if err != nil || !plan.DryRun || plan.ExpectedCredentials() != 1 || len(plan.Credentials) != 1 || plan.Credentials[0].Usage == nil {
		t.Fatalf("%+v, %v", plan, err)
	}
	confirm := admin.Confirmation{Confirm: "docs", ExpectedCredentials: 1}
	if plan, err = l.RegenerateKey(ctx, "docs", admin.Regenerate{Confirmation: confirm, KeepShells: true}); err != nil || plan.Scope.Key.Generation != 2 || plan.Live != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if c, err = l.Credential(ctx, crm); err != nil || c.State != keybearer.NeedsSecret {
		t.Fatalf("%+v, %v", c, err)
	}
	_, err = l.DeleteCredential(ctx, crm, true)
	must(err)
	if s, err = l.DeleteScope(ctx, "docs", confirm); err != nil || s.DeletedAt.IsZero() {
		t.Fatalf("%+v, %v", s, err)
	}
	scopes, err := l.Scopes(ctx, admin.ListQuery{Deleted: true})
	if err != nil || len(scopes.Items) != 2 {
		t.Fatalf("%+v, %v", scopes, err)
	}
	l.identities(must)
}

func (l *lab) identities(must func(error)) {
	t, ctx := l.t, l.t.Context()
	_, err := l.CreateScope(ctx, admin.NewScope{Name: "ops"})
	must(err)
	_, err = l.BindCaller(ctx, "billing", "ops")
	must(err)
	c, err := l.UnbindCaller(ctx, "billing", "ops")
	if err != nil || len(c.Scopes) != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, limits := range []keybearer.Limits{{Rate: 0.5, Burst: 3, Concurrency: keybearer.Unlimited}, {}} {
		if c, err = l.EditCaller(ctx, "billing", admin.CallerPatch{Limits: &limits}); err != nil || c.Limits != limits {
			t.Errorf("limits %+v: %+v, %v", limits, c, err)
		}
	}
	if _, err = l.EditCaller(ctx, "billing", admin.CallerPatch{Limits: &keybearer.Limits{Rate: -3}}); keybearer.CodeOf(err) != keybearer.Invalid {
		t.Error("a negative rate:", err)
	}
	c, err = l.EditCaller(ctx, "billing", admin.CallerPatch{Scopes: &[]string{"ops"}, Description: new("shop")})
	if err != nil || c.Scopes[0] != "ops" || c.Description != "shop" {
		t.Fatalf("%+v, %v", c, err)
	}
	second, err := l.RotateCallerToken(ctx, "billing", time.Time{}, time.Hour)
	if err != nil || len(second.Caller.Tokens) != 2 || second.Caller.Tokens[0].ExpiresAt.IsZero() {
		t.Fatalf("%+v, %v", second.Caller, err)
	}
	ends := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	third, err := l.AddCallerToken(ctx, "billing", ends)
	if err != nil || len(third.Caller.Tokens) != 3 || !third.Caller.Tokens[2].ExpiresAt.Equal(ends) {
		t.Fatalf("%+v, %v", third.Caller, err)
	}
	_, err = l.RevokeCallerToken(ctx, "billing", third.Caller.Tokens[1].ID)
	must(err)
	if c, err = l.RevokeCallerToken(ctx, "billing", ""); err != nil || len(c.Tokens) != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	c, err = l.DisableCaller(ctx, "billing")
	if err != nil || !c.Disabled {
		t.Fatalf("%+v, %v", c, err)
	}
	_, err = l.EnableCaller(ctx, "billing")
	must(err)
	page, err := l.Callers(ctx, admin.ListQuery{Text: "SHOP"})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	_, err = l.DeleteCaller(ctx, "billing")
	must(err)

	o, err := l.CreateOperator(ctx, admin.NewOperator{Name: "ada", Roles: []string{"scope-admin:ops"}})
	must(err)
	ada := l.with(o.Token)
	if who, err := ada.Whoami(ctx); err != nil || who.Subject != "user:ada" || len(who.Groups) != 0 {
		t.Fatalf("%+v, %v", who, err)
	}
	if scopes, err := ada.Scopes(ctx, admin.ListQuery{}); err != nil || len(scopes.Items) != 1 || scopes.Items[0].Name != "ops" {
		t.Fatalf("%+v, %v", scopes, err)
	}
	_, err = ada.CreateScope(ctx, admin.NewScope{Name: "more"})
	wantCode(t, err, keybearer.Forbidden)
	if e := keybearer.AsError(err); !strings.Contains(e.Detail, "instance-admin") || e.Hint == "" {
		t.Fatalf("%q %q", e.Detail, e.Hint)
	}
	op, err := l.EditOperator(ctx, "ada", admin.OperatorPatch{Groups: &[]string{"sales"}, Roles: &[]string{"instance-admin"}})
	if err != nil || op.Groups[0] != "sales" || op.Roles[0] != "instance-admin" {
		t.Fatalf("%+v, %v", op, err)
	}
	if _, err = ada.CreateScope(ctx, admin.NewScope{Name: "more"}); err != nil {
		t.Fatal(err)
	}
	if who, err := ada.Whoami(ctx); err != nil || !slices.Equal(who.Groups, []string{"sales"}) {
		t.Fatalf("%+v, %v", who, err)
	}
	next, err := l.RotateOperatorToken(ctx, "ada", time.Time{}, 0)
	must(err)
	_, err = ada.Scopes(ctx, admin.ListQuery{})
	wantCode(t, err, keybearer.Unauthenticated)
	_, err = l.AddOperatorToken(ctx, "ada", time.Time{})
	must(err)
	_, err = l.RevokeOperatorToken(ctx, "ada", next.Operator.Tokens[0].ID)
	must(err)
	_, err = l.DisableOperator(ctx, "ada")
	must(err)
	_, err = l.EnableOperator(ctx, "ada")
	must(err)
	ops, err := l.Operators(ctx, admin.ListQuery{})
	if err != nil || len(ops.Items) != 1 || len(ops.Items[0].Tokens) != 1 {
		t.Fatalf("%+v, %v", ops, err)
	}
	_, err = l.DeleteOperator(ctx, "ada")
	must(err)
	_, err = l.Operator(ctx, "ada")
	must(err)
	_, err = l.EnableOperator(ctx, "ada")
	wantCode(t, err, keybearer.NotFound)
}

func TestPaging(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.docs()
	var want []string
	for i := range 9 {
		n := admin.NewCredential{Name: fmt.Sprintf("c%d", i), Kind: keybearer.Basic}
		n.Username, n.Secret = admin.NewPlaintext("u"), admin.NewPlaintext("p")
		if _, err := l.CreateCredential(ctx, "docs", n); err != nil {
			t.Fatal(err)
		}
		want = append(want, n.Name)
	}
	for _, scope := range []string{"docs", admin.AllScopes} {
		var got []string
		q := admin.ListQuery{Limit: 4, Kind: keybearer.Basic}
		pages := 0
		for {
			page, err := l.Credentials(ctx, scope, q)
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, c := range page.Items {
				got = append(got, c.Name)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if !slices.Equal(got, want) || pages != 3 {
			t.Fatalf("%s: %v in %d pages", scope, got, pages)
		}
	}
	for _, q := range []admin.ListQuery{{Cursor: "nonsense"}, {Limit: 1001}, {Limit: -1}, {Subject: "x"}} {
		_, err := l.Credentials(ctx, "docs", q)
		wantCode(t, err, keybearer.Invalid)
	}
	page, err := l.Credentials(ctx, "docs", admin.ListQuery{Text: "API.example"})
	if err != nil || len(page.Items) != 1 || page.Items[0].Name != "crm" {
		t.Fatalf("%+v, %v", page, err)
	}
}

func TestIfRevision(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	c := l.docs()
	if _, err := l.DisableCredential(admin.IfRevision(ctx, c.Revision), crm); err != nil {
		t.Fatal(err)
	}
	_, err := l.EnableCredential(admin.IfRevision(ctx, c.Revision), crm)
	wantCode(t, err, keybearer.Stale)
	if _, err = l.EnableCredential(ctx, crm); err != nil {
		t.Fatal(err)
	}
}

func TestUnreachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.sock")
	c, err := admin.NewClient(admin.ClientConfig{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Scopes(t.Context(), admin.ListQuery{})
	wantCode(t, err, keybearer.ServerUnreachable)
	if e := keybearer.AsError(err); !strings.Contains(e.Detail, path) || !strings.Contains(e.Hint, "keybearer run") {
		t.Fatalf("%q %q", e.Detail, e.Hint)
	}
	for e, err := range c.Audit(t.Context(), admin.AuditQuery{}) {
		wantCode(t, err, keybearer.ServerUnreachable)
		_ = e
	}
	for _, bad := range []admin.ClientConfig{
		{}, {Socket: "a", Address: "https://b"}, {Address: "b:1"}, {Address: "https://u:p@b"}, {Address: "https://b/x"}, {Address: "http://example.com"}, {Address: "ftp://b"},
	} {
		_, err := admin.NewClient(bad)
		wantCode(t, err, keybearer.Invalid)
	}
	if os.Geteuid() != 0 { // root may open any socket
		l := newLab(t)
		if err := os.Chmod(l.socket, 0); err != nil {
			t.Fatal(err)
		}
		_, err = l.Scopes(t.Context(), admin.ListQuery{})
		if e := keybearer.AsError(err); e.Code != keybearer.ServerUnreachable || !strings.Contains(e.Detail, "may not be opened") {
			t.Fatal(err)
		}
	}
}

func TestAuditTail(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.docs()
	actions := func(q admin.AuditQuery) (out []string) {
		t.Helper()
		for e, err := range l.Audit(ctx, q) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e.Action)
		}
		return out
	}
	if got := actions(admin.AuditQuery{}); !slices.Equal(got, []string{"scope.create", "scope.create", "scope.generate-key", "credential.create"}) {
		t.Fatal(got)
	}
	if got := actions(admin.AuditQuery{Limit: 1}); !slices.Equal(got, []string{"credential.create"}) {
		t.Fatal(got)
	}
	if got := actions(admin.AuditQuery{Credential: "docs/crm"}); !slices.Equal(got, []string{"credential.create"}) {
		t.Fatal(got)
	}
	if got := actions(admin.AuditQuery{Scope: "docs", Kind: keybearer.RefusalEvent}); got != nil {
		t.Fatal(got)
	}
	// Following begins with what there is and goes on without a gap and without a repetition.
	var got []string
	n := 0
	for e, err := range l.Audit(ctx, admin.AuditQuery{Follow: true, Scope: "docs"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Action)
		switch n++; n {
		case 3:
			if _, err := l.DisableCredential(ctx, crm); err != nil {
				t.Fatal(err)
			}
			if _, err := l.EnableCredential(ctx, crm); err != nil {
				t.Fatal(err)
			}
		case 5:
			cancel()
		}
	}
	if want := []string{"scope.create", "scope.generate-key", "credential.create", "credential.disable", "credential.enable"}; !slices.Equal(got, want) {
		t.Fatal(got)
	}
}

// Whoever answers in Keybearer's place must not make it look as if nobody answered.
func TestSomethingElseAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"a gateway's page":   "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>",
		"another API's JSON": "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
		"a page":             "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = conn.Write([]byte(answer))
				}
			}()
			c, err := admin.NewClient(admin.ClientConfig{Socket: listener.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			_, err = c.Scope(t.Context(), "docs")
			if e := keybearer.AsError(err); e == nil || e.Code != keybearer.ServerUnreachable || !strings.Contains(e.Detail, "is not Keybearer's admin API") {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestTrialsThroughTheClient(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.docs()
	if _, err := l.CreateCaller(ctx, admin.NewCaller{Name: "app", Scopes: []string{"docs"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SetGrant(ctx, crm, "app:app", keybearer.Use); err != nil {
		t.Fatal(err)
	}
	none, err := l.Trial(ctx, crm)
	if err != nil || none.Trial != nil || !none.Counted || none.WouldRefuse == nil {
		t.Fatalf("%+v, %v", none, err)
	}
	_, err = l.TryDestinations(ctx, crm, []admin.Destination{{Rule: "*.com"}})
	wantCode(t, err, keybearer.RuleInvalid)
	if e := keybearer.AsError(err); !strings.Contains(e.Detail, "public suffix") {
		t.Error("a mistake in the rule is not told before it is sent:", e.Detail)
	}
	_, err = l.TryDestinations(ctx, crm, []admin.Destination{{Rule: "evil.example"}})
	wantCode(t, err, keybearer.RuleInvalid)
	if e := keybearer.AsError(err); strings.Contains(e.Detail+e.Hint, "evil") {
		t.Error("the answer repeats what was written:", e.Detail)
	}
	c, err := l.TryDestinations(ctx, crm, []admin.Destination{{Rule: "api.example.com/v1", Methods: []string{"POST"}}})
	if err != nil || c.Trial == nil || c.Trial.Destinations[0].Rule != "https://api.example.com/v1" || c.Trial.By == "" || c.Trial.Since.IsZero() {
		t.Fatalf("%+v, %v", c, err)
	}
	use := keybearer.UseRecord{
		CredentialID: c.ID, Caller: "app", Host: "api.example.com:443", Status: 200, At: time.Now(),
		WouldRefuse: keybearer.DestinationNotAllowed, Trial: c.Trial.ID,
	}
	if err := l.store.RecordUses(ctx, []keybearer.UseRecord{use, use}, keybearer.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	got, err := l.Trial(ctx, crm)
	if err != nil || len(got.WouldRefuse) != 1 || got.WouldRefuse[0].Count != 2 || got.WouldRefuse[0].Host != use.Host || got.WouldRefuse[0].Code != use.WouldRefuse {
		t.Fatalf("%+v, %v", got, err)
	}
	r, err := l.Check(ctx, admin.CheckRequest{Credential: "docs/crm", Caller: "app", Method: "GET", URL: "https://api.example.com/v1"})
	if err != nil || !r.Allowed || r.WouldRefuse != keybearer.MethodNotAllowed || r.Examples == nil || r.Examples.Rule != r.Rule || len(r.Examples.Matches) != 3 || len(r.Examples.Misses) != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	if c, err = l.EnforceTrial(ctx, crm); err != nil || c.Trial != nil || c.Destinations[0].Rule != "https://api.example.com/v1" || c.Version != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = l.DiscardTrial(ctx, crm)
	wantCode(t, err, keybearer.Conflict)
}

// A probe believes nobody else: what another program on the socket calls its status says nothing.
func TestTheHealthOfSomethingElseIsNone(t *testing.T) {
	for _, answer := range []string{`{}`, `{"status":"up"}`, `{"status":"ready","parts":[{"part":"store","status":"fine"}]}`} {
		listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) })}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		c, err := admin.NewClient(admin.ClientConfig{Socket: listener.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if report, err := c.Health(t.Context(), false); keybearer.CodeOf(err) != keybearer.ServerUnreachable {
			t.Errorf("%s: %+v, %v", answer, report, err)
		}
	}
}
