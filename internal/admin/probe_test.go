package admin_test

import (
	"context"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/custody"
)

// A test request is sent for those who administer the credential, in their name, and tells what came of it; for others nothing is sent.
func TestATestRequestIsSentInTheNameOfWhoAsks(t *testing.T) {
	l := newLab(t)
	l.everything()
	ctx := t.Context()
	r := admin.TestRequest{Caller: "app:app", Method: "GET", URL: "https://api.example.com/v1"}
	people := map[keybearer.Level]*admin.Client{}
	for name, level := range map[string]keybearer.Level{"ann": keybearer.Administer, "eve": keybearer.Edit} {
		o, err := l.CreateOperator(ctx, admin.NewOperator{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.SetGrant(ctx, crm, keybearer.UserSubject(name), level); err != nil {
			t.Fatal(err)
		}
		people[level] = l.with(o.Token)
	}
	caller, err := l.Caller(ctx, "app")
	if err != nil {
		t.Fatal(err)
	}
	issued, err := l.AddCallerToken(ctx, "app", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SetGrant(ctx, crm, "app:app", keybearer.Administer); err != nil {
		t.Fatal(err)
	}
	for who, c := range map[string]*admin.Client{"edit": people[keybearer.Edit], "a caller's token": l.with(issued.Token)} {
		if _, err := c.TestCredential(ctx, crm, r); keybearer.CodeOf(err) != keybearer.Forbidden || len(l.probed) > 0 {
			t.Errorf("%s: %v, sent %v", who, err, l.probed)
		}
	}

	ann := people[keybearer.Administer]
	got, err := ann.TestCredential(ctx, crm, r)
	want := admin.TestResult{RequestID: "req_1", Status: 204, DurationMS: 1500, Bytes: 1 << 20, Cut: true, Fields: []string{"Date", "Server"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	r.Caller, r.URL = caller.ID, "https://evil.example.com/"
	got, err = ann.TestCredential(ctx, crm, r)
	want = admin.TestResult{RequestID: "req_2", Status: 403, DurationMS: 1, Bytes: 90, Code: keybearer.DestinationNotAllowed, Detail: "the destination is on no rule", Hint: "add it"}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	sent := []custody.Probe{
		{Operator: "ann", Caller: "app", Credential: crm, Method: "GET", URL: "https://api.example.com/v1"},
		{Operator: "ann", Caller: "app", Credential: crm, Method: "GET", URL: "https://evil.example.com/"},
	}
	if d := cmp.Diff(sent, l.probed); d != "" {
		t.Error(d)
	}
	for want, bad := range map[keybearer.Code]admin.TestRequest{
		keybearer.Invalid:            {Caller: "nobody", Method: "GET", URL: r.URL},
		keybearer.DestinationInvalid: {Caller: "app", Method: "GET", URL: "evil.example.com"},
	} {
		if _, err := ann.TestCredential(ctx, crm, bad); keybearer.CodeOf(err) != want {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if len(l.probed) != 2 {
		t.Errorf("sent %v", l.probed)
	}
}

// What sending fails with is told as it is, and where nothing is forwarded nothing is sent.
func TestATestRequestThatCannotBeSent(t *testing.T) {
	l := newLab(t)
	l.everything()
	cfg := admin.Config{Custody: l.custody, Authenticate: admin.Peers(func(*http.Request) *keybearer.PeerCredentials { return l.peer })}
	for want, probe := range map[keybearer.Code]custody.Prober{
		keybearer.Conflict: nil,
		keybearer.DestinationTimeout: func(context.Context, custody.Probe) (custody.Probed, error) {
			return custody.Probed{}, keybearer.NewError(keybearer.DestinationTimeout, "nothing was answered")
		},
	} {
		cfg.Probe = probe
		res := do(admin.New(cfg), "POST", "/api/v1/scopes/docs/credentials/crm:test", goodBodies[reflect.TypeFor[admin.TestRequest]()], "Content-Type", jsonType)
		if p := problem(t, res); p.Code != want {
			t.Errorf("%+v, want %s", p, want)
		}
	}
}
