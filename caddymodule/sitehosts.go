package caddymodule

import (
	"net"
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// siteAddress returns the address under which browsers reach the named handler, "" when that cannot be told, and all names that they may use for it: those of
// the host matchers that it stands under, and the address that the server listens on. It is called while the routes are being provisioned, like [checkSite].
func siteAddress(server *caddyhttp.Server, handler string) (base string, names []string) {
	for _, route := range server.Routes {
		above := hostsIn(plain(route.MatcherSetsRaw))
		for _, set := range route.MatcherSets {
			for _, m := range set {
				if host, ok := m.(*caddyhttp.MatchHost); ok {
					above = append(above, *host...)
				}
			}
		}
		for _, raw := range route.HandlersRaw {
			names = append(names, hostsAbove(plain(raw), handler, above)...)
		}
	}
	repl := caddy.NewReplacer()
	for i := range names {
		names[i] = repl.ReplaceAll(names[i], "")
	}
	host, port, err := net.SplitHostPort(reachable(server))
	if err != nil {
		return "", names
	}
	scheme := "http"
	if len(server.TLSConnPolicies) > 0 && port != "80" { // as Caddy decides it
		scheme = "https"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		names = append(names, host)
	}
	if len(names) > 0 && names[0] != "" && names[0][0] != '*' {
		host = names[0]
	}
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
			host = "[" + host + "]"
		}
		return scheme + "://" + host, names
	}
	return scheme + "://" + net.JoinHostPort(host, port), names
}

// hostsIn returns the names in the host matchers of matcher sets, as JSON. What stands under "not" admits nobody.
func hostsIn(sets any) (names []string) {
	list, _ := sets.([]any)
	for _, set := range list {
		matchers, _ := set.(map[string]any)
		hosts, _ := matchers["host"].([]any)
		for _, h := range hosts {
			if name, ok := h.(string); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// hostsAbove walks the JSON of a handler, whatever it nests, and returns the names of all host matchers that the named one stands under.
func hostsAbove(v any, name string, above []string) (names []string) {
	switch v := v.(type) {
	case map[string]any:
		if v["handler"] == name {
			return above
		}
		above = append(slices.Clone(above), hostsIn(v["match"])...)
		for _, inner := range v {
			names = append(names, hostsAbove(inner, name, above)...)
		}
	case []any:
		for _, inner := range v {
			names = append(names, hostsAbove(inner, name, above)...)
		}
	}
	return names
}
