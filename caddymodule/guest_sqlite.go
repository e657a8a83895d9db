package caddymodule

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

func init() { caddy.RegisterModule(SQLite{}) }

// SQLite keeps everything in one file of this machine. Only one process may use it.
type SQLite struct {
	// Path of the database; beside it stand its write-ahead log and its lock. Default: `keybearer.db` in the home directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (SQLite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.stores.sqlite", New: func() caddy.Module { return new(SQLite) }}
}

// UnmarshalCaddyfile sets up the store.
//
//	store sqlite [<path>]
func (s *SQLite) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return optionalPath(d, &s.Path) }

// Provision finds the path.
func (s *SQLite) Provision(caddy.Context) error {
	if err := locate(&s.Path, "keybearer.db"); err != nil {
		return err
	}
	return notDirectory(s.Path)
}

func (s *SQLite) place() string { return s.Path }

// OpenStore implements [StoreModule].
func (s *SQLite) OpenStore(ctx context.Context, _ *slog.Logger) (keybearer.Store, error) {
	if err := makeParent(s.Path); err != nil {
		return nil, err
	}
	return sqlstore.OpenSQLite(ctx, s.Path)
}

// optionalPath parses "<module> [<path>]".
func optionalPath(d *caddyfile.Dispenser, path *string) error {
	d.Next() // the module's own name
	name := d.Val()
	if d.NextArg() {
		*path = d.Val()
	}
	return end(d, name)
}

// Interface guards.
var (
	_ StoreModule           = (*SQLite)(nil)
	_ caddy.Provisioner     = (*SQLite)(nil)
	_ caddyfile.Unmarshaler = (*SQLite)(nil)
)
