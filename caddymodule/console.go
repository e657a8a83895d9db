package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/console"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/proxy"
	"github.com/keybearer/keybearer/internal/signin"
)

// register returns what sign-in remembers. Who is signed in stays so across reloads that keep the core.
func (a *App) register() (*signin.Register, error) {
	key, err := json.Marshal([]any{"sign-in", a.coreKey()})
	if err != nil {
		return nil, err
	}
	return take(&a.held, string(key), func() (*signin.Register, error) { return signin.NewRegister(nil), nil })
}

// openConsole puts the console beside the API.
func (a *App) openConsole(h *AdminHandler, register *signin.Register, api http.Handler) (http.Handler, error) {
	core := a.engine.core
	var provider *signin.Provider
	if h.OIDC != nil {
		var err error
		if provider, err = h.OIDC.open(h.public.String(), a.roots); err != nil {
			return nil, err
		}
	}
	cfg := console.Config{
		Custody: core.custody, Logger: logs.logger(), Proxy: a.proxyAddress(), Public: h.public, Hosts: h.hosts, Probe: a.probe,
		SignIn: signin.New(signin.Config{
			Custody: core.custody, Register: register, Provider: provider, Logger: logs.logger(),
			Idle: time.Duration(*cmp.Or(h.SessionIdle, new(caddy.Duration))), Max: time.Duration(*cmp.Or(h.SessionMax, new(caddy.Duration))),
		}),
	}
	if log := a.readAudit(core); log != nil {
		cfg.Audit = log
	}
	pages := console.New(cfg)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/") {
			api.ServeHTTP(w, r)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/set-up") || strings.HasPrefix(r.URL.Path, "/sign-in/") {
			caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true) // the address holds a code
		}
		if text, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok { // of who is behind proxies that the operator trusts
			if address, err := netip.ParseAddr(text); err == nil {
				r = r.WithContext(signin.From(r.Context(), address))
			}
		}
		pages.ServeHTTP(w, r)
	}), nil
}

// probe sends a request through the proxy of this configuration.
func (a *App) probe(ctx context.Context, p custody.Probe) (custody.Probed, error) {
	if a.fixedOff {
		return custody.Probed{}, keybearer.NewError(keybearer.Conflict, "this server fixes no caller, so it cannot send as one").
			WithHint("take identity fixed off out of the Caddyfile, or send the request as the app itself")
	}
	seen, err := a.engine.proxy.Probe(ctx, proxy.Probe(p))
	return custody.Probed(seen), err
}

// setUp makes a set-up link, over the admin socket.
func (a *App) setUp(register *signin.Register) func(context.Context, custody.Ask) (keybearer.Secret, time.Time, error) {
	return func(ctx context.Context, ask custody.Ask) (keybearer.Secret, time.Time, error) {
		base := a.consoleAddress()
		if base == "" {
			return keybearer.Secret{}, time.Time{}, keybearer.NewError(keybearer.Conflict, "no site of this server serves the console to browsers").
				WithHint("add to the Caddyfile a site http://:9081 with the lines bind 127.0.0.1 and keybearer_admin, and reload")
		}
		code, until, err := register.OfferSetUp(ctx, a.engine.core.custody, ask)
		return keybearer.NewSecret(base + "/set-up/" + code.Reveal()), until, err
	}
}

// consoleAddress is where browsers reach the console: the address that the operator wrote, or else the first that a site tells; "": nowhere.
func (a *App) consoleAddress() (base string) {
	for _, h := range a.admins {
		if h.public != nil {
			return h.base
		}
		base = cmp.Or(base, h.base)
	}
	return base
}

// proxyAddress is where apps reach the proxy, as the first site that fixes neither caller nor credential says.
func (a *App) proxyAddress() string {
	for _, h := range a.handlers {
		if h.address != "" && h.Credential == "" && h.Caller == "" {
			return h.address
		}
	}
	return ""
}
