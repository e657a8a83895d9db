package transit

import (
	"encoding/base64"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/harness"
	"github.com/keybearer/keybearer/test/soak"
)

func TestKeyring(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keybearertest.TestKeyring(t, func(t *testing.T) keybearer.Keyring { return w.open(t) })
}

// A ciphertext that is moved to another row, scope, generation or version opens nowhere.
func TestSoakMovedCiphertexts(t *testing.T) {
	t.Parallel()
	moves := soak.Size(t, 300, 20_000)
	keybearertest.TestMovedCiphertexts(t, newWorld(t).open(t), moves)
	soak.Record(t, "ciphertexts of Vault Transit, moved to another place", soak.Count(moves)+" moves", "none opens")
}

// world is a Vault with a transit engine as docs/vault.md has it set up.
type world struct {
	*harness.Vault
	mount         string
	data, control harness.AppRole
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Vault: harness.StartVault(t, harness.VaultOptions{}), mount: "keybearer"}
	w.data, w.control = w.Transit(t, w.mount)
	return w
}

func (w *world) client(t testing.TB, role harness.AppRole) *vaultclient.Client {
	t.Helper()
	return w.clientAt(t, w.URL, role)
}

func (w *world) clientAt(t testing.TB, address string, role harness.AppRole) *vaultclient.Client {
	t.Helper()
	c, err := vaultclient.New(vaultclient.Config{Address: address, Auth: &vaultclient.AppRole{RoleID: role.RoleID, SecretIDFile: role.SecretIDFile}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open returns a keyring with both roles.
func (w *world) open(t testing.TB) *Keyring {
	t.Helper()
	k := New(Config{Mount: w.mount, Data: w.client(t, w.data), Control: w.client(t, w.control)})
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// An empty plaintext is one too.
func TestEmptyPlaintext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	createKey(t, k, "one")
	for _, plaintext := range [][]byte{nil, {}} {
		sealed, err := k.Seal(t.Context(), "one", contextOf(1), plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(t.Context(), "one", contextOf(1), sealed); err != nil || len(got) != 0 {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// behind returns a keyring with a proxy between it and Vault. serve takes requests for itself, and says whether it did; modify changes answers.
func (w *world) behind(t *testing.T, serve func(http.ResponseWriter, *http.Request) bool, modify func(*http.Response) error) *Keyring {
	t.Helper()
	target, err := url.Parse(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = modify
	s := harness.StartServer(t, harness.ServerOptions{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if serve == nil || !serve(rw, r) {
			proxy.ServeHTTP(rw, r)
		}
	})})
	address := "http://" + s.Addr.String()
	k := New(Config{Mount: w.mount, Data: w.clientAt(t, address, w.data), Control: w.clientAt(t, address, w.control)})
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// Only the one spelling is taken for a ciphertext.
func TestVersion(t *testing.T) {
	body := base64.StdEncoding.EncodeToString(make([]byte, overhead))
	for text, want := range map[string]uint32{
		"vault:v1:" + body: 1, "vault:v4294967295:" + body: 4294967295,
		"vault:v1:" + base64.StdEncoding.EncodeToString(make([]byte, keybearer.MaxBundle+overhead)):   1,
		"vault:v1:" + base64.StdEncoding.EncodeToString(make([]byte, keybearer.MaxBundle+overhead+3)): 0,
		"vault:v1:" + base64.StdEncoding.EncodeToString(make([]byte, overhead-1)):                     0,
		"vault:v1:" + body[:len(body)-3] + "B==":                                                      0, // bits beyond the last byte
		"vault:v1:" + body + "\n":                                                                     0, "vault:v1:" + body[:4] + "\r\n" + body[4:]: 0,
		"vault:v1:" + strings.TrimRight(body, "="): 0, "vault:v1:": 0, "vault:v1": 0, "": 0, "vault:v0:" + body: 0, "vault:v01:" + body: 0, "vault:v+1:" + body: 0,
		"vault:v4294967296:" + body: 0, "Vault:v1:" + body: 0, " vault:v1:" + body: 0, "local:v1:" + body: 0, "vault:v1 :" + body: 0, "vault:v99999999999999999999:" + body: 0,
	} {
		if got := version([]byte(text)); got != want {
			t.Errorf("version of %.60q: %d, want %d", text, got, want)
		}
	}
}
