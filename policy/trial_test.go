package policy

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

// What is left of a trial is within the rules in force, whatever those are; it says of whatever is admitted what those rules alone would say of it once
// they are in force; and it never says anything of what is refused anyway.
func TestATrialSaysWhatItsRulesWouldDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		force, tried := drawTerms(t), drawTerms(t)
		if rapid.Bool().Draw(t, "of the same") {
			tried.Rules = CanonicalRules(append(slices.DeleteFunc(slices.Clone(force.Rules), func(keybearer.Rule) bool { return rapid.Bool().Draw(t, "left out") }), tried.Rules...))
		}
		fit := Fit(tried.Rules, force.Rules)
		for _, r := range fit {
			if !Within(r, force.Rules) {
				t.Fatalf("%v is not within %v", r, force.Rules)
			}
		}
		for _, r := range tried.Rules {
			if fit != nil && Within(r, force.Rules) && !Within(r, fit) {
				t.Fatalf("%v was on trial, is within the rules and is gone", r)
			}
		}
		target, method, reach := drawTarget(t), drawMethod(t), drawReach(t)
		a := Admit(force, target, method, reach)
		code := WouldRefuse(&keybearer.Trial{Rules: fit}, &a, target, method, reach)
		// The same destination, asked for as it is sent.
		literal := *target
		literal.Scheme, literal.Literal, literal.Port = a.Destination.Scheme, true, a.Destination.Port
		b := Admit(&keybearer.Terms{Rules: fit}, &literal, method, reach)
		switch {
		case !a.Allowed() && code != "":
			t.Fatalf("refused with %s, and the trial says %s", a.Code, code)
		case !a.Allowed():
			if b.Allowed() && a.Destination == b.Destination {
				t.Fatalf("what is left of the trial, %v, admits more than %v", fit, force.Rules)
			}
		case code != b.Code || (code == "") != b.Allowed():
			t.Fatalf("the trial says %q and does %q", code, b.Code)
		}
	})
}

func TestAnAbsentTrialSaysNothing(t *testing.T) {
	terms := rules(t, "api.example.com")
	target, err := ParseAbsolute("https://api.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	a := Admit(terms, &target, "GET", Public)
	if code := WouldRefuse(nil, &a, &target, "GET", Public); code != "" || !a.Allowed() {
		t.Error(code)
	}
	if code := WouldRefuse(&keybearer.Trial{Rules: rules(t, "api.example.com/v1").Rules}, &a, &target, "GET", Public); code != keybearer.DestinationNotAllowed {
		t.Error(code)
	}
	if n := testing.AllocsPerRun(100, func() { WouldRefuse(&keybearer.Trial{Rules: terms.Rules}, &a, &target, "GET", Public) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	// In proxy mode "http" means https as long as an https rule is there: a trial without that rule would have it refused, not sent in clear.
	both := rules(t, "api.example.com", "http://api.example.com")
	plain, err := ParseAbsolute("http://api.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	a = Admit(both, &plain, "GET", Public)
	if code := WouldRefuse(&keybearer.Trial{Rules: rules(t, "http://api.example.com").Rules}, &a, &plain, "GET", Public); code != keybearer.DestinationNotAllowed {
		t.Errorf("%q of a request that goes out as %s", code, a.Destination)
	}
}

func TestWhatIsLeftOfATrial(t *testing.T) {
	for name, c := range map[string]struct{ trial, force, want []string }{
		"as it is":                 {[]string{"a.example.com/v1"}, []string{"*.example.com"}, []string{"a.example.com/v1"}},
		"one rule is gone":         {[]string{"a.example.com", "b.example.com"}, []string{"a.example.com", "c.example.com"}, []string{"a.example.com"}},
		"narrowed below":           {[]string{"a.example.com"}, []string{"a.example.com/v1", "c.example.com"}, []string{"a.example.com/v1"}},
		"narrowed below to two":    {[]string{"**.example.com", "d.example.org"}, []string{"a.example.com/v1", "b.example.com", "d.example.org/x", "c.example.net"}, []string{"a.example.com/v1", "b.example.com", "d.example.org/x"}},
		"nothing is left":          {[]string{"a.example.com"}, []string{"b.example.com"}, nil},
		"no rules in force":        {[]string{"a.example.com"}, nil, nil},
		"it would refuse nothing":  {[]string{"a.example.com"}, []string{"a.example.com"}, nil},
		"nor with what lies below": {[]string{"a.example.com"}, []string{"a.example.com/v1", "a.example.com/v2"}, nil},
	} {
		list := func(texts []string) []keybearer.Rule { return rules(t, texts...).Rules }
		got := Fit(list(c.trial), list(c.force))
		want := list(c.want)
		if (got == nil) != (c.want == nil) || !slices.EqualFunc(got, want, func(a, b keybearer.Rule) bool { return a.String() == b.String() }) {
			t.Errorf("%s: %v is left, want %v", name, got, want)
		}
	}
	a := Admit(rules(t, "api.example.com"), &Target{Scheme: "https", Literal: true, Host: "api.example.com", Path: "/"}, "GET", Public)
	if code := WouldRefuse(&keybearer.Trial{}, &a, nil, "GET", Public); code != "" {
		t.Errorf("of no request: %q", code)
	}
}
