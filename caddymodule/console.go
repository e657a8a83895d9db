package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/console"
	"github.com/keybearer/keybearer/internal/proxy"
	"github.com/keybearer/keybearer/internal/signin"
)

// openConsole puts the console beside the API. Who is signed in stays so across reloads that keep the core.
func (a *App) openConsole(h *AdminHandler, api http.Handler) (http.Handler, error) {
	key, err := json.Marshal([]any{"sign-in", a.coreKey()})
	if err != nil {
		return nil, err
	}
	core := a.engine.core
	sessions, err := take(&a.held, string(key), func() (*signin.SignIn, error) {
		return signin.New(signin.Config{Custody: core.custody, Logger: logs.logger()}), nil
	})
	if err != nil {
		return nil, err
	}
	cfg := console.Config{Custody: core.custody, SignIn: sessions, Logger: logs.logger(), Proxy: a.proxyAddress(), Probe: a.probe}
	if log := a.readAudit(core); log != nil {
		cfg.Audit = log
	}
	pages := console.New(cfg)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/") {
			api.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	}), nil
}

// probe sends a request through the proxy of this configuration.
func (a *App) probe(ctx context.Context, p console.Probe) (console.Probed, error) {
	if a.fixedOff {
		return console.Probed{}, keybearer.NewError(keybearer.Conflict, "this server fixes no caller, so it cannot send as one").
			WithHint("take identity fixed off out of the Caddyfile, or send the request as the app itself")
	}
	seen, err := a.engine.proxy.Probe(ctx, proxy.Probe(p))
	return console.Probed(seen), err
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
