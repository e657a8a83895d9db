package caddymodule

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
)

func init() { caddy.RegisterModule(MTLSIdentity{}) }

// MTLSIdentity proves callers by the client certificates that sites ask for with `tls { client_auth … }`. It judges them
// itself, whatever Caddy made of them.
type MTLSIdentity struct {
	// PEM files of roots that vouch for certificates without a SPIFFE id. Read again when they change.
	Trust []string `json:"trust,omitempty"`

	// SPIFFE trust domains, and the PEM file of each one's bundle. Read again when they change.
	SPIFFE map[string]string `json:"spiffe,omitempty"`

	// Which subject proves which caller. A subject is `spiffe://<trust-domain>/<path>`, `dns:<name>`, `uri:<uri>`, `email:<address>` or, weakest,
	// `cn:<common name>`; all are exact.
	Map []CertificateMapping `json:"map,omitempty"`

	// Files of revocation lists, in PEM or DER form. Read again when they change.
	Revoked []string `json:"revoked,omitempty"`

	lists string // what the revocation lists said
}

// CertificateMapping says that a certificate with the subject proves the caller.
type CertificateMapping struct {
	// "spiffe://<trust-domain>/<path>", "dns:<name>", "uri:<uri>", "email:<address>" or, weakest, "cn:<common name>". All are exact.
	Subject string `json:"subject"`

	// "app:<name>".
	Caller string `json:"caller"`
}

// CaddyModule returns the Caddy module information.
func (MTLSIdentity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.identities.mtls", New: func() caddy.Module { return new(MTLSIdentity) }}
}

// UnmarshalCaddyfile sets up the identity. Every option may be repeated.
//
//	identity mtls {
//		trust   <pem-file…>
//		spiffe  <trust-domain> <pem-file>
//		map     <subject> app:<name>
//		revoked <crl-file…>
//	}
func (m *MTLSIdentity) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's own name
	if d.NextArg() {
		return d.Errf("unexpected argument %q: mtls takes a block with trust or spiffe, and map", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "trust":
			m.Trust, err = arguments(d, m.Trust, "one or more PEM files")
		case "revoked":
			m.Revoked, err = arguments(d, m.Revoked, "one or more files of revocation lists")
		case "spiffe":
			var domain, path string
			if domain, path, err = pair(d, "a trust domain and the PEM file of its bundle, such as example.org /run/spire/bundle.pem"); err == nil {
				if _, twice := m.SPIFFE[domain]; twice {
					return d.Errf("spiffe %s is written twice: put all its certificates into one file", domain)
				}
				if m.SPIFFE == nil {
					m.SPIFFE = map[string]string{}
				}
				m.SPIFFE[domain] = path
			}
		case "map":
			var subject, caller string
			subject, caller, err = pair(d, "a subject and a caller, such as dns:billing.internal app:billing")
			m.Map = append(m.Map, CertificateMapping{subject, caller})
		default:
			return d.Errf("unknown option %q: identity mtls takes trust, spiffe, map and revoked", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pair returns the two arguments of an option.
func pair(d *caddyfile.Dispenser, what string) (first, second string, err error) {
	option := d.Val()
	if !d.Args(&first, &second) {
		return "", "", d.Errf("%s needs %s", option, what)
	}
	return first, second, end(d, option)
}

// Provision finds the files and checks what is in them.
func (m *MTLSIdentity) Provision(caddy.Context) error {
	for _, files := range [][]string{m.Trust, m.Revoked} {
		for i := range files {
			if err := locate(&files[i], ""); err != nil {
				return err
			}
		}
	}
	for domain, path := range m.SPIFFE {
		if err := locate(&path, ""); err != nil {
			return err
		}
		m.SPIFFE[domain] = path
	}
	repl := caddy.NewReplacer()
	for i := range m.Map {
		for _, v := range []*string{&m.Map[i].Subject, &m.Map[i].Caller} {
			var err error
			if *v, err = repl.ReplaceOrErr(*v, true, true); err != nil {
				return fmt.Errorf("map: %w", err)
			}
		}
	}
	config, err := m.config()
	if err == nil {
		m.lists, err = identity.CheckMTLS(config)
	}
	return explain(err)
}

func (m *MTLSIdentity) config() (identity.MTLSConfig, error) {
	c := identity.MTLSConfig{Trust: m.Trust, SPIFFE: m.SPIFFE, Revoked: m.Revoked}
	for _, entry := range m.Map {
		name, err := callerName(entry.Caller)
		if err != nil {
			return c, fmt.Errorf("map %s: %w", entry.Subject, err)
		}
		c.Map = append(c.Map, identity.Mapping{Subject: entry.Subject, Caller: name})
	}
	return c, nil
}

// Fingerprint is of the revocation lists, so that a reload forgets issuers that have none any more.
func (m *MTLSIdentity) Fingerprint() string { return m.lists }

// OpenIdentity implements [IdentityModule].
func (m *MTLSIdentity) OpenIdentity(_ context.Context, callers keybearer.Callers, logger *slog.Logger) (keybearer.Identity, error) {
	config, err := m.config()
	if err != nil {
		return nil, err
	}
	config.Logger = logger
	return identity.NewMTLS(config, callers)
}

// Interface guards.
var (
	_ IdentityModule        = (*MTLSIdentity)(nil)
	_ fingerprinted         = (*MTLSIdentity)(nil)
	_ caddy.Provisioner     = (*MTLSIdentity)(nil)
	_ caddyfile.Unmarshaler = (*MTLSIdentity)(nil)
)
