package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/keybearer/keybearer"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("keybearer", parseApp)
}

func parseApp(d *caddyfile.Dispenser, before any) (any, error) {
	if before != nil {
		d.Next()
		return nil, d.Err("keybearer is written twice in the global options: put everything into one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "keybearer", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from the global option. Every option may be left out.
//
//	keybearer {
//		store         sqlite [<path>] | <other module> …
//		keyring       local [<path>] | <other module> …
//		former_keyring <as keyring>
//		former_store   <as store>
//		audit         file [<path>] | <other module> …
//		identity      <module> …
//		acting_user   { … }
//		admin_socket  <path> | off
//		anchor        <path> | off
//		trust         <pem-file…>
//		revoked       <crl-file…>
//		allow_private <cidr…>
//		allow_metadata
//		resolver      <ip:port>
//		keyring_max_stale <duration>
//		store_max_stale   <duration>
//		secret_ttl        <duration>
//		keep_previous     <duration>
//		timeouts {
//			dial            <duration>
//			tls_handshake   <duration>
//			response_header <duration>
//			idle            <duration>
//		}
//		limits {
//			caller_rate             <rate> [<burst>]
//			caller_concurrency      <number>
//			destination_concurrency <number>
//		}
//	}
//
// identity, acting_user, trust, revoked and allow_private may be repeated; what they list adds up. A duration is written like 90s, 15m or 1d; 0 is
// allowed outside timeouts. A rate is written like 100/s, 30/m or 10/h; 0 in limits is no limit. Values may hold the placeholders {env.*} and {file.*}.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's own name
	if d.NextArg() {
		return d.Errf("unexpected argument %q: keybearer takes a block of options", d.Val())
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if !slices.Contains([]string{"identity", "acting_user", "trust", "revoked", "allow_private"}, option) && seen[option] {
			return d.Errf("%s is written twice: keep one", option)
		}
		seen[option] = true
		var err error
		switch option {
		case "store":
			a.StoreRaw, err = guest(d, "keybearer.stores")
		case "keyring":
			a.KeyringRaw, err = guest(d, "keybearer.keyrings")
		case "former_keyring":
			a.FormerKeyringRaw, err = guest(d, "keybearer.keyrings")
		case "former_store":
			a.FormerStoreRaw, err = guest(d, "keybearer.stores")
		case "audit":
			a.AuditRaw, err = guest(d, "keybearer.audit")
		case "identity":
			var raw json.RawMessage
			raw, err = guest(d, "keybearer.identities")
			a.IdentitiesRaw = append(a.IdentitiesRaw, raw)
		case "acting_user":
			user := new(ActingUser)
			err = user.unmarshalCaddyfile(d)
			a.ActingUsers = append(a.ActingUsers, user)
		case "admin_socket":
			a.AdminSocket, err = argument(d, "a path, or off")
		case "anchor":
			a.Anchor, err = argument(d, "a path, or off")
		case "trust":
			a.Trust, err = arguments(d, a.Trust, "one or more PEM files")
		case "revoked":
			a.Revoked, err = arguments(d, a.Revoked, "one or more files of revocation lists")
		case "allow_private":
			a.AllowPrivate, err = arguments(d, a.AllowPrivate, "one or more networks such as 10.20.0.0/16")
		case "allow_metadata":
			a.AllowMetadata, err = true, end(d, option)
		case "resolver":
			a.Resolver, err = argument(d, "the address of a DNS server, such as 10.0.0.53:53")
		case "keyring_max_stale":
			a.KeyringMaxStale, err = duration(d)
		case "store_max_stale":
			a.StoreMaxStale, err = duration(d)
		case "secret_ttl":
			a.SecretTTL, err = duration(d)
		case "keep_previous":
			a.KeepPrevious, err = duration(d)
		case "timeouts":
			err = a.Timeouts.unmarshalCaddyfile(d)
		case "limits":
			err = a.Limits.unmarshalCaddyfile(d)
		default:
			return d.Errf("unknown option %q: keybearer takes store, keyring, former_keyring, former_store, audit, identity, acting_user, admin_socket, anchor, trust, revoked, allow_private, "+
				"allow_metadata, resolver, keyring_max_stale, store_max_stale, secret_ttl, keep_previous, timeouts and limits", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Timeouts) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q: timeouts takes a block", d.Val())
	}
	phases := map[string]*caddy.Duration{
		"dial": &t.Dial, "tls_handshake": &t.TLSHandshake, "response_header": &t.ResponseHeader, "idle": &t.Idle,
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		phase, ok := phases[d.Val()]
		if !ok {
			return d.Errf("unknown timeout %q: timeouts takes dial, tls_handshake, response_header and idle", d.Val())
		}
		v, err := duration(d)
		if err != nil {
			return err
		}
		if *v == 0 {
			return d.Err("a timeout is longer than 0: leave it out for the default")
		}
		*phase = *v
	}
	return nil
}

// guest parses "<module> …" after an option and returns the module's configuration.
func guest(d *caddyfile.Dispenser, namespace string) (json.RawMessage, error) {
	option := d.Val()
	var names []string
	for _, m := range caddy.GetModules(namespace) {
		names = append(names, m.ID.Name())
	}
	have := strings.Join(names, ", ")
	if have == "" {
		have = "none"
	}
	if !d.NextArg() {
		return nil, d.Errf("%s needs a kind; this binary has: %s", option, have)
	}
	name := d.Val()
	if !slices.Contains(names, name) {
		return nil, d.Errf("unknown %s %q; this binary has: %s", option, name, have)
	}
	module, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, "module", name, nil), nil
}

// callerName returns the name of a caller that is written as a subject.
func callerName(text string) (string, error) {
	name, ok := strings.CutPrefix(text, "app:")
	if !ok || !keybearer.ValidName(name) {
		return "", fmt.Errorf("caller %q is not of the form app:<name>, for example app:billing", text)
	}
	return name, nil
}

// argument returns the one argument of an option.
func argument(d *caddyfile.Dispenser, what string) (string, error) {
	option := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s needs %s", option, what)
	}
	v := d.Val()
	return v, end(d, option)
}

// arguments appends the arguments of an option to list.
func arguments(d *caddyfile.Dispenser, list []string, what string) ([]string, error) {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("%s needs %s", option, what)
	}
	return append(list, args...), end(d, option)
}

func duration(d *caddyfile.Dispenser) (*caddy.Duration, error) {
	option := d.Val()
	text, err := argument(d, "a duration such as 90s, 15m or 1d")
	if err != nil {
		return nil, err
	}
	v, err := caddy.ParseDuration(text)
	if err != nil || v < 0 {
		return nil, d.Errf("%s needs a duration such as 90s, 15m or 1d, not %q", option, text)
	}
	return new(caddy.Duration(v)), nil
}

// end refuses whatever follows on the line, or a block.
func end(d *caddyfile.Dispenser, option string) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %s: remove it", d.Val(), option)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unexpected block after %s, with %q: remove it", option, d.Val())
	}
	return nil
}
