package transit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
	"github.com/keybearer/keybearer/test/harness"
)

// What docs/vault.md tells people to type is typed here, with the real vault command against a new Vault; what comes of it serves, and
// Diagnose finds nothing to mend.
func TestTheDocumentedSetUp(t *testing.T) {
	t.Parallel()
	v := harness.StartVault(t, harness.VaultOptions{})
	dir := t.TempDir()
	for name, hcl := range harness.DocumentedPolicies(t, "docs/vault.md") {
		harness.WriteFile(t, filepath.Join(dir, name+".hcl"), []byte(hcl))
	}
	accounts := harness.NewKey(t, "accounts", "ES256")
	harness.WriteFile(t, filepath.Join(dir, "service-account.pub"), []byte(accounts.PublicPEM(t)))
	script := strings.Join(harness.DocumentedCommands(t, "docs/vault.md"), "")
	if n := strings.Count(script, "vault "); n < 11 {
		t.Fatalf("the page has %d commands", n)
	}
	v.Type(t, dir, script)
	now := time.Now()
	token := harness.WriteFile(t, filepath.Join(dir, "account.jwt"), []byte(accounts.Sign(t, nil, map[string]any{
		"aud": []string{"vault"}, "sub": "system:serviceaccount:prod:keybearer", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})))

	client := func(role, secret string, wrapped bool) *vaultclient.Client {
		id, err := os.ReadFile(filepath.Join(dir, role+".role-id"))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, secret)
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Fatalf("%s: %v, %v", file, info, err)
		}
		c, err := vaultclient.New(vaultclient.Config{
			Address: v.URL, Auth: &vaultclient.AppRole{RoleID: strings.TrimSpace(string(id)), SecretIDFile: file, Wrapped: wrapped},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	byJWT, err := vaultclient.New(vaultclient.Config{
		Address: v.URL, Auth: &vaultclient.JWT{Mount: "cluster-a", Role: "keybearer-data", TokenFile: token},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []*vaultclient.Client{client("data", "data.secret-id", false), client("data", "data.wrapped", true), byJWT} {
		k := New(Config{Mount: "keybearer", Data: data, Control: client("control", "control.secret-id", false)})
		t.Cleanup(func() { _ = k.Close() })
		name := "key-" + filepath.Base(t.TempDir())
		createKey(t, k, name)
		sealed, err := k.Seal(t.Context(), name, keybearer.SealContext{1}, []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(t.Context(), name, keybearer.SealContext{1}, sealed); err != nil || string(got) != "secret" {
			t.Errorf("%q, %v", got, err)
		}
		for _, f := range k.Diagnose(t.Context()) {
			if f.Err != nil {
				t.Errorf("%s: %s (%s)", f.Check, f.Detail, f.Err.Advice())
			}
		}
	}
}
