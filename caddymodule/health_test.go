package caddymodule

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/test/harness"
)

// A keyring is asked with the rights that it has: one that only opens, too. The question never counts as an operation.
func TestEveryKeyringCanBeAskedWhetherItAnswers(t *testing.T) {
	v := harness.StartVault(t, harness.VaultOptions{})
	data, control := v.Transit(t, "boxes")
	transit := func(roles string) keybearer.Keyring {
		t.Helper()
		m := new(VaultTransit)
		text := "vault_transit {\naddress " + v.URL + "\nmount boxes\nauth approle {\nrole_id " + data.RoleID + "\nsecret_id_file " + data.SecretIDFile + "\n}\n" + roles + "}"
		if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
			t.Fatal(err)
		}
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		k, err := m.OpenKeyring(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = k.Close() })
		return k
	}
	local, err := localkeys.Open(localkeys.Config{Path: filepath.Join(t.TempDir(), "keyring.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	opens := transit("")
	if o, ok := opens.(keybearer.OpenOnly); !ok || !o.OpenOnly() {
		t.Fatal("a keyring without the control role can do more than open")
	}
	whole := transit("control {\nauth approle {\nrole_id " + control.RoleID + "\nsecret_id_file " + control.SecretIDFile + "\n}\n}\n")
	for name, k := range map[string]keybearer.Keyring{"local": local, "transit": whole, "transit that only opens": opens} {
		if err := (&core{bare: k}).askKeyring(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	v.Stop(t)
	for name, k := range map[string]keybearer.Keyring{"transit": whole, "transit that only opens": opens} {
		harness.Await(t, name+" is away", 20*time.Second, func() error {
			if err := (&core{bare: k}).askKeyring(t.Context()); keybearer.CodeOf(err) == keybearer.KeyringUnavailable {
				return nil
			}
			return errStillThere
		})
	}
}

var errStillThere = keybearer.NewError(keybearer.Internal, "it answers")
