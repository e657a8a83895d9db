package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

func fields(s string) []string { return strings.Fields(s) }

// request parses "METHOD URL"; with "=" in front the scheme is literal, as in gateway mode.
func request(t fataler, s string) (string, *Target) {
	t.Helper()
	method, text, _ := strings.Cut(s, " ")
	target, err := ParseAbsolute(text)
	if err != nil {
		t.Fatal(text, err)
	}
	if m, ok := strings.CutPrefix(method, "="); ok {
		method, target.Literal = m, true
	}
	return method, &target
}

// active is a caller that may do what it asks.
func active(t fataler) (*Request, Snapshot) {
	method, target := request(t, "POST http://api.example.com/v1/hooks?x=1")
	terms := rules(t, "*.example.com", "api.example.com", "a.example", "b.example", "c.example")
	req := &Request{
		Target: target, Method: method, Caller: &keybearer.Caller{Name: "billing", Scopes: []string{"scp_docs"}},
		User: "ann", Groups: []string{"dev", "ops"}, Now: modelNow,
	}
	cred := &keybearer.Credential{
		ScopeID: "scp_docs", Name: "crm",
		Grants:  []keybearer.Grant{{Subject: "app:billing", Level: keybearer.Use}, {Subject: "group:ops", Level: keybearer.View}},
		Current: keybearer.Version{Sealed: []byte("sealed"), Terms: *terms},
	}
	return req, Snapshot{&keybearer.Scope{ID: "scp_docs", Name: "docs"}, cred}
}

func TestDecide(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Request, *Snapshot)
		code   keybearer.Code
	}{
		"active":                      {func(*Request, *Snapshot) {}, ""},
		"no caller":                   {func(r *Request, _ *Snapshot) { r.Caller = nil }, keybearer.CallerUnauthenticated},
		"caller disabled":             {func(r *Request, _ *Snapshot) { r.Caller.Disabled = true }, keybearer.CallerUnauthenticated},
		"caller deleted":              {func(r *Request, _ *Snapshot) { r.Caller.DeletedAt = modelNow }, keybearer.CallerUnauthenticated},
		"caller without a name":       {func(r *Request, s *Snapshot) { r.Caller.Name = ""; s.Credential.Grants[0].Subject = "app:" }, keybearer.CallerUnauthenticated},
		"no target":                   {func(r *Request, _ *Snapshot) { r.Target = nil }, keybearer.DestinationInvalid},
		"zero target":                 {func(r *Request, _ *Snapshot) { r.Target = &Target{} }, keybearer.DestinationInvalid},
		"no scope":                    {func(_ *Request, s *Snapshot) { s.Scope = nil }, keybearer.CredentialForbidden},
		"scope deleted":               {func(_ *Request, s *Snapshot) { s.Scope.DeletedAt = modelNow }, keybearer.CredentialForbidden},
		"no credential":               {func(_ *Request, s *Snapshot) { s.Credential = nil }, keybearer.CredentialForbidden},
		"not bound":                   {func(r *Request, _ *Snapshot) { r.Caller.Scopes = []string{"scp_doc", "scp_docs2"} }, keybearer.CredentialForbidden},
		"global needs no binding":     {func(r *Request, s *Snapshot) { r.Caller.Scopes = nil; s.Scope.Name = "global" }, ""},
		"credential of another scope": {func(_ *Request, s *Snapshot) { s.Credential.ScopeID = "scp_other" }, keybearer.CredentialForbidden},
		"no grant":                    {func(_ *Request, s *Snapshot) { s.Credential.Grants = nil }, keybearer.CredentialForbidden},
		"grant to a longer name":      {func(_ *Request, s *Snapshot) { s.Credential.Grants[0].Subject = "app:billing2" }, keybearer.CredentialForbidden},
		"grant to a shorter name":     {func(_ *Request, s *Snapshot) { s.Credential.Grants[0].Subject = "app:bill" }, keybearer.CredentialForbidden},
		"grant to a user so named":    {func(_ *Request, s *Snapshot) { s.Credential.Grants[0].Subject = "user:billing" }, keybearer.CredentialForbidden},
		"grant of no level":           {func(_ *Request, s *Snapshot) { s.Credential.Grants[0].Level = keybearer.NoLevel }, keybearer.CredentialForbidden},
		"grant beyond the ladder":     {func(_ *Request, s *Snapshot) { s.Credential.Grants[0].Level = 99 }, keybearer.CredentialForbidden},
		"deleted, use":                {func(_ *Request, s *Snapshot) { s.Credential.DeletedAt = modelNow }, keybearer.CredentialForbidden},
		"deleted, view": {func(_ *Request, s *Snapshot) {
			s.Credential.DeletedAt = modelNow
			s.Credential.Grants[0].Level = keybearer.View
		}, keybearer.CredentialDeleted},
		"user without grant":          {func(r *Request, _ *Snapshot) { r.User, r.Groups = "bob", []string{"dev", "op"} }, keybearer.CredentialForbidden},
		"user with a grant":           {func(r *Request, s *Snapshot) { r.Groups = nil; s.Credential.Grants[1].Subject = "user:ann" }, ""},
		"app's grant is not a user's": {func(r *Request, _ *Snapshot) { r.User, r.Groups = "billing", nil }, keybearer.CredentialForbidden},
		"no user, none needed":        {func(r *Request, _ *Snapshot) { r.User, r.Groups = "", nil }, ""},
		"a bogus user":                {func(r *Request, _ *Snapshot) { r.User, r.Bogus = "", true }, keybearer.UserRequired},
		"no user, one needed":         {func(r *Request, s *Snapshot) { r.User = ""; s.Credential.Current.Terms.RequireUser = true }, keybearer.UserRequired},
		"user needed and there":       {func(_ *Request, s *Snapshot) { s.Credential.Current.Terms.RequireUser = true }, ""},
		"disabled":                    {func(_ *Request, s *Snapshot) { s.Credential.Disabled = true }, keybearer.CredentialDisabled},
		"expires later":               {func(_ *Request, s *Snapshot) { s.Credential.ExpiresAt = modelNow.Add(1) }, ""},
		"expires now":                 {func(_ *Request, s *Snapshot) { s.Credential.ExpiresAt = modelNow }, keybearer.CredentialExpired},
		"expires at an unknown time":  {func(r *Request, s *Snapshot) { r.Now = Request{}.Now; s.Credential.ExpiresAt = modelNow }, keybearer.CredentialExpired},
		"needs secret":                {func(_ *Request, s *Snapshot) { s.Credential.Current.Sealed = nil }, keybearer.CredentialNeedsSecret},
		"rotating":                    {func(_ *Request, s *Snapshot) { s.Scope.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRotate} }, ""},
		"regenerating":                {func(_ *Request, s *Snapshot) { s.Scope.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRegenerate} }, keybearer.ScopeRegenerating},
		"being deleted":               {func(_ *Request, s *Snapshot) { s.Scope.Work = &keybearer.ScopeWork{Kind: keybearer.WorkDelete} }, keybearer.ScopeRegenerating},
		"no rules":                    {func(_ *Request, s *Snapshot) { s.Credential.Current.Terms.Rules = nil }, keybearer.DestinationNotAllowed},
		"zero rule":                   {func(_ *Request, s *Snapshot) { s.Credential.Current.Terms.Rules = make([]keybearer.Rule, 1) }, keybearer.DestinationNotAllowed},
		"method":                      {func(r *Request, _ *Snapshot) { r.Method = "TRACE" }, keybearer.MethodNotAllowed},
		"user_required hides behind the grant": {func(r *Request, s *Snapshot) {
			r.User, s.Credential.Current.Terms.RequireUser, s.Credential.Grants = "", true, nil
		}, keybearer.CredentialForbidden},
		"disabled hides behind the grant": {func(_ *Request, s *Snapshot) { s.Credential.Disabled, s.Credential.Grants = true, nil }, keybearer.CredentialForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			req, snap := active(t)
			c.change(req, &snap)
			d := Decide(req, snap, Public)
			if d.Code != c.code || d.Allowed() != (c.code == "") || keybearer.CodeOf(d.Err()) != c.code || d.Reason == "" {
				t.Errorf("%q (%s), want %q", d.Code, d.Reason, c.code)
			}
			if req.Target != nil && req.Target.Host != "" && d.Destination.String() != "https://api.example.com" {
				t.Errorf("to %s", d.Destination)
			}
		})
	}
}

func TestZeroValuesDeny(t *testing.T) {
	req, snap := active(t)
	var none Decision
	if none.Allowed() || none.Err() == nil {
		t.Error("the zero decision allows")
	}
	for name, d := range map[string]Decision{
		"nothing":          Decide(nil, Snapshot{}, Unresolved),
		"no request":       Decide(nil, snap, Public),
		"zero request":     Decide(&Request{}, snap, Public),
		"no snapshot":      Decide(req, Snapshot{}, Public),
		"zero records":     Decide(req, Snapshot{&keybearer.Scope{}, &keybearer.Credential{}}, Public),
		"zero caller":      Decide(&Request{Target: req.Target, Method: "GET", Caller: &keybearer.Caller{}}, snap, Public),
		"zero credentials": Decide(req, Snapshot{snap.Scope, &keybearer.Credential{ScopeID: "scp_docs"}}, Public),
	} {
		if d.Allowed() || d.Code == "" || d.Err() == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
	for name, a := range map[string]Admission{
		"nothing":   Admit(nil, nil, "", Unresolved),
		"no terms":  Admit(nil, req.Target, "GET", Public),
		"no target": Admit(&snap.Credential.Current.Terms, nil, "GET", Public),
		"zero both": Admit(&keybearer.Terms{Rules: make([]keybearer.Rule, 1)}, &Target{}, "GET", Public),
		"no method": Admit(&snap.Credential.Current.Terms, req.Target, "", Public),
	} {
		if a.Allowed() || a.Code == "" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// Who may not use a credential learns nothing: not that it exists, not its state, not the reason.
func TestForbiddenIsOneAnswer(t *testing.T) {
	seen := 0
	rapid.Check(t, func(t *rapid.T) {
		d := Decide(drawRequest(t), drawSnapshot(t), drawReach(t))
		if d.Code != keybearer.CredentialForbidden {
			return
		}
		seen++
		if diff := cmp.Diff(&keybearer.Error{Code: keybearer.CredentialForbidden}, d.Err()); diff != "" {
			t.Fatal(diff)
		}
	})
	if seen == 0 {
		t.Error("nothing was forbidden")
	}
}

func TestErrNamesHostAndPortOnly(t *testing.T) {
	req, snap := active(t)
	_, req.Target = request(t, "GET http://other.example/secret-path?secret-query")
	err := func() error { d := Decide(req, snap, Public); return d.Err() }()
	if e := keybearer.AsError(err); e.Detail != "no rule of the credential admits other.example:443" || errors.Unwrap(e) != nil {
		t.Errorf("%q", e.Detail)
	}
}

func TestDecideAgreesWithTheModel(t *testing.T) {
	seen := map[keybearer.Code]int{}
	rapid.Check(t, func(t *rapid.T) {
		req, snap, reach := drawRequest(t), drawSnapshot(t), drawReach(t)
		// Most of what is drawn fails early: now and then only the rules, or only they and the state, are in the way.
		if mode := rapid.SampledFrom([]string{"all", "rules", "state"}).Draw(t, "in the way"); mode != "all" && snap.Credential != nil && snap.Scope != nil {
			own, other := active(t)
			own.Target, own.Method = req.Target, req.Method
			drawn := snap.Credential
			other.Credential.Current.Terms.Rules = drawn.Current.Terms.Rules
			if mode == "state" {
				other.Scope.Work = snap.Scope.Work
				other.Credential.Current.Sealed = drawn.Current.Sealed
				other.Credential.Disabled, other.Credential.ExpiresAt, other.Credential.DeletedAt = drawn.Disabled, drawn.ExpiresAt, drawn.DeletedAt
			}
			req, snap = own, other
		}
		d := Decide(req, snap, reach)
		if want := modelDecide(req, snap, reach); d.Code != want || d.Allowed() != (want == "") {
			t.Fatalf("%q (%s), the model says %q", d.Code, d.Reason, want)
		}
		seen[d.Code]++
		checkReport(t, Explain(req, snap, reach), d, snap)
	})
	for _, code := range []keybearer.Code{
		"", keybearer.AddressDenied, keybearer.CallerUnauthenticated, keybearer.CredentialDeleted, keybearer.CredentialDisabled,
		keybearer.CredentialExpired, keybearer.CredentialForbidden, keybearer.CredentialNeedsSecret, keybearer.DestinationNotAllowed,
		keybearer.MethodNotAllowed, keybearer.ScopeRegenerating, keybearer.UserRequired,
	} {
		if seen[code] == 0 {
			t.Errorf("%q was never decided: %v", code, seen)
		}
	}
	t.Log(seen)
}

// checkReport holds a report against the decision that it explains.
func checkReport(t *rapid.T, r Report, d Decision, snap Snapshot) {
	if r.Code != d.Code || r.Reason != d.Reason || (r.Decision == keybearer.Allow) != d.Allowed() || (r.Rule != "") != d.Allowed() {
		t.Fatalf("%+v explains %+v", r, d)
	}
	for i, s := range r.Steps {
		last := i == len(r.Steps)-1
		if s.Name != stepNames[i] || s.Detail == "" || s.Passed != (!last || d.Allowed()) || last && s.Detail != d.Reason {
			t.Fatalf("step %d: %+v of %+v", i, s, d)
		}
	}
	if len(r.Steps) < len(stepNames) {
		if r.Rules != nil {
			t.Fatalf("rules are shown though the decision did not come to them: %+v", r)
		}
		return
	}
	if len(r.Rules) != len(snap.Credential.Current.Terms.Rules) {
		t.Fatalf("%d rules", len(r.Rules))
	}
	for _, rule := range r.Rules {
		if rule.Admits == (rule.Why != "") {
			t.Fatalf("%+v", rule)
		}
	}
	first := slices.IndexFunc(r.Rules, func(r RuleReport) bool { return r.Admits })
	if first >= 0 != d.Allowed() || first >= 0 && r.Rules[first].Rule != r.Rule {
		t.Fatalf("%+v explains %+v", r.Rules, d)
	}
}

func TestExplain(t *testing.T) {
	req, snap := active(t)
	snap.Credential.Current.Terms.Rules = rules(t, "http://api.example.com", "api.example.com/v1 GET", "api.example.com/v2 private", "*.example.com:8443", "b.example").Rules
	got := Explain(req, snap, Public)
	want := Report{
		Decision: "refuse", Code: keybearer.MethodNotAllowed, Reason: "the rule for this destination does not admit the method",
		Method: "POST", URL: "https://api.example.com/v1/hooks", Addresses: "public",
		Steps: []Step{
			{"caller", true, "the caller is app:billing"},
			{"destination", true, "the host is api.example.com"},
			{"scope", true, "the caller is bound to scope docs"},
			{"grant", true, "app:billing holds use"},
			{"user", true, "user:ann holds view"},
			{"state", true, "the credential is active"},
			{"rule", false, "the rule for this destination does not admit the method"},
		},
		Rules: []RuleReport{
			{Rule: "https://*.example.com:8443", Why: "it is for another port"},
			{Rule: "http://api.example.com", Why: "it is for http and the request for https; it is for another port"},
			{Rule: "https://api.example.com/v1", Methods: []string{"GET"}, Why: "it does not admit the method"},
			{Rule: "https://api.example.com/v2", Private: true, Why: "the path is not at or below its path; it reaches only addresses in allow_private"},
			{Rule: "https://b.example", Why: "it is for another host"},
		},
		Nearest: &snap.Credential.Current.Terms.Rules[2],
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r := Explain(nil, Snapshot{}, Unresolved); r.Decision != "refuse" || len(r.Steps) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestLevelOf(t *testing.T) {
	grants := []keybearer.Grant{{Subject: "app:a", Level: keybearer.Use}, {Subject: "group:ops", Level: keybearer.Edit}, {Subject: "user:a", Level: keybearer.View}, {Subject: "user:x:y", Level: keybearer.Use}, {Subject: "user:", Level: keybearer.Use}, {Subject: ":", Level: keybearer.Use}, {Subject: "app", Level: keybearer.Use}, {Subject: "user.a", Level: keybearer.Administer}}
	for want, subjects := range map[keybearer.Level][]keybearer.Subject{
		keybearer.NoLevel: {"app:b", "user:ops", "group:a", "user:", "", ":", "app", "user:x"},
		keybearer.Use:     {"user:x:y"},
		keybearer.View:    {"app:a", "user:a", "group:dev"},
		keybearer.Edit:    {"user:a", "group:ops"},
	} {
		if got := LevelOf(grants, subjects...); got != want {
			t.Errorf("LevelOf(%v) = %v, want %v", subjects, got, want)
		}
	}
	if LevelOf(nil) != keybearer.NoLevel || LevelOf(grants) != keybearer.NoLevel {
		t.Error("a level for nobody")
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	req, snap := active(t)
	if n := testing.AllocsPerRun(100, func() {
		own := *req // the caller's own copy stays on its stack
		if d := Decide(&own, snap, Public); !d.Allowed() {
			t.Fatal(d.Reason)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	req, snap := active(b)
	b.ReportAllocs()
	for b.Loop() {
		if d := Decide(req, snap, Public); !d.Allowed() {
			b.Fatal(d.Reason)
		}
	}
}

func BenchmarkParseAbsolute(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAbsolute("http://api.example.com:8443/v1/hooks?x=1"); err != nil {
			b.Fatal(err)
		}
	}
}
