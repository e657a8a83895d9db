package policy

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/publicsuffix"

	"github.com/keybearer/keybearer"
)

func TestParseRule(t *testing.T) {
	for text, want := range map[string]string{
		"api.example.com":                     "https://api.example.com",
		"API.Example.com.":                    "https://api.example.com",
		"https://api.example.com/":            "https://api.example.com",
		"HTTPS://api.example.com:443/v1/":     "https://api.example.com/v1/",
		"https://*.example.com:8443/hooks":    "https://*.example.com:8443/hooks",
		"**.example.com":                      "https://**.example.com",
		"*.Bücher.example.com/":               "https://*.xn--bcher-kva.example.com",
		"*.svc.cluster.local:8200":            "https://*.svc.cluster.local:8200",
		"http://intranet":                     "http://intranet",
		"http://intranet:80":                  "http://intranet",
		"api.example.com:80":                  "https://api.example.com:80",
		"http://127.0.0.1:8080":               "http://127.0.0.1:8080",
		"[2001:DB8::0]:8443/x":                "https://[2001:db8::]:8443/x",
		"https://api.example.com/v1/a%20b/@x": "https://api.example.com/v1/a%20b/@x",
		"https://h/a.b/~c/d=e,f":              "https://h/a.b/~c/d=e,f",
		"*.city.kawasaki.jp":                  "https://*.city.kawasaki.jp", // an exception of the list
		"github.io":                           "https://github.io",          // exact: whoever it is
	} {
		r, err := ParseRule(text, nil, false)
		if err != nil || r.String() != want {
			t.Errorf("ParseRule(%q) = %v, %v; want %s", text, r, err, want)
			continue
		}
		if err := CheckRule(r); err != nil {
			t.Errorf("%q: its rule is not canonical: %v", text, err)
		}
	}
	r, err := ParseRule("api.example.com/hooks", []string{"PUT", "GET", "PUT"}, true)
	want := keybearer.Rule{Scheme: "https", Host: "api.example.com", Port: 443, Path: "/hooks", Methods: []string{"GET", "PUT"}, Private: true}
	if diff := cmp.Diff(want, r); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// Every refusal names the fix; where the meaning can be guessed the hint holds the rule.
func TestRefusedRules(t *testing.T) {
	for mistake, rules := range map[string]map[string]string{
		"empty":    {"": "api.example.com", " ": "", "https://": "api.example.com"},
		"any host": {"*": "write the hosts", "**": "write the hosts", "https://*": "write the hosts", "*:443": "write the hosts", "*.*": "write the hosts", "http://**:80/x": "write the hosts"},
		"mid-label wildcard": {
			"api*.example.com": "https://*.example.com", "*api.example.com": "https://*.example.com", "a.*.example.com/x": "https://*.example.com/x",
			"***.example.com": "https://*.example.com", "*.a*.example.com:8443": "https://*.example.com:8443", "api.*": "*.example.com", "example.*": "*.example.com", "*.*.com": "*.example.com",
		},
		"public suffix": {
			"*.com": "a name that you hold", "**.com": "", "*.co.uk": "", "*.github.io": "", "**.github.io": "", "*.s3.amazonaws.com": "", "*.internal": "", "*.local": "", "*.localhost": "",
			"*.kawasaki.jp": "", "*.ck": "", "*.compute.amazonaws.com": "", "*.XN--P1AI": "", "*.рф": "", "https://*.vercel.app:8443/x": "", "*.com.": "",
		},
		"wildcard address":    {"*.0.0.1": "", "*.1.2.3.4": "each address", "*.[::1]": "", "**.127.0.0.1": "each address"},
		"leading dot":         {".example.com": "https://**.example.com", "https://.example.com/x": "https://**.example.com/x"},
		"regular expression":  {`^api\.example\.com$`: "*.example.com", "(a|b).example.com": "api.example.com", "[a-z]+.example.com": "api.example.com", "/.*/": "", "api.example.com$": ""},
		"other scheme":        {"ftp://example.com": "https://example.com", "ws://example.com/x": "https://example.com/x", "wss://example.com": "https://example.com"},
		"one slash":           {"https:/example.com/a": "https://example.com/a", "http:/example.com": "http://example.com"},
		"no scheme":           {"//example.com": "https://example.com"},
		"user":                {"https://bob@example.com": "https://example.com", "bob:hunter22@example.com/x": "https://example.com/x"},
		"query":               {"https://example.com/a?key=hunter22": "https://example.com/a", "example.com?": "https://example.com"},
		"fragment":            {"https://example.com/a#hunter22": "https://example.com/a"},
		"blanks":              {" example.com": "https://example.com", "example.com\n": "https://example.com", "example.com api.example.com": "the host alone"},
		"list":                {"a.example.com,b.example.com": "the host alone"},
		"backslash":           {`https:\\example.com\a`: "https://example.com/a"},
		"IPv6 unbracketed":    {"2001:db8::1": "https://[2001:db8::1]", "https://::1/x": "https://[::1]/x"},
		"network":             {"10.0.0.0/8": "allow_private", "[2001:db8::]/32": "allow_private"},
		"empty port":          {"example.com:": "https://example.com", "https://example.com:/x": "https://example.com/x"},
		"odd port":            {"example.com:0": "", "example.com:99999": "", "example.com:0443": "", "example.com:https": ""},
		"odd address":         {"0x7f.1": "", "127.1": "", "2130706433": "", "[::ffff:1.2.3.4]": "", "[fe80::1%eth0]": ""},
		"underscore":          {"a_b.example.com": ""},
		"path wildcard":       {"https://example.com/v1/*": "https://example.com/v1/", "example.com/**": "https://example.com"},
		"climbing path":       {"example.com/a/../b": "plain path", "example.com/..": "plain path", "example.com/%2e%2e/": "plain path", "example.com/a%2Fb": "", "example.com/a%5cb": "", "example.com/%252e": "", "example.com/%00": ""},
		"path parameter":      {"example.com/a;b": "plain path"},
		"double slash":        {"example.com//a": "plain path", "https://example.com//": ""},
		"path not encoded":    {"example.com/é": "plain path", "example.com/{id}": "plain path", "example.com/a b": "", "example.com/a%": "", "example.com/%zz": ""},
		"long":                {"example.com/" + strings.Repeat("a", 2100): "shorten"},
		"credentials in text": {"https://hunter22:x@exa mple.com/?q": ""},
	} {
		for text, hint := range rules {
			r, err := ParseRule(text, nil, false)
			e := keybearer.AsError(err)
			if e == nil || e.Code != keybearer.RuleInvalid {
				t.Errorf("%s: ParseRule(%q) = %v, %v; want rule_invalid", mistake, text, r, err)
				continue
			}
			if e.Hint == "" || !strings.Contains(e.Hint, hint) {
				t.Errorf("%s: ParseRule(%q): hint %q, want %q in it", mistake, text, e.Hint, hint)
			}
			if strings.Contains(e.Error()+e.Hint, "hunter22") {
				t.Errorf("%s: ParseRule(%q) repeats what may be a secret: %v (%s)", mistake, text, e, e.Hint)
			}
			if _, said, ok := strings.Cut(e.Hint, "if you meant it, write "); ok {
				if fixed, err := ParseRule(said, nil, false); err != nil || fixed.String() != said {
					t.Errorf("%s: the hint %q is no canonical rule: %v", mistake, said, err)
				}
			}
		}
	}
	for _, m := range []string{"get", "CONNECT", "TRACE", "", "*", "GET,POST", "GET ", "PROPFIND", "Get"} {
		if r, err := ParseRule("example.com", []string{"GET", m}, false); keybearer.CodeOf(err) != keybearer.RuleInvalid {
			t.Errorf("method %q: %v, %v", m, r, err)
		}
	}
	_, err := ParseRule("example.com", []string{"post"}, false)
	if e := keybearer.AsError(err); !strings.Contains(e.Hint, "POST") {
		t.Errorf("hint %q", e.Hint)
	}
}

func TestCheckRuleRefusesWhatWasNotParsed(t *testing.T) {
	good := keybearer.Rule{Scheme: "https", Host: "*.example.com", Port: 443, Path: "/a", Methods: []string{"GET", "PUT"}}
	if err := CheckRule(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*keybearer.Rule){
		"zero":             func(r *keybearer.Rule) { *r = keybearer.Rule{} },
		"no scheme":        func(r *keybearer.Rule) { r.Scheme = "" },
		"other scheme":     func(r *keybearer.Rule) { r.Scheme = "ftp" },
		"upper scheme":     func(r *keybearer.Rule) { r.Scheme = "HTTPS" },
		"no host":          func(r *keybearer.Rule) { r.Host = "" },
		"upper host":       func(r *keybearer.Rule) { r.Host = "*.Example.com" },
		"dot":              func(r *keybearer.Rule) { r.Host = "*.example.com." },
		"suffix":           func(r *keybearer.Rule) { r.Host = "*.com" },
		"any":              func(r *keybearer.Rule) { r.Host = "*" },
		"host with path":   func(r *keybearer.Rule) { r.Host = "example.com/a" },
		"host with port":   func(r *keybearer.Rule) { r.Host = "example.com:443" },
		"no port":          func(r *keybearer.Rule) { r.Port = 0 },
		"relative path":    func(r *keybearer.Rule) { r.Path = "a" },
		"root path":        func(r *keybearer.Rule) { r.Path = "/" },
		"query":            func(r *keybearer.Rule) { r.Path = "/a?b" },
		"climbing":         func(r *keybearer.Rule) { r.Path = "/a/.." },
		"unsorted methods": func(r *keybearer.Rule) { r.Methods = []string{"PUT", "GET"} },
		"twice":            func(r *keybearer.Rule) { r.Methods = []string{"GET", "GET"} },
		"other method":     func(r *keybearer.Rule) { r.Methods = []string{"TRACE"} },
	} {
		r := good
		spoil(&r)
		if err := CheckRule(r); keybearer.CodeOf(err) != keybearer.RuleInvalid {
			t.Errorf("%s: %+v: %v", name, r, err)
		}
	}
}

func TestCanonicalRules(t *testing.T) {
	var rules []keybearer.Rule
	for _, text := range []string{"b.example", "https://b.example:444", "http://b.example", "b.example/a", "a.example"} {
		for _, methods := range [][]string{nil, {"GET"}, {"GET", "PUT"}} {
			for _, private := range []bool{false, true} {
				r, err := ParseRule(text, methods, private)
				if err != nil {
					t.Fatal(err)
				}
				rules = append(rules, r, r)
			}
		}
	}
	want := CanonicalRules(rules)
	if len(want) != len(rules)/2 || want[0].String() != "https://a.example" || want[0].Methods != nil || want[0].Private {
		t.Fatalf("%v", want)
	}
	for range 20 {
		rand.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
		before := append([]keybearer.Rule(nil), rules...)
		if diff := cmp.Diff(want, CanonicalRules(rules)); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(before, rules); diff != "" {
			t.Fatal("the argument was changed", diff)
		}
	}
	if got := CanonicalRules(nil); got == nil || len(got) != 0 {
		t.Errorf("%#v", got)
	}
}

// The list is not exported, so names are sampled: real suffixes found by asking it about names made of its own labels.
func TestNoWildcardSpansAPublicSuffix(t *testing.T) {
	labels := strings.Fields("com net org io dev app co uk jp ck au de fr github gitlab amazonaws s3 compute elb eu-west-1 us-east-1 herokuapp vercel " +
		"netlify pages workers cloudfront azurewebsites blogspot appspot web firebaseapp kawasaki city www tokyo nsw edu gov ac kobe bd example " +
		"local internal xn--p1ai xn--fiqs8s xn--55qx5d dyndns no-ip ngrok run r a fly repl onrender railway up surge bitbucket readthedocs")
	rng := rand.New(rand.NewPCG(1, 2))
	suffixes, accepted := 0, 0
	for range 60_000 {
		parts := make([]string, 1+rng.IntN(4))
		for i := range parts {
			parts[i] = labels[rng.IntN(len(labels))]
		}
		suffix := strings.Join(parts, ".")
		ps, _ := publicsuffix.PublicSuffix(suffix)
		for _, w := range []string{"*.", "**."} {
			r, err := ParseRule(w+suffix, nil, false)
			if ps == suffix {
				suffixes++
				if err == nil {
					t.Fatalf("%s%s is over a public suffix", w, suffix)
				}
				continue
			}
			if err != nil {
				continue
			}
			accepted++
			// Two names that the wildcard stands for belong to one holder.
			one, _ := publicsuffix.EffectiveTLDPlusOne("q." + suffix)
			two, _ := publicsuffix.EffectiveTLDPlusOne("z." + suffix)
			if one != two || !admitsHost(r.Host, "q."+suffix, false) || admitsHost(r.Host, suffix, false) || admitsHost(r.Host, ps, false) {
				t.Fatalf("%s: q is held by %s, z by %s", r, one, two)
			}
		}
	}
	if suffixes < 1000 || accepted < 1000 {
		t.Errorf("%d suffixes, %d accepted: the sample shows nothing", suffixes, accepted)
	}
}

// Below a name that one holder has there can be public suffixes again.
func TestWildcardStopsAtPublicSuffixes(t *testing.T) {
	labels := strings.Fields("a s3 s3-website compute elb eu-west-1 us-east-1 blob core web z13 sites lambda-url dualstack execute-api execute build nyc3 members apps")
	admitted, crossed := 0, 0
	for _, suffix := range strings.Fields("amazonaws.com windows.net linode.com render.com fastly.net example.com") {
		r, err := ParseRule("**."+suffix, nil, false)
		if err != nil {
			t.Fatal(suffix, err)
		}
		holder, _ := publicsuffix.EffectiveTLDPlusOne(suffix)
		for _, one := range labels {
			for _, two := range labels {
				host := "q." + one + "." + two + "." + suffix
				held, err := publicsuffix.EffectiveTLDPlusOne(host)
				if err != nil { // it is a public suffix itself
					continue
				}
				if ok := admitsHost(r.Host, host, false); ok != (held == holder) {
					t.Errorf("%s: %s, held by %s: %v", r, host, held, ok)
				} else if ok {
					admitted++
				} else {
					crossed++
				}
			}
		}
	}
	if admitted < 100 || crossed < 100 {
		t.Errorf("%d admitted, %d crossed: the sample shows nothing", admitted, crossed)
	}
}

func FuzzParseRule(f *testing.F) {
	for _, text := range []string{"api.example.com", "https://*.example.com:8443/hooks", "**.example.com", "http://[::1]:80/", "a*.b.example.com", "http:/a?b", "u@h", "::1", "//x", `\`, "*.com/*"} {
		f.Add(text, "GET", false)
	}
	f.Fuzz(func(t *testing.T, text, method string, private bool) { holdsRule(t, text, method, private) })
}

// holdsRule checks that a rule is refused with a hint, or is canonical and admits what it is written as. It reports whether it was
// accepted.
func holdsRule(t testing.TB, text, method string, private bool) bool {
	t.Helper()
	r, err := ParseRule(text, []string{method}, private)
	if err != nil {
		e := keybearer.AsError(err)
		if e.Code != keybearer.RuleInvalid || e.Hint == "" || e.Detail == "" || e.Detail != strings.TrimSuffix(e.Detail, ".") {
			t.Fatalf("%q: %+v", text, e)
		}
		if _, said, ok := strings.Cut(e.Hint, "if you meant it, write "); ok {
			if fixed, err := ParseRule(said, nil, false); err != nil || fixed.String() != said {
				t.Fatalf("%q: the hint %q is no canonical rule: %v", text, said, err)
			}
		}
		return false
	}
	if err := CheckRule(r); err != nil {
		t.Fatalf("%q gave %+v, which is not canonical: %v", text, r, err)
	}
	if !Covers(r, r) || Covers(r, keybearer.Rule{}) || Covers(keybearer.Rule{}, r) {
		t.Fatalf("%q: %+v does not cover itself alone", text, r)
	}
	// An exact rule admits the URL that it is written as, by the same canonical form.
	if !strings.HasPrefix(r.Host, "*") {
		target, err := ParseOrigin(strings.TrimSuffix(r.String(), r.Path), r.Path+"/x")
		if err != nil {
			t.Fatalf("%q: %v", r, err)
		}
		reach := Public
		if private {
			reach = Listed
		}
		a := Admit(&keybearer.Terms{Rules: []keybearer.Rule{r}}, &target, method, reach)
		if !strings.HasSuffix(r.Path, "/") != a.Allowed() {
			t.Fatalf("%q does not admit its own URL: %+v", r, a)
		}
	}
	return true
}
