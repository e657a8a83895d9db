package caddymodule

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultkv"
)

func init() { caddy.RegisterModule(VaultKV{}) }

// VaultKV keeps everything in Vault's KV engine, version 2, for those who have only Vault; any number of Keybearer processes share it. It
// keeps no usage. Its limits are in docs/vault-kv.md.
type VaultKV struct {
	VaultConnection
	Sharing

	// Path of the KV engine. Default: `secret`.
	Mount string `json:"mount,omitempty"`

	// Path on it, which is Keybearer's alone: one for each set of processes that share their records. Default: `keybearer`.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (VaultKV) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.stores.vault_kv", New: func() caddy.Module { return new(VaultKV) }}
}

// UnmarshalCaddyfile sets up the store.
//
//	store vault_kv {
//		address     <url>
//		mount       <path>
//		path        <path>
//		node        <name>
//		poll        <duration>
//		namespace   <namespace>
//		ca          <file>
//		cert        <certificate> <key>
//		server_name <name>
//		timeout     <duration>
//		auth token_file <file> | cert [<role>] { … } | approle { … } | jwt { … }
//	}
//
// The blocks of auth are those of keyring vault_transit.
func (v *VaultKV) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's own name
	if d.NextArg() {
		return d.Errf("unexpected argument %q after vault_kv: write its options in a block", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := v.VaultConnection.unmarshalOption(d)
		if !known && err == nil {
			known, err = v.Sharing.unmarshalOption(d)
		}
		switch {
		case known:
		case d.Val() == "mount":
			err = v.take(d, &v.Mount, "the path of a KV engine")
		case d.Val() == "path":
			err = v.take(d, &v.Path, "a path on the mount")
		case d.Val() == "token":
			return d.Err("a token does not belong into the configuration: put it into a file, and name that with auth token_file")
		default:
			return d.Errf("unknown option %q: store vault_kv takes mount, path, node, poll, %s", d.Val(), vaultOptions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *VaultKV) take(d *caddyfile.Dispenser, field *string, what string) (err error) {
	if *field != "" {
		return d.Errf("%s is written twice: keep one", d.Val())
	}
	*field, err = argument(d, what)
	return err
}

// Provision resolves placeholders and checks what can be without a connection.
func (v *VaultKV) Provision(caddy.Context) error {
	if v.Mount == "" {
		v.Mount = "secret"
	}
	if v.Path == "" {
		v.Path = "keybearer"
	}
	for option, path := range map[string]*string{"mount": &v.Mount, "path": &v.Path} {
		if err := resolve(path); err != nil {
			return err
		}
		*path = strings.Trim(*path, "/")
		for part := range strings.SplitSeq(*path, "/") {
			if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "?#% ") {
				return errors.New(option + " is not a path in Vault: write it like secret or team/keybearer")
			}
		}
	}
	if err := v.VaultConnection.provision(); err != nil {
		return err
	}
	return v.Sharing.provision()
}

func (v *VaultKV) place() string {
	return strings.Join([]string{v.Address, v.Namespace, v.Mount, v.Path}, " ")
}

// OpenStore implements [StoreModule].
func (v *VaultKV) OpenStore(ctx context.Context, logger *slog.Logger) (keybearer.Store, error) {
	node, err := v.node()
	if err != nil {
		return nil, err
	}
	client, err := v.client(v.Auth, logger)
	if err != nil {
		return nil, err
	}
	return vaultkv.Open(ctx, vaultkv.Config{
		Client: client, Mount: v.Mount, Path: v.Path, Node: node, Poll: time.Duration(v.Poll), Wait: openWait, Logger: logger,
	})
}

// Interface guards.
var (
	_ StoreModule           = (*VaultKV)(nil)
	_ caddy.Provisioner     = (*VaultKV)(nil)
	_ caddyfile.Unmarshaler = (*VaultKV)(nil)
)
