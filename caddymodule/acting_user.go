package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer/internal/identity"
)

// ActingUser says who may assert, with a signed `Keybearer-Acting-User`, on whose behalf which callers ask.
type ActingUser struct {
	JWTIssuer

	// The callers, `app:<name>`, that may use assertions of this issuer. Required.
	Callers []string `json:"callers,omitempty"`

	// The claim with the user's id, as grants name it behind `user:`: 1 to 255 visible ASCII characters. Default: `sub`.
	UserClaim string `json:"user_claim,omitempty"`

	// The claim with the names of the user's groups, as grants name them behind `group:`, a list of 1000 at most. Default: the user has none.
	GroupsClaim string `json:"groups_claim,omitempty"`

	// How long an assertion may live, from `iat` to `exp`, 1h at most. Default: 5m.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// The caller, `app:<name>`, that a value of the claim `azp` stands for. Other values must be the caller's name, with or without `app:`.
	AZP map[string]string `json:"azp,omitempty"`

	names   []string
	parties map[string]string
}

const (
	defaultMaxAge = 5 * time.Minute
	maxMaxAge     = time.Hour
)

// unmarshalCaddyfile sets up the issuer.
//
//	acting_user {
//		issuer       <issuer>
//		jwks_file    <file>
//		jwks_url     <url>
//		token_file   <file>
//		ca           <file>
//		audience     <audience>
//		algorithms   <algorithm…>
//		typ          <type>
//		leeway       <duration>
//		callers      app:<caller…>
//		user_claim   <name>
//		groups_claim <name>
//		max_age      <duration>
//		azp          <value> app:<caller>
//	}
//
// callers, azp and algorithms may be repeated.
func (a *ActingUser) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q: acting_user takes a block", d.Val())
	}
	once := func(field *string, what string) (err error) {
		if *field != "" {
			return d.Errf("%s is written twice: keep one", d.Val())
		}
		*field, err = argument(d, what)
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := a.unmarshalOption(d)
		switch {
		case known:
		case d.Val() == "callers":
			a.Callers, err = arguments(d, a.Callers, "one or more callers, such as app:billing")
		case d.Val() == "user_claim":
			err = once(&a.UserClaim, "the name of a claim, such as sub")
		case d.Val() == "groups_claim":
			err = once(&a.GroupsClaim, "the name of a claim, such as groups")
		case d.Val() == "max_age":
			var age *caddy.Duration
			if age, err = duration(d); err == nil {
				a.MaxAge = *age
			}
			if err == nil && *age == 0 {
				err = d.Err("max_age is longer than 0: leave it out for the default")
			}
		case d.Val() == "azp":
			err = bind(d, &a.AZP)
		default:
			return d.Errf("unknown option %q: acting_user takes %s, callers, user_claim, groups_claim, max_age and azp", d.Val(), issuerOptions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// provision resolves placeholders and checks all that can be without asking anybody.
func (a *ActingUser) provision() (err error) {
	if a.UserClaim == "" {
		a.UserClaim = "sub"
	}
	if a.MaxAge == 0 {
		a.MaxAge = caddy.Duration(defaultMaxAge)
	}
	if age := time.Duration(a.MaxAge); age < 0 || age > maxMaxAge {
		return errors.New("max_age is at most 1h: an assertion stands for one request")
	}
	if err := a.JWTIssuer.provision(); err != nil {
		return err
	}
	if len(a.Callers) == 0 {
		return errors.New("no caller may use it: add callers app:<name>")
	}
	for _, text := range a.Callers {
		name, err := callerName(text)
		if err != nil {
			return err
		}
		a.names = append(a.names, name)
	}
	a.parties, err = bound(a.AZP)
	return err
}

// provisionUsers checks the issuers of acting users by themselves, beside each other, and beside those of callers.
func (a *App) provisionUsers() error {
	type party struct{ issuer, audience string }
	seen := map[party]string{}
	for _, guest := range a.identities {
		j, ok := guest.(*JWTIdentity)
		if !ok {
			continue
		}
		p := party{j.Issuer, j.Audience}
		if seen[p] != "" {
			return fmt.Errorf("identity jwt: two blocks have the issuer %s and the audience %s: write both into one", p.issuer, p.audience)
		}
		seen[p] = "identity jwt"
	}
	for _, u := range a.ActingUsers {
		if err := u.provision(); err != nil {
			return fmt.Errorf("acting_user: %w", err)
		}
		p := party{u.Issuer, u.Audience}
		switch seen[p] {
		case "identity jwt":
			return fmt.Errorf("acting_user: callers prove themselves to the audience %s of the issuer %s: give acting users another audience, "+
				"so that nobody takes one for the other", p.audience, p.issuer)
		case "acting_user":
			return fmt.Errorf("acting_user: two blocks have the issuer %s and the audience %s: write both into one", p.issuer, p.audience)
		}
		seen[p] = "acting_user"
	}
	return nil
}

// openUsers follows the issuers of acting users; nil when there are none.
func (a *App) openUsers() (*identity.Users, error) {
	if len(a.ActingUsers) == 0 {
		return nil, nil
	}
	var configs []identity.UserIssuer
	for _, u := range a.ActingUsers {
		configs = append(configs, identity.UserIssuer{
			IssuerConfig: u.config(a.roots, logs.logger()), Callers: slices.Clone(u.names), UserClaim: u.UserClaim, GroupsClaim: u.GroupsClaim,
			MaxAge: time.Duration(u.MaxAge), Parties: u.parties,
		})
	}
	return identity.OpenUsers(configs)
}
