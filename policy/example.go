package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
)

// Example is a request that shows what a rule means.
type Example struct {
	Method string
	URL    string // canonical, with its scheme meant as written
	Why    string // of a miss: why the rule does not admit it
}

// String returns "POST https://api.example.com/hook".
func (e Example) String() string { return e.Method + " " + e.URL }

const shownExamples = 3

// Examples returns three requests that the rule admits by itself, and three near misses, each as different from the others as the rule allows. Every one
// of them has been judged by [Admit], whether the app goes by proxy mode or names its destination, and addresses aside. There are fewer matches only
// for a wildcard in front of a name so long that nothing fits before it.
//
// An https rule has no miss with "http://": in proxy mode that is how an app asks for https.
func Examples(r keybearer.Rule) (matches, misses []Example) {
	hosts, paths, methods := likeHosts(r.Host), likePaths(r.Path), likeMethods(r.Methods)
	hosts = slices.DeleteFunc(hosts, func(h string) bool {
		e := exampleOf(&r, h, r.Port, paths[0], methods[0])
		return !e.admits(&r)
	})
	if len(hosts) == 0 {
		return nil, nil
	}
	for shift := range len(paths) {
		for i := range len(hosts) * len(paths) * len(methods) {
			e := exampleOf(&r, hosts[i%len(hosts)], r.Port, paths[(i+shift)%len(paths)], methods[i%len(methods)])
			if e.admits(&r) {
				matches = addExample(matches, e)
			}
		}
	}
	near := nearMisses(&r, methods[0], hosts[0], paths[0])
	for round := range 4 { // the most telling of each kind first
		for _, kind := range near {
			if round < len(kind) {
				if e := kind[round]; e.misses(&r) {
					misses = addExample(misses, e)
				}
			}
		}
	}
	return matches, misses
}

func addExample(list []Example, e Example) []Example {
	if len(list) == shownExamples || slices.ContainsFunc(list, func(x Example) bool { return x.String() == e.String() }) {
		return list
	}
	return append(list, e)
}

func exampleOf(r *keybearer.Rule, host string, port uint16, path, method string) Example {
	return Example{Method: method, URL: r.Scheme + "://" + keybearer.JoinHost(r.Scheme, host, port) + path}
}

// judge asks Admit in both readings of the URL.
func (e *Example) judge(r *keybearer.Rule) (admitted, refused bool) {
	t, err := ParseAbsolute(e.URL)
	if err != nil {
		return false, false
	}
	alone := &keybearer.Terms{Rules: []keybearer.Rule{*r}}
	named := t
	named.Literal = true
	a, b := Admit(alone, &t, e.Method, Unresolved), Admit(alone, &named, e.Method, Unresolved)
	m := compare(r, &b.Destination, t.Path, e.Method, Unresolved)
	e.Why = m.why(r, &b.Destination)
	return a.Allowed() && b.Allowed(), !a.Allowed() && !b.Allowed()
}

func (e *Example) admits(r *keybearer.Rule) bool { admitted, _ := e.judge(r); return admitted }
func (e *Example) misses(r *keybearer.Rule) bool { _, refused := e.judge(r); return refused }

// likeHosts are hosts that the pattern may match.
func likeHosts(pattern string) []string {
	wild, suffix := cutWildcard(pattern)
	switch wild {
	case "*.":
		return []string{"www." + suffix, "eu." + suffix, "a." + suffix}
	case "**.":
		return []string{"www." + suffix, "eu.www." + suffix, "a.b.c." + suffix, "a." + suffix}
	}
	return []string{pattern}
}

func likePaths(prefix string) []string {
	if below, ok := strings.CutSuffix(prefix, "/"); ok && prefix != "" {
		return []string{below + "/42", below + "/42/notes", below + "/?page=2"}
	}
	if prefix == "" {
		return []string{"/", "/v1/items", "/v1/items/42?full=true"}
	}
	return []string{prefix, prefix + "/42", prefix + "/42/notes?full=true"}
}

func likeMethods(methods []string) []string {
	if len(methods) == 0 {
		return []string{"GET", "POST", "DELETE"}
	}
	return methods
}

// nearMisses are requests just outside of what the rule says, by kind. Some may be inside all the same.
func nearMisses(r *keybearer.Rule, method, host, path string) [][]Example {
	at := func(host string, port uint16, path, method string) Example {
		return exampleOf(r, host, port, path, method)
	}
	var hosts, paths, methods, ports, schemes []Example
	for _, h := range unlikeHosts(r.Host) {
		hosts = append(hosts, at(h, r.Port, path, method))
	}
	if r.Path != "" {
		bare := strings.TrimSuffix(r.Path, "/")
		for _, p := range []string{bare + "X", bare, "/", bare + "/../admin"} {
			if p != "" {
				paths = append(paths, at(host, r.Port, p, method))
			}
		}
	}
	for _, m := range []string{"DELETE", "POST", "GET", "PUT", "PATCH", "HEAD", "OPTIONS"} {
		if len(r.Methods) > 0 && !slices.Contains(r.Methods, m) {
			methods = append(methods, at(host, r.Port, path, m))
		}
	}
	for _, p := range []uint16{8443, 443, 9443, 10443} {
		if p != r.Port {
			ports = append(ports, at(host, p, path, method))
		}
	}
	if r.Scheme == "http" {
		schemes = []Example{{Method: method, URL: "https://" + keybearer.JoinHost("https", host, r.Port) + path}}
	}
	return [][]Example{hosts, paths, methods, schemes, ports}
}

// unlikeHosts are hosts that are easily taken for ones that the pattern matches.
func unlikeHosts(pattern string) []string {
	if addr, err := netip.ParseAddr(pattern); err == nil {
		var next []string
		for _, a := range []netip.Addr{addr.Next(), addr.Prev()} {
			if a.IsValid() {
				next = append(next, a.String())
			}
		}
		return next
	}
	wild, suffix := cutWildcard(pattern)
	switch wild {
	case "*.":
		return []string{suffix, "a.b." + suffix, "not" + suffix}
	case "**.":
		return []string{suffix, "not" + suffix, "www." + suffix + ".example"}
	}
	return []string{"www." + suffix, suffix + ".example", "not" + suffix}
}

// nearest returns the rule that admits the request, or else the one that differs from it in the least; the first of equal ones. Nil: there is none.
func nearest(rules []keybearer.Rule, d *Destination, path, method string, reach Reach) *keybearer.Rule {
	var best *keybearer.Rule
	least := 0
	for i := range rules {
		r := &rules[i]
		distance := 0
		for _, x := range []struct {
			differs bool
			weight  int
		}{
			{!admitsHost(r.Host, d.Host, d.Addr.IsValid()), 16},
			{r.Port != d.Port, 4},
			{r.Scheme != d.Scheme, 4},
			{!admitsPath(r.Path, path), 2},
			{!admitsMethod(r.Methods, method), 1},
			{compare(r, d, path, method, reach) != 0, 1},
		} {
			if x.differs {
				distance += x.weight
			}
		}
		if best == nil || distance < least {
			best, least = r, distance
		}
	}
	return best
}
