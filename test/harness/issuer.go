package harness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Issuer is an OpenID provider: discovery and keys over TLS, and JWTs signed with those keys, by the standard library alone.
type Issuer struct {
	URL string

	mu       sync.Mutex
	keys     []*IssuerKey
	requests []string // paths that were asked for
	answer   func(w http.ResponseWriter, r *http.Request) bool
}

// IssuerKey is a key that signs.
type IssuerKey struct {
	ID      string
	Alg     string
	Private crypto.Signer
}

// StartIssuer starts an issuer on an address of its own, with a certificate of the authority for that address. It has no key yet.
func StartIssuer(tb TB, ca *CA) *Issuer {
	tb.Helper()
	i := new(Issuer)
	addr := Address()
	i.URL = "https://" + addr.String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(i.JWKS()) })
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			i.mu.Lock()
			i.requests = append(i.requests, r.URL.Path)
			answer := i.answer
			i.mu.Unlock()
			if answer == nil || !answer(w, r) {
				mux.ServeHTTP(w, r)
			}
		}),
		TLSConfig: ServerTLS(ca.Issue(tb, time.Time{}, addr.String())),
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	at := netip.AddrPortFrom(addr, 443)
	ln := listen(tb, &at, true)
	tb.Cleanup(func() { _ = srv.Close() })
	go func() { _ = srv.ServeTLS(ln, "", "") }() // ends with ErrServerClosed
	return i
}

// Answer makes the issuer answer what fn answers, when that returns true; nil: as usual.
func (i *Issuer) Answer(fn func(w http.ResponseWriter, r *http.Request) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = fn
}

// Requests returns the paths that were asked for.
func (i *Issuer) Requests() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.requests)
}

// NewKey makes a key for the algorithm.
func NewKey(tb TB, id, alg string) *IssuerKey {
	tb.Helper()
	k := &IssuerKey{ID: id, Alg: alg}
	var err error
	switch alg {
	case "ES256":
		k.Private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		k.Private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		k.Private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, k.Private, err = ed25519.GenerateKey(rand.Reader)
	default:
		k.Private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		tb.Fatalf("key: %v", err)
	}
	return k
}

// Publish adds a key to those of the issuer.
func (i *Issuer) Publish(k *IssuerKey) *IssuerKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, k)
	return k
}

// Withdraw removes all keys.
func (i *Issuer) Withdraw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = nil
}

// JWKS returns the public keys as a JWK set.
func (i *Issuer) JWKS() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	return JWKS(i.keys...)
}

// JWKS returns the public keys as a JWK set (RFC 7517, RFC 7518 section 6, RFC 8037).
func JWKS(keys ...*IssuerKey) []byte {
	all := []map[string]string{}
	for _, k := range keys {
		jwk := map[string]string{"kid": k.ID, "alg": k.Alg, "use": "sig"}
		maps.DeleteFunc(jwk, func(_, v string) bool { return v == "" })
		switch public := k.Private.Public().(type) {
		case *rsa.PublicKey:
			jwk["kty"], jwk["n"], jwk["e"] = "RSA", b64(public.N.Bytes()), b64(big.NewInt(int64(public.E)).Bytes())
		case *ecdsa.PublicKey:
			point, _ := public.Bytes() // uncompressed: 4, x, y
			half := (len(point) - 1) / 2
			jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", public.Curve.Params().Name, b64(point[1:1+half]), b64(point[1+half:])
		case ed25519.PublicKey:
			jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", b64(public)
		}
		all = append(all, jwk)
	}
	b, _ := json.Marshal(map[string]any{"keys": all})
	return b
}

// PEM returns the private key as PKCS #8.
func (k *IssuerKey) PEM(tb TB) string {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.Private)
	if err != nil {
		tb.Fatalf("key: %v", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// PublicPEM returns the public key as PKIX.
func (k *IssuerKey) PublicPEM(tb TB) string {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Private.Public())
	if err != nil {
		tb.Fatalf("key: %v", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Sign returns a JWT with these claims. header adds to alg and kid, or replaces them; nil values remove them.
func (k *IssuerKey) Sign(tb TB, header, claims map[string]any) string {
	tb.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		tb.Fatalf("claims: %v", err)
	}
	return k.SignText(tb, header, string(body))
}

// SignText is Sign for a payload of whatever form.
func (k *IssuerKey) SignText(tb TB, header map[string]any, payload string) string {
	tb.Helper()
	h := map[string]any{"alg": k.Alg, "kid": k.ID, "typ": "JWT"}
	maps.Copy(h, header)
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	head, err := json.Marshal(h)
	if err != nil {
		tb.Fatalf("header: %v", err)
	}
	input := b64(head) + "." + b64([]byte(payload))
	signature, err := k.sign(input)
	if err != nil {
		tb.Fatalf("sign: %v", err)
	}
	return input + "." + b64(signature)
}

func (k *IssuerKey) sign(input string) ([]byte, error) {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[k.Alg[max(0, len(k.Alg)-3):]]
	if k.Alg == "EdDSA" {
		return k.Private.Sign(rand.Reader, []byte(input), crypto.Hash(0))
	}
	h := hash.New()
	h.Write([]byte(input))
	sum := h.Sum(nil)
	switch private := k.Private.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, sum)
		if err != nil {
			return nil, err
		}
		size := (private.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), nil
	case *rsa.PrivateKey:
		if strings.HasPrefix(k.Alg, "PS") {
			return rsa.SignPSS(rand.Reader, private, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, private, hash, sum)
	}
	return nil, fmt.Errorf("no way to sign with %T", k.Private)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
