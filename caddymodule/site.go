package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// checkSite refuses places where the handler would lose requests in silence or serve a fixed caller to strangers. It
// is called while the server's routes are being provisioned: handlers of the current route and of those behind it are still
// raw, and the routes before it were checked when it was their turn.
func checkSite(server *caddyhttp.Server, fixed, shared bool) error {
	const handlerName = "keybearer"
	routes := slices.Clone(server.Routes)
	if server.Errors != nil {
		routes = append(routes, server.Errors.Routes...)
	}
	for _, named := range server.NamedRoutes {
		routes = append(routes, *named)
	}
	for _, route := range routes {
		under := len(route.MatcherSetsRaw) > 0 && namesHost(plain(route.MatcherSetsRaw)) || slices.ContainsFunc(route.MatcherSets, matchesHost)
		for _, raw := range route.HandlersRaw {
			if standsUnderHost(plain(raw), handlerName, under) {
				return fmt.Errorf("keybearer stands under a host matcher: in proxy mode the host of a request is its destination, so requests for every " +
					"other host would be answered with an empty 200; give the site an address without a name, such as http://:9080 with bind 127.0.0.1")
			}
		}
	}
	if !fixed {
		return nil
	}
	for _, address := range server.Listen {
		na, err := listenAddress(address)
		switch {
		case err != nil:
			return fmt.Errorf("listener %q: %w", address, err)
		case na.IsUnixNetwork():
		case !loopback(na):
			return fmt.Errorf("a fixed caller needs a listener that only its app can reach, and %s is open to others: "+
				"add bind unix//run/keybearer/<app>.sock, or bind 127.0.0.1 and shared_host_ok", na)
		case !shared:
			return fmt.Errorf("every process of this host can connect to %s and act as the fixed caller: "+
				"use bind unix//run/keybearer/<app>.sock, or accept it with shared_host_ok", na)
		}
	}
	return nil
}

// headerTime is how long a client may take for the head of a request: apps are near, and send it at once.
const headerTime = caddy.Duration(10 * time.Second)

// settle adjusts what Caddy presumes of a web server and what is wrong for a proxy. Of its limits (docs/security.md) it tightens the one for the head,
// unless the operator set it. With client certificates Caddy compares the host of a request with the TLS server name, and
// refuses absolute-form with 421. Where no route looks at the host that protects nothing.
func settle(server *caddyhttp.Server) {
	if server.ReadHeaderTimeout == 0 {
		server.ReadHeaderTimeout = headerTime
	}
	for _, route := range server.Routes {
		if slices.ContainsFunc(route.MatcherSets, matchesHost) {
			return
		}
	}
	server.StrictSNIHost = new(false)
}

// answerAsterisks leaves "OPTIONS *" to the handler, which refuses it like any other request that names no destination: net/http answers it with an
// empty 200 by itself, to everybody. Caddy keeps its [http.Server] to itself, but each connection's context has it, and there is nothing
// to be answered before the first.
func answerAsterisks() func(context.Context, net.Conn) context.Context {
	var once sync.Once
	return func(ctx context.Context, _ net.Conn) context.Context {
		once.Do(func() {
			if server, ok := ctx.Value(http.ServerContextKey).(*http.Server); ok {
				server.DisableGeneralOptionsHandler = true
			}
		})
		return ctx
	}
}

// open returns the addresses that listen on every interface.
func open(server *caddyhttp.Server) (all []string) {
	for _, address := range server.Listen {
		na, err := listenAddress(address)
		if err != nil || na.IsUnixNetwork() || na.IsFdNetwork() {
			continue
		}
		if ip, err := netip.ParseAddr(na.Host); na.Host == "" || err == nil && ip.IsUnspecified() {
			all = append(all, na.String())
		}
	}
	return all
}

// reachable is an address at which the server can be reached from this machine, "host:port"; "" when it listens on sockets only.
func reachable(server *caddyhttp.Server) string {
	for _, address := range server.Listen {
		na, err := listenAddress(address)
		if err != nil || na.IsUnixNetwork() || na.IsFdNetwork() {
			continue
		}
		if ip, err := netip.ParseAddr(na.Host); na.Host == "" || err == nil && ip.IsUnspecified() {
			na.Host = "127.0.0.1"
		}
		return net.JoinHostPort(na.Host, strconv.FormatUint(uint64(na.StartPort), 10))
	}
	return ""
}

func loopback(na caddy.NetworkAddress) bool {
	ip, err := netip.ParseAddr(na.Host)
	return na.Host == "localhost" || err == nil && ip.IsLoopback()
}

// matchesHost reports whether a provisioned matcher set depends on the host.
func matchesHost(set caddyhttp.MatcherSet) bool {
	return slices.ContainsFunc(set, func(m any) bool {
		if not, ok := m.(*caddyhttp.MatchNot); ok {
			return slices.ContainsFunc(not.MatcherSets, matchesHost)
		}
		module, ok := m.(caddy.Module)
		return !ok || namesHost(map[string]any{caddy.GetModuleName(module): plain(m)})
	})
}

// namesHost reports whether the JSON of a matcher looks at the host: as a host matcher, within "not", as a header, or by
// its placeholder.
func namesHost(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if strings.EqualFold(key, "host") || namesHost(key) || namesHost(inner) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, namesHost)
	case string:
		return strings.Contains(v, "http.request.host") || strings.Contains(v, "{host")
	}
	return false
}

// standsUnderHost walks the JSON of a handler, whatever it nests, and reports whether the named handler is found behind
// a host matcher.
func standsUnderHost(v any, name string, under bool) bool {
	switch v := v.(type) {
	case map[string]any:
		if v["handler"] == name && under {
			return true
		}
		under = under || namesHost(v["match"])
		for _, inner := range v {
			if standsUnderHost(inner, name, under) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(inner any) bool { return standsUnderHost(inner, name, under) })
	}
	return false
}

// plain gives the JSON of v as maps, slices and strings.
func plain(v any) (decoded any) {
	if raw, err := json.Marshal(v); err == nil {
		_ = json.Unmarshal(raw, &decoded)
	}
	return decoded
}
