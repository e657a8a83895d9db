package handover_test

import (
	"errors"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/handover"
	"github.com/keybearer/keybearer/internal/transit"
	"github.com/keybearer/keybearer/internal/vaultclient"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/harness"
)

// engine opens a new mount of a Vault with both roles.
func engine(t *testing.T, v *harness.Vault, mount string) handover.Part {
	t.Helper()
	client := func(r harness.AppRole) *vaultclient.Client {
		c, err := vaultclient.New(vaultclient.Config{Address: v.URL, Auth: &vaultclient.AppRole{RoleID: r.RoleID, SecretIDFile: r.SecretIDFile}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	data, control := v.Transit(t, mount)
	k := transit.New(transit.Config{Mount: mount, Data: client(data), Control: client(control)})
	t.Cleanup(func() { _ = k.Close() })
	return handover.Part{Keyring: k, Kind: "vault"}
}

func TestVaultBesideTheLocalKeyring(t *testing.T) {
	vault := harness.StartVault(t, harness.VaultOptions{})
	first, second := engine(t, vault, "keybearer"), engine(t, vault, "second")
	t.Run("contract", func(t *testing.T) {
		keybearertest.TestKeyring(t, func(t *testing.T) keybearer.Keyring { return handover.NewKeyring(first, local(ring(t))) })
	})
	for name, old := range map[string]handover.Part{"from the local keyring": local(ring(t)), "from another mount": second} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if err := old.CreateKey(ctx, "kb-old"); err != nil {
				t.Fatal(err)
			}
			k := handover.NewKeyring(first, old)
			sealed, err := k.Seal(ctx, "kb-old", sc, []byte("s3cret"))
			if err != nil {
				t.Fatal(err)
			}
			if err := k.CreateKey(ctx, "kb-new"); err != nil {
				t.Fatal(err)
			}
			again, err := k.Seal(ctx, "kb-new", sc, []byte("s3cret"))
			if err != nil {
				t.Fatal(err)
			}
			for key, want := range map[string]bool{"kb-old": false, "kb-new": true} {
				if in, err := k.Current(ctx, key); in != want || err != nil {
					t.Errorf("%s in the current one: %v, %v", key, in, err)
				}
			}
			fresh := handover.NewKeyring(first, old) // remembers nothing
			for key, text := range map[string][]byte{"kb-old": sealed, "kb-new": again} {
				if p, err := fresh.Open(ctx, key, sc, text); err != nil || string(p) != "s3cret" {
					t.Errorf("%s: %q, %v", key, p, err)
				}
			}
			for _, key := range []string{"kb-old", "kb-new"} {
				if err := k.DestroyKey(ctx, key); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := fresh.Open(ctx, "kb-old", sc, sealed); !errors.Is(err, keybearer.ErrUnopenable) {
				t.Error(err)
			}
		})
	}
	t.Run("sealed", func(t *testing.T) {
		ctx := t.Context()
		old := local(ring(t))
		if err := old.CreateKey(ctx, "kb-old"); err != nil {
			t.Fatal(err)
		}
		k := handover.NewKeyring(first, old)
		sealed, err := old.Seal(ctx, "kb-old", sc, []byte("s3cret"))
		if err != nil {
			t.Fatal(err)
		}
		vault.Seal(t)
		defer vault.Unseal(t)
		if p, err := k.Open(ctx, "kb-old", sc, sealed); err != nil || string(p) != "s3cret" {
			t.Errorf("%q, %v", p, err)
		}
		if err := k.CreateKey(ctx, "kb-new"); keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
			t.Error(err)
		}
		if err := k.DestroyKey(ctx, "kb-old"); keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
			t.Error("half a destruction is none:", err)
		}
	})
}
