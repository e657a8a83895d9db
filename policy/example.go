package policy

import (
	"cmp"
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
// of them has been judged by [Admit], as the app would write it in proxy mode; addresses aside. There are fewer matches only
// for a wildcard in front of a name so long that nothing fits before it.
//
// An https rule has no miss with "http://": in proxy mode that is how an app asks for https.
func Examples(r keybearer.Rule) (matches, misses []Example) {
	hosts, paths, methods := likeHosts(r.Host), likePaths(r.Path), likeMethods(r.Methods)
	host := ""
	for round := range len(paths) {
		for i, h := range hosts {
			e := exampleOf(&r, h, r.Port, paths[(round+i)%len(paths)], methods[(round+i)%len(methods)])
			if len(matches) == shownExamples || !e.judge(&r) || e.Why != "" {
				continue
			}
			matches = append(matches, e)
			host = cmp.Or(host, h)
		}
	}
	if host == "" {
		return nil, nil
	}
	kinds := nearMisses(&r, methods[0], host, paths[0])
	for i, kind := range kinds {
		kinds[i] = slices.DeleteFunc(kind, func(e Example) bool { return !e.judge(&r) || e.Why == "" })
	}
	for round := range shownExamples { // the most telling of each kind first
		for _, kind := range kinds {
			if round < len(kind) && len(misses) < shownExamples {
				e := kind[round]
				e.judge(&r)
				misses = append(misses, e)
			}
		}
	}
	return matches, misses
}

func exampleOf(r *keybearer.Rule, host string, port uint16, path, method string) Example {
	return Example{Method: method, URL: r.Scheme + "://" + keybearer.JoinHost(r.Scheme, host, port) + path}
}

// judge asks Admit and notes why the rule does not admit the request, if so. It reports false for what is no request at all.
func (e *Example) judge(r *keybearer.Rule) bool {
	t, err := ParseAbsolute(e.URL)
	if err != nil {
		return false
	}
	a := Admit(&keybearer.Terms{Rules: []keybearer.Rule{*r}}, &t, e.Method, Unresolved)
	if !a.Allowed() {
		t.Literal = true // so that it says what differs from the URL as it is written
		d := t.fallback()
		m := compare(r, &d, t.Path, e.Method, Unresolved)
		e.Why = m.why(r, &d)
	}
	return true
}

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
	if below, ok := strings.CutSuffix(prefix, "/"); ok {
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

// nearMisses are requests just outside of what the rule says, by kind. Some are inside all the same, and some are none.
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
			paths = append(paths, at(host, r.Port, p, method))
		}
	}
	for _, m := range []string{"DELETE", "POST", "GET", "PUT", "PATCH", "HEAD", "OPTIONS"} {
		methods = append(methods, at(host, r.Port, path, m))
	}
	for _, p := range []uint16{8443, 443, 9443, 10443} {
		ports = append(ports, at(host, p, path, method))
	}
	schemes = []Example{{Method: method, URL: "https://" + keybearer.JoinHost("https", host, r.Port) + path}}
	return [][]Example{hosts, paths, methods, schemes, ports}
}

// unlikeHosts are hosts that are easily taken for ones that the pattern matches.
func unlikeHosts(pattern string) []string {
	if addr, err := netip.ParseAddr(pattern); err == nil {
		return []string{addr.Next().String(), addr.Prev().String()}
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
