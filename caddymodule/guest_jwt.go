package caddymodule

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
)

func init() { caddy.RegisterModule(JWTIdentity{}) }

// JWTIdentity proves callers by JWTs of one issuer: an OpenID provider, a Kubernetes cluster, or whoever signs with a key that you have. The operator says
// which of its subjects is which caller.
type JWTIdentity struct {
	JWTIssuer

	// The claim that tells apps apart, such as `azp` or `client_id`. Default: `sub`.
	Claim string `json:"claim,omitempty"`

	// The caller, `app:<name>`, by the claim's value, which is compared to the letter. Who is not listed is nobody. Required.
	Map map[string]string `json:"map,omitempty"`

	names map[string]string
	roots *x509.CertPool
}

// CaddyModule returns the Caddy module information.
func (JWTIdentity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.identities.jwt", New: func() caddy.Module { return new(JWTIdentity) }}
}

// UnmarshalCaddyfile sets up the identity.
//
//	identity jwt {
//		issuer     <issuer>
//		jwks_file  <file>
//		jwks_url   <url>
//		token_file <file>
//		ca         <file>
//		audience   <audience>
//		algorithms <algorithm…>
//		typ        <type>
//		leeway     <duration>
//		claim      <name>
//		map        <value> app:<caller>
//	}
//
// map and algorithms may be repeated.
func (j *JWTIdentity) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's own name
	if d.NextArg() {
		return d.Errf("unexpected argument %q after jwt: write its options in a block", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := j.unmarshalOption(d)
		switch {
		case known:
		case d.Val() == "claim" && j.Claim != "":
			return d.Err("claim is written twice: keep one")
		case d.Val() == "claim":
			j.Claim, err = argument(d, "the name of a claim, such as sub")
		case d.Val() == "map":
			err = bind(d, &j.Map)
		default:
			return d.Errf("unknown option %q: identity jwt takes %s, claim and map", d.Val(), issuerOptions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bind parses "<option> <value> app:<caller>".
func bind(d *caddyfile.Dispenser, into *map[string]string) error {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("%s needs a value of the claim and a caller: %s <value> app:<caller>", option, option)
	}
	if _, twice := (*into)[args[0]]; twice {
		return d.Errf("%s binds %q twice: keep one", option, args[0])
	}
	if *into == nil {
		*into = map[string]string{}
	}
	(*into)[args[0]] = args[1]
	return end(d, option)
}

// bound returns the names of callers that values are bound to.
func bound(to map[string]string) (map[string]string, error) {
	names := make(map[string]string, len(to))
	for _, value := range slices.Sorted(maps.Keys(to)) {
		name, err := callerName(to[value])
		if err != nil {
			return nil, err
		}
		if value == "" {
			return nil, errors.New("an empty value names nobody: remove it")
		}
		names[value] = name
	}
	return names, nil
}

// Provision resolves placeholders and checks all that can be without asking anybody.
func (j *JWTIdentity) Provision(caddy.Context) (err error) {
	if j.Claim == "" {
		j.Claim = "sub"
	}
	if err := j.provision(); err != nil {
		return err
	}
	if len(j.Map) == 0 {
		return errors.New("no subject is bound to a caller: add map <value of the claim> app:<caller>")
	}
	j.names, err = bound(j.Map)
	return err
}

// trust sets the roots that the issuer's server is judged by unless it has its own.
func (j *JWTIdentity) trust(roots *x509.CertPool) { j.roots = roots }

// OpenIdentity implements [IdentityModule].
func (j *JWTIdentity) OpenIdentity(_ context.Context, callers keybearer.Callers, logger *slog.Logger) (keybearer.Identity, error) {
	issuer, err := identity.OpenIssuer(j.config(j.roots, logger))
	if err != nil {
		return nil, err
	}
	return &identity.JWT{Issuer: issuer, Callers: callers, Claim: j.Claim, Names: j.names}, nil
}

// Interface guards.
var (
	_ IdentityModule        = (*JWTIdentity)(nil)
	_ caddy.Provisioner     = (*JWTIdentity)(nil)
	_ caddyfile.Unmarshaler = (*JWTIdentity)(nil)
)
