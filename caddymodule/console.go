package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/keybearer/keybearer/internal/console"
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
	cfg := console.Config{Custody: core.custody, SignIn: sessions, Logger: logs.logger(), Proxy: a.proxyAddress()}
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

// proxyAddress is where apps reach the proxy, as the first site that fixes neither caller nor credential says.
func (a *App) proxyAddress() string {
	for _, h := range a.handlers {
		if h.address != "" && h.Credential == "" && h.Caller == "" {
			return h.address
		}
	}
	return ""
}
