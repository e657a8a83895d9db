package policy

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keybearer/keybearer"
)

var addresses = cmpopts.EquateComparable(netip.Addr{})

func TestParseAbsolute(t *testing.T) {
	for text, want := range map[string]Target{
		"http://api.example.com/hook":       {Scheme: "http", Host: "api.example.com", Path: "/hook"},
		"http://api.example.com":            {Scheme: "http", Host: "api.example.com", Path: "/"},
		"HTTP://API.example.com.:80/A?":     {Scheme: "http", Host: "api.example.com", Port: 80, Path: "/A", HasQuery: true},
		"http://api.example.com?a=b?c":      {Scheme: "http", Host: "api.example.com", Path: "/", Query: "a=b?c", HasQuery: true},
		"http://h:8443/%2e%2E/..//;a\"{|}":  {Scheme: "http", Host: "h", Port: 8443, Path: "/%2e%2E/..//;a\"{|}"},
		"https://h:443/a?b=%zz\\":           {Scheme: "https", Literal: true, Host: "h", Port: 443, Path: "/a", Query: "b=%zz\\", HasQuery: true},
		"http://h/http://other/@x:1":        {Scheme: "http", Host: "h", Path: "/http://other/@x:1"},
		"http://127.0.0.1:1/":               {Scheme: "http", Host: "127.0.0.1", Addr: netip.MustParseAddr("127.0.0.1"), Port: 1, Path: "/"},
		"https://[2001:DB8::1]:65535/a":     {Scheme: "https", Literal: true, Host: "2001:db8::1", Addr: netip.MustParseAddr("2001:db8::1"), Port: 65535, Path: "/a"},
		"http://[::1]":                      {Scheme: "http", Host: "::1", Addr: netip.IPv6Loopback(), Path: "/"},
		"http://xn--bcher-kva.example:99/é": {},
	} {
		got, err := ParseAbsolute(text)
		if want.Host == "" {
			if err == nil {
				t.Errorf("ParseAbsolute(%q) = %+v, want a refusal", text, got)
			}
			continue
		}
		if diff := cmp.Diff(want, got, addresses); err != nil || diff != "" {
			t.Errorf("ParseAbsolute(%q): %v %s", text, err, diff)
		}
	}
}

// refusedTargets are named after the mistake.
var refusedTargets = map[string][]string{
	"no scheme":     {"", "/", "api.example.com", "//api.example.com/", "api.example.com:443", "*", "http:", "http:/h", "http:h", "://h"},
	"other scheme":  {"ftp://h/", "ws://h/", "httpss://h", "http+unix://h", " http://h", "ht\ttp://h", "javascript://h", "file://h"},
	"no host":       {"http://", "http:///", "http:///path", "http://?q", "http://:80/", "https:////h"},
	"user":          {"http://user@h/", "http://user:pass@h/", "http://@h/", "http://h@/", "http://a@b@h/", "http://h:80@evil/"},
	"fragment":      {"http://h/#f", "http://h#f", "http://h/?q#f", "http://h/a#", "http://h:80#@evil"},
	"backslash":     {`http://h\evil/`, `http://h\@evil/`, `http:\\h/`, `http://h/a\b`, `http://h/\`},
	"blank":         {"http://h /", "http://h/a b", "http://h/?a b", "http://h/\t", " http://h/", "http://h/\n", "http://h/\u00a0"},
	"control":       {"http://h/\x00", "http://h\r\nX: y/", "http://h/\x7f", "http://h/?\x01"},
	"not ASCII":     {"http://h/é", "http://h/?é", "http://h/\xff"},
	"empty port":    {"http://h:/", "http://h:", "http://[::1]:/"},
	"odd port":      {"http://h:0/", "http://h:00080/", "http://h:080/", "http://h:65536/", "http://h:99999999999999999999/", "http://h:+80/", "http://h:-1/", "http://h:8o/", "http://h:0x50/", "http://h: 80/", "http://h:80:80/", "http://h:８０/"},
	"broken escape": {"http://h/%", "http://h/%2", "http://h/%zz", "http://h/%2g", "http://h/%g2", "http://h/%u002e", "http://h/%%30", "http://h/a%"},
	"mapped":        {"http://[::ffff:127.0.0.1]/", "http://[::ffff:a9fe:a9fe]/"},
}

func TestRefusedTargets(t *testing.T) {
	refuse := func(t *testing.T, call, text string, err error) {
		t.Helper()
		if keybearer.CodeOf(err) != keybearer.DestinationInvalid {
			t.Errorf("%s(%q): %v, want destination_invalid", call, text, err)
		} else if len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("%s(%q): the error quotes it: %v", call, text, err)
		}
	}
	for mistake, texts := range refusedTargets {
		t.Run(mistake, func(t *testing.T) {
			for _, text := range texts {
				_, err := ParseAbsolute(text)
				refuse(t, "ParseAbsolute", text, err)
				_, err = ParseOrigin(text, "/")
				refuse(t, "ParseOrigin", text, err)
			}
		})
	}
	for mistake, hosts := range refusedHosts {
		t.Run(mistake, func(t *testing.T) {
			for _, h := range hosts {
				if strings.ContainsAny(h, "/?") { // ends the authority
					continue
				}
				_, err := ParseAbsolute("http://" + h + "/")
				refuse(t, "ParseAbsolute", h, err)
				_, err = ParseOrigin("https://"+h, "/")
				refuse(t, "ParseOrigin", h, err)
				_, _, _, err = ParseAuthority(h + ":80")
				refuse(t, "ParseAuthority", h, err)
			}
		})
	}
	for _, destination := range []string{"https://h/", "https://h/path", "https://h?", "https://h#", "https://h, https://h", "https://h;"} {
		_, err := ParseOrigin(destination, "/")
		refuse(t, "ParseOrigin", destination, err)
	}
	for _, path := range []string{"", "*", "a", "?q", "http://other/", "/a#b", "/a b", `/a\b`, "/%", "/\x00"} {
		_, err := ParseOrigin("https://h", path)
		refuse(t, "ParseOrigin", path, err)
	}
	for _, authority := range []string{"", "h", "h:", ":80", "h:0", "h:080", "h:80/", "h:80?", "http://h:80", "user@h:80", "[::1]", "::1:80", "h:80 "} {
		_, _, _, err := ParseAuthority(authority)
		refuse(t, "ParseAuthority", authority, err)
	}
}

func TestParseOrigin(t *testing.T) {
	got, err := ParseOrigin("http://API.example.com:80", "//a/../b?x=1")
	want := Target{Scheme: "http", Literal: true, Host: "api.example.com", Port: 80, Path: "//a/../b", Query: "x=1", HasQuery: true}
	if diff := cmp.Diff(want, got, addresses); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestParseAuthority(t *testing.T) {
	host, addr, port, err := ParseAuthority("Example.COM.:443")
	if host != "example.com" || addr.IsValid() || port != 443 || err != nil {
		t.Error(host, addr, port, err)
	}
	host, addr, port, err = ParseAuthority("[::1]:80")
	if host != "::1" || addr != netip.IPv6Loopback() || port != 80 || err != nil {
		t.Error(host, addr, port, err)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseAbsolute("http://api.example.com:8443/v1/hooks?x=1"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseAbsolute(f *testing.F) {
	for _, texts := range refusedTargets {
		for _, text := range texts {
			f.Add(text)
		}
	}
	f.Add("http://api.example.com:8443/v1/hooks?x=1")
	f.Add("https://[2001:db8::1]/")
	f.Fuzz(func(t *testing.T, text string) { holdsTarget(t, text) })
}

// holdsTarget checks that a target is refused, or means the same however it is written again, to us and to others. It reports whether it
// was accepted.
func holdsTarget(t testing.TB, text string) bool {
	t.Helper()
	got, err := ParseAbsolute(text)
	if err != nil {
		if keybearer.CodeOf(err) != keybearer.DestinationInvalid || got != (Target{}) {
			t.Fatalf("%+v %v", got, err)
		}
		return false
	}
	// Written out again, in either form, it is the same.
	d := Destination{got.Scheme, got.Host, got.Addr, got.Port}
	origin := got.Scheme + "://" + d.HostPort()
	if got.Port == 0 {
		origin = strings.TrimSuffix(origin, ":0")
	}
	rest := got.Path
	if got.HasQuery {
		rest += "?" + got.Query
	}
	if again, err := ParseAbsolute(origin + rest); err != nil || again != got {
		t.Fatalf("%q is %+v, and that %+v, %v", text, got, again, err)
	}
	literal := got
	literal.Literal = true
	if again, err := ParseOrigin(origin, rest); err != nil || again != literal {
		t.Fatalf("%q is %+v, and in origin form %+v, %v", text, got, again, err)
	}
	if !strings.HasSuffix(text, rest) && got.Path != "/" {
		t.Fatalf("%q: the bytes changed to %q", text, rest)
	}
	if strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) || strings.Contains(got.Path, `\`) || got.Path[0] != '/' {
		t.Fatalf("%q: %+v", text, got)
	}
	settled := got.fallback()
	readsAlike(t, settled, rest)
	if literal := literal.fallback(); literal.Port != settled.Port && got.Port != 80 && got.Port != 0 {
		t.Fatalf("%q: port %d becomes %d", text, literal.Port, settled.Port)
	}
	return true
}

func FuzzParseOrigin(f *testing.F) {
	for _, texts := range refusedTargets {
		for _, text := range texts {
			f.Add(text, "/")
		}
	}
	f.Add("https://API.example.com.:443", "//a/../b?x=1")
	f.Add("http://[2001:db8::1]:80", "/%2e")
	f.Fuzz(func(t *testing.T, destination, target string) {
		got, err := ParseOrigin(destination, target)
		if err != nil {
			if keybearer.CodeOf(err) != keybearer.DestinationInvalid || got != (Target{}) {
				t.Fatalf("%+v %v", got, err)
			}
			return
		}
		if !got.Literal || strings.ContainsAny(destination, "/?#@") && strings.Count(destination, "/") != 2 {
			t.Fatalf("%q: %+v", destination, got)
		}
		sent := got.Path
		if got.HasQuery {
			sent += "?" + got.Query
		}
		if sent != target {
			t.Fatalf("%q is sent as %q", target, sent)
		}
		again, err := ParseOrigin(got.fallback().String(), target)
		if got.Port == 0 || got.Port == keybearer.DefaultPort(got.Scheme) {
			again.Port = got.Port
		}
		if err != nil || again != got {
			t.Fatalf("%q is %+v, and that %+v, %v", destination, got, again, err)
		}
		readsAlike(t, got.fallback(), sent)
	})
}

func FuzzParseAuthority(f *testing.F) {
	for _, hosts := range refusedHosts {
		for _, h := range hosts {
			f.Add(h + ":80")
		}
	}
	f.Add("Example.COM.:443")
	f.Add("[::1]:80")
	f.Fuzz(func(t *testing.T, authority string) { holdsAuthority(t, authority) })
}

// holdsAuthority is holdsTarget for the authority-form.
func holdsAuthority(t testing.TB, authority string) bool {
	t.Helper()
	host, addr, port, err := ParseAuthority(authority)
	if err != nil {
		if keybearer.CodeOf(err) != keybearer.DestinationInvalid || host != "" || addr.IsValid() || port != 0 {
			t.Fatalf("%q %v %d %v", host, addr, port, err)
		}
		return false
	}
	d := Destination{Scheme: "http", Host: host, Addr: addr, Port: port}
	h, a, p, err := ParseAuthority(d.HostPort())
	if h != host || a != addr || p != port || err != nil {
		t.Fatalf("%q is %s, and that %q %v %d %v", authority, d.HostPort(), h, a, p, err)
	}
	if split, _, err := net.SplitHostPort(d.HostPort()); err != nil || split != host {
		t.Fatalf("%q is split into %q, %v", d.HostPort(), split, err)
	}
	readsAlike(t, d, "/")
	return true
}
