package vaultclient

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

var hang = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })

func answer(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"errors":["because"]}`)
	})
}

// Nothing of the environment reaches Vault (TestMain fills it), and the headers are these.
func TestNothingFromTheEnvironment(t *testing.T) {
	s := harness.StartServer(t, harness.ServerOptions{Handler: answer(400)})
	c := newClient(t, Config{Address: "http://" + s.Addr.String(), Namespace: "team-a", Auth: &AppRole{RoleID: "r", SecretIDFile: harness.WriteFile(t, t.TempDir()+"/id", []byte("x"))}})
	if err := read(t.Context(), c); Status(err) != 400 {
		t.Fatal(err)
	}
	if n := len(s.All()); n != 1 {
		t.Fatalf("%d requests", n)
	}
	for _, f := range s.All()[0].Header {
		switch f.Name {
		case "X-Vault-Request", "User-Agent", "Content-Length", "Accept-Encoding":
		case "X-Vault-Namespace":
			if f.Value != "team-a" {
				t.Errorf("namespace %q", f.Value)
			}
		default:
			t.Errorf("unexpected header %s: %s", f.Name, f.Value)
		}
	}
}

func TestTokenFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	issue := func() string {
		return w.Must(t, "POST", "auth/token/create", map[string]any{"policies": []string{"reader"}, "ttl": "1h"}).Data(t)["client_token"].(string)
	}
	first := issue()
	path := harness.WriteFile(t, filepath.Join(t.TempDir(), "token"), []byte(first+"\n"))
	c := newClient(t, Config{Address: w.URL, Auth: &TokenFile{Path: path}})
	reads(t, c)
	second := issue()
	harness.WriteFile(t, path, []byte(second))
	reads(t, c)
	if c.current.value.Reveal() != second {
		t.Error("the new token in the file is not used")
	}
	// Half of a file is no reason to give up what works.
	harness.WriteFile(t, path, nil)
	reads(t, c)
	harness.WriteFile(t, path, []byte(first))
	recovers(t, c)
	_ = c.Close()
	for _, token := range []string{first, second} {
		if a := w.DoAs(t, token, "GET", "auth/token/lookup-self", nil); a.Status != 200 {
			t.Error("a token that was given to it was revoked")
		}
	}
}

func TestWrappedSecretID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	wrap := func() {
		t.Helper()
		req, err := http.NewRequest("POST", w.URL+"/v1/auth/approle/role/reader/secret-id", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", w.Token)
		req.Header.Set("X-Vault-Wrap-TTL", "1m")
		resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var wrapped struct {
			Info struct{ Token string } `json:"wrap_info"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&wrapped); err != nil || wrapped.Info.Token == "" {
			t.Fatal(err, wrapped)
		}
		harness.WriteFile(t, w.role.SecretIDFile, []byte(wrapped.Info.Token))
	}
	config := w.config()
	config.Auth.(*AppRole).Wrapped = true
	wrap()
	c := newClient(t, config)
	reads(t, c)
	// It logs in again with what it unwrapped, though the wrapping token is used up.
	c.current.since = time.Now().Add(-time.Minute)
	w.Must(t, "POST", "auth/token/revoke", map[string]any{"token": c.current.value.Reveal()})
	reads(t, c)
	// Whoever comes later finds it used, and says what that may mean.
	other := w.config()
	other.Auth.(*AppRole).Wrapped = true
	late := newClient(t, other)
	if err := read(t.Context(), late); Status(err) != 400 || !strings.Contains(Describe(keybearer.KeyringUnavailable, "", err).Hint, "stolen") {
		t.Errorf("a used wrapping token: %v", err)
	}
	wrap()
	recovers(t, late)
	// An empty answer, as of a proxy that has lost Vault, is no secret id, and no reason to panic.
	empty := w.config()
	empty.Auth.(*AppRole).Wrapped = true
	empty.Address = "http://" + harness.StartServer(t, harness.ServerOptions{Handler: answer(200)}).Addr.String()
	if err := read(t.Context(), newClient(t, empty)); err == nil || Away(err) {
		t.Errorf("an empty answer to the unwrapping: %v", err)
	}
}

func TestJWT(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	w.Must(t, "POST", "sys/auth/cluster-a", map[string]any{"type": "jwt"})
	w.Must(t, "POST", "auth/cluster-a/config", map[string]any{
		"jwt_validation_pubkeys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
	})
	w.Must(t, "POST", "auth/cluster-a/role/keybearer", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{"vault"}, "bound_subject": "system:serviceaccount:prod:keybearer", "token_policies": []string{"reader"},
	})
	path := filepath.Join(t.TempDir(), "token")
	write := func(subject string) {
		claims := fmt.Sprintf(`{"iss":"https://kubernetes.default.svc","aud":["vault"],"sub":%q,"exp":%d,"iat":%d}`, subject, time.Now().Add(time.Hour).Unix(), time.Now().Unix())
		text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		sum := sha256.Sum256([]byte(text))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		sig := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		harness.WriteFile(t, path, []byte(text+"."+base64.RawURLEncoding.EncodeToString(sig)))
	}
	write("system:serviceaccount:prod:other")
	c := newClient(t, Config{Address: w.URL, Auth: JWT{Mount: "cluster-a", Role: "keybearer", TokenFile: path}})
	if err := read(t.Context(), c); err == nil || Away(err) {
		t.Errorf("another subject: %v", err)
	}
	write("system:serviceaccount:prod:keybearer") // the file is read anew
	recovers(t, c)
}

func TestCertAndTLS(t *testing.T) {
	t.Parallel()
	ca := harness.NewCA(t)
	w := newWorld(t, harness.VaultOptions{CA: ca}, nil)
	pair := ca.ClientFiles(t, "keybearer")
	root, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	w.Must(t, "POST", "sys/auth/cert", map[string]any{"type": "cert"})
	w.Must(t, "POST", "auth/cert/certs/keybearer", map[string]any{"certificate": string(root), "allowed_common_names": []string{"keybearer"}, "token_policies": []string{"reader"}})
	right := Config{Address: w.URL, CACert: ca.File, ClientCert: pair, ClientKey: pair, Auth: Cert{Role: "keybearer"}}
	reads(t, newClient(t, right))

	other := harness.NewCA(t)
	for name, change := range map[string]func(*Config){
		"another authority": func(c *Config) { c.CACert = other.File },
		"the system's":      func(c *Config) { c.CACert = "" },
		"another name":      func(c *Config) { c.ServerName = "elsewhere.example.com" },
	} {
		c := right
		change(&c)
		err := read(t.Context(), newClient(t, c))
		if k := Describe(keybearer.KeyringUnavailable, "", err); !Away(err) || !strings.Contains(k.Detail, "certificate") {
			t.Errorf("%s: %v, described as %q", name, err, k.Detail)
		}
	}
	strange := right
	strange.ClientCert = other.ClientFiles(t, "keybearer")
	strange.ClientKey = strange.ClientCert
	if err := read(t.Context(), newClient(t, strange)); err == nil || Status(err) == 0 {
		t.Errorf("a client certificate of another authority: %v", err)
	}
	named := right
	named.ServerName = "localhost"
	reads(t, newClient(t, named))
}

func TestConfigRefuses(t *testing.T) {
	file := harness.WriteFile(t, t.TempDir()+"/file", []byte("x"))
	ok := &TokenFile{Path: file}
	for name, c := range map[string]Config{
		"no address":         {Auth: ok},
		"no scheme":          {Address: "vault:8200", Auth: ok},
		"another scheme":     {Address: "unix:///run/vault", Auth: ok},
		"user":               {Address: "https://a:b@vault", Auth: ok},
		"query":              {Address: "https://vault?x", Auth: ok},
		"http over the wire": {Address: "http://vault.example.com:8200", Auth: ok},
		"http, 10.0.0.1":     {Address: "http://10.0.0.1:8200", Auth: ok},
		"ca missing":         {Address: "https://vault", CACert: file + "x", Auth: ok},
		"ca empty":           {Address: "https://vault", CACert: file, Auth: ok},
		"cert without key":   {Address: "https://vault", ClientCert: file, Auth: ok},
		"cert is none":       {Address: "https://vault", ClientCert: file, ClientKey: file, Auth: ok},
		"no auth":            {Address: "https://vault"},
		"no path":            {Address: "https://vault", Auth: &TokenFile{}},
		"no role id":         {Address: "https://vault", Auth: &AppRole{SecretIDFile: file}},
		"no secret id":       {Address: "https://vault", Auth: &AppRole{RoleID: "x"}},
		"no role":            {Address: "https://vault", Auth: JWT{TokenFile: file}},
		"no jwt":             {Address: "https://vault", Auth: JWT{Role: "x"}},
		"no certificate":     {Address: "https://vault", Auth: Cert{}},
	} {
		_, err := New(c)
		if keybearer.CodeOf(err) != keybearer.Invalid || keybearer.AsError(err).Hint == "" {
			t.Errorf("%s: %v, want a refusal with the fix", name, err)
		}
	}
	for _, address := range []string{"http://127.0.0.1:8200", "http://localhost:8200", "http://[::1]:8200", "https://vault.example.com", "https://lb.example.com/vault"} {
		if err := (Config{Address: address, Auth: ok}).Validate(); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// The page of a proxy that refuses a request may show what it refused, and is no answer of Vault.
func TestAForeignPageIsNotRepeated(t *testing.T) {
	s := harness.StartServer(t, harness.ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "<h1>Blocked</h1> %s %v", body, r.Header)
	})})
	var log bytes.Buffer
	c := newClient(t, Config{
		Address: "http://" + s.Addr.String(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Auth: &AppRole{RoleID: "keybearer", SecretIDFile: harness.WriteFile(t, t.TempDir()+"/id", []byte("canary-secret-id"))},
	})
	err := read(t.Context(), c)
	if Status(err) != http.StatusForbidden || !Away(err) { // it says nothing about what Vault would have answered
		t.Fatal(err)
	}
	if text := err.Error() + log.String(); strings.Contains(text, "canary") {
		t.Errorf("it is repeated: %s", text)
	}
}

// No token and no secret id stands in an error or a log line.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, map[string]any{"secret_id_num_uses": 1})
	var log bytes.Buffer
	config := w.config()
	config.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	id, err := os.ReadFile(w.role.SecretIDFile)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, config)
	reads(t, c)
	token := c.current.value.Reveal()
	_, forbidden := c.Write(t.Context(), "kv/data/one", map[string]any{"data": map[string]any{"a": "plain-canary"}})
	c.current.since = time.Now().Add(-time.Minute)
	w.Must(t, "POST", "auth/token/revoke", map[string]any{"token": token})
	refused := read(t.Context(), c)
	w.Stop(t)
	away := read(t.Context(), newClient(t, w.config()))
	text := log.String()
	for _, err := range []error{forbidden, refused, away} {
		if err == nil {
			t.Fatal("no error")
		}
		text += fmt.Sprintf("%v %+v %#v %s", err, err, err, Describe(keybearer.KeyringUnavailable, "open", err))
		for e := err; e != nil; e = errors.Unwrap(e) {
			text += fmt.Sprintf("%#v", e)
		}
	}
	text += fmt.Sprintf("%+v %#v", c.current, c.current.token)
	for what, secret := range map[string]string{"token": token, "secret id": strings.TrimSpace(string(id)), "body": "plain-canary"} {
		if strings.Contains(text, secret) {
			t.Errorf("the %s is in: %s", what, text)
		}
	}
	if !strings.Contains(text, "logged in") {
		t.Error("nothing was logged")
	}
}
