package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"a.example", "a.example", true},
		{"a.example", "b.example", false},
		{"a.example", "a.example:8443", false},
		{"a.example", "http://a.example:443", false},
		{"a.example", "a.example/v1", true},
		{"a.example/v1", "a.example", false},
		{"a.example/v1", "a.example/v1/", true},
		{"a.example/v1/", "a.example/v1", false},
		{"a.example/v1", "a.example/v1x", false},
		{"a.example", "a.example GET", true},
		{"a.example GET", "a.example", false},
		{"a.example GET PUT", "a.example GET", true},
		{"a.example GET", "a.example GET PUT", false},
		{"a.example DELETE GET HEAD OPTIONS PATCH POST PUT", "a.example", false}, // an unrestricted rule admits unclear paths
		{"a.example DELETE GET HEAD OPTIONS PATCH POST PUT", "a.example/v1", true},
		{"a.example", "a.example DELETE GET HEAD OPTIONS PATCH POST PUT", true},
		{"a.example", "a.example private", false},
		{"a.example private", "a.example", false},
		{"*.a.example", "b.a.example", true},
		{"*.a.example", "a.example", false},
		{"*.a.example", "c.b.a.example", false},
		{"*.a.example", "*.a.example", true},
		{"*.a.example", "*.b.a.example", false},
		{"*.a.example", "**.a.example", false},
		{"**.a.example", "*.a.example", true},
		{"**.a.example", "**.b.a.example", true},
		{"**.a.example", "*.xa.example", false},
		{"**.a.example", "c.b.a.example", true},
		{"b.a.example", "*.a.example", false},
		{"**.amazonaws.com", "b.s3.amazonaws.com", false},
		{"**.amazonaws.com", "*.b.s3.amazonaws.com", false},
		{"**.amazonaws.com", "**.sts.eu-west-1.amazonaws.com", true},
		{"127.0.0.1", "127.0.0.1", true},
	} {
		if got := Covers(rules(t, c.outer).Rules[0], rules(t, c.inner).Rules[0]); got != c.want {
			t.Errorf("Covers(%s, %s) = %v", c.outer, c.inner, got)
		}
	}
}

func TestWidens(t *testing.T) {
	bearer := func(lines ...string) *keybearer.Terms {
		terms := rules(t, lines...)
		terms.Kind = keybearer.Bearer
		return terms
	}
	with := func(terms *keybearer.Terms, change func(*keybearer.Terms)) *keybearer.Terms {
		c := terms.Clone()
		change(&c)
		return &c
	}
	a := bearer("a.example", "b.example/v1 GET")
	header := with(a, func(t *keybearer.Terms) { t.Kind, t.Header = keybearer.Header, "X-Key" })
	for name, c := range map[string]struct {
		old, next *keybearer.Terms
		want      []string
	}{
		"same":               {a, a, nil},
		"to nothing":         {a, nil, nil},
		"to no rules":        {a, bearer(), nil},
		"fewer":              {a, bearer("a.example"), nil},
		"narrower":           {a, bearer("a.example/v1", "a.example GET", "b.example/v1/x GET"), nil},
		"another host":       {a, bearer("a.example", "c.example"), []string{"rules"}},
		"another method":     {a, bearer("b.example/v1 GET PUT"), []string{"rules"}},
		"wildcard":           {a, bearer("*.b.example"), []string{"rules"}},
		"http":               {a, bearer("http://a.example"), []string{"rules", "http"}},
		"more http":          {bearer("http://a.example"), bearer("http://a.example", "http://b.example"), []string{"rules"}},
		"private":            {a, bearer("a.example private"), []string{"rules", "private"}},
		"no longer private":  {bearer("a.example private"), bearer("a.example"), []string{"rules"}},
		"kind and header":    {a, header, []string{"kind", "header"}},
		"header":             {header, with(header, func(t *keybearer.Terms) { t.Header = "X-Other" }), []string{"header"}},
		"prefix":             {header, with(header, func(t *keybearer.Terms) { t.Prefix = "Token " }), []string{"prefix"}},
		"user no longer":     {with(a, func(t *keybearer.Terms) { t.RequireUser = true }), a, []string{"require_user"}},
		"user from now on":   {a, with(a, func(t *keybearer.Terms) { t.RequireUser = true }), nil},
		"websocket":          {a, with(a, func(t *keybearer.Terms) { t.WebSocket = true }), []string{"websocket"}},
		"websocket no more":  {with(a, func(t *keybearer.Terms) { t.WebSocket = true }), a, nil},
		"from nothing":       {nil, with(a, func(t *keybearer.Terms) { t.WebSocket = true }), []string{"kind", "rules", "require_user", "websocket"}},
		"nothing to nothing": {nil, nil, nil},
	} {
		if diff := cmp.Diff(c.want, Widens(c.old, c.next)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Nothing that only the next terms admit is called no wider.
func TestWidensMissesNothing(t *testing.T) {
	more := 0
	rapid.Check(t, func(t *rapid.T) {
		old, next, target, method, reach := drawTerms(t), drawTerms(t), drawTarget(t), drawMethod(t), drawReach(t)
		if rapid.Bool().Draw(t, "related") {
			next.Rules = CanonicalRules(append(next.Rules, old.Rules...))
		}
		target.Literal = true
		wider := Widens(old, next)
		before, _ := modelAdmit(old, target, method, reach)
		after, _ := modelAdmit(next, target, method, reach)
		if after == "" && before != "" {
			more++
			if !slices.Contains(wider, "rules") {
				t.Fatalf("%+v is new, and %v", target, wider)
			}
		}
		if w := Widens(next, next); w != nil {
			t.Fatalf("wider than itself: %v", w)
		}
		fewer := next.Clone()
		if len(fewer.Rules) > 0 {
			fewer.Rules = fewer.Rules[1:]
		}
		if w := Widens(next, &fewer); w != nil {
			t.Fatalf("fewer rules are wider: %v", w)
		}
	})
	if more == 0 {
		t.Error("no pair of terms was wider")
	}
}

func TestCoversAgreesWithTheModel(t *testing.T) {
	covered := 0
	rapid.Check(t, func(t *rapid.T) {
		outer, inner, target, method, reach := drawRule(t), drawRule(t), drawTarget(t), drawMethod(t), drawReach(t)
		target.Literal = true
		if !Covers(outer, inner) {
			return
		}
		covered++
		in, _ := modelAdmit(&keybearer.Terms{Rules: []keybearer.Rule{inner}}, target, method, reach)
		out, _ := modelAdmit(&keybearer.Terms{Rules: []keybearer.Rule{outer}}, target, method, reach)
		if in == "" && out != "" {
			t.Fatalf("%v does not cover %v: %v", outer, inner, target)
		}
	})
	if covered == 0 {
		t.Error("no rule covered another")
	}
}

// Two rules that the model has admit one request, at an address that is known, overlap, and rules that differ in anything that keeps requests apart do not.
func TestOverlapMissesNothing(t *testing.T) {
	both := 0
	rapid.Check(t, func(t *rapid.T) {
		a, b, target, method, reach := drawRule(t), drawRule(t), drawTarget(t), drawMethod(t), drawReach(t)
		target.Literal = true
		if rapid.Bool().Draw(t, "related") {
			b.Scheme, b.Host, b.Port, b.Private = a.Scheme, a.Host, a.Port, a.Private
			// What a admits as a rule is asked for, or next to no request is of both.
			target.Scheme, target.Port, target.Path = a.Scheme, a.Port, a.Path
			target.Host = "x." + strings.TrimLeft(a.Host, "*.")
			if !strings.HasPrefix(a.Host, "*") {
				target.Host = a.Host
			}
			if a.Path == "" {
				target.Path = "/"
			}
			target.Addr, _ = netip.ParseAddr(target.Host)
			if reach = Public; a.Private {
				reach = Listed
			}
		}
		inA, _ := modelAdmit(&keybearer.Terms{Rules: []keybearer.Rule{a}}, target, method, reach)
		inB, _ := modelAdmit(&keybearer.Terms{Rules: []keybearer.Rule{b}}, target, method, reach)
		if inA != "" || inB != "" || reach == Unresolved { // then rules for either kind of address admit it, and later one
			return
		}
		both++
		if !Overlap(a, b) {
			t.Fatalf("%v and %v admit %v both", a, b, target)
		}
	})
	if both == 0 {
		t.Error("no two rules admitted one request")
	}
	rule := func(text string, private bool, methods ...string) keybearer.Rule {
		r, err := ParseRule(text, methods, private)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, c := range []struct {
		a, b keybearer.Rule
		want bool
	}{
		{rule("a.example.com", false), rule("a.example.com", false), true},
		{rule("*.example.com", false, "GET"), rule("a.example.com/v1", false), true},
		{rule("**.example.com/v1", false), rule("*.a.example.com/v1/x", false), true},
		{rule("*.example.com", false), rule("*.a.example.com", false), false},
		{rule("a.example.com", false), rule("b.example.com", false), false},
		{rule("a.example.com", false), rule("http://a.example.com:443", false), false},
		{rule("a.example.com", false), rule("a.example.com:8443", false), false},
		{rule("a.example.com", false), rule("a.example.com", true), false},
		{rule("a.example.com/v1", false), rule("a.example.com/v2", false), false},
		{rule("a.example.com", false, "GET"), rule("a.example.com", false, "POST", "PUT"), false},
		{rule("a.example.com", false, "GET", "PUT"), rule("a.example.com", false, "POST", "PUT"), true},
	} {
		if Overlap(c.a, c.b) != c.want || Overlap(c.b, c.a) != c.want {
			t.Errorf("%v and %v: want %v", c.a, c.b, c.want)
		}
	}
}
