package identity_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
	"github.com/keybearer/keybearer/test/harness"
)

const (
	iss      = "https://idp.example.com"
	ours     = "keybearer"
	caseLife = 5 * time.Minute
)

// signers are keys of one issuer, one for each algorithm that is allowed by default. They are made once: RSA takes long.
var signers = map[string]*harness.IssuerKey{}

func signer(t testing.TB, alg string) *harness.IssuerKey {
	if signers[alg] == nil {
		signers[alg] = harness.NewKey(t, strings.ToLower(alg), alg)
	}
	return signers[alg]
}

// keyFile writes a JWK set.
func keyFile(t testing.TB, keys ...*harness.IssuerKey) string {
	return harness.WriteFile(t, filepath.Join(t.TempDir(), "jwks.json"), harness.JWKS(keys...))
}

// claims are those of a good JWT at the time, changed by pairs of name and value; nil removes one.
func claims(at time.Time, changes ...any) map[string]any {
	c := map[string]any{"iss": iss, "aud": ours, "sub": "shop", "iat": at.Unix(), "exp": at.Add(caseLife).Unix()}
	for i := 0; i < len(changes); i += 2 {
		c[changes[i].(string)] = changes[i+1]
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func config(file string) identity.IssuerConfig {
	return identity.IssuerConfig{Issuer: iss, Audience: ours, JWKSFile: file, Leeway: time.Minute}
}

// openJWT is an identity for which the subject shop is the caller billing.
func openJWT(t testing.TB, c identity.IssuerConfig, callers keybearer.Callers) *identity.JWT {
	t.Helper()
	i, err := identity.OpenIssuer(c)
	if err != nil {
		t.Fatal(err)
	}
	j := &identity.JWT{Issuer: i, Callers: callers, Claim: "sub", Names: map[string]string{"shop": "billing", "ghost": "nobody"}}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// billing is a store with that caller.
func billing(t *testing.T) *identity.Callers {
	t.Helper()
	store := open(t)
	store.put(t, &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "billing", CreatedAt: time.Now()})
	callers := identity.NewCallers(store, time.Minute, time.Now)
	t.Cleanup(callers.Close)
	return callers
}

func identify(t testing.TB, j *identity.JWT, at time.Time, tokens ...string) (string, error) {
	c, err := j.Identify(t.Context(), &keybearer.Evidence{Tokens: tokens, At: at})
	if c == nil {
		return "", err
	}
	return c.Name, err
}

// padded signs a good JWT of so many bytes.
func padded(t *testing.T, k *harness.IssuerKey, now time.Time, size int) string {
	t.Helper()
	for kid := range 3 { // base64 takes three bytes for four: the header's length decides about the rest
		for pad := range 200 {
			text := k.Sign(t, map[string]any{"x": strings.Repeat("x", kid)}, claims(now, "more", strings.Repeat("x", (size-len(k.Sign(t, nil, claims(now))))*3/4-pad)))
			if len(text) == size {
				return text
			}
		}
	}
	t.Fatalf("no JWT of %d bytes", size)
	return ""
}

// hs256 signs with whatever bytes as the shared secret.
func hs256(secret []byte, header, claims map[string]any) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestEveryAllowedAlgorithmProvesItsCaller(t *testing.T) {
	callers, now := billing(t), time.Now()
	var keys []*harness.IssuerKey
	for _, alg := range identity.DefaultAlgorithms {
		keys = append(keys, signer(t, alg))
	}
	for _, alg := range []string{"RS384", "RS512", "PS384", "PS512", "ES512"} { // allowed if the operator says so
		k := &harness.IssuerKey{ID: alg, Alg: alg, Private: signer(t, "RS256").Private}
		if alg == "ES512" {
			k = harness.NewKey(t, alg, alg)
		}
		keys = append(keys, k)
	}
	c := config(keyFile(t, keys...))
	for _, k := range keys {
		c.Algorithms = append(c.Algorithms, k.Alg)
	}
	j := openJWT(t, c, callers)
	for _, k := range keys {
		for name, text := range map[string]string{
			"kid":             k.Sign(t, nil, claims(now)),
			"no kid":          k.Sign(t, map[string]any{"kid": nil}, claims(now)),
			"no typ":          k.Sign(t, map[string]any{"typ": nil}, claims(now)),
			"many audiences":  k.Sign(t, nil, claims(now, "aud", []string{"other", ours})),
			"fractions":       k.Sign(t, nil, claims(now, "exp", float64(now.Add(time.Minute).UnixMilli())/1000)),
			"8 KiB":           padded(t, k, now, 8<<10),
			"no iat":          k.Sign(t, nil, claims(now, "iat", nil)),
			"x5t is no key":   k.Sign(t, map[string]any{"x5t": "abc"}, claims(now)),
			"within leeway":   k.Sign(t, nil, claims(now, "exp", now.Add(-50*time.Second).Unix(), "iat", now.Add(-time.Hour).Unix())),
			"nbf with leeway": k.Sign(t, nil, claims(now, "nbf", now.Add(50*time.Second).Unix(), "iat", now.Add(50*time.Second).Unix())),
		} {
			for range 2 { // the second time from memory
				if who, err := identify(t, j, now, text); who != "billing" || err != nil {
					t.Errorf("%s, %s: %q, %v", k.Alg, name, who, err)
				}
			}
			if !j.Recognize(text) || !j.Recognize("Bearer "+text) {
				t.Errorf("%s, %s: not recognized", k.Alg, name)
			}
		}
	}
}

// Whatever is wrong with a JWT that is meant for us, it proves nobody, and the refusal says what is wrong and quotes nothing.
func TestAWrongJWTProvesNobody(t *testing.T) {
	callers, now := billing(t), time.Now()
	rs, es, ps, ed := signer(t, "RS256"), signer(t, "ES256"), signer(t, "PS256"), signer(t, "EdDSA")
	stranger := harness.NewKey(t, "es256", "ES256") // same kid, another key
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := &harness.IssuerKey{ID: "weak", Alg: "RS256", Private: short}
	free := &harness.IssuerKey{ID: "free", Private: rs.Private, Alg: "RS256"} // its JWK does not say alg
	open := &harness.IssuerKey{ID: "free", Private: rs.Private}
	j := openJWT(t, config(keyFile(t, rs, es, ps, ed, weak, open)), callers)
	der, err := x509.MarshalPKIXPublicKey(rs.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwk := json.RawMessage(strings.TrimSuffix(strings.TrimPrefix(string(harness.JWKS(stranger)), `{"keys":[`), "]}"))
	good := es.Sign(t, nil, claims(now))
	head, body, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(body, ".")
	alg := func(k *harness.IssuerKey, alg string) string {
		return k.Sign(t, map[string]any{"alg": alg}, claims(now))
	}
	with := func(name string, value any) string {
		return es.Sign(t, map[string]any{name: value}, claims(now))
	}
	says := func(changes ...any) string { return es.Sign(t, nil, claims(now, changes...)) }
	unsigned := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + payload + "."
	}

	for _, c := range []struct{ name, token, says string }{
		{"alg none", unsigned(`{"alg":"none"}`), "not allowed"},
		{"alg None", unsigned(`{"alg":"None"}`), "not allowed"},
		{"alg none with kid", unsigned(`{"alg":"none","kid":"es256"}`), "not allowed"},
		{"alg missing", unsigned(`{"kid":"es256"}`), "not allowed"},
		{"alg twice", unsigned(`{"alg":"none","alg":"ES256"}`), "no header"},
		{"alg is a list", unsigned(`{"alg":["ES256"]}`), "not allowed"},
		{"HS256 with the RSA public key as PEM", hs256(public, map[string]any{"alg": "HS256", "kid": "rs256"}, claims(now)), "not allowed"},
		{"HS256 with the RSA public key as DER", hs256(der, map[string]any{"alg": "HS256", "kid": "rs256"}, claims(now)), "not allowed"},
		{"HS256 that says RS256", hs256(public, map[string]any{"alg": "RS256", "kid": "rs256"}, claims(now)), "does not fit"},
		{"RS384, which is not allowed here", alg(free, "RS384"), "not allowed"},
		{"ES512, which is not allowed here", harness.NewKey(t, "es512", "ES512").Sign(t, nil, claims(now)), "not allowed"},
		{"RS256 by a key for PS256", ps.Sign(t, map[string]any{"alg": "RS256"}, claims(now)), "another algorithm"},
		{"RS256 that names an EC key", rs.Sign(t, map[string]any{"kid": "es256"}, claims(now)), "another algorithm"},
		{"ES256 that names an RSA key", es.Sign(t, map[string]any{"kid": "rs256"}, claims(now)), "another algorithm"},
		{"ES256 that names an RSA key for no algorithm in particular", es.Sign(t, map[string]any{"kid": "free"}, claims(now)), "another algorithm"},
		{"ES384 by a P-256 key", alg(es, "ES384"), "another algorithm"},
		{"EdDSA that names an EC key", ed.Sign(t, map[string]any{"kid": "es256"}, claims(now)), "another algorithm"},
		{"RSA key of 1024 bits", weak.Sign(t, nil, claims(now)), "does not have"},
		{"kid of nobody", with("kid", "other"), "does not have"},
		{"kid empty", with("kid", ""), "cannot be read"},
		{"kid a number", with("kid", 1), "cannot be read"},
		{"kid a path", with("kid", "../../../../dev/null"), "does not have"},
		{"kid of another's key", stranger.Sign(t, nil, claims(now)), "does not fit"},
		{"no kid, and nobody's key", stranger.Sign(t, map[string]any{"kid": nil}, claims(now)), "does not fit"},
		{"brings its key", stranger.Sign(t, map[string]any{"jwk": jwk}, claims(now)), "does not take: jwk"},
		{"brings its key beside a right signature", with("jwk", jwk), "does not take: jwk"},
		{"says where its key is", with("jku", "https://evil.example/keys"), "does not take: jku"},
		{"says where its certificate is", with("x5u", "https://evil.example/cert"), "does not take: x5u"},
		{"brings a certificate", with("x5c", []string{"AAAA"}), "does not take: x5c"},
		{"critical", with("crit", []string{"exp"}), "does not take: crit"},
		{"unencoded payload", with("b64", false), "does not take: b64"},
		{"compressed", with("zip", "DEF"), "does not take: zip"},
		{"nested", with("cty", "JWT"), "another JWT"},
		{"nested with prefix", with("cty", "application/jwt"), "another JWT"},
		{"signature of another", head + "." + payload + "." + signature[:len(signature)-4] + "AAAA", "does not fit"},
		{"signature empty", head + "." + payload + ".", "does not fit"},
		{"signature cut", head + "." + payload + "." + signature[:40], "does not fit"},
		{"payload of another", head + "." + strings.Split(says("sub", "root"), ".")[1] + "." + signature, "does not fit"},
		{"header no JSON", "AAAA." + payload + "." + signature, "no header"},
		{"header and more", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256" ,"kid":"es256"}`)) + "!." + payload + "." + signature, "no header"},
		{"header null", base64.RawURLEncoding.EncodeToString([]byte("null")) + "." + payload + "." + signature, "no header"},
		{"two parts more", good + ".AAAA", "compact"},
		{"five parts", good + ".AAAA.AAAA", "encrypted"},
		{"blank behind it", good + " x", ""},
		{"another before it", "AAAA." + good, "compact"},
		{"larger than 8 KiB", says("more", strings.Repeat("x", 8<<10)), "8 KiB"},
		{"a byte larger than 8 KiB", padded(t, es, now, 8<<10+1), "8 KiB"},
		{"expired", says("exp", now.Add(-61*time.Second).Unix()), "expired"},
		{"no exp", says("exp", nil), "when it expires"},
		{"exp a text", says("exp", "4102444800"), "cannot be read: exp"},
		{"exp null", says("exp", json.RawMessage("null")), "cannot be read: exp"},
		{"exp before all time", says("exp", -1), "cannot be read: exp"},
		{"exp beyond all time", says("exp", json.RawMessage("1e300")), "cannot be read: exp"},
		{"not yet", says("nbf", now.Add(61*time.Second).Unix()), "not valid yet"},
		{"exp at the end of all time", says("exp", 253402300800), "cannot be read: exp"},
		{"nbf at the beginning of all time", says("nbf", 0), "cannot be read: nbf"},
		{"nbf a text", says("nbf", "0"), "cannot be read: nbf"},
		{"made in the future", says("iat", now.Add(61*time.Second).Unix()), "not valid yet"},
		{"iat a list", says("iat", []int{1}), "cannot be read: iat"},
		{"claim twice", es.SignText(t, nil, fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"guest","sub":"shop","exp":%d}`, iss, ours, now.Add(time.Hour).Unix())), "no claims"},
		{"issuer twice", es.SignText(t, nil, fmt.Sprintf(`{"iss":%q,"iss":"x","aud":%q,"sub":"shop","exp":%d}`, iss, ours, now.Add(time.Hour).Unix())), "no claims"},
		{"subject unknown", says("sub", "Shop"), "nobody who is known"},
		{"subject with a blank", says("sub", "shop "), "nobody who is known"},
		{"subject missing", says("sub", nil), "nobody who is known"},
		{"subject null", says("sub", json.RawMessage("null")), "nobody who is known"},
		{"subject a list", says("sub", []string{"shop"}), "nobody who is known"},
		{"subject of a caller that is not there", says("sub", "ghost"), "does not exist"},
	} {
		who, err := identify(t, j, now, c.token)
		e := keybearer.AsError(err)
		if who != "" || keybearer.CodeOf(err) != keybearer.CallerUnauthenticated || !strings.Contains(e.Detail, c.says) {
			t.Errorf("%s: %q, %v; want one that says %q", c.name, who, err, c.says)
			continue
		}
		for _, quoted := range []string{"evil", "ghost", "shop", "AAAA", ours, c.token} {
			if strings.Contains(e.Detail, quoted) {
				t.Errorf("%s: the detail quotes: %s", c.name, e.Detail)
			}
		}
		if !j.Recognize(c.token) {
			t.Errorf("%s: not recognized, so that it would be sent on", c.name)
		}
		if who, err := identify(t, j, now, good, c.token); who != "" || err == nil {
			t.Errorf("%s: beside a right one it proves %q", c.name, who)
		}
	}
	if who, err := identify(t, j, now, good); who != "billing" || err != nil {
		t.Errorf("the right one: %q, %v", who, err)
	}
	if who, err := identify(t, j, time.Time{}, good); who != "" || err == nil {
		t.Errorf("at no time: %q, %v", who, err)
	}
}

// A genuine JWT that is not meant for us does not hold, whoever asks.
func TestAJWTForOthersDoesNotHold(t *testing.T) {
	now, k := time.Now(), signer(t, "ES256")
	j := openJWT(t, config(keyFile(t, k)), nobody{})
	if err := j.Issuer.Verify(t.Context(), k.Sign(t, nil, claims(now)), now); err != nil {
		t.Fatal(err)
	}
	for want, changes := range map[string][][]any{
		"another issuer": {{"iss", "other"}, {"iss", nil}, {"iss", json.RawMessage("null")}, {"iss", []string{iss}}, {"iss", iss + "/"}},
		"another audience": {
			{"aud", "other"}, {"aud", nil}, {"aud", json.RawMessage("null")}, {"aud", []string{}}, {"aud", []string{"other"}}, {"aud", map[string]any{ours: ours}}, {"aud", []any{ours, 1}},
		},
	} {
		for _, change := range changes {
			if err := j.Issuer.Verify(t.Context(), k.Sign(t, nil, claims(now, change...)), now); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v", change, err)
			}
		}
	}
	if err := j.Issuer.Verify(t.Context(), k.SignText(t, nil, "null"), now); err == nil || !strings.Contains(err.Error(), "no claims") {
		t.Errorf("null: %v", err)
	}
}

// A JWT of the same issuer for somebody else, or of somebody else for us, is the app's own affair: it is no evidence, and goes on.
func TestAJWTForOthersIsNoEvidence(t *testing.T) {
	now := time.Now()
	es := signer(t, "ES256")
	j := openJWT(t, config(keyFile(t, es)), billing(t))
	for name, token := range map[string]string{
		"for another audience":  es.Sign(t, nil, claims(now, "aud", "api.example.com")),
		"for other audiences":   es.Sign(t, nil, claims(now, "aud", []string{"a", "keybearer2"})),
		"for no audience":       es.Sign(t, nil, claims(now, "aud", nil)),
		"of another issuer":     es.Sign(t, nil, claims(now, "iss", iss+"/")),
		"of no issuer":          es.Sign(t, nil, claims(now, "iss", nil)),
		"of the issuer in caps": es.Sign(t, nil, claims(now, "iss", strings.ToUpper(iss))),
		"no JWT":                "sk_live_4242.example.com",
		"a host":                "api.example.com",
		"our names in clear":    iss + " " + ours,
		"two dots":              "..",
		"dots and e":            ".eyJ..ey.ew.",
		"empty":                 "",
		"an end without a dot":  ".eyJpc3MiOiJh",
		"no whole base64":       ".eyJhb.",
		"basic for others":      "Basic " + base64.StdEncoding.EncodeToString([]byte("docs/crm:secret")),
		"basic alone":           "Basic ",
		"no object":             ".eyJ0.",
		"a list of ours":        ".ew" + ".",
		"a payload and no dot":  "." + strings.TrimSuffix(strings.SplitAfterN(es.Sign(t, nil, claims(now)), ".", 3)[1], ".") + " .",
		"of another scheme":     "Cipher" + base64.StdEncoding.EncodeToString([]byte("docs/crm:"+es.Sign(t, nil, claims(now)))),
	} {
		if j.Recognize(token) || j.Recognize("Bearer "+token) {
			t.Errorf("%s: recognized", name)
		}
		if who, err := identify(t, j, now, token); who != "" || err != nil {
			t.Errorf("%s: %q, %v", name, who, err)
		}
	}
}

func TestAProofIsRecognizedWhereverItStands(t *testing.T) {
	now := time.Now()
	es := signer(t, "ES256")
	j := openJWT(t, config(keyFile(t, es)), billing(t))
	token := es.Sign(t, nil, claims(now.Add(-24*time.Hour))) // an expired one is one
	for _, text := range []string{
		token, "Bearer " + token, "bearer  " + token, "session=" + token + "; theme=dark", "s:" + token + ".signature", `{"token":"` + token + `"}`,
		"Basic " + base64.StdEncoding.EncodeToString([]byte("docs/crm:"+token)), "DPoP " + token, "." + token, token[:len(token)-20],
		"eyJhbGciOiJub25lIn0.eyJpc3MiOiJvdGhlciJ9.x " + token,
		"Basic " + base64.StdEncoding.EncodeToString([]byte("docs/crm:a"+token)) + "?",
		es.SignText(t, nil, fmt.Sprintf("{\n\"iss\":%q,\"aud\":%q}", iss, ours)), es.SignText(t, nil, fmt.Sprintf(`{"iss":%q,"aud":%q,"x":"???>>>~~~"}`, iss, ours)),
		es.SignText(t, nil, fmt.Sprintf(`{"aud":%q,"aud":"other","iss":%q,"iss":"other"}`, ours, iss)),
	} {
		if !j.Recognize(text) {
			t.Errorf("not recognized: %s", text)
		}
	}
}

// What is no text is not an empty one.
func TestAClaimThatIsNotThereIsNobodys(t *testing.T) {
	now, k := time.Now(), signer(t, "ES256")
	j := openJWT(t, config(keyFile(t, k)), nobody{})
	j.Names = map[string]string{"": "billing"}
	for _, sub := range []any{nil, json.RawMessage("null"), 1} {
		if who, err := identify(t, j, now, k.Sign(t, nil, claims(now, "sub", sub))); who != "" || keybearer.CodeOf(err) != keybearer.CallerUnauthenticated {
			t.Errorf("%v: %q, %v", sub, who, err)
		}
	}
}

func TestTwoJWTsOfTwoCallersAreRefused(t *testing.T) {
	store, now := open(t), time.Now()
	for _, name := range []string{"billing", "nobody"} {
		store.put(t, &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: name, CreatedAt: now})
	}
	callers := identity.NewCallers(store, time.Minute, time.Now)
	defer callers.Close()
	es := signer(t, "ES256")
	j := openJWT(t, config(keyFile(t, es)), callers)
	a, again, b := es.Sign(t, nil, claims(now)), es.Sign(t, nil, claims(now)), es.Sign(t, nil, claims(now, "sub", "ghost"))
	if who, err := identify(t, j, now, a, again); who != "billing" || err != nil {
		t.Errorf("two of one: %q, %v", who, err)
	}
	if who, err := identify(t, j, now, a, b); who != "" || keybearer.CodeOf(err) != keybearer.CallerUnauthenticated {
		t.Errorf("two of two: %q, %v", who, err)
	}
}

// A JWT is judged as of its presentation: one that has been remembered as genuine expires all the same, and one that has expired since holds for
// what began before.
func TestAJWTHoldsAsOfItsPresentation(t *testing.T) {
	now := time.Now()
	es := signer(t, "ES256")
	j := openJWT(t, config(keyFile(t, es)), billing(t))
	token := es.Sign(t, nil, claims(now))
	for _, c := range []struct {
		after time.Duration
		holds bool
	}{{0, true}, {caseLife + 59*time.Second, true}, {caseLife + time.Minute, false}, {0, true}, {-61 * time.Second, false}} {
		who, err := identify(t, j, now.Add(c.after), token)
		if (who == "billing") != c.holds || (err == nil) != c.holds {
			t.Errorf("after %v: %q, %v", c.after, who, err)
		}
	}
}

func TestTheTypeIsCheckedWhenItIsAskedFor(t *testing.T) {
	now := time.Now()
	es := signer(t, "ES256")
	c := config(keyFile(t, es))
	c.Type = "at+jwt"
	j := openJWT(t, c, billing(t))
	for typ, holds := range map[string]bool{"at+jwt": true, "AT+JWT": true, "application/at+jwt": true, "JWT": false, "": false, "application/": false, "bpplication/at+jwt": false} {
		if who, _ := identify(t, j, now, es.Sign(t, map[string]any{"typ": typ}, claims(now))); (who == "billing") != holds {
			t.Errorf("typ %q: %q", typ, who)
		}
	}
}

// Keys that no JWT may be verified with are left out.
func TestKeysThatAreForSomethingElse(t *testing.T) {
	now := time.Now()
	es := signer(t, "ES256")
	jwk := strings.TrimSuffix(strings.TrimPrefix(string(harness.JWKS(es)), `{"keys":[`), "]}")
	for name, c := range map[string]struct {
		change [2]string
		holds  bool
	}{
		"for signatures":      {[2]string{"", ""}, true},
		"for anything":        {[2]string{`,"use":"sig"`, ``}, true},
		"for any algorithm":   {[2]string{`"alg":"ES256",`, ``}, true},
		"for encryption":      {[2]string{`"use":"sig"`, `"use":"enc"`}, false},
		"to verify":           {[2]string{`"use":"sig"`, `"key_ops":["verify"]`}, true},
		"to encrypt":          {[2]string{`"use":"sig"`, `"key_ops":["encrypt"]`}, false},
		"to do nothing":       {[2]string{`"use":"sig"`, `"key_ops":[]`}, false},
		"another algorithm":   {[2]string{`"alg":"ES256"`, `"alg":"ES384"`}, false},
		"a private key":       {[2]string{`"x":`, `"d":"` + strings.Repeat("A", 42) + `E","x":`}, false},
		"no point of a curve": {[2]string{`"x":"`, `"x":"A`}, false},
		"an unknown kind":     {[2]string{`"kty":"EC"`, `"kty":"XX"`}, false},
	} {
		other := harness.NewKey(t, "other", "EdDSA")
		set := strings.Replace(string(harness.JWKS(other)), `"keys":[`, `"keys":[`+strings.Replace(jwk, c.change[0], c.change[1], 1)+",", 1)
		file := harness.WriteFile(t, filepath.Join(t.TempDir(), "jwks.json"), []byte(set))
		j := openJWT(t, config(file), billing(t))
		if who, _ := identify(t, j, now, es.Sign(t, nil, claims(now))); (who == "billing") != c.holds {
			t.Errorf("%s: %q\n%s", name, who, set)
		}
		if who, err := identify(t, j, now, other.Sign(t, nil, claims(now))); who != "billing" {
			t.Errorf("%s: the key beside it: %v", name, err)
		}
	}
}

// A JWT that names no key is tried with a few keys only.
func TestAJWTWithoutAKeyNameIsTriedWithFewKeys(t *testing.T) {
	now := time.Now()
	var keys []*harness.IssuerKey
	for n := range 9 {
		keys = append(keys, harness.NewKey(t, fmt.Sprint(n), "ES256"))
	}
	token := keys[7].Sign(t, map[string]any{"kid": nil}, claims(now))
	if who, err := identify(t, openJWT(t, config(keyFile(t, keys[:8]...)), nobody{}), now, token); who != "billing" {
		t.Errorf("among 8: %v", err)
	}
	j := openJWT(t, config(keyFile(t, append(keys, signer(t, "EdDSA"))...)), nobody{})
	if who, err := identify(t, j, now, token); who != "" || !strings.Contains(err.Error(), "has many") {
		t.Errorf("among 9: %q, %v", who, err)
	}
	if who, err := identify(t, j, now, signer(t, "EdDSA").Sign(t, map[string]any{"kid": nil}, claims(now))); who != "billing" {
		t.Errorf("the only one of its kind: %v", err)
	}
}

// However many JWTs are shown, only so many are remembered.
func TestMemoryOfGenuineJWTsIsBounded(t *testing.T) {
	now, k := time.Now(), signer(t, "EdDSA")
	j := openJWT(t, config(keyFile(t, k)), nobody{})
	for n := range 4200 {
		if who, err := identify(t, j, now, k.Sign(t, nil, claims(now, "jti", n))); who != "billing" {
			t.Fatal(err)
		}
	}
	if n := j.Genuine(); n < 3000 || n > 4096 {
		t.Errorf("%d are remembered", n)
	}
}

// The second judgement of a JWT costs no signature.
func BenchmarkIdentifyAgain(b *testing.B) {
	now, k := time.Now(), signer(b, "ES256")
	j := openJWT(b, config(keyFile(b, k)), nobody{})
	token := k.Sign(b, nil, claims(now))
	for b.Loop() {
		if who, err := identify(b, j, now, token); who != "billing" {
			b.Fatal(err)
		}
	}
}

func FuzzJWT(f *testing.F) {
	now := time.Now()
	es := signer(f, "ES256")
	j := openJWT(f, config(keyFile(f, es)), nobody{})
	good := es.Sign(f, nil, claims(now))
	f.Add(good)
	f.Add("Bearer " + good)
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbSIsImF1ZCI6ImtleWJlYXJlciJ9.")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := j.Identify(t.Context(), &keybearer.Evidence{Tokens: []string{text}, At: now})
		switch {
		case c != nil && text != good && keyless(text) != keyless(good):
			t.Errorf("%q proves %q", text, c.Name)
		case (c != nil || err != nil) && !j.Recognize(text):
			t.Errorf("%q is evidence and not recognized", text)
		case err != nil && keybearer.CodeOf(err) != keybearer.CallerUnauthenticated:
			t.Errorf("%q: %v", text, err)
		}
	})
}

// keyless is what the signature covers: the same content may be signed in several spellings of one signature.
func keyless(text string) string {
	if i := strings.LastIndexByte(text, '.'); i > 0 {
		return text[:i]
	}
	return text
}
