package caddymodule

import (
	"fmt"

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

// AdminHandler serves the admin API under /api/v1 to operators who present a token. It answers every request itself.
//
// Give it a listener of its own: 127.0.0.1, or TLS.
type AdminHandler struct{ served }

// CaddyModule returns the Caddy module information.
func (AdminHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.keybearer_admin", New: func() caddy.Module { return new(AdminHandler) }}
}

// UnmarshalCaddyfile sets up the handler. It has no options.
//
//	keybearer_admin [<matcher>]
func (h *AdminHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's own name
	return end(d, "keybearer_admin")
}

// Provision joins the app.
func (h *AdminHandler) Provision(ctx caddy.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return fmt.Errorf("keybearer_admin works only as a handler of an HTTP server")
	}
	if len(server.TLSConnPolicies) == 0 {
		for _, address := range open(server) {
			ctx.Slogger().Warn("keybearer_admin listens on every interface without TLS; add: bind 127.0.0.1", "address", address)
		}
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
