package caddymodule

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer/internal/identity"
)

// JWTIssuer says whose JWTs are believed, and where its keys are.
type JWTIssuer struct {
	// The issuer, exactly as it stands in the claim `iss`. Required. If neither `jwks_file` nor `jwks_url` says where its keys are, they are found at
	// `<issuer>/.well-known/openid-configuration`.
	Issuer string `json:"issuer,omitempty"`

	// File with the issuer's public keys, a JWK set. It is read again when it changes.
	JWKSFile string `json:"jwks_file,omitempty"`

	// Address of the issuer's JWK set. `https` only, and redirects are not followed.
	JWKSURL string `json:"jwks_url,omitempty"`

	// File with a bearer token that is sent to `jwks_url`, as Kubernetes asks for, and nowhere else. It is read each time.
	TokenFile string `json:"token_file,omitempty"`

	// PEM file with the roots that the issuer's server is judged by. It is read each time. Default: the system's and those in `trust`.
	CA string `json:"ca,omitempty"`

	// What the claim `aud` must hold. Required.
	Audience string `json:"audience,omitempty"`

	// Algorithms that may sign: RS, PS and ES with 256, 384 and 512, and EdDSA. There is no `none` and no HS256. Default: RS256, PS256, ES256, ES384 and EdDSA.
	Algorithms []string `json:"algorithms,omitempty"`

	// What the header `typ` must be, such as `at+jwt`. Default: anything.
	Type string `json:"typ,omitempty"`

	// By how much the issuer's clock and this one's may differ, 5m at most. Default: 60s.
	Leeway *caddy.Duration `json:"leeway,omitempty"`
}

const (
	issuerOptions = "issuer, jwks_file, jwks_url, token_file, ca, audience, algorithms, typ, leeway"
	defaultLeeway = time.Minute
	maxLeeway     = 5 * time.Minute
)

// unmarshalOption parses the option that the dispenser stands at, if it is one of the issuer's.
func (i *JWTIssuer) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	option := d.Val()
	texts := map[string]struct {
		field *string
		what  string
	}{
		"issuer":    {&i.Issuer, "the issuer, such as https://idp.example.com"},
		"jwks_file": {&i.JWKSFile, "the path of a JWK set"},
		"jwks_url":  {&i.JWKSURL, "the address of a JWK set"},
		"ca":        {&i.CA, "a PEM file"},
		"audience":  {&i.Audience, "an audience, such as keybearer"},
		"typ":       {&i.Type, "a type, such as at+jwt"},
	}
	if t, ok := texts[option]; ok {
		if *t.field != "" {
			return true, d.Errf("%s is written twice: keep one", option)
		}
		*t.field, err = argument(d, t.what)
		return true, err
	}
	switch option {
	case "token_file":
		return true, takeFile(d, &i.TokenFile)
	case "algorithms":
		i.Algorithms, err = arguments(d, i.Algorithms, "one or more algorithms, such as RS256 ES256")
		return true, err
	case "leeway":
		i.Leeway, err = duration(d)
		return true, err
	}
	return false, nil
}

// provision resolves placeholders and paths, and checks all that can be without asking anybody.
func (i *JWTIssuer) provision() error {
	for _, text := range []*string{&i.Issuer, &i.JWKSURL, &i.Audience, &i.Type} {
		if err := resolve(text); err != nil {
			return err
		}
	}
	for _, file := range []*string{&i.JWKSFile, &i.TokenFile, &i.CA} {
		if *file == "" {
			continue
		}
		if err := locate(file, ""); err != nil {
			return err
		}
	}
	if leeway := i.leeway(); leeway < 0 || leeway > maxLeeway {
		return errors.New("leeway is at most 5m: set the clocks right")
	}
	config := i.config(nil, nil)
	if err := config.Check(); err != nil {
		return explain(err)
	}
	return nil
}

func (i *JWTIssuer) leeway() time.Duration {
	if i.Leeway == nil {
		return defaultLeeway
	}
	return time.Duration(*i.Leeway)
}

func (i *JWTIssuer) config(roots *x509.CertPool, logger *slog.Logger) identity.IssuerConfig {
	return identity.IssuerConfig{
		Issuer: i.Issuer, Audience: i.Audience, JWKSFile: i.JWKSFile, JWKSURL: i.JWKSURL, TokenFile: i.TokenFile, CA: i.CA, Roots: roots,
		Algorithms: i.Algorithms, Type: i.Type, Leeway: i.leeway(), Logger: logger,
	}
}
