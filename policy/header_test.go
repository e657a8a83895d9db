package policy

import (
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

func TestKindHeaderAndPrefixFitTogether(t *testing.T) {
	for _, c := range []struct {
		kind                 keybearer.Kind
		header, prefix, want string
		hint                 string // of a refusal
		refused              bool
	}{
		{kind: keybearer.Basic},
		{kind: keybearer.Bearer},
		{kind: keybearer.Basic, header: "X-Api-Key", refused: true, hint: "Authorization"},
		{kind: keybearer.Bearer, prefix: "Token ", refused: true, hint: "Authorization"},
		{kind: keybearer.Header, header: "x-api-key", want: "X-Api-Key"},
		{kind: keybearer.Header, header: "Authorization", prefix: "Token ", want: "Authorization"},
		{kind: keybearer.Header, header: "x_api_key", want: "X_api_key"},
		{kind: keybearer.Header, header: strings.Repeat("a", 128), want: "A" + strings.Repeat("a", 127)},
		{kind: keybearer.Header, header: strings.Repeat("a", 129), refused: true, hint: "X-Api-Key"},
		{kind: keybearer.Header, refused: true, hint: "X-Api-Key"},
		{kind: keybearer.Header, header: "X-Api-Key", prefix: strings.Repeat("p", 64), want: "X-Api-Key"},
		{kind: keybearer.Header, header: "X-Api-Key", prefix: strings.Repeat("p", 65), refused: true},
		{kind: keybearer.Header, header: "X-Api-Key", prefix: " p", refused: true},
		{kind: keybearer.Header, header: "X-Api-Key", prefix: "p\n", refused: true},
		{kind: keybearer.Header, header: "X-Api-Key", prefix: "\tp", refused: true},
		{kind: keybearer.Header, header: "X-Api-Key", prefix: "p\x7f", refused: true},
		{kind: keybearer.Header, header: "X-Api-Key", prefix: "é", refused: true},
		{kind: keybearer.Header, header: "X-Api-Key", prefix: "~ ", want: "X-Api-Key"},
		{kind: "digest", header: "X-Api-Key", refused: true},
		{refused: true},
	} {
		got, err := CheckHeader(c.kind, c.header, c.prefix)
		if got != c.want || (keybearer.CodeOf(err) == keybearer.Invalid) != c.refused {
			t.Errorf("%s %q %q: %q, %v", c.kind, c.header, c.prefix, got, err)
		}
		if c.hint != "" && !strings.Contains(keybearer.AsError(err).Hint, c.hint) {
			t.Errorf("%s %q %q: hint %q", c.kind, c.header, c.prefix, keybearer.AsError(err).Hint)
		}
	}
}

// RFC 9110 section 5.6.2.
func TestTheFieldThatDoesNotFitIsNamed(t *testing.T) {
	for field, c := range map[string][2]string{"header": {"X-Key", ""}, "prefix": {"", "Token "}} {
		if _, err := CheckHeader(keybearer.Bearer, c[0], c[1]); keybearer.AsError(err).Field != field {
			t.Errorf("%q: %v", c, err)
		}
	}
	if _, err := CheckHeader(keybearer.Basic, "X-Key", "Token "); keybearer.AsError(err).Field != "header" {
		t.Errorf("both: %v", err)
	}
}

func TestAHeaderIsAToken(t *testing.T) {
	const tchar = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for c := range 256 {
		name := "X" + string([]byte{byte(c)})
		_, err := CheckHeader(keybearer.Header, name, "")
		if want := strings.IndexByte(tchar, byte(c)) >= 0; want != (err == nil) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestHeadersOfTheConnectionHoldNoSecret(t *testing.T) {
	for _, name := range []string{
		"Host", "host", "HOST", "Content-Length", "content_length", "Transfer-Encoding", "transfer_encoding", "Connection", "TE", "Upgrade", "Cookie", "set-cookie",
		"Proxy-Authorization", "proxy_foo", "Keybearer-Credential", "keybearer_x", "X-Forwarded-For", "x_forwarded_host", "Sec-Fetch-Site",
		"Access-Control-Allow-Origin", "X-HTTP-Method-Override", "x_http_method", "User-Agent", "Http2-Settings", "Content-Type", "Date",
	} {
		if got, err := CheckHeader(keybearer.Header, name, ""); keybearer.CodeOf(err) != keybearer.Invalid || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
