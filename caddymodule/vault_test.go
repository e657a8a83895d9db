package caddymodule

import (
	"log/slog"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// From a Caddyfile to a keyring that seals on a real Vault; before that, nothing is asked of it.
func TestVaultTransitOpens(t *testing.T) {
	v := harness.StartVault(t, harness.VaultOptions{CA: harness.NewCA(t)})
	data, control := v.Transit(t, "boxes")
	t.Setenv("TEST_ROLE_ID", data.RoleID)
	front := harness.StartServer(t, harness.ServerOptions{}) // what Provision would reach
	text := func(address, ca string) string {
		return `vault_transit {
			address ` + address + `
			mount boxes` + ca + `
			auth approle {
				role_id {env.TEST_ROLE_ID}
				secret_id_file ` + data.SecretIDFile + `
			}
			control {
				auth approle {
					role_id ` + control.RoleID + `
					secret_id_file ` + control.SecretIDFile + `
				}
			}
		}`
	}
	module := func(text string) *VaultTransit {
		m := new(VaultTransit)
		if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
			t.Fatal(err)
		}
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return m
	}
	unused, err := module(text("http://"+front.Addr.String(), "")).OpenKeyring(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_ = unused.Close()
	if n := len(front.All()); n != 0 {
		t.Errorf("%d requests before the first use", n)
	}

	k, err := module(text(v.URL, "\nca "+v.CA.File)).OpenKeyring(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	if err := k.CreateKey(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(t.Context(), "one", keybearer.SealContext{1}, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := k.Open(t.Context(), "one", keybearer.SealContext{1}, sealed); err != nil || string(opened) != "secret" {
		t.Errorf("%q, %v", opened, err)
	}
}
