package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

func TestForeignProxyStatus(t *testing.T) {
	for value, want := range map[string]string{
		"":                                "",
		"cdn":                             "cdn",
		"cdn; received-status=200, edge":  "cdn;received-status=200, edge",
		"keybearer; error=x":              "",
		"Keybearer":                       "",
		`"keybearer"; error=x, cdn`:       "cdn",
		`" keybearer"`:                    "",
		`"key\"bearer"`:                   `"key\"bearer"`,
		`cdn; details="a, keybearer; b"`:  `cdn;details="a, keybearer; b"`,
		`cdn; details="open`:              "",
		`cdn, , edge`:                     "",
		"cdn, 1; x":                       "",
		"cdn, (keybearer)":                "",
		"cdn\x00":                         "",
		"keybearer=1":                     "",
		"cdn; x=":                         "",
		`keybearer error=x; details="y"`:  "",
		"foo bar":                         "",
		`cdn; details="\x"`:               "",
		"cdn ,\tkeybearer;error=y , edge": "cdn, edge",
	} {
		if got := foreignStatus([]string{value}); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
	if got := foreignStatus([]string{"cdn", "keybearer", "edge"}); got != "cdn, edge" {
		t.Errorf("several fields: %q", got)
	}
	if got := foreignStatus([]string{"cdn", `"open`}); got != "" {
		t.Errorf("one unreadable field among several: %q", got)
	}
}

func FuzzForeignProxyStatus(f *testing.F) {
	f.Add(`cdn; details="a, b", keybearer; error=x`)
	f.Fuzz(func(t *testing.T, value string) {
		got := foreignStatus([]string{value})
		if foreignStatus([]string{got}) != got {
			t.Fatalf("%q is not what remains of itself", got)
		}
		if name := strings.ToLower(got); strings.HasPrefix(name, "keybearer") && (len(name) == 9 || strings.ContainsRune("; ,", rune(name[9]))) {
			t.Fatalf("%q speaks for us", got)
		}
	})
}

// Whatever an app nominates, aliases or repeats, exactly one field under the injected name goes out: ours.
func TestExactlyOneInjectedField(t *testing.T) {
	names := []string{"Authorization", "X-Api-Key", "X_Api_Key"}
	rapid.Check(t, func(t *rapid.T) {
		inject := rapid.SampledFrom(names).Draw(t, "inject")
		var fields []Field
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			name := rapid.SampledFrom([]string{
				inject, strings.ToLower(inject), strings.ToUpper(inject), strings.ReplaceAll(inject, "-", "_"), strings.ReplaceAll(inject, "_", "-"),
				"Connection", "Proxy-Connection", "Trailer", "X-Other", "Te", "Upgrade",
			}).Draw(t, "name")
			value := rapid.SampledFrom([]string{"x", inject, "close, " + inject, strings.ToLower(inject) + " ,x-other", "keep-alive"}).Draw(t, "value")
			fields = append(fields, Field{name, value})
		}
		p := &Pass{filter: filter{inject: fold(inject)}}
		p.filter.nominate(fields)
		var sent []string
		for _, f := range fields {
			if _, ok := p.Keep(f.Name, f.Value); ok {
				sent = append(sent, fold(f.Name))
			}
		}
		sent = append(sent, fold(inject)) // the engine's last write
		if n := len(slices.DeleteFunc(slices.Clone(sent), func(s string) bool { return s != fold(inject) })); n != 1 {
			t.Fatalf("%d fields named %s from %v", n, inject, fields)
		}
		for _, s := range sent {
			if s == "connection" || s == "trailer" || s == "te" || s == "upgrade" {
				t.Fatalf("%s went on", s)
			}
		}
	})
}

func TestTokensOfOursAreFoundAnywhere(t *testing.T) {
	secret, _ := keybearer.NewToken(keybearer.CallerTokenPrefix, keybearer.Caller{}.CreatedAt)
	operator, _ := keybearer.NewToken(keybearer.OperatorTokenPrefix, keybearer.Caller{}.CreatedAt)
	f := filter{}
	for _, token := range []string{secret.Reveal(), operator.Reveal()} {
		for _, v := range []string{token, "Bearer " + token, "a=b; t=" + token + "; c", "kb_ kbo_" + token} {
			if _, ok := f.keep("X-Any", v); ok {
				t.Errorf("a token went on in %.12q…", v)
			}
		}
	}
	for _, v := range []string{"kb_article=5", "kb", "kbo_", fmt.Sprint("kb_", strings.Repeat("A", 52))} {
		if _, ok := f.keep("X-Any", v); !ok {
			t.Errorf("%q was taken for a token", v)
		}
	}
}

func TestNominatedFieldsGoWhateverTheCredentialAllows(t *testing.T) {
	f := filter{cookies: true, trace: true}
	f.nominate([]Field{{"Connection", "cookie, Traceparent , X-Mine"}})
	for _, name := range []string{"Cookie", "traceparent", "X_Mine"} {
		if _, ok := f.keep(name, "x"); ok {
			t.Errorf("%s went on", name)
		}
	}
}

func TestOverridesGoOnlyWhereTheRuleIsOpen(t *testing.T) {
	for _, name := range []string{"X-HTTP-Method-Override", "x_http_method_override", "X-Original-URL", "X-Rewrite-Url"} {
		if _, ok := (&filter{}).keep(name, "x"); !ok {
			t.Errorf("%s was dropped though the rule admits every method and path", name)
		}
		if _, ok := (&filter{strict: true}).keep(name, "x"); ok {
			t.Errorf("%s went on past a rule with methods or a path", name)
		}
	}
}
