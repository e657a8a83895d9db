package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/localkeys"
)

func init() { caddy.RegisterModule(LocalKeyring{}) }

// LocalKeyring keeps the scope keys on this machine, wrapped by one key-encryption key. Back that key up apart from
// the store: whoever holds both holds the secrets, and without it none opens.
type LocalKeyring struct {
	// Path of the file with the key-encryption key; it is made when absent, with mode 0600. The wrapped scope keys stand beside it, with
	// ".ring" appended. Default: `keyring.key` in the home directory.
	Path string `json:"path,omitempty"`

	// Where the key-encryption key comes from if not from that file: a placeholder, `{env.NAME}` or `{file./path}`, never the
	// key itself.
	KEK string `json:"kek,omitempty"`

	kek keybearer.Secret
}

// CaddyModule returns the Caddy module information.
func (LocalKeyring) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.keyrings.local", New: func() caddy.Module { return new(LocalKeyring) }}
}

// UnmarshalCaddyfile sets up the keyring.
//
//	keyring local [<path>] {
//		kek {env.<name>} | {file.<path>}
//	}
func (l *LocalKeyring) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's own name
	if d.NextArg() {
		l.Path = d.Val()
	}
	if d.NextArg() {
		return d.Errf("unexpected argument %q after local: remove it", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "kek" {
			return d.Errf("unknown option %q: keyring local takes kek", d.Val())
		}
		if l.KEK != "" {
			return d.Err("kek is written twice: keep one")
		}
		var err error
		if l.KEK, err = argument(d, "a placeholder such as {env.KEYBEARER_KEK}"); err != nil {
			return err
		}
	}
	return nil
}

// Provision finds the path and the key.
func (l *LocalKeyring) Provision(caddy.Context) error {
	if err := locate(&l.Path, "keyring.key"); err != nil {
		return err
	}
	if l.KEK != "" {
		if inner, ok := strings.CutPrefix(l.KEK, "{"); !ok || !(strings.HasPrefix(inner, "env.") || strings.HasPrefix(inner, "file.")) ||
			strings.Index(inner, "}") != len(inner)-1 {
			return fmt.Errorf("kek is not a placeholder: keep the key out of the configuration, and name it as {env.NAME} or {file./path}")
		}
		text, err := caddy.NewReplacer().ReplaceOrErr(l.KEK, true, true)
		if err != nil {
			return fmt.Errorf("kek: %s is not set or empty", l.KEK)
		}
		l.kek = keybearer.NewSecret(text)
	}
	return notDirectory(l.Path)
}

// String names the file that holds the scope keys.
func (l *LocalKeyring) String() string { return l.Path + ".ring" }

// OpenKeyring implements [KeyringModule].
func (l *LocalKeyring) OpenKeyring(_ context.Context, logger *slog.Logger) (keybearer.Keyring, error) {
	if err := makeParent(l.Path); err != nil {
		return nil, err
	}
	k, err := localkeys.Open(localkeys.Config{Path: l.Path, KEK: l.kek})
	if err != nil {
		return nil, err
	}
	if err := k.Unlocked(); err != nil {
		logger.Warn("keyring", "error", err, "hint", keybearer.AsError(err).Advice())
	}
	return k, nil
}

// Interface guards.
var (
	_ KeyringModule         = (*LocalKeyring)(nil)
	_ caddy.Provisioner     = (*LocalKeyring)(nil)
	_ caddyfile.Unmarshaler = (*LocalKeyring)(nil)
)
