package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

func init() { caddy.RegisterModule(Postgres{}) }

// Postgres keeps everything in a PostgreSQL database, which any number of Keybearer processes share.
type Postgres struct {
	// How the database is reached: a placeholder, `{env.NAME}` or `{file./path}`, for a DSN such as
	// `postgres://keybearer:password@db.example.com/keybearer?sslrootcert=/etc/ca.pem`. It may be written out, but for the password. It is read
	// again for each connection, so that a password can be changed. Unless it says something else of sslmode, the
	// server's certificate is verified; on this machine it need not have one.
	DSN string `json:"dsn,omitempty"`

	Sharing

	dsn keybearer.Secret
}

// CaddyModule returns the Caddy module information.
func (Postgres) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.stores.postgres", New: func() caddy.Module { return new(Postgres) }}
}

// UnmarshalCaddyfile sets up the store.
//
//	store postgres {env.<name>} | {file.<path>} | <dsn without password> {
//		node <name>
//		poll <duration>
//	}
func (p *Postgres) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's own name
	if !d.NextArg() {
		return d.Err("store postgres needs a DSN: a placeholder such as {env.KEYBEARER_DSN}")
	}
	p.DSN = d.Val()
	if d.NextArg() {
		return d.Errf("unexpected argument after the DSN: put a DSN with blanks into quotes")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := p.unmarshalOption(d)
		if err != nil {
			return err
		}
		if !known {
			return d.Errf("unknown option %q: store postgres takes node and poll", d.Val())
		}
	}
	return nil
}

var (
	// clearPassword finds a password in a DSN of either form; it may be a placeholder.
	clearPassword = regexp.MustCompile(`(?i)^\s*[a-z]+://[^/@:]*:([^/@]+)@|\b(?:ssl)?password\s*=\s*([^\s&]+)`)
	placeholder   = regexp.MustCompile(`^'?\{(env|file)\.[^{}]+\}'?$`)
)

// Provision reads the DSN and checks all that can be checked without the server.
func (p *Postgres) Provision(caddy.Context) error {
	for _, found := range clearPassword.FindAllStringSubmatch(p.DSN, -1) {
		if !placeholder.MatchString(found[1] + found[2]) {
			return fmt.Errorf("the DSN holds a password: keep it out of the configuration, and name the whole DSN as {env.NAME} or {file./path}")
		}
	}
	var err error
	if p.dsn, err = p.resolve(); err != nil {
		return err
	}
	if err := (sqlstore.PostgresConfig{DSN: p.dsn}).Check(); err != nil {
		return fmt.Errorf("%w: %s", err, keybearer.AsError(err).Advice())
	}
	return p.provision()
}

// resolve returns the DSN as its placeholders are now.
func (p *Postgres) resolve() (keybearer.Secret, error) {
	if p.DSN == "" {
		return keybearer.Secret{}, fmt.Errorf("store postgres needs a DSN: a placeholder such as {env.KEYBEARER_DSN}")
	}
	text, err := caddy.NewReplacer().ReplaceOrErr(p.DSN, true, true)
	if err != nil {
		return keybearer.Secret{}, fmt.Errorf("the DSN names a placeholder that is not set or empty: %s", p.DSN)
	}
	return keybearer.NewSecret(strings.TrimSpace(text)), nil
}

func (p *Postgres) place() string { return p.DSN }

// OpenStore implements [StoreModule].
func (p *Postgres) OpenStore(ctx context.Context, logger *slog.Logger) (keybearer.Store, error) {
	node, err := p.node()
	if err != nil {
		return nil, err
	}
	return sqlstore.OpenPostgres(ctx, sqlstore.PostgresConfig{
		DSN: p.dsn, Renew: p.resolve, Node: node, Version: version(), Poll: time.Duration(p.Poll), Wait: openWait, Logger: logger,
	})
}

// Interface guards.
var (
	_ StoreModule           = (*Postgres)(nil)
	_ caddy.Provisioner     = (*Postgres)(nil)
	_ caddyfile.Unmarshaler = (*Postgres)(nil)
)
