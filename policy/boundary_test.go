package policy

import (
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

// Whoever wrote a host wrongly is told which byte it was.
func TestARefusedHostSaysWhatIsWrong(t *testing.T) {
	for raw, want := range map[string]string{
		"":                               "the host is missing",
		".":                              "the host is missing",
		"a b.example":                    "no blank and no control character",
		"a\x00b.example":                 "no blank and no control character",
		"a\x7fb.example":                 "no blank and no control character",
		"user@example.com":               "no user name",
		"ex%61mple.com":                  "not percent-encoded and has no zone",
		`example\com`:                    "no backslash",
		"a_b.example":                    "no underscore",
		"example.com:80":                 "a port is written host:port",
		"a[b.example":                    "a port is written host:port",
		"a]b.example":                    "a port is written host:port",
		"a*b.example":                    "stands for whole labels",
		"a!b.example":                    "letters, digits, hyphens and dots",
		"a/b.example":                    "letters, digits, hyphens and dots",
		"a;b.example":                    "letters, digits, hyphens and dots",
		"a^b.example":                    "letters, digits, hyphens and dots",
		"a{b.example":                    "letters, digits, hyphens and dots",
		"a..b":                           "an empty label",
		"-a.example":                     "begin or end with a hyphen",
		"a-.example":                     "begin or end with a hyphen",
		"ab--c.example":                  "no hyphens in the third and fourth place",
		"xn--a.example":                  "not a valid internationalised name",
		"a\u200db.example":               "not a valid internationalised name",
		strings.Repeat("a", 64) + ".b":   "more than 63 characters",
		strings.Repeat("a.", 127) + "aa": "longer than 253",
		"127.1":                          "four plain decimal numbers",
		"a.0x7f":                         "four plain decimal numbers",
		"127.0.0.1.":                     "four plain decimal numbers",
		"[::1%eth0]":                     "an address has no zone",
		"[::1":                           "brackets hold one IPv6 address",
		"[127.0.0.1]":                    "brackets hold one IPv6 address",
		"[::ffff:1.2.3.4]":               "without ::ffff:",
	} {
		if _, _, why := canonicalHost(raw); !strings.Contains(why, want) {
			t.Errorf("%q: %q, want %q in it", raw, why, want)
		}
	}
}

func TestTheAlphabetOfAHost(t *testing.T) {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-"
	for c := range 0x80 {
		b := byte(c)
		if b == '.' {
			continue
		}
		raw := "a" + string([]byte{b}) + "b.example"
		host, _, why := canonicalHost(raw)
		lower := strings.ToLower(raw)
		if good := strings.IndexByte(alphabet, lower[1]) >= 0; good != (why == "") || good && host != lower {
			t.Errorf("%q: %q, %q", raw, host, why)
		}
	}
	for _, name := range []string{"a.1-2", "a.0x-1", "a.0xg", "a.1a"} {
		if _, _, why := canonicalHost(name); why != "" {
			t.Errorf("%q: %s", name, why)
		}
	}
	for c := range 0x80 { // the last label, where digits mean an address, and letters beside x and f do not
		b := byte(c)
		if strings.IndexByte(alphabet, b) < 0 {
			continue
		}
		numeric := b >= '0' && b <= '9'
		hex := numeric || b >= 'a' && b <= 'f'
		for last, refused := range map[string]bool{string([]byte{b}): numeric || b == '-', "1" + string([]byte{b}): numeric || b == '-', "0x" + string([]byte{b}): hex || b == '-'} {
			if _, _, why := canonicalHost("a." + last); (why != "") != refused {
				t.Errorf("%q: %q", "a."+last, why)
			}
		}
	}
}

func TestLengthsUpToTheirBounds(t *testing.T) {
	label := strings.Repeat("a", 63) + "."
	longest := label + label + label + strings.Repeat("b", 61)
	for text, good := range map[string]bool{longest: true, longest + "b": false, longest + ".": true, longest + "b.": false} {
		if _, _, why := canonicalHost(text); (why == "") != good {
			t.Errorf("a host of %d bytes: %q", len(text), why)
		}
	}
	// One byte more than is mapped, and one byte less: fullwidth letters are three bytes each.
	mapped := strings.Repeat("ａ", 63) + "." + strings.Repeat("ａ", 63) + "." + strings.Repeat("ａ", 63) + "." + strings.Repeat("ａ", 61)
	if _, _, why := canonicalHost(mapped); why != "" || len(mapped) > maxRawHost {
		t.Errorf("%d bytes: %q", len(mapped), why)
	}
	for n, want := range map[int]string{maxRawHost: "not a valid internationalised name", maxRawHost + 1: "longer than 253"} {
		raw := strings.Repeat("a", n-3) + "ａ"
		if _, _, why := canonicalHost(raw); !strings.Contains(why, want) {
			t.Errorf("%d bytes: %q", len(raw), why)
		}
	}
	for n, good := range map[int]bool{maxRule: true, maxRule + 1: false} {
		text := "example.com/"
		text += strings.Repeat("a", n-len(text))
		if _, err := ParseRule(text, nil, false); (err == nil) != good {
			t.Errorf("a rule of %d bytes: %v", n, err)
		}
	}
}

func TestTheAlphabetOfARulesPath(t *testing.T) {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-._~!$&'()+,=:@"
	for c := range 0x80 {
		path := "/a" + string([]byte{byte(c)}) + "b"
		r, err := ParseRule("example.com"+path, nil, false)
		if good := strings.IndexByte(alphabet, byte(c)) >= 0; good != (err == nil) || good && r.Path != path {
			t.Errorf("%q: %q, %v", path, r.Path, err)
		}
	}
	for _, escape := range []string{"%2c", "%5b", "%2d", "%5d", "%30", "%c2%ac", "%C2%AF", "%3e", "%0a"} {
		path := "/a" + escape
		if !plainPath(path) {
			t.Errorf("%s is read in one way, and was refused", path)
		}
	}
	for _, escape := range []string{"%00", "%25", "%2e", "%2E", "%2f", "%2F", "%5c", "%5C", "%ac", "%af"} {
		if plainPath("/a" + escape) {
			t.Errorf("%s passed", escape)
		}
	}
}

func TestRulesAtTheirEdges(t *testing.T) {
	for text, want := range map[string]string{
		"https://10.0.0.1/8":     "https://10.0.0.1/8",     // with a scheme it is a path
		"10.0.0.1/":              "https://10.0.0.1",       //
		"10.0.0.1/x":             "https://10.0.0.1/x",     //
		"example.com/24":         "https://example.com/24", // and so it is behind a name
		"example.com/":           "https://example.com",    //
		"ht:/example.com":        "",
		"http":                   "https://http", // a host of that name
		"https":                  "https://https",
		"example.com:443/x":      "https://example.com/x",
		"?example.com":           "",
		`\example.com`:           "",
		"#":                      "",
		"@example.com":           "",
		"**.example.com:8443/a/": "https://**.example.com:8443/a/",
		"**..example.com":        "",
		"*..example.com":         "",
	} {
		r, err := ParseRule(text, nil, false)
		if got := ""; err == nil {
			if got = r.String(); got != want {
				t.Errorf("%q: %q, want %q", text, got, want)
			}
		} else if want != "" {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, why := range map[string]string{
		"":                     "the rule is empty",
		"ht:/example.com":      "a port is",
		"**..example.com":      "an empty label",
		"?a":                   "no query and no fragment",
		`\a.example`:           "no backslash",
		"@example.com":         "no user name",
		"ftp://example.com":    "for https, or for http",
		"example.com/*":        "holds no wildcard",
		"10.0.0.0/8":           "not for a network",
		"2001:db8::1":          "a port",
		"https://[2001:db8::1": "brackets",
	} {
		if _, err := ParseRule(text, nil, false); !strings.Contains(keybearer.AsError(err).Message(), why) {
			t.Errorf("%q: %v, want %q in it", text, err, why)
		}
	}
	// A guess is made only where there is one.
	for text, hint := range map[string]string{"exa mple.com": "write the host alone", "[2001:db8::1": "write the host alone", "@example.com": "https://example.com", "example.com": ""} {
		if _, err := ParseRule(text, nil, false); hint != "" && !strings.Contains(keybearer.AsError(err).Hint, hint) {
			t.Errorf("%q: hint %q", text, keybearer.AsError(err).Hint)
		}
	}
	if _, err := ParseRule("example.com", []string{"PROPFIND"}, false); !strings.Contains(keybearer.AsError(err).Hint, "list each method") {
		t.Errorf("an unknown method is not another's spelling: %v", keybearer.AsError(err).Hint)
	}
	if r, err := ParseRule("example.com", []string{}, false); err != nil || r.Methods != nil {
		t.Errorf("no methods: %v, %v", r.Methods, err)
	}
}

func TestTargetsAtTheirEdges(t *testing.T) {
	for text, why := range map[string]string{
		"":                "does not begin with http",
		"ftp://h/":        "does not begin with http",
		"h":               "does not begin with http",
		"http:/h":         "does not begin with http",
		`http://h/a\b`:    "backslash",
		`http://h/\`:      "backslash",
		"http://h/%41%zz": "percent sign",
		"http://h:8:/":    "a port is",
	} {
		if _, err := ParseAbsolute(text); !strings.Contains(keybearer.AsError(err).Message(), why) {
			t.Errorf("%q: %v, want %q in it", text, err, why)
		}
	}
	for text, why := range map[string]string{"": "does not begin with http", "ftp://h": "does not begin with http", "https://h/": "scheme://host[:port] alone", "https://h?x": "scheme://host[:port] alone", "https://h#": "scheme://host[:port] alone"} {
		if _, err := ParseOrigin(text, "/"); !strings.Contains(keybearer.AsError(err).Message(), why) {
			t.Errorf("%q: %v, want %q in it", text, err, why)
		}
	}
	for text, why := range map[string]string{"h": "CONNECT needs a port", "a_b": "underscore", "h:0": "a port is"} {
		if _, _, _, err := ParseAuthority(text); !strings.Contains(keybearer.AsError(err).Message(), why) {
			t.Errorf("%q: %v, want %q in it", text, err, why)
		}
	}
	for text, port := range map[string]uint16{"http://h:1/": 1, "http://h:9/": 9, "http://h:10/": 10, "http://h:65535/": 65535, "http://h:19999/": 19999} {
		if got, err := ParseAbsolute(text); err != nil || got.Port != port {
			t.Errorf("%q: %d, %v", text, got.Port, err)
		}
	}
	for _, text := range []string{"http://h:8:/", "http://h:8;/", "http://h:8//"} { // the bytes beside the digits
		if got, err := ParseAbsolute(text); err == nil && got.Port != 8 {
			t.Errorf("%q: %d, %v", text, got.Port, err)
		}
	}
}

func TestZeroRecordsAdmitNothing(t *testing.T) {
	if (&Admission{}).Allowed() || (&Admission{Code: keybearer.AddressDenied, Rule: &keybearer.Rule{}}).Allowed() {
		t.Error("the zero Admission, or one with a code, is allowed")
	}
	if (&Admission{}).DropOverrides() || (&Admission{Rule: &keybearer.Rule{}}).DropOverrides() || !(&Admission{Rule: &keybearer.Rule{Path: "/a"}}).DropOverrides() {
		t.Error("overrides are dropped where the rule restricts, and nowhere else")
	}
	if admitsEndpoint(&keybearer.Rule{Scheme: "https", Host: "h"}, &Destination{Scheme: "https", Host: "h"}) {
		t.Error("port 0 is admitted")
	}
	for name, c := range map[string][3]string{
		"nothing in front":      {"*.example.com", ".example.com", ""},
		"a dot in front":        {"*.example.com", "..example.com", ""},
		"the suffix":            {"*.example.com", "example.com", ""},
		"one letter":            {"*.example.com", "a.example.com", "yes"},
		"not on a label border": {"*.example.com", "aexample.com", ""},
		"an empty label":        {"**.example.com", ".a.example.com", ""},
	} {
		if got := admitsHost(c[0], c[1], false); got != (c[2] != "") {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, c := range []struct {
		prefix, path string
		want         bool
	}{
		{"", "/", true},
		{"", "anything", true},
		{"/a", "/a", true},
		{"/a", "/a/b", true},
		{"/a", "/ab", false},
		{"/a/", "/a/", true},
		{"/a/", "/a/b", true},
		{"/a/", "/a", false},
		{"/a", "/", false},
	} {
		if got := admitsPath(c.prefix, c.path); got != c.want {
			t.Errorf("%q below %q: %v", c.path, c.prefix, got)
		}
	}
	if levelOf([]keybearer.Grant{{Subject: ":bob", Level: keybearer.Use}}, "user", "bob") != keybearer.NoLevel {
		t.Error("a subject of no kind holds a grant")
	}
	if levelOf([]keybearer.Grant{{Subject: "user:", Level: keybearer.Use}}, "user", "") != keybearer.NoLevel {
		t.Error("nobody holds a grant")
	}
}

func TestWhatMethodsCover(t *testing.T) {
	for _, c := range []struct {
		outer, inner []string
		want         bool
	}{
		{nil, nil, true},
		{nil, []string{"GET"}, true},
		{[]string{"GET"}, nil, false},
		{keybearer.Methods, nil, true},
		{[]string{"GET", "PUT"}, []string{"PUT"}, true},
		{[]string{"PUT"}, []string{"GET", "PUT"}, false},
	} {
		if got := coversMethods(c.outer, c.inner); got != c.want {
			t.Errorf("%v over %v: %v", c.outer, c.inner, got)
		}
	}
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"", "", false},
		{"a.example.com", "*.example.com", false},
		{"a.example.com", "b.example.com", false},
		{"example.com", "a.example.com", false},
		{"*.example.com", "**.example.com", false},
		{"**.example.com", "*.example.com", true},
		{"**.example.com", "*.a.example.com", true},
		{"*.example.com", "*.a.example.com", false},
	} {
		if got := coversHost(c.outer, c.inner); got != c.want {
			t.Errorf("%q over %q: %v", c.outer, c.inner, got)
		}
	}
}
