package caddymodule

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(AdminHandler{})
	httpcaddyfile.RegisterHandlerDirective("keybearer_admin", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(AdminHandler)
		return handler, handler.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("keybearer_admin", httpcaddyfile.Before, "respond")
}

// AdminHandler serves the admin API under /api/v1 to operators who present a token, and the console to browsers. It answers every request itself.
//
// Give it a listener of its own: 127.0.0.1, or TLS.
type AdminHandler struct {
	// What browsers call the console, `https://<host>[:<port>]`. Needed with `oidc`, and where the console is reached by another name than the site
	// has: through a proxy, or on a listener for every interface. Default: where the site listens, and the hosts that it is served for.
	PublicURL string `json:"public_url,omitempty"`

	// The OpenID provider that operators may sign in with. Default: none, and they sign in with tokens.
	OIDC *OIDC `json:"oidc,omitempty"`

	// After how long without a request a session ends. Default: 30m.
	SessionIdle *caddy.Duration `json:"session_idle,omitempty"`

	// How long a session lasts at most, and for how long what the provider said at the sign-in counts. Default: 12h.
	SessionMax *caddy.Duration `json:"session_max,omitempty"`

	served
	public *url.URL // nil: none was written
	base   string   // address of the console as far as it is known, "https://host:port"; "": it listens on sockets only
	hosts  []string // names under which browsers may ask, beside loopback and public
}

// CaddyModule returns the Caddy module information.
func (AdminHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.keybearer_admin", New: func() caddy.Module { return new(AdminHandler) }}
}

// UnmarshalCaddyfile sets up the handler. Every option may be left out.
//
//	keybearer_admin [<matcher>] {
//		public_url   https://<host>[:<port>]
//		session_idle <duration>
//		session_max  <duration>
//		oidc {
//			issuer             <issuer>
//			client_id          <id>
//			client_secret_file <file>
//			client_secret      {env.<name>} | {file.<path>}
//			ca                 <pem-file>
//			scopes             <scope…>
//			user_claim         <name>
//			groups_claim       <name>
//			instance_admin     group:<name>…
//			scope_admin        <scope> group:<name>…
//		}
//	}
//
// scopes, instance_admin and scope_admin may be repeated; what they list adds up. One of client_secret_file and client_secret is given.
func (h *AdminHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's own name
	if d.NextArg() {
		return d.Errf("unexpected argument %q: keybearer_admin takes a matcher and a block of options", d.Val())
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("%s is written twice: keep one", option)
		}
		seen[option] = true
		var err error
		switch option {
		case "public_url":
			h.PublicURL, err = argument(d, "an address, such as https://keybearer.example.com")
		case "session_idle":
			h.SessionIdle, err = duration(d)
		case "session_max":
			h.SessionMax, err = duration(d)
		case "oidc":
			h.OIDC = new(OIDC)
			err = h.OIDC.unmarshalCaddyfile(d)
		default:
			return d.Errf("unknown option %q: keybearer_admin takes public_url, session_idle, session_max and oidc", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check reads the options.
func (h *AdminHandler) check() error {
	if h.PublicURL != "" {
		if err := resolve(&h.PublicURL); err != nil {
			return fmt.Errorf("public_url: %w", err)
		}
		u, err := url.Parse(h.PublicURL)
		if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("public_url is not the address of a site: write it like https://keybearer.example.com, without a path")
		}
		if name := u.Hostname(); u.Scheme == "http" && !loopback(caddy.NetworkAddress{Host: name}) {
			return fmt.Errorf("public_url is an http address, over which browsers keep no session: write https://%s, or an address of 127.0.0.1", u.Host)
		}
		h.public = &url.URL{Scheme: u.Scheme, Host: u.Host}
	}
	for option, d := range map[string]*caddy.Duration{"session_idle": h.SessionIdle, "session_max": h.SessionMax} {
		if d != nil && (*d < caddy.Duration(time.Minute) || *d > caddy.Duration(30*24*time.Hour)) {
			return fmt.Errorf("%s is between 1m and 30d", option)
		}
	}
	if h.OIDC == nil {
		return nil
	}
	if h.public == nil {
		return fmt.Errorf("oidc needs to know where the identity provider sends browsers back to: add public_url https://<host>")
	}
	if err := h.OIDC.provision(); err != nil {
		return fmt.Errorf("oidc: %w", err)
	}
	return nil
}

// Provision checks the options and joins the app.
func (h *AdminHandler) Provision(ctx caddy.Context) error {
	if err := h.check(); err != nil {
		return err
	}
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return fmt.Errorf("keybearer_admin works only as a handler of an HTTP server")
	}
	if len(server.TLSConnPolicies) == 0 {
		for _, address := range open(server) {
			ctx.Slogger().Warn("keybearer_admin listens on every interface without TLS; add: bind 127.0.0.1", "address", address)
		}
	}
	h.base, h.hosts = siteAddress(server, "keybearer_admin")
	if h.public != nil {
		h.base = h.public.String()
	}
	shareListeners(server)
	visitors.watch(server)
	app, err := ctx.App("keybearer")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.app.admins = append(h.app.admins, h)
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*AdminHandler)(nil)
	_ caddyfile.Unmarshaler       = (*AdminHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*AdminHandler)(nil)
)
