package caddymodule

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/signin"
)

// OIDC says which OpenID provider operators may sign in with, in the console, and which of its groups hold which role.
type OIDC struct {
	// The issuer, exactly as it stands in the claim `iss`; `https` only. Required. Its configuration is found at `<issuer>/.well-known/openid-configuration`.
	Issuer string `json:"issuer,omitempty"`

	// The client as which Keybearer is registered there: confidential, with the code flow, and the redirect URI
	// `<public_url>/sign-in/oidc/callback`. Required.
	ClientID string `json:"client_id,omitempty"`

	// File with the client's secret. It is read each time.
	ClientSecretFile string `json:"client_secret_file,omitempty"`

	// The client's secret as a placeholder, `{env.NAME}` or `{file./path}`, never the secret itself. It is resolved each time.
	ClientSecret string `json:"client_secret,omitempty"`

	// PEM file with the roots that the provider is judged by. It is read each time the provider is looked up. Default: the system's and those in `trust`.
	CA string `json:"ca,omitempty"`

	// What is asked for. `openid` is always among them. Default: `openid profile email`.
	Scopes []string `json:"scopes,omitempty"`

	// The claim with the person's id, as grants name it behind `user:`. `email` counts only when `email_verified` is true. Default: `sub`.
	UserClaim string `json:"user_claim,omitempty"`

	// The claim with the names of the person's groups, as grants name them behind `group:`. They are those of the moment of the sign-in, for as long as
	// the session lasts. Default: the person has none.
	GroupsClaim string `json:"groups_claim,omitempty"`

	// Groups, `group:<name>`, whose members hold the role `instance-admin`. Default: none.
	InstanceAdmin []string `json:"instance_admin,omitempty"`

	// By the name of a scope, groups, `group:<name>`, whose members hold the role `scope-admin` of it. Default: none.
	ScopeAdmin map[string][]string `json:"scope_admin,omitempty"`
}

const oidcOptions = "issuer, client_id, client_secret_file, client_secret, ca, scopes, user_claim, groups_claim, instance_admin and scope_admin"

func (o *OIDC) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after oidc: write its options in a block", d.Val())
	}
	texts := map[string]struct {
		field *string
		what  string
	}{
		"issuer":       {&o.Issuer, "the issuer, such as https://idp.example.com"},
		"client_id":    {&o.ClientID, "the client's id, such as keybearer"},
		"ca":           {&o.CA, "a PEM file"},
		"user_claim":   {&o.UserClaim, "the name of a claim, such as email"},
		"groups_claim": {&o.GroupsClaim, "the name of a claim, such as groups"},
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if t, ok := texts[option]; ok {
			if *t.field != "" {
				return d.Errf("%s is written twice: keep one", option)
			}
			var err error
			if *t.field, err = argument(d, t.what); err != nil {
				return err
			}
			continue
		}
		var err error
		switch option {
		case "client_secret_file":
			err = takeFile(d, &o.ClientSecretFile)
		case "client_secret":
			if !d.NextArg() || !placeholder.MatchString(d.Val()) {
				return d.Err("client_secret is a placeholder, {env.NAME} or {file./path}: keep the secret itself out of the configuration")
			}
			o.ClientSecret = d.Val()
			err = end(d, option)
		case "scopes":
			o.Scopes, err = arguments(d, o.Scopes, "one or more scopes, such as openid email groups")
		case "instance_admin":
			o.InstanceAdmin, err = arguments(d, o.InstanceAdmin, "one or more groups, such as group:platform")
		case "scope_admin":
			args := d.RemainingArgs()
			if len(args) < 2 {
				return d.Err("scope_admin needs a scope and one or more groups: scope_admin docs group:docs-admins")
			}
			if o.ScopeAdmin == nil {
				o.ScopeAdmin = map[string][]string{}
			}
			o.ScopeAdmin[args[0]] = append(o.ScopeAdmin[args[0]], args[1:]...)
			err = end(d, option)
		default:
			return d.Errf("unknown option %q: oidc takes %s", option, oidcOptions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// provision resolves placeholders and paths, and checks all that can be without asking anybody.
func (o *OIDC) provision() error {
	for _, text := range []*string{&o.Issuer, &o.ClientID, &o.UserClaim, &o.GroupsClaim} {
		if err := resolve(text); err != nil {
			return err
		}
	}
	for _, file := range []*string{&o.ClientSecretFile, &o.CA} {
		if *file == "" {
			continue
		}
		if err := locate(file, ""); err != nil {
			return err
		}
	}
	switch {
	case o.ClientSecret != "" && o.ClientSecretFile != "":
		return errors.New("client_secret and client_secret_file are both written: keep one")
	case o.ClientSecret != "" && !placeholder.MatchString(o.ClientSecret):
		return errors.New("client_secret is not a placeholder: keep the secret itself out of the configuration, and name it as {env.NAME} or {file./path}")
	case o.GroupsClaim == "" && (len(o.InstanceAdmin) > 0 || len(o.ScopeAdmin) > 0):
		return errors.New("groups hold roles, and nothing says which groups a person is in: add groups_claim groups")
	}
	for name := range o.ScopeAdmin {
		if !keybearer.ValidScopeName(name) {
			return fmt.Errorf("scope_admin %q is not the name of a scope: write it like scope_admin docs group:docs-admins", name)
		}
	}
	_, err := o.open("https://keybearer.invalid", nil)
	return explain(err)
}

// names returns those of groups that are written as subjects.
func groupNames(option string, subjects []string) ([]string, error) {
	var names []string
	for _, text := range subjects {
		subject, err := keybearer.ParseSubject(text)
		kind, name := subject.Split()
		if err != nil || kind != "group" {
			return nil, fmt.Errorf("%s %q is not a group: write it like group:platform", option, text)
		}
		names = append(names, name)
	}
	return names, nil
}

// secret returns the client's secret as it is now.
func (o *OIDC) secret() (keybearer.Secret, error) {
	var text string
	if o.ClientSecretFile != "" {
		b, err := os.ReadFile(o.ClientSecretFile)
		if err != nil {
			return keybearer.Secret{}, fmt.Errorf("client_secret_file: %w", err)
		}
		text = string(b)
	} else {
		var err error
		if text, err = caddy.NewReplacer().ReplaceOrErr(o.ClientSecret, true, true); err != nil {
			return keybearer.Secret{}, fmt.Errorf("client_secret: %s is not set or empty", o.ClientSecret)
		}
	}
	if text = strings.TrimSpace(text); text == "" {
		return keybearer.Secret{}, errors.New("the client secret is empty")
	}
	return keybearer.NewSecret(text), nil
}

// open returns the provider for the console at the public address, and connects nowhere.
func (o *OIDC) open(public string, roots *x509.CertPool) (*signin.Provider, error) {
	cfg := signin.ProviderConfig{
		Issuer: o.Issuer, ClientID: o.ClientID, Redirect: public + signin.CallbackPath, CA: o.CA, Roots: roots,
		Scopes: slices.Clone(o.Scopes), UserClaim: o.UserClaim, GroupsClaim: o.GroupsClaim, ScopeAdmins: map[string][]string{},
	}
	if o.ClientSecret != "" || o.ClientSecretFile != "" {
		cfg.Secret = o.secret
	}
	var err error
	if cfg.InstanceAdmins, err = groupNames("instance_admin", o.InstanceAdmin); err != nil {
		return nil, err
	}
	for scope, groups := range o.ScopeAdmin {
		if cfg.ScopeAdmins[scope], err = groupNames("scope_admin "+scope, groups); err != nil {
			return nil, err
		}
	}
	return signin.NewProvider(cfg)
}
