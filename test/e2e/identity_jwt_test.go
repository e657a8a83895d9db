package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// Callers prove themselves by JWTs of an OpenID provider, in every place where a token may stand, and with every algorithm; whatever is wrong with
// one, it proves nobody; and none ever reaches a destination.
func TestCallersByJWT(t *testing.T) {
	w := prepareWorld(t)
	issuer := harness.StartIssuer(t, w.ca)
	cluster := filepath.Join(harness.Dir(t), "jwks.json")
	account := harness.NewKey(t, "cluster", "RS256")
	harness.WriteFile(t, cluster, harness.JWKS(account))
	const clusterName = "https://kubernetes.default.svc.cluster.local"
	w.Configure(t, w.options(
		"identity jwt {", "issuer "+issuer.URL, "audience "+callersAudience, "map shop-app app:billing", "map other-app app:other", "}",
		"identity jwt {", "issuer "+clusterName, "jwks_file "+cluster, "audience "+callersAudience, "map system:serviceaccount:shop:billing app:billing", "}",
	), "")
	keys := map[string]*harness.IssuerKey{}
	for _, alg := range []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"} {
		keys[alg] = issuer.Publish(harness.NewKey(t, alg, alg))
	}
	w.start()
	w.billing("*.example.com")
	w.credential("docs/key", "X-Api-Key", private("*.example.com")...)
	w.grant("docs/key", "billing", "use")
	w.caller("other", "docs")
	api := w.recorder("api.example.com", nil)
	n := 0
	id := func() string { n++; return fmt.Sprintf("jwt-%d", n) }
	const url = "http://api.example.com/hook"

	// proves sends a request that must arrive as billing's.
	proves := func(name, raw, credential, id string) {
		t.Helper()
		a := w.ask(t, raw)
		if a.StatusCode != 200 {
			t.Fatalf("%s: %s", name, a.raw)
		}
		w.right(t, api.One(t, id), credential)
		if e := w.event(t, a.Header.Get("Keybearer-Request-Id"), keybearer.Outcome); e.Caller != "billing" || e.ActingUser != "" {
			t.Errorf("%s: audited as %+v", name, e)
		}
	}
	const crm = "Keybearer-Credential: docs/crm"
	for alg, k := range keys {
		token := signed(t, k, claim(issuer.URL, nil))
		w.planted = append(w.planted, token)
		at := id()
		proves(alg+", proxy mode", request("GET", url, "api.example.com", crm, "Proxy-Authorization: Bearer "+token, harness.IDHeader+": "+at), "docs/crm", at)
	}
	token := signed(t, keys["ES256"], claim(issuer.URL, nil))
	inCluster := signed(t, account, claim(clusterName, map[string]any{
		"sub": "system:serviceaccount:shop:billing", "aud": []string{callersAudience},
		"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "billing", "uid": "9c1b"}},
	}))
	w.planted = append(w.planted, token, inCluster)
	for name, lines := range map[string][]string{
		"a service account":       {"Proxy-Authorization: Bearer " + inCluster},
		"in the proxy URL":        {"Proxy-Authorization: Basic " + base64Of("docs%2Fcrm:"+token)},
		"beside its own token":    {"Proxy-Authorization: Bearer " + token, "Proxy-Authorization: Bearer " + w.tokens["billing"]},
		"beside another JWT":      {"Proxy-Authorization: Bearer " + token, "Proxy-Authorization: Bearer " + inCluster},
		"copied elsewhere":        {"Proxy-Authorization: Bearer " + token, "X-Forwarded-Token: " + token, "X-Token: " + token, "Cookie: t=" + token, "X-Basic: Basic " + base64Of("x:"+token)},
		"beside what looks alike": {"Proxy-Authorization: Bearer " + token, "X-Trace: a.eyJ.b"},
	} {
		at := id()
		proves(name, request("GET", url, "api.example.com", append(lines, crm, harness.IDHeader+": "+at)...), "docs/crm", at)
	}
	at := id()
	proves("gateway mode", request("GET", "/hook", w.Proxy.String(), crm, "Keybearer-Destination: https://api.example.com", "Authorization: Bearer "+token, harness.IDHeader+": "+at), "docs/crm", at)

	// Inside a tunnel the proof of the CONNECT carries over, and is judged anew.
	say := talk(t, w.Proxy.String())
	if a := say(request("CONNECT", "api.example.com:80", "api.example.com:80", "Proxy-Authorization: Bearer "+token)); a.StatusCode != 200 {
		t.Fatalf("CONNECT: %s", a.raw)
	}
	at = id()
	if a := say(request("GET", "/hook", "api.example.com", crm, harness.IDHeader+": "+at)); a.StatusCode != 200 {
		t.Fatalf("inside the tunnel: %s", a.raw)
	}
	w.right(t, api.One(t, at), "docs/crm")

	// A JWT of the same provider for the destination itself is the app's own, and goes on.
	own := signed(t, keys["ES256"], claim(issuer.URL, map[string]any{"aud": "https://api.example.com"}))
	at = id()
	if a := w.ask(t, request("GET", url, "api.example.com", "Keybearer-Credential: docs/key", "Proxy-Authorization: Bearer "+token, "Authorization: Bearer "+own, harness.IDHeader+": "+at)); a.StatusCode != 200 {
		t.Fatalf("%s", a.raw)
	}
	if got := api.One(t, at).Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+own {
		t.Errorf("the app's own JWT arrived as %q", got)
	}

	// Refusals.
	arrived := api.Len()
	stranger := harness.NewKey(t, "ES256", "ES256")
	der, err := x509.MarshalPKIXPublicKey(keys["RS256"].Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	text := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	confused := text(map[string]string{"alg": "HS256", "kid": "RS256"}) + "." + text(claim(issuer.URL, nil))
	mac := hmac.New(sha256.New, der)
	mac.Write([]byte(confused))
	k := keys["ES256"]
	for name, bad := range map[string]string{
		"expired":                           signed(t, k, claim(issuer.URL, map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()})),
		"not yet":                           signed(t, k, claim(issuer.URL, map[string]any{"nbf": time.Now().Add(2 * time.Minute).Unix()})),
		"for another audience":              own,
		"for acting users":                  signed(t, k, claim(issuer.URL, map[string]any{"aud": usersAudience})),
		"of another issuer":                 signed(t, k, claim("https://evil.example", nil)),
		"of the cluster by another's key":   signed(t, k, claim(clusterName, map[string]any{"sub": "system:serviceaccount:shop:billing"})),
		"of nobody's subject":               signed(t, k, claim(issuer.URL, map[string]any{"sub": "shop-App"})),
		"by a stranger":                     signed(t, stranger, claim(issuer.URL, nil)),
		"alg none":                          text(map[string]string{"alg": "none"}) + "." + text(claim(issuer.URL, nil)) + ".",
		"HS256 with the public key":         confused + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"with a key of its own":             stranger.Sign(t, map[string]any{"jwk": json.RawMessage(strings.TrimSuffix(strings.TrimPrefix(string(harness.JWKS(stranger)), `{"keys":[`), "]}"))}, claim(issuer.URL, nil)),
		"with the address of a key":         stranger.Sign(t, map[string]any{"jku": issuer.URL + "/keys"}, claim(issuer.URL, nil)),
		"beside the token of another: JWT":  token + "\r\nProxy-Authorization: Bearer " + w.tokens["other"],
		"beside a wrong token":              token + "\r\nProxy-Authorization: Bearer kb_wrong",
		"beside the JWT of another":         token + "\r\nProxy-Authorization: Bearer " + signed(t, k, claim(issuer.URL, map[string]any{"sub": "other-app"})),
		"beside an expired one of its own":  token + "\r\nProxy-Authorization: Bearer " + signed(t, k, claim(issuer.URL, map[string]any{"exp": 1})),
		"wrong, beside its own right token": w.tokens["billing"] + "\r\nProxy-Authorization: Bearer " + stranger.Sign(t, nil, claim(issuer.URL, nil)),
	} {
		t.Run(name, func(t *testing.T) {
			a := w.ask(t, request("GET", url, "api.example.com", crm, "Proxy-Authorization: Bearer "+bad))
			isRefusal(t, a, keybearer.CallerUnauthenticated, 407)
			a = w.ask(t, request("GET", "/hook", w.Proxy.String(), crm, "Keybearer-Destination: https://api.example.com", "Authorization: Bearer "+strings.ReplaceAll(bad, "Proxy-Authorization", "Authorization")))
			isRefusal(t, a, keybearer.CallerUnauthenticated, 401)
		})
	}
	if n := api.Len() - arrived; n > 0 {
		t.Errorf("%d refused requests arrived", n)
	}

	// A new key of the provider's is found when it first shows.
	next := issuer.Publish(harness.NewKey(t, "next", "ES256"))
	fresh := signed(t, next, claim(issuer.URL, nil))
	w.planted = append(w.planted, fresh)
	harness.Await(t, "belief in a new key", 20*time.Second, func() error {
		if a := w.ask(t, request("GET", url, "api.example.com", crm, "Proxy-Authorization: Bearer "+fresh)); a.StatusCode != 200 {
			return fmt.Errorf("%s", a.raw)
		}
		return nil
	})

	// To revoke a caller's tokens says nothing about its JWTs; to disable it ends both.
	byJWT := request("GET", url, "api.example.com", crm, "Proxy-Authorization: Bearer "+token)
	byToken := request("GET", url, "api.example.com", crm, "Proxy-Authorization: Bearer "+w.tokens["billing"])
	w.must("", "caller", "revoke", "billing")
	isRefusal(t, w.ask(t, byToken), keybearer.CallerUnauthenticated, 407)
	if a := w.ask(t, byJWT); a.StatusCode != 200 {
		t.Errorf("without tokens: %s", a.raw)
	}
	w.must("", "caller", "disable", "billing")
	isRefusal(t, w.ask(t, byJWT), keybearer.CallerUnauthenticated, 407)
	sweep(t, w.planted, []string{w.Home, w.Log}, nil)
}

// A server starts while its provider is away: tokens serve, and a JWT is answered that it cannot be judged.
func TestAServerStartsWithoutItsProvider(t *testing.T) {
	provider := "https://" + harness.Address().String()
	w := newWorld(t, "identity jwt {", "issuer "+provider, "audience "+callersAudience, "map shop-app app:billing", "}")
	w.billing("*.example.com")
	w.serves(t, w.recorder("api.example.com", nil))
	token := harness.NewKey(t, "a", "ES256").Sign(t, nil, claim(provider, nil))
	a := w.ask(t, request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+token))
	isRefusal(t, a, keybearer.StoreUnavailable, 503)
}
