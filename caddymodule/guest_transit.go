package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/transit"
)

func init() { caddy.RegisterModule(VaultTransit{}) }

// VaultTransit keeps the scope keys in the transit engine of Vault (or OpenBao): they never leave it. What Vault needs for that
// is in docs/vault.md.
type VaultTransit struct {
	VaultConnection

	// Path of the transit engine, which is Keybearer's alone. Default: `keybearer`.
	Mount string `json:"mount,omitempty"`

	// How to log in for sealing and for the life of keys, with a role of its own. Without it this server only opens secrets, and another one
	// manages the credentials.
	Control *VaultAuth `json:"control,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (VaultTransit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.keyrings.vault_transit", New: func() caddy.Module { return new(VaultTransit) }}
}

// UnmarshalCaddyfile sets up the keyring.
//
//	keyring vault_transit {
//		address     <url>
//		mount       <path>
//		namespace   <namespace>
//		ca          <file>
//		cert        <certificate> <key>
//		server_name <name>
//		timeout     <duration>
//		auth token_file <file> | cert [<role>] { … } | approle { … } | jwt { … }
//		control {
//			auth …
//		}
//	}
//
// The blocks of auth:
//
//	approle {
//		role_id        <id>
//		secret_id_file <file>
//		wrapped
//		mount          <path>
//	}
//	jwt {
//		role       <name>
//		token_file <file>
//		mount      <path>
//	}
//	cert [<role>] {
//		mount <path>
//	}
func (v *VaultTransit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's own name
	if d.NextArg() {
		return d.Errf("unexpected argument %q after vault_transit: write its options in a block", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := v.unmarshalOption(d)
		switch {
		case known:
		case d.Val() == "mount":
			if v.Mount != "" {
				return d.Err("mount is written twice: keep one")
			}
			v.Mount, err = argument(d, "the path of a transit engine")
		case d.Val() == "control":
			err = v.unmarshalControl(d)
		case d.Val() == "token":
			return d.Err("a token does not belong into the configuration: put it into a file, and name that with auth token_file")
		default:
			return d.Errf("unknown option %q: keyring vault_transit takes mount, control, %s", d.Val(), vaultOptions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *VaultTransit) unmarshalControl(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q: control takes a block with auth", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "auth" {
			return d.Errf("unknown option %q: control takes auth", d.Val())
		}
		if err := unmarshalAuth(d, &v.Control); err != nil {
			return err
		}
	}
	if v.Control == nil {
		return d.Err("control needs auth: say how the control role logs in")
	}
	return nil
}

// Provision resolves placeholders and checks what can be without a connection.
func (v *VaultTransit) Provision(caddy.Context) error {
	if v.Mount == "" {
		v.Mount = "keybearer"
	}
	if err := resolve(&v.Mount); err != nil {
		return err
	}
	v.Mount = strings.Trim(v.Mount, "/")
	for part := range strings.SplitSeq(v.Mount, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "?#% ") {
			return errors.New("mount is not the path of an engine: write it as vault secrets list shows it")
		}
	}
	if err := v.provision(); err != nil {
		return err
	}
	if v.Control == nil {
		return nil
	}
	if err := v.provisionAuth(v.Control); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if *v.Control == *v.Auth {
		return errors.New("control logs in like auth: give each a role of its own, so that what opens secrets can do nothing else")
	}
	return nil
}

// String names the engine.
func (v *VaultTransit) String() string { return "transit engine " + v.Mount + " of " + v.Address }

// OpenKeyring implements [KeyringModule]. It makes no connection: the first use does.
func (v *VaultTransit) OpenKeyring(_ context.Context, logger *slog.Logger) (keybearer.Keyring, error) {
	data, err := v.client(v.Auth, logger.With("role", "data"))
	if err != nil {
		return nil, err
	}
	c := transit.Config{Mount: v.Mount, Data: data}
	if v.Control != nil {
		if c.Control, err = v.client(v.Control, logger.With("role", "control")); err != nil {
			_ = data.Close()
			return nil, err
		}
	}
	return transit.New(c), nil
}

// Interface guards.
var (
	_ KeyringModule         = (*VaultTransit)(nil)
	_ caddy.Provisioner     = (*VaultTransit)(nil)
	_ caddyfile.Unmarshaler = (*VaultTransit)(nil)
)
