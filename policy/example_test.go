package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

// Whatever the rule: three requests that it admits alone and three that it does not, canonical, distinct, and judged by Admit in proxy mode and in
// gateway mode alike.
func TestExamplesAreWhatTheRuleSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := drawRule(t)
		rule, err := ParseRule(drawn.String(), drawn.Methods, drawn.Private)
		if err != nil {
			return // over a public suffix: no rule
		}
		matches, misses := Examples(rule)
		if len(matches) != 3 || len(misses) != 3 {
			t.Fatalf("%s %v: %v and %v", rule, rule.Methods, matches, misses)
		}
		alone := &keybearer.Terms{Rules: []keybearer.Rule{rule}}
		seen := map[string]bool{}
		judge := func(e Example, admitted bool) {
			target, err := ParseAbsolute(e.URL)
			if err != nil {
				t.Fatalf("%s: %v", e, err)
			}
			if seen[e.String()] {
				t.Fatalf("%s is there twice", e)
			}
			seen[e.String()] = true
			for range 2 {
				a := Admit(alone, &target, e.Method, Unresolved)
				if a.Allowed() != admitted {
					t.Fatalf("%s %v: %s, literal %v: %v", rule, rule.Methods, e, target.Literal, a)
				}
				target.Literal = true // as Keybearer-Destination is
			}
			canonical := target.as(target.Scheme).String() + target.Path
			if target.HasQuery {
				canonical += "?" + target.Query
			}
			if canonical != e.URL {
				t.Fatalf("%s is not canonical: %s", e, canonical)
			}
			if (e.Why == "") != admitted {
				t.Fatalf("%s, admitted %v, says %q", e, admitted, e.Why)
			}
		}
		for _, e := range matches {
			judge(e, true)
		}
		for _, e := range misses {
			judge(e, false)
		}
	})
}

func TestExamplesShowEveryPartOfARule(t *testing.T) {
	for text, c := range map[string]struct {
		methods         []string
		matches, misses string
	}{
		"api.example.com": {
			nil,
			"GET https://api.example.com/ POST https://api.example.com/v1/items DELETE https://api.example.com/v1/items/42?full=true",
			"GET https://www.api.example.com/ GET https://api.example.com:8443/ GET https://api.example.com.example/",
		},
		"https://*.example.com:8443/hooks": {
			[]string{"POST"},
			"POST https://www.example.com:8443/hooks POST https://eu.example.com:8443/hooks/42 POST https://a.example.com:8443/hooks/42/notes?full=true",
			"POST https://example.com:8443/hooks POST https://www.example.com:8443/hooksX DELETE https://www.example.com:8443/hooks",
		},
		"**.example.com": {
			nil,
			"GET https://www.example.com/ POST https://eu.www.example.com/v1/items DELETE https://a.b.c.example.com/v1/items/42?full=true",
			"GET https://example.com/ GET https://www.example.com:8443/ GET https://notexample.com/",
		},
		"http://old.example.com/v1/": {
			[]string{"GET"},
			"GET http://old.example.com/v1/42 GET http://old.example.com/v1/42/notes GET http://old.example.com/v1/?page=2",
			"GET http://www.old.example.com/v1/42 GET http://old.example.com/v1X DELETE http://old.example.com/v1/42",
		},
		"http://old.example.com": {
			[]string{"DELETE"},
			"DELETE http://old.example.com/ DELETE http://old.example.com/v1/items DELETE http://old.example.com/v1/items/42?full=true",
			"DELETE http://www.old.example.com/ POST http://old.example.com/ DELETE https://old.example.com:80/",
		},
		"https://255.255.255.255:443": {
			nil, "",
			"GET https://255.255.255.254/ GET https://255.255.255.255:8443/ GET https://255.255.255.255:9443/",
		},
		"https://10.20.1.5:8443": {
			nil,
			"GET https://10.20.1.5:8443/ POST https://10.20.1.5:8443/v1/items DELETE https://10.20.1.5:8443/v1/items/42?full=true",
			"GET https://10.20.1.6:8443/ GET https://10.20.1.5/ GET https://10.20.1.4:8443/",
		},
		"https://[2001:db8::1]": {keybearer.Methods, "", ""},
	} {
		rule, err := ParseRule(text, c.methods, false)
		if err != nil {
			t.Fatal(text, err)
		}
		matches, misses := Examples(rule)
		for want, got := range map[string][]Example{c.matches: matches, c.misses: misses} {
			var texts []string
			for _, e := range got {
				texts = append(texts, e.String())
			}
			if have := strings.Join(texts, " "); want != "" && have != want {
				t.Errorf("%s:\n%s\nwant\n%s", text, have, want)
			}
		}
	}
}

// Of an http rule the reason is what differs from the URL as it is written, though in proxy mode another request would be made of it.
func TestExamplesSayWhatDiffers(t *testing.T) {
	rule, err := ParseRule("http://old.example.com", []string{"GET"}, false)
	if err != nil {
		t.Fatal(err)
	}
	_, misses := Examples(rule)
	for i, want := range []string{"it is for another host", "it does not admit the method", "it is for http and the request for https"} {
		if misses[i].Why != want {
			t.Errorf("%s: %q", misses[i], misses[i].Why)
		}
	}
}

// A wildcard in front of a name of 252 characters stands for nothing; there is nothing to show, and no endless search.
func TestARuleThatNothingFitsHasNoExamples(t *testing.T) {
	label := strings.Repeat("a", 61)
	rule, err := ParseRule("*."+strings.Join([]string{label, label, label, label + "a"}, ".")+".com", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if matches, misses := Examples(rule); matches != nil || misses != nil {
		t.Error(matches, misses)
	}
	// One character less, and one letter fits. Nothing is shown that is no request.
	if rule, err = ParseRule("*."+strings.Join([]string{label, label, label, label}, ".")+".com", nil, false); err != nil {
		t.Fatal(err)
	}
	matches, misses := Examples(rule)
	if len(matches) != 3 || len(misses) != 3 {
		t.Error(matches, misses)
	}
	for _, e := range append(matches, misses...) {
		if _, err := ParseAbsolute(e.URL); err != nil {
			t.Errorf("%s: %v", e, err)
		}
	}
}

func TestTheNearestRuleIsTheOneThatDiffersLeast(t *testing.T) {
	var rules []keybearer.Rule
	for text, methods := range map[string][]string{"a.example.com/v1": {"POST"}, "a.example.com:8443": nil, "b.example.com": nil, "http://c.example.com": nil} {
		r, err := ParseRule(text, methods, false)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, r)
	}
	rules = CanonicalRules(rules)
	for url, want := range map[string]string{
		"GET https://a.example.com/v1":    "https://a.example.com/v1",
		"POST https://a.example.com/v2":   "https://a.example.com/v1",
		"POST https://a.example.com:9/v1": "https://a.example.com/v1",
		"GET https://a.example.com:8443/": "https://a.example.com:8443",
		"GET https://b.example.com:1/":    "https://b.example.com",
		"GET https://c.example.com/":      "http://c.example.com",
		"GET https://nowhere.example/":    "https://b.example.com",
	} {
		method, text, _ := strings.Cut(url, " ")
		target, err := ParseAbsolute(text)
		if err != nil {
			t.Fatal(err)
		}
		d := target.fallback()
		if got := nearest(rules, &d, target.Path, method, Unresolved); got.String() != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
	if nearest(nil, &Destination{}, "/", "GET", Unresolved) != nil {
		t.Error("the nearest of none")
	}
}
