package policy

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	_ "github.com/nlnwa/whatwg-url/url" // its test data are the Web Platform Tests
)

func TestCanonicalHost(t *testing.T) {
	for raw, want := range map[string]string{
		"api.example.com":              "api.example.com",
		"API.Example.COM":              "api.example.com",
		"api.example.com.":             "api.example.com",
		"localhost":                    "localhost",
		"r3.sn-a-b.example":            "r3.sn-a-b.example",
		"bücher.example":               "xn--bcher-kva.example",
		"BÜCHER.example.":              "xn--bcher-kva.example",
		"xn--BCHER-kva.example":        "xn--bcher-kva.example",
		"faß.de":                       "xn--fa-hia.de",
		"ｅｘａｍｐｌｅ．ｃｏｍ":                  "example.com",
		"例え。テスト":                       "xn--r8jz45g.xn--zckzah",
		"127.0.0.1":                    "127.0.0.1",
		"[2001:DB8:0:0::1]":            "2001:db8::1",
		"[64:ff9b::1.2.3.4]":           "64:ff9b::102:304",
		"1.2.3.4.example":              "1.2.3.4.example",
		"0x7f.example":                 "0x7f.example",
		"3com.com":                     "3com.com",
		strings.Repeat("a", 63) + ".b": strings.Repeat("a", 63) + ".b",
	} {
		got, addr, why := canonicalHost(raw)
		if got != want || why != "" {
			t.Errorf("canonicalHost(%q) = %q, %q; want %q", raw, got, why, want)
		}
		if parsed, _ := netip.ParseAddr(want); parsed != addr {
			t.Errorf("canonicalHost(%q): address %v, want %v", raw, addr, parsed)
		}
	}
}

// refusedHosts are named after the mistake.
var refusedHosts = map[string][]string{
	"empty":              {"", ".", "..", "[]"},
	"empty label":        {"a..b", ".example.com", "example.com..", "a.。b.example", "example.com。"},
	"over-long label":    {strings.Repeat("a", 64) + ".b", strings.Repeat("ü", 60) + ".example"},
	"over-long name":     {strings.Repeat("a.", 126) + "aa", strings.Repeat("ü.", 500) + "example", strings.Repeat("ü", 1<<20), "[" + strings.Repeat("0", 1<<20) + "]"},
	"user":               {"user@example.com", "a:b@example.com", "@"},
	"percent":            {"ex%61mple.com", "example%2ecom", "%31.0.0.1", "example.com%00", "％31"},
	"zone":               {"[fe80::1%eth0]", "[fe80::1%25eth0]", "fe80::1%eth0"},
	"backslash":          {`example.com\evil`, `\example.com`, "evil＼example.com"},
	"blank":              {" example.com", "example.com ", "exam ple.com", "example.com\t", "exam\u00a0ple.com", "exam\u3000ple.com"},
	"control":            {"example.com\r\n", "example\x00.com", "example.com\x7f", "example\u0085.com"},
	"underscore":         {"a_b.example.com", "_acme.example.com", "a＿b.example"},
	"other character":    {"a,b.com", "a+b.com", "a!b.com", "a~b", "a$b", "a(b)", "^a", "a|b", "a/b", "a?b", "a#b", "a\"b", "a<b", "a=b", "a;b", "a&b", "a'b", "a`b", "a{b}"},
	"wildcard":           {"*.example.com", "a*.example.com", "*"},
	"hyphen":             {"-a.example", "a-.example", "a.-", "-", "ab--c.example", "r3---sn-apo3qvuoxuxbt-j5pe.example"},
	"decimal address":    {"2130706433", "1", "127.1", "127.0.1", "0.0.0.0.0", "1.2.3.4.5", "256.1.1.1", "999999999999"},
	"octal address":      {"0177.0.0.1", "127.0.0.01", "017700000001", "00.0.0.0"},
	"hex address":        {"0x7f000001", "0x7f.1", "0X7F.0.0.1", "127.0.0.0x1", "0x", "example.0x1f"},
	"dotted address":     {"127.0.0.1.", "1.2.3.4.."},
	"numeric last label": {"example.1", "a.b.0", "foo.123"},
	"fullwidth address":  {"１２７.０.０.１", "127。0。0。1", "①②⑦.0.0.1", "0Ⅹ7f.1", "２１３０７０６４３３"},
	"bracketed IPv4":     {"[127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]"},
	"broken brackets":    {"[::1", "::1]", "[::1]x", "[[::1]]", "[v1.x]", "[:::1]", "[::1::]", "x[::1]", "[::g]", "[1]"},
	"IPv6 unbracketed":   {"::1", "2001:db8::1"},
	"broken punycode":    {"xn--.example", "xn--a.example", "xn--0.example", "xn--example-.com", "xn--ls8h=.la", "xn--abc.example", "xn--zn7c.com"},
	"invalid UTF-8":      {"a\xff.example", "\xc0\xaf.example", "a\xed\xa0\x80.example"},
	"mixed direction":    {"a\u05d0.example", "\u0627\u0061.example"},
	"bare joiner":        {"a\u200db.example", "a\u200c.example"},
	"leading mark":       {"\u0301a.example"},
}

func TestRefusedHosts(t *testing.T) {
	for mistake, hosts := range refusedHosts {
		for _, raw := range hosts {
			if got, _, why := canonicalHost(raw); why == "" || got != "" {
				t.Errorf("%s: canonicalHost(%q) = %q, want a refusal", mistake, raw, got)
			} else if strings.Contains(why, raw) && len(raw) > 3 {
				t.Errorf("%s: the reason quotes the host: %q", mistake, why)
			}
		}
	}
}

// Mapping takes time in the square of the length.
func TestLongHostsAreNotMapped(t *testing.T) {
	if _, _, why := canonicalHost(strings.Repeat("ü", 1<<20)); !strings.Contains(why, "longer than 253") {
		t.Errorf("%q", why)
	}
}

func FuzzHost(f *testing.F) {
	for _, hosts := range refusedHosts {
		for _, h := range hosts {
			f.Add(h)
		}
	}
	f.Add("bücher.example.")
	f.Add("[2001:db8::1]")
	f.Fuzz(func(t *testing.T, raw string) { holdsHost(t, raw) })
}

// holdsHost checks that a host is refused, or has one spelling and one reading. It reports whether it was accepted.
func holdsHost(t testing.TB, raw string) bool {
	t.Helper()
	host, addr, why := canonicalHost(raw)
	if why != "" {
		if host != "" || addr.IsValid() {
			t.Fatalf("refused and returned: %q %v", host, addr)
		}
		return false
	}
	again := host
	if addr.Is6() {
		again = "[" + host + "]"
	}
	if h, a, w := canonicalHost(again); h != host || a != addr || w != "" {
		t.Fatalf("%q is canonical as %q, and that as %q (%s)", raw, host, h, w)
	}
	// Whatever reads addresses must read this one as we did, or not at all.
	if a, err := netip.ParseAddr(host); err == nil != addr.IsValid() || a != addr {
		t.Fatalf("%q: netip reads %q as %v, we as %v", raw, host, a, addr)
	}
	if !addr.IsValid() {
		if looseIPv4(host) {
			t.Fatalf("%q: %q can be read as an address", raw, host)
		}
		if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || len(host) > 253 || strings.Contains(host, "..") ||
			strings.HasPrefix(host, ".") || strings.HasSuffix(host, ".") {
			t.Fatalf("%q: %q is not a plain name", raw, host)
		}
	} else if addr.Is4In6() || addr.Zone() != "" || addr.String() != host {
		t.Fatalf("%q: %v has another spelling", raw, addr)
	}
	if !utf8.ValidString(raw) || strings.ContainsAny(raw, "\\%@ \t\r\n\x00#?/_*") {
		t.Fatalf("%q is accepted", raw)
	}
	return true
}

// looseIPv4 reports whether inet_aton would take the name: one to four numbers in base 8, 10 or 16.
func looseIPv4(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return false
	}
	for _, p := range parts {
		p = strings.ToLower(p)
		if h := strings.TrimPrefix(p, "0x"); h != p {
			if strings.Trim(h, "0123456789abcdef") != "" {
				return false
			}
		} else if p == "" || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// The Web Platform Tests come with a module that Caddy needs anyway. An input that they say must fail is refused here, and what
// is accepted has the host that they say. Refusing more is fine: this is not a browser.
func TestWebPlatformURLs(t *testing.T) {
	var vectors []json.RawMessage
	readVectors(t, "urltestdata.json", &vectors)
	refused, accepted := 0, 0
	for _, raw := range vectors {
		var v struct {
			Input, Hostname, Port, Protocol, Base string
			Failure                               bool
		}
		if json.Unmarshal(raw, &v) != nil { // a comment
			continue
		}
		target, err := ParseAbsolute(v.Input)
		switch {
		case err != nil:
			refused++
		case v.Failure:
			t.Errorf("%q must be refused, and gave %+v", v.Input, target)
		default:
			accepted++
			host := target.Host
			if target.Addr.Is6() {
				host = "[" + host + "]"
			}
			port := strings.TrimPrefix(strings.TrimPrefix(target.fallbackLiteral().String(), target.Scheme+"://"+host), ":")
			if diff := cmp.Diff([]string{v.Protocol, v.Hostname, v.Port}, []string{target.Scheme + ":", host, port}); diff != "" {
				t.Errorf("%q: %s", v.Input, diff)
			}
		}
	}
	t.Attr("cases", strconv.Itoa(refused+accepted))
	t.Logf("urltestdata.json: %d refused, %d accepted", refused, accepted)
	if refused < 400 || accepted < 60 {
		t.Errorf("%d refused, %d accepted: the vectors are not what they were", refused, accepted)
	}
}

// fallbackLiteral is the destination with the scheme as written, whatever the mode.
func (t Target) fallbackLiteral() Destination { t.Literal = true; return t.as(t.Scheme) }

func TestWebPlatformNames(t *testing.T) {
	sum := 0
	defer func() { t.Attr("cases", strconv.Itoa(sum)) }()
	for _, file := range []string{"toascii.json", "IdnaTestV2.json"} {
		var vectors []json.RawMessage
		readVectors(t, file, &vectors)
		refused, accepted := 0, 0
		for _, raw := range vectors {
			var v struct {
				Input  string
				Output *string
			}
			if json.Unmarshal(raw, &v) != nil {
				continue
			}
			host, _, why := canonicalHost(v.Input)
			switch {
			case why != "":
				refused++
			case v.Output == nil:
				t.Errorf("%s: %+q must be refused, and gave %q", file, v.Input, host)
			default:
				accepted++
				if want := strings.TrimSuffix(*v.Output, "."); host != want {
					t.Errorf("%s: %+q gave %q, want %q", file, v.Input, host, want)
				}
			}
		}
		sum += refused + accepted
		t.Logf("%s: %d refused, %d accepted", file, refused, accepted)
		if accepted == 0 || refused == 0 {
			t.Errorf("%s: %d refused, %d accepted", file, refused, accepted)
		}
	}
}

func readVectors(t *testing.T, file string, into any) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/nlnwa/whatwg-url").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}
