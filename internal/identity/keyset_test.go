package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// Of the JWTs that were found genuine so many are remembered; one more, and an eighth is forgotten.
func TestHowManyJWTsAreRemembered(t *testing.T) {
	s := &keySet{genuine: map[[sha256.Size]byte]*claims{}}
	sum := func(n int) (b [sha256.Size]byte) {
		binary.BigEndian.PutUint64(b[:], uint64(n))
		return b
	}
	c := new(claims)
	for n := range maxVerified {
		s.remember(sum(n), c)
	}
	if len(s.genuine) != maxVerified || s.recall(sum(0)) != c {
		t.Errorf("%d are remembered", len(s.genuine))
	}
	s.remember(sum(maxVerified), c)
	if len(s.genuine) != maxVerified-maxVerified/8+1 || s.recall(sum(maxVerified)) != c || s.recall(sum(maxVerified+1)) != nil {
		t.Errorf("%d are remembered", len(s.genuine))
	}
}

func TestWhichSetsOfKeysAreTaken(t *testing.T) {
	rsa := string(harness.JWKS(harness.NewKey(t, "a", "RS256")))
	_, modulus, _ := strings.Cut(rsa, `"n":"`)
	modulus, _, _ = strings.Cut(modulus, `"`)
	_, private, _ := ed25519.GenerateKey(nil)
	secret, err := (&jose.JSONWebKey{Key: private}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	entries := func(n int) string { return `{"keys":[` + strings.TrimSuffix(strings.Repeat("{},", n), ",") + `]}` }
	for _, c := range []struct {
		name, document string
		keys           int // -1: it is refused
	}{
		{"one", rsa, 1},
		{"none", `{"keys":[]}`, 0},
		{"64 entries", entries(64), 0},
		{"65 entries", entries(65), -1},
		{"no list", `{}`, -1},
		{"a list of null", `{"keys":null}`, -1},
		{"two lists", `{"keys":[],"keys":[]}`, -1},
		{"no JSON", `{"keys":[]`, -1},
		{"a secret", `{"keys":[{"kty":"oct","k":"AAAA"}]}`, 0},
		{"a private key", `{"keys":[` + string(secret) + `]}`, 0},
		{"an exponent of nothing", `{"keys":[{"kty":"RSA","n":"` + modulus + `","e":"AA"}]}`, 0},
		{"operations that are no list", `{"keys":[{"kty":"RSA","n":"` + modulus + `","e":"AQAB","key_ops":"verify"}]}`, 0},
		{"the same as it should be", `{"keys":[{"kty":"RSA","n":"` + modulus + `","e":"AQAB","key_ops":["sign","verify"]}]}`, 1},
	} {
		s, err := parseKeys([]byte(c.document))
		if (err != nil) != (c.keys < 0) || err == nil && len(s.keys) != c.keys {
			t.Errorf("%s: %+v, %v", c.name, s, err)
		}
	}
}

// Only a key that is not known, or that is not named, is worth asking the issuer again.
func TestWhichSignaturesAreWorthAskingAgain(t *testing.T) {
	now := time.Now()
	set := func(keys ...*harness.IssuerKey) *keySet {
		t.Helper()
		s, err := parseKeys(harness.JWKS(keys...))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	k, stranger, ed := harness.NewKey(t, "a", "ES256"), harness.NewKey(t, "a", "ES256"), harness.NewKey(t, "e", "EdDSA")
	var many, same []*harness.IssuerKey
	for n := range maxNameless {
		many = append(many, harness.NewKey(t, fmt.Sprint(n), "ES256"))
		same = append(same, harness.NewKey(t, "a", "ES256"))
	}
	named, nameless := map[string]any{}, map[string]any{"kid": nil}
	for _, c := range []struct {
		name           string
		keys           *keySet
		by             *harness.IssuerKey
		header         map[string]any
		holds, unknown bool
	}{
		{"a good one", set(k), k, named, true, false},
		{"one of many of the same name", set(append(same, k)...), k, named, true, false},
		{"one of 8 without a name", set(append(many[1:], k)...), k, nameless, true, false},
		{"one of 9 without a name", set(append(many, k)...), k, nameless, false, false},
		{"a name that is not known", set(ed), k, named, false, true},
		{"another algorithm, named", set(ed), ed, map[string]any{"alg": "ES256"}, false, false},
		{"another algorithm, without a name", set(ed), k, nameless, false, true},
		{"another signature, named", set(stranger), k, named, false, false},
		{"another signature, without a name", set(stranger), k, nameless, false, true},
	} {
		i := &Issuer{}
		for _, a := range DefaultAlgorithms {
			i.allowed = append(i.allowed, jose.SignatureAlgorithm(a))
		}
		text := c.by.Sign(t, c.header, map[string]any{"exp": now.Unix()})
		h, err := i.header(text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if _, unknown, err := h.check(c.keys); (err == nil) != c.holds || unknown != c.unknown {
			t.Errorf("%s: unknown %v, %v", c.name, unknown, err)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	for typ, want := range map[string]string{
		"at+jwt": "at+jwt", "application/jwt": "jwt", "APPLICATION/a": "a", "application/": "application/", "application": "application", "": "", "bpplication/jwt": "bpplication/jwt",
	} {
		if got := mediaType(typ); got != want {
			t.Errorf("%q is %q", typ, got)
		}
	}
}

// Assertions of acting users are not remembered, and their issuers are let go of.
func TestAnAssertionIsNotRemembered(t *testing.T) {
	now, k := time.Now(), harness.NewKey(t, "a", "ES256")
	file := harness.WriteFile(t, filepath.Join(t.TempDir(), "keys.json"), harness.JWKS(k))
	c := UserIssuer{IssuerConfig: IssuerConfig{Issuer: idp, Audience: "users", JWKSFile: file}, Callers: []string{"billing"}, UserClaim: "sub", MaxAge: time.Hour}
	u, err := OpenUsers([]UserIssuer{c})
	if err != nil {
		t.Fatal(err)
	}
	i := u.issuers[0].issuer
	text := k.Sign(t, nil, map[string]any{"iss": idp, "aud": "users", "sub": "ann", "azp": "billing", "jti": "1", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})
	if _, err := u.Prove(t.Context(), text, &keybearer.Caller{Name: "billing"}, now); err != nil {
		t.Error(err)
	}
	if n := len(i.known().genuine); n != 0 {
		t.Errorf("%d are remembered", n)
	}
	if err := u.Close(); err != nil || i.ctx.Err() == nil {
		t.Errorf("the issuer's keys are followed on: %v", err)
	}
	c.JWKSFile = "/nonexistent"
	if u, err := OpenUsers([]UserIssuer{c}); u != nil || keybearer.CodeOf(err) != keybearer.Invalid {
		t.Errorf("keys that are not there: %v", err)
	}
}
