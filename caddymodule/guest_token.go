package caddymodule

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
)

func init() {
	caddy.RegisterModule(TokenIdentity{})
	caddy.RegisterModule(FixedIdentity{})
}

// TokenIdentity proves callers by the tokens that were made for them. It is there unless it is switched off.
type TokenIdentity struct {
	// Whether tokens prove nobody, as where every app has a certificate. They are still kept from destinations.
	Off bool `json:"off,omitempty"`
}

// FixedIdentity proves the caller that a site fixes for all that reaches it. It is there unless it is switched off.
type FixedIdentity struct {
	// Whether no site may fix a caller.
	Off bool `json:"off,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (TokenIdentity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.identities.token", New: func() caddy.Module { return new(TokenIdentity) }}
}

// CaddyModule returns the Caddy module information.
func (FixedIdentity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.identities.fixed", New: func() caddy.Module { return new(FixedIdentity) }}
}

// UnmarshalCaddyfile sets up the identity.
//
//	identity token [off]
func (t *TokenIdentity) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return optionalOff(d, &t.Off)
}

// UnmarshalCaddyfile sets up the identity.
//
//	identity fixed [off]
func (f *FixedIdentity) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return optionalOff(d, &f.Off)
}

// optionalOff parses "<name> [off]".
func optionalOff(d *caddyfile.Dispenser, off *bool) error {
	d.Next() // the module's own name
	name := d.Val()
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("unexpected argument %q after %s: write off, or nothing", d.Val(), name)
		}
		*off = true
	}
	return end(d, name)
}

// OpenIdentity implements [IdentityModule].
func (t *TokenIdentity) OpenIdentity(_ context.Context, callers keybearer.Callers, _ *slog.Logger) (keybearer.Identity, error) {
	if t.Off {
		return nil, nil
	}
	return identity.Token{Callers: callers}, nil
}

// OpenIdentity implements [IdentityModule].
func (f *FixedIdentity) OpenIdentity(_ context.Context, callers keybearer.Callers, _ *slog.Logger) (keybearer.Identity, error) {
	if f.Off {
		return nil, nil
	}
	return identity.Fixed{Callers: callers}, nil
}

// Interface guards.
var (
	_ IdentityModule        = (*TokenIdentity)(nil)
	_ IdentityModule        = (*FixedIdentity)(nil)
	_ caddyfile.Unmarshaler = (*TokenIdentity)(nil)
	_ caddyfile.Unmarshaler = (*FixedIdentity)(nil)
)
