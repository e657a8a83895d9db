package custody_test

import (
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func TestCheck(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	l.credential("docs", "crm", "one", "api.example.com/v1")
	if _, _, err := l.CreateCaller(ctx, by(root), custody.NewCaller{Name: "billing", Scopes: []string{"docs"}}); err != nil {
		t.Fatal(err)
	}
	r := custody.CheckRequest{Credential: crm, Caller: "billing", Method: "POST", URL: "http://api.example.com/v1/hook?q=1"}
	check := func(want keybearer.Code) {
		t.Helper()
		report, err := l.Check(ctx, by(root), r)
		if err != nil || report.Code != want {
			t.Fatalf("%+v, %v, want %q", report, err, want)
		}
	}
	check(keybearer.CredentialForbidden)
	if _, err := l.SetGrant(ctx, by(root), crm, "app:billing", keybearer.View); err != nil {
		t.Fatal(err)
	}
	check("")
	report, err := l.Check(ctx, by(root), r)
	if err != nil || report.Rule != "https://api.example.com/v1" || report.URL != "https://api.example.com/v1/hook" || len(report.Steps) == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	r.URL = "https://api.example.com/v2"
	check(keybearer.DestinationNotAllowed)
	r.URL = "https://api.example.com/v1"
	if _, err := l.DisableCredential(ctx, by(root), crm); err != nil {
		t.Fatal(err)
	}
	check(keybearer.CredentialDisabled)
	if _, err := l.DeleteCredential(ctx, by(root), crm, true); err != nil {
		t.Fatal(err)
	}
	check(keybearer.CredentialDeleted)

	for _, bad := range []custody.CheckRequest{{Credential: crm, Method: "GET", URL: r.URL}, {Credential: crm, Caller: "nobody", Method: "GET", URL: r.URL}, {Credential: crm, Caller: "billing", Method: "TRACE", URL: r.URL}} {
		_, err := l.Check(ctx, by(root), bad)
		wantCode(t, err, keybearer.Invalid)
	}
	_, err = l.Check(ctx, by(root), custody.CheckRequest{Credential: crm, Caller: "billing", Method: "GET", URL: "api.example.com"})
	wantCode(t, err, keybearer.DestinationInvalid)

	billing, err := l.store.Caller(ctx, "billing")
	if err != nil {
		t.Fatal(err)
	}
	self := custody.Actor{Subject: "app:billing", Caller: billing}
	if report, err = l.Check(ctx, by(self), custody.CheckRequest{Credential: crm, Method: "GET", URL: r.URL}); err != nil || report.Code != keybearer.CredentialDeleted || report.Steps != nil {
		t.Fatalf("%+v, %v", report, err)
	}
	_, err = l.Check(ctx, by(self), custody.CheckRequest{Credential: crm, Caller: "other", Method: "GET", URL: r.URL})
	wantCode(t, err, keybearer.Forbidden)
}
