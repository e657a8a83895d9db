package caddymodule

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/proxy"
	"github.com/keybearer/keybearer/policy"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("keybearer", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Handler)
		return handler, handler.UnmarshalCaddyfile(h.Dispenser)
	})
	// "before reverse_proxy" would come behind respond.
	httpcaddyfile.RegisterDirectiveOrder("keybearer", httpcaddyfile.Before, "respond")
}

// Handler sends requests on with the secret that they name, or refuses them. It answers every request itself.
//
// Without options it serves proxy mode and gateway mode. With `credential` and `destination` it serves route mode: the
// app sends nothing but its own request.
//
// It may not stand under a host matcher: in proxy mode the host of a request is its destination.
type Handler struct {
	// The caller of every request, "app:<name>", for a listener that only one app can reach: a unix socket, or loopback
	// with `shared_host_ok`.
	Caller string `json:"caller,omitempty"`

	// The credential of every request, "<scope>/<name>". Needs destination.
	Credential string `json:"credential,omitempty"`

	// The destination of every request, "<scheme>://<host>[:<port>]". Needs credential.
	Destination string `json:"destination,omitempty"`

	// Says that every process of this host may act as the fixed caller, since each can connect to a loopback address.
	SharedHostOK bool `json:"shared_host_ok,omitempty"`

	// Names that apps may use in Host when they call this listener like a server, in gateway and route mode. IP literals and
	// localhost are always accepted.
	Hosts []string `json:"hosts,omitempty"`

	served
	address string // where apps reach it, "host:port"; "": only on a socket
	route   proxy.Route
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.keybearer", New: func() caddy.Module { return new(Handler) }}
}

// UnmarshalCaddyfile sets up the handler. Without a block it serves proxy mode and gateway mode.
//
//	keybearer [<matcher>] {
//		caller         app:<name>
//		credential     <scope>/<name>
//		destination    <scheme>://<host>[:<port>]
//		shared_host_ok
//		hosts          <name…>
//	}
//
// credential and destination go together. hosts may be repeated; what it lists adds up.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's own name
	if d.NextArg() {
		return d.Errf("unexpected argument %q: keybearer takes a matcher and a block of options", d.Val())
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option != "hosts" && seen[option] {
			return d.Errf("%s is written twice: keep one", option)
		}
		seen[option] = true
		var err error
		switch option {
		case "caller":
			h.Caller, err = argument(d, "a caller, such as app:billing")
		case "credential":
			h.Credential, err = argument(d, "a credential, such as docs/crm")
		case "destination":
			h.Destination, err = argument(d, "a destination, such as https://api.example.com")
		case "shared_host_ok":
			h.SharedHostOK, err = true, end(d, option)
		case "hosts":
			h.Hosts, err = arguments(d, h.Hosts, "one or more host names")
		default:
			return d.Errf("unknown option %q: keybearer takes caller, credential, destination, shared_host_ok and hosts "+
				"here; store, keyring and the like belong into the global options", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Provision checks the route and the place of the handler, and joins the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := h.parse(); err != nil {
		return err
	}
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return fmt.Errorf("keybearer works only as a handler of an HTTP server")
	}
	if err := checkSite(server, h.Caller != "", h.SharedHostOK); err != nil {
		return err
	}
	settle(server)
	shareListeners(server)
	server.RegisterConnContext(withPeer)
	server.RegisterConnContext(answerAsterisks())
	visitors.watch(server)
	for _, address := range open(server) {
		ctx.Slogger().Warn("keybearer listens on every interface; add: bind 127.0.0.1", "address", address)
	}
	app, err := ctx.App("keybearer")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.address = reachable(server)
	server.RegisterConnState(h.app.lease.watch)
	if h.Caller != "" && h.app.fixedOff {
		return fmt.Errorf("caller %s is fixed here, and identity fixed is off: remove one of the two", h.Caller)
	}
	h.app.handlers = append(h.app.handlers, h)
	return nil
}

// parse turns the options into a route.
func (h *Handler) parse() error {
	repl := caddy.NewReplacer()
	for _, v := range []*string{&h.Caller, &h.Credential, &h.Destination} {
		var err error
		if *v, err = repl.ReplaceOrErr(*v, true, true); err != nil {
			return err
		}
	}
	h.route = proxy.Route{Destination: h.Destination, SharedHostOK: h.SharedHostOK, Hosts: h.Hosts}
	switch {
	case h.Credential != "" && h.Destination == "":
		return fmt.Errorf("credential %s has no destination beside it: add destination https://<host>", h.Credential)
	case h.Credential == "" && h.Destination != "":
		return fmt.Errorf("destination %s has no credential beside it: add credential <scope>/<name>", h.Destination)
	case h.SharedHostOK && h.Caller == "":
		return fmt.Errorf("shared_host_ok says something about a fixed caller, and there is none: remove it, or add caller app:<name>")
	}
	if h.Caller != "" {
		var err error
		if h.route.Caller, err = callerName(h.Caller); err != nil {
			return err
		}
	}
	if h.Credential != "" {
		ref, err := keybearer.ParseRef(h.Credential)
		if err != nil {
			return fmt.Errorf("credential %q: %w", h.Credential, explain(err))
		}
		h.route.Credential = ref
		if _, err := policy.ParseOrigin(h.Destination, "/"); err != nil {
			return fmt.Errorf("destination %q: %w", h.Destination, explain(err))
		}
	}
	for _, name := range h.Hosts {
		if name == "" || strings.ContainsAny(name, "/*@? {}") {
			return fmt.Errorf("hosts %q is not a host name: write it as apps write it in Host, for example keybearer.internal", name)
		}
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
