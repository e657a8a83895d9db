package transit

import (
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/harness"
)

func TestKeyring(t *testing.T) {
	w := newWorld(t)
	keybearertest.TestKeyring(t, func(t *testing.T) keybearer.Keyring { return w.open(t) })
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
	c, err := vaultclient.New(vaultclient.Config{Address: w.URL, Auth: &vaultclient.AppRole{RoleID: role.RoleID, SecretIDFile: role.SecretIDFile}})
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
