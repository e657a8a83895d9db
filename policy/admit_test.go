package policy

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

// fataler is a testing.TB or a rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

// rules parses "rule [METHOD…] [private]" lines.
func rules(t fataler, lines ...string) *keybearer.Terms {
	t.Helper()
	var terms keybearer.Terms
	for _, l := range lines {
		var methods []string
		private := false
		words := fields(l)
		for _, w := range words[1:] {
			if w == "private" {
				private = true
			} else {
				methods = append(methods, w)
			}
		}
		r, err := ParseRule(words[0], methods, private)
		if err != nil {
			t.Fatal(l, err)
		}
		terms.Rules = append(terms.Rules, r)
	}
	terms.Rules = CanonicalRules(terms.Rules)
	return &terms
}

func TestAdmit(t *testing.T) {
	const (
		no      = keybearer.DestinationNotAllowed
		method  = keybearer.MethodNotAllowed
		address = keybearer.AddressDenied
	)
	for _, c := range []struct {
		name    string
		terms   *keybearer.Terms
		request string // METHOD URL; gateway mode when the method has an "=" in front
		reach   Reach
		code    keybearer.Code
		goes    string // destination, also of a refusal
		rule    string
	}{
		{"no rules", rules(t), "GET http://api.example.com/", Public, no, "https://api.example.com", ""},
		{"exact", rules(t, "api.example.com"), "POST http://api.example.com/x?y", Public, "", "https://api.example.com", "https://api.example.com"},
		{"proxy mode :80 is https", rules(t, "api.example.com"), "GET http://api.example.com:80/", Public, "", "https://api.example.com", "https://api.example.com"},
		{"proxy mode keeps another port", rules(t, "api.example.com:8443"), "GET http://api.example.com:8443/", Public, "", "https://api.example.com:8443", "https://api.example.com:8443"},
		{"proxy mode, only an http rule", rules(t, "http://api.example.com"), "GET http://api.example.com/", Public, "", "http://api.example.com", "http://api.example.com"},
		{"proxy mode, only an http rule on a port", rules(t, "http://api.example.com:8080"), "GET http://api.example.com:8080/", Public, "", "http://api.example.com:8080", "http://api.example.com:8080"},
		{"proxy mode, both: https", rules(t, "http://api.example.com", "api.example.com"), "GET http://api.example.com/", Public, "", "https://api.example.com", "https://api.example.com"},
		{"a refused path never falls back to clear", rules(t, "http://api.example.com", "api.example.com/v1"), "GET http://api.example.com/v2", Public, no, "https://api.example.com", ""},
		{"a refused method never falls back to clear", rules(t, "http://api.example.com", "*.example.com GET"), "PUT http://api.example.com/", Public, method, "https://api.example.com", ""},
		{"a refused address never falls back to clear", rules(t, "http://api.example.com", "api.example.com private"), "PUT http://api.example.com/", Public, address, "https://api.example.com", ""},
		{"https means https", rules(t, "http://api.example.com"), "GET https://api.example.com/", Public, no, "https://api.example.com", ""},
		{"https on port 80 stays there", rules(t, "api.example.com"), "GET https://api.example.com:80/", Public, no, "https://api.example.com:80", ""},
		{"gateway mode http is literal", rules(t, "api.example.com"), "=GET http://api.example.com/", Public, no, "http://api.example.com", ""},
		{"gateway mode http with its rule", rules(t, "http://api.example.com", "api.example.com"), "=GET http://api.example.com/", Public, "", "http://api.example.com", "http://api.example.com"},
		{"gateway mode http on 443", rules(t, "api.example.com"), "=GET http://api.example.com:443/", Public, no, "http://api.example.com:443", ""},

		{"apex", rules(t, "*.example.com", "**.example.com"), "GET https://example.com/", Public, no, "https://example.com", ""},
		{"one label", rules(t, "*.example.com"), "GET https://api.example.com/", Public, "", "https://api.example.com", "https://*.example.com"},
		{"two labels", rules(t, "*.example.com"), "GET https://a.api.example.com/", Public, no, "https://a.api.example.com", ""},
		{"any labels", rules(t, "**.example.com"), "GET https://a.api.example.com/", Public, "", "https://a.api.example.com", "https://**.example.com"},
		{"public suffix on the way", rules(t, "**.amazonaws.com"), "GET https://b.s3.amazonaws.com/", Public, no, "https://b.s3.amazonaws.com", ""},
		{"public suffix at the end of the way", rules(t, "**.amazonaws.com"), "GET https://s3.eu-west-1.amazonaws.com/", Public, "", "https://s3.eu-west-1.amazonaws.com", "https://**.amazonaws.com"},
		{"no public suffix on the way", rules(t, "**.amazonaws.com"), "GET https://sts.eu-west-1.amazonaws.com/", Public, "", "https://sts.eu-west-1.amazonaws.com", "https://**.amazonaws.com"},
		{"suffix without a dot", rules(t, "**.example.com"), "GET https://evilexample.com/", Public, no, "https://evilexample.com", ""},
		{"suffix without a dot, below", rules(t, "**.example.com"), "GET https://a.evilexample.com/", Public, no, "https://a.evilexample.com", ""},
		{"suffix in the middle", rules(t, "**.example.com"), "GET https://a.example.com.evil.net/", Public, no, "https://a.example.com.evil.net", ""},
		{"subdomain of an exact rule", rules(t, "example.com"), "GET https://api.example.com/", Public, no, "https://api.example.com", ""},
		{"case and dot are one host", rules(t, "API.example.com."), "GET http://api.EXAMPLE.com./", Public, "", "https://api.example.com", "https://api.example.com"},

		{"path at its prefix", rules(t, "a.example/v1"), "GET https://a.example/v1", Public, "", "https://a.example", "https://a.example/v1"},
		{"path below", rules(t, "a.example/v1"), "GET https://a.example/v1/x?..", Public, "", "https://a.example", "https://a.example/v1"},
		{"path beside", rules(t, "a.example/v1"), "GET https://a.example/v1x", Public, no, "https://a.example", ""},
		{"path in other case", rules(t, "a.example/v1"), "GET https://a.example/V1/x", Public, no, "https://a.example", ""},
		{"path with a slash", rules(t, "a.example/v1/"), "GET https://a.example/v1/x", Public, "", "https://a.example", "https://a.example/v1/"},
		{"path above", rules(t, "a.example/v1/"), "GET https://a.example/v1", Public, no, "https://a.example", ""},
		{"climbing", rules(t, "a.example/v1"), "GET https://a.example/v1/../admin", Public, no, "https://a.example", ""},
		{"climbing encoded", rules(t, "a.example/v1"), "GET https://a.example/v1/%2E%2e/admin", Public, no, "https://a.example", ""},
		{"climbing half encoded", rules(t, "a.example/v1"), "GET https://a.example/v1/.%2e/admin", Public, no, "https://a.example", ""},
		{"encoded slash", rules(t, "a.example/v1"), "GET https://a.example/v1/a%2F..b", Public, no, "https://a.example", ""},
		{"encoded backslash", rules(t, "a.example/v1"), "GET https://a.example/v1/a%5cb", Public, no, "https://a.example", ""},
		{"encoded twice", rules(t, "a.example/v1"), "GET https://a.example/v1/%252e", Public, no, "https://a.example", ""},
		{"NUL", rules(t, "a.example/v1"), "GET https://a.example/v1/a%00", Public, no, "https://a.example", ""},
		{"parameter", rules(t, "a.example/v1"), "GET https://a.example/v1;x/a", Public, no, "https://a.example", ""},
		{"double slash", rules(t, "a.example/v1"), "GET https://a.example/v1//a", Public, no, "https://a.example", ""},
		{"unclear path, only methods restricted", rules(t, "a.example GET"), "GET https://a.example/x/../y", Public, no, "https://a.example", ""},
		{"unclear path, nothing restricted", rules(t, "a.example", "a.example/v1 GET"), "GET https://a.example/v1/..%2f//;", Public, "", "https://a.example", "https://a.example"},
		{"other escapes are fine", rules(t, "a.example/v1"), "GET https://a.example/v1/%20%41%c3%a9", Public, "", "https://a.example", "https://a.example/v1"},

		{"method", rules(t, "a.example GET POST"), "POST https://a.example/", Public, "", "https://a.example", "https://a.example"},
		{"other method", rules(t, "a.example GET POST"), "PUT https://a.example/", Public, method, "https://a.example", ""},
		{"other method and path", rules(t, "a.example/v1 GET"), "PUT https://a.example/", Public, no, "https://a.example", ""},
		{"method and host from two rules", rules(t, "a.example GET", "b.example PUT"), "PUT https://a.example/", Public, method, "https://a.example", ""},
		{"method and path from two rules", rules(t, "a.example/v1 GET", "a.example/v2 PUT"), "PUT https://a.example/v1", Public, method, "https://a.example", ""},
		{"TRACE", rules(t, "a.example"), "TRACE https://a.example/", Public, method, "https://a.example", ""},
		{"lower case", rules(t, "a.example"), "get https://a.example/", Public, method, "https://a.example", ""},

		{"not resolved", rules(t, "a.example private"), "GET https://a.example/", Unresolved, "", "https://a.example", "https://a.example"},
		{"private is listed", rules(t, "a.example private"), "GET https://a.example/", Listed, "", "https://a.example", "https://a.example"},
		{"private is public", rules(t, "a.example private"), "GET https://a.example/", Public, address, "https://a.example", ""},
		{"public is listed", rules(t, "a.example"), "GET https://a.example/", Listed, address, "https://a.example", ""},
		{"denied", rules(t, "a.example", "a.example private"), "GET https://a.example/", Denied, address, "https://a.example", ""},
		{"unknown reach", rules(t, "a.example", "a.example private"), "GET https://a.example/", Denied + 1, address, "https://a.example", ""},
		{"address and method from two rules", rules(t, "a.example GET", "a.example PUT private"), "PUT https://a.example/", Public, address, "https://a.example", ""},
		{"neither address nor method", rules(t, "a.example PUT private"), "GET https://a.example/", Public, address, "https://a.example", ""},
		{"denied on another host", rules(t, "a.example"), "GET https://b.example/", Denied, no, "https://b.example", ""},

		{"address", rules(t, "http://127.0.0.1:8080 private"), "GET http://127.0.0.1:8080/", Listed, "", "http://127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"IPv6", rules(t, "[2001:DB8::1]"), "GET https://[2001:db8:0::1]/", Public, "", "https://[2001:db8::1]", "https://[2001:db8::1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, target := request(t, c.request)
			a := Admit(c.terms, target, m, c.reach)
			rule := ""
			if a.Rule != nil {
				rule = a.Rule.String()
			}
			if a.Code != c.code || a.Destination.String() != c.goes || rule != c.rule || a.Allowed() != (c.code == "") {
				t.Errorf("%s to %s by %q; want %s to %s by %q", a.Code, a.Destination, rule, c.code, c.goes, c.rule)
			}
		})
	}
}

// What the parsers never let through does not match either.
func TestAdmitsHostOfAnotherForm(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		literal       bool
	}{
		{"*.0.0.1", "127.0.0.1", true},
		{"**.0.0.1", "127.0.0.1", true},
		{"*.example.com", ".example.com", false},
		{"**.example.com", "..example.com", false},
		{"**.example.com", ".a.example.com", false},
		{"", "", false},
		{"*.", "a.", false},
		{"**.", "a.b.", false},
		{"*", "a", false},
		{"**", "a", false},
		{"*.com", "a.b.com", false},
	} {
		if admitsHost(c.pattern, c.host, c.literal) {
			t.Errorf("%q admits %q", c.pattern, c.host)
		}
	}
}

func TestPlainPath(t *testing.T) {
	for _, path := range []string{"", "/", "/a.b/c%20d", "/.a/./b.", "/%2a%5b%50%01%10%3e", "/a/b/", "/b%C3%BCcher", "/%e4%be%8b"} {
		if !plainPath(path) {
			t.Errorf("%q can be read in two ways", path)
		}
	}
	for _, path := range []string{"/a/..", "/a..b", "/a;b", `/a\b`, "//", "/a//b", "/%2e", "/%2E", "/%2f", "/%2F", "/%5c", "/%5C", "/%25", "/%00", "/%2", "/%", "/%c0%ae", "/%C0%AE%c0%ae/", "/%e0%80%af", "/%f0%80%80%ae", "/%fc%80%80%80%80%ae", "/%ff", "/%80", "/a%c3", "/%ed%a0%80", "/%ff%41", "/%zz"} {
		if plainPath(path) {
			t.Errorf("%q is plain", path)
		}
	}
}

func TestDropOverrides(t *testing.T) {
	_, target := request(t, "GET https://a.example/v1")
	for rule, want := range map[string]bool{"a.example": false, "a.example/v1": true, "a.example GET": true} {
		if a := Admit(rules(t, rule), target, "GET", Public); !a.Allowed() || a.DropOverrides() != want {
			t.Errorf("%s: %v", rule, a.DropOverrides())
		}
	}
}

func TestAdmitAgreesWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, target, method, reach := drawTerms(t), drawTarget(t), drawMethod(t), drawReach(t)
		a := Admit(terms, target, method, reach)
		code, rule := modelAdmit(terms, target, method, reach)
		if a.Code != code {
			t.Fatalf("%q, the model says %q", a.Code, code)
		}
		if code == "" != a.Allowed() || a.Rule != nil && a.Rule.String() != rule {
			t.Fatalf("by %v, the model says %s", a.Rule, rule)
		}
		if scheme, port := modelEndpoint(terms, target); a.Destination != (Destination{scheme, target.Host, target.Addr, port}) {
			t.Fatalf("to %v, the model says %s %d", a.Destination, scheme, port)
		}
	})
}

// A rule cannot take away what another gives, and the order of rules does not matter to what is admitted.
func TestMoreRulesAdmitMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, target, method, reach := drawTerms(t), drawTarget(t), drawMethod(t), drawReach(t)
		target.Literal = true
		more := keybearer.Terms{Rules: CanonicalRules(append(terms.Clone().Rules, drawRule(t)))}
		before, after := Admit(terms, target, method, reach), Admit(&more, target, method, reach)
		if before.Allowed() && !after.Allowed() {
			t.Fatalf("%v, then %v", before, after)
		}
	})
}
