package policy

import (
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
)

// Covers reports whether every request that inner admits is admitted by outer too, addresses included. It compares the rules one to one: what
// only two outer rules together admit is not covered.
func Covers(outer, inner keybearer.Rule) bool {
	return outer.Scheme == inner.Scheme && outer.Port == inner.Port && outer.Private == inner.Private &&
		coversHost(outer.Host, inner.Host) && admitsPath(outer.Path, inner.Path) && coversMethods(outer.Methods, inner.Methods) &&
		(restricts(&inner) || !restricts(&outer)) // a rule without restrictions admits paths that the others refuse
}

// Overlap reports whether some request may be admitted by both rules. It may say so of rules that no request meets together, never the reverse.
func Overlap(a, b keybearer.Rule) bool {
	return a.Scheme == b.Scheme && a.Port == b.Port && a.Private == b.Private &&
		(coversHost(a.Host, b.Host) || coversHost(b.Host, a.Host)) && (admitsPath(a.Path, b.Path) || admitsPath(b.Path, a.Path)) &&
		(len(a.Methods) == 0 || len(b.Methods) == 0 || slices.ContainsFunc(a.Methods, func(m string) bool { return slices.Contains(b.Methods, m) }))
}

func coversHost(outer, inner string) bool {
	if outer == inner {
		return outer != ""
	}
	outerWild, outerSuffix := cutWildcard(outer)
	innerWild, innerSuffix := cutWildcard(inner)
	switch {
	case outerWild == "":
		return false
	case innerWild == "":
		return admitsHost(outer, inner, strings.IndexByte(inner, ':') >= 0)
	}
	return outerWild == "**." && (innerSuffix == outerSuffix ||
		strings.HasSuffix(innerSuffix, "."+outerSuffix) && !crossesSuffix(innerSuffix, outerSuffix))
}

func coversMethods(outer, inner []string) bool {
	if len(outer) == 0 {
		return true
	}
	if len(inner) == 0 {
		inner = keybearer.Methods
	}
	for _, m := range inner {
		if !slices.Contains(outer, m) {
			return false
		}
	}
	return true
}

// Widens returns the names of what the next terms admit beyond the old ones: "kind", "header", "prefix", "rules", and with it "http" or "private"
// when no old rule had that; "require_user", "websocket". Nil means the same or narrower. Nil terms admit nothing.
//
// It may call wider what is not (a rule that is covered only by two old ones together), never the reverse.
func Widens(old, next *keybearer.Terms) []string {
	if next == nil {
		return nil
	}
	if old == nil {
		old = &keybearer.Terms{RequireUser: true}
	}
	var names []string
	note := func(name string, wider bool) {
		if wider && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	note("kind", old.Kind != next.Kind)
	note("header", old.Header != next.Header)
	note("prefix", old.Prefix != next.Prefix)
	for _, r := range next.Rules {
		if slices.ContainsFunc(old.Rules, func(o keybearer.Rule) bool { return Covers(o, r) }) {
			continue
		}
		note("rules", true)
		note("http", r.Scheme == "http" && !slices.ContainsFunc(old.Rules, func(o keybearer.Rule) bool { return o.Scheme == "http" }))
		note("private", r.Private && !slices.ContainsFunc(old.Rules, func(o keybearer.Rule) bool { return o.Private }))
	}
	note("require_user", old.RequireUser && !next.RequireUser)
	note("websocket", next.WebSocket && !old.WebSocket)
	return names
}
