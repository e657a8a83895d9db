package inject

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

func bundle(kind keybearer.Kind, username, secret string, terms ...func(*keybearer.Terms)) *keybearer.Bundle {
	b := &keybearer.Bundle{Terms: keybearer.Terms{Kind: kind}, Username: username, Secret: keybearer.NewSecret(secret)}
	for _, f := range terms {
		f(&b.Terms)
	}
	return b
}

func header(name, prefix string) func(*keybearer.Terms) {
	return func(t *keybearer.Terms) { t.Header, t.Prefix = name, prefix }
}

func TestEachKindIsWrittenInItsForm(t *testing.T) {
	for _, c := range []struct {
		bundle      *keybearer.Bundle
		name, value string
	}{
		{bundle(keybearer.Basic, "Aladdin", "open sesame"), "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}, // RFC 7617 section 2
		{bundle(keybearer.Basic, "test", "123£"), "Authorization", "Basic dGVzdDoxMjPCow=="},                       // RFC 7617 section 2.1
		{bundle(keybearer.Basic, "", "pass:word"), "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(":pass:word"))},
		{bundle(keybearer.Bearer, "", "mF_9.B5f-4.1JqM"), "Authorization", "Bearer mF_9.B5f-4.1JqM"}, // RFC 6750 section 2.1
		{bundle(keybearer.Bearer, "ignored", "s"), "Authorization", "Bearer s"},
		{bundle(keybearer.Header, "", "k", header("X-Api-Key", "")), "X-Api-Key", "k"},
		{bundle(keybearer.Header, "", "k", header("X-Api-Key", "Token ")), "X-Api-Key", "Token k"},
	} {
		f, err := For(c.bundle)
		if err != nil || f.Name != c.name || f.Value.Reveal() != c.value {
			t.Errorf("%s: %q %q %v, want %q %q", c.bundle.Terms.Kind, f.Name, f.Value.Reveal(), err, c.name, c.value)
		}
	}
}

func TestWithoutASecretNothingIsWritten(t *testing.T) {
	for name, b := range map[string]*keybearer.Bundle{
		"zero value":           {},
		"basic, no password":   bundle(keybearer.Basic, "user", ""),
		"bearer, no secret":    bundle(keybearer.Bearer, "", ""),
		"header, no secret":    bundle(keybearer.Header, "", "", header("X-Api-Key", "Token ")),
		"header without name":  bundle(keybearer.Header, "", "s3cret"),
		"kind that is unknown": bundle("digest", "user", "s3cret"),
		"no kind":              bundle("", "user", "s3cret"),
	} {
		f, err := For(b)
		if keybearer.CodeOf(err) != keybearer.CredentialNeedsSecret || f.Name != "" || !f.Value.IsZero() {
			t.Errorf("%s: %q, %v", name, f.Name, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error tells the secret", name)
		}
	}
}
