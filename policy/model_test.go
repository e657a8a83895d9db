package policy

import (
	"flag"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/publicsuffix"
	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

// This file is a second opinion: the same decisions, written the slow way and without the code under test. Requests and rules are
// drawn from few words, so that near misses are common.

// Generators favour small values, so the usual number of checks meets few requests that pass.
func TestMain(m *testing.M) {
	flag.Parse()
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		_ = checks.Value.Set("5000")
	}
	os.Exit(m.Run())
}

var (
	modelHosts = []string{"example.com", "api.example.com", "api.example.com", "a.api.example.com", "b.a.api.example.com", "xapi.example.com", "b.xapi.example.com", "amazonaws.com", "s3.amazonaws.com", "b.s3.amazonaws.com", "a.b.s3.amazonaws.com", "s3.eu-west-1.amazonaws.com", "10.0.0.1", "2001:db8::1"}
	modelPaths = []string{"/", "/v1", "/v1/", "/v1/a", "/v1/a/b", "/v1x", "/v2/a", "/v1/../v2/a", "/v1//a", "/v1/%2E%2e/v2", "/v1/a%2fb", "/v1/a;b", "/v1/%25", "/v1/%00", "/v1/%5C", "/v1/%41", "/V1/a", "/v1/a..b", "/v1/%c0%ae%c0%ae/a", "/v1/%C3%BC"}
)

func drawRule(t *rapid.T) keybearer.Rule {
	host := rapid.SampledFrom([]string{"", "", "*.", "**."}).Draw(t, "wild") + rapid.SampledFrom(modelHosts).Draw(t, "rule host")
	if i := strings.LastIndex(host, "*."); i >= 0 && strings.ContainsAny(host[i+2:], "01") {
		host = host[i+2:]
	}
	return keybearer.Rule{
		Scheme:  rapid.SampledFrom([]string{"https", "https", "http"}).Draw(t, "rule scheme"),
		Host:    host,
		Port:    rapid.SampledFrom([]uint16{443, 443, 80, 8443}).Draw(t, "rule port"),
		Path:    rapid.SampledFrom([]string{"", "", "/v1", "/v1/", "/v1/a"}).Draw(t, "rule path"),
		Methods: rapid.SampledFrom([][]string{nil, nil, {"GET"}, {"GET", "POST"}, keybearer.Methods}).Draw(t, "rule methods"),
		Private: rapid.SampledFrom([]bool{false, false, true}).Draw(t, "rule private"),
	}
}

func drawTerms(t *rapid.T) *keybearer.Terms {
	some := rapid.SampledFrom([]int{0, 1, 2, 3, 4, 6, 8}).Draw(t, "number of rules")
	return &keybearer.Terms{
		Kind:        rapid.SampledFrom([]keybearer.Kind{keybearer.Bearer, keybearer.Header}).Draw(t, "kind"),
		Rules:       CanonicalRules(rapid.SliceOfN(rapid.Custom(drawRule), some, some).Draw(t, "rules")),
		RequireUser: rapid.Bool().Draw(t, "require user"),
		WebSocket:   rapid.Bool().Draw(t, "websocket"),
	}
}

func drawTarget(t *rapid.T) *Target {
	target := Target{
		Scheme: rapid.SampledFrom([]string{"https", "http"}).Draw(t, "scheme"),
		Host:   rapid.SampledFrom(modelHosts).Draw(t, "host"),
		Port:   rapid.SampledFrom([]uint16{0, 0, 80, 443, 8443}).Draw(t, "port"),
		Path:   rapid.SampledFrom(modelPaths).Draw(t, "path"),
	}
	target.Literal = target.Scheme == "https" || rapid.Bool().Draw(t, "literal")
	target.Addr, _ = netip.ParseAddr(target.Host)
	return &target
}

func drawMethod(t *rapid.T) string {
	return rapid.SampledFrom([]string{"GET", "GET", "POST", "DELETE", "TRACE", "get", ""}).Draw(t, "method")
}

func drawReach(t *rapid.T) Reach {
	return rapid.SampledFrom([]Reach{Unresolved, Public, Listed, Denied, Denied + 1}).Draw(t, "reach")
}

// modelAdmit says which rules admit the request, by asking four questions of each.
func modelAdmit(terms *keybearer.Terms, t *Target, method string, reach Reach) (keybearer.Code, string) {
	scheme, port := modelEndpoint(terms, t)
	type answers struct{ place, address, method bool }
	var all []answers
	for _, r := range terms.Rules {
		a := answers{
			place:   r.Scheme == scheme && r.Port == port && modelHost(r.Host, t.Host) && modelPath(r, t.Path),
			address: reach == Unresolved || reach == Listed && r.Private || reach == Public && !r.Private,
			method:  slices.Contains(keybearer.Methods, method) && (r.Methods == nil || slices.Contains(r.Methods, method)),
		}
		if a.place && a.address && a.method {
			return "", r.String()
		}
		all = append(all, a)
	}
	some := func(want answers) bool { return slices.Contains(all, want) }
	switch {
	case some(answers{true, false, true}):
		return keybearer.AddressDenied, ""
	case some(answers{true, true, false}):
		return keybearer.MethodNotAllowed, ""
	case some(answers{true, false, false}):
		return keybearer.AddressDenied, ""
	}
	return keybearer.DestinationNotAllowed, ""
}

func modelEndpoint(terms *keybearer.Terms, t *Target) (string, uint16) {
	ports := map[string]uint16{"https": t.Port, "http": t.Port}
	if t.Port == 0 || !t.Literal && t.Port == 80 {
		ports = map[string]uint16{"https": 443, "http": 80}
	}
	if t.Literal {
		return t.Scheme, ports[t.Scheme]
	}
	has := map[string]bool{}
	for _, r := range terms.Rules {
		if r.Port == ports[r.Scheme] && modelHost(r.Host, t.Host) {
			has[r.Scheme] = true
		}
	}
	if has["http"] && !has["https"] {
		return "http", ports["http"]
	}
	return "https", ports["https"]
}

// modelHost compares labels from the right.
func modelHost(pattern, host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return pattern == host
	}
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	slices.Reverse(p)
	slices.Reverse(h)
	for i, label := range p {
		switch {
		case label == "**":
			for k := i + 1; k < len(h); k++ { // no name in between is a public suffix
				between := slices.Clone(h[:k])
				slices.Reverse(between)
				if name := strings.Join(between, "."); must(publicsuffix.PublicSuffix(name)) == name {
					return false
				}
			}
			return len(h) > i
		case len(h) <= i, label != "*" && label != h[i]:
			return false
		}
	}
	return len(h) == len(p)
}

func must(suffix string, _ bool) string { return suffix }

// modelPath decodes where the code under test looks at bytes.
func modelPath(r keybearer.Rule, path string) bool {
	if r.Path == "" && r.Methods == nil {
		return true
	}
	once, err := url.PathUnescape(path)
	if err != nil || strings.Contains(path, "..") || strings.Contains(path, "//") || strings.ContainsAny(path, `;\`) || string([]rune(once)) != once {
		return false
	}
	for _, c := range "./\\%\x00" {
		if strings.Count(once, string(c)) != strings.Count(strings.ReplaceAll(path, "%", ""), string(c)) {
			return false // one of them came out of an escape
		}
	}
	if r.Path == "" {
		return true
	}
	want, got := strings.Split(r.Path, "/"), strings.Split(path, "/")
	if want[len(want)-1] == "" { // "/v1/": something must follow, if only nothing
		want = want[:len(want)-1]
		return len(got) > len(want) && slices.Equal(got[:len(want)], want)
	}
	return len(got) >= len(want) && slices.Equal(got[:len(want)], want)
}

// modelDecide is the order of the contract as a list of what must hold.
func modelDecide(req *Request, snap Snapshot, reach Reach) keybearer.Code {
	c, s, k := snap.Credential, snap.Scope, req.Caller
	if k.Disabled || !k.DeletedAt.IsZero() {
		return keybearer.CallerUnauthenticated
	}
	levels := map[keybearer.Subject]keybearer.Level{}
	if c != nil {
		for _, g := range c.Grants {
			levels[g.Subject] = max(levels[g.Subject], g.Level)
		}
	}
	mine := levels["app:"+keybearer.Subject(k.Name)]
	theirs := levels["user:"+keybearer.Subject(req.User)]
	for _, g := range req.Groups {
		theirs = max(theirs, levels["group:"+keybearer.Subject(g)])
	}
	switch {
	case c == nil, s == nil, !s.DeletedAt.IsZero(), c.ScopeID != s.ID, mine == 0, s.Name != "global" && !slices.Contains(k.Scopes, s.ID):
		return keybearer.CredentialForbidden
	case !c.DeletedAt.IsZero() && mine >= keybearer.View:
		return keybearer.CredentialDeleted
	case !c.DeletedAt.IsZero(), req.User != "" && theirs == 0:
		return keybearer.CredentialForbidden
	case req.Bogus, c.Current.Terms.RequireUser && req.User == "":
		return keybearer.UserRequired
	case c.Disabled:
		return keybearer.CredentialDisabled
	case !c.ExpiresAt.IsZero() && (req.Now.IsZero() || req.Now.Equal(c.ExpiresAt) || req.Now.After(c.ExpiresAt)):
		return keybearer.CredentialExpired
	case len(c.Current.Sealed) == 0:
		return keybearer.CredentialNeedsSecret
	case s.Work != nil && s.Work.Kind != keybearer.WorkRotate:
		return keybearer.ScopeRegenerating
	}
	code, _ := modelAdmit(&c.Current.Terms, req.Target, req.Method, reach)
	return code
}

var modelNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func drawRequest(t *rapid.T) *Request {
	caller := &keybearer.Caller{Name: "billing", Scopes: rapid.SampledFrom([][]string{nil, {"scp_docs"}, {"scp_docs"}, {"scp_other"}}).Draw(t, "bound")}
	switch rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 0, 0, 1, 2}).Draw(t, "caller state") {
	case 1:
		caller.Disabled = true
	case 2:
		caller.DeletedAt = modelNow
	}
	user := rapid.SampledFrom([]string{"", "", "ann", "bob", "bogus"}).Draw(t, "user")
	return &Request{
		Target: drawTarget(t), Method: drawMethod(t), Caller: caller,
		User: strings.TrimPrefix(user, "bogus"), Bogus: user == "bogus",
		Groups: rapid.SampledFrom([][]string{nil, {"ops"}, {"dev", "ops"}}).Draw(t, "groups"),
		Now:    rapid.SampledFrom([]time.Time{modelNow, modelNow, {}}).Draw(t, "now"),
	}
}

func drawSnapshot(t *rapid.T) Snapshot {
	scope := &keybearer.Scope{ID: "scp_docs", Name: rapid.SampledFrom([]string{"docs", "docs", "global"}).Draw(t, "scope")}
	cred := &keybearer.Credential{ScopeID: rapid.SampledFrom([]string{"scp_docs", "scp_docs", "scp_docs", "scp_other"}).Draw(t, "scope id")}
	for _, s := range []keybearer.Subject{"app:billing", "app:bill", "user:billing", "user:ann", "group:ops", "user:", "app:"} {
		if level := rapid.SampledFrom([]keybearer.Level{0, 1, 2, 2, 3, 4, 99}).Draw(t, "grant "+string(s)); level != 99 {
			cred.Grants = append(cred.Grants, keybearer.Grant{Subject: s, Level: level})
		}
	}
	cred.Current.Terms = *drawTerms(t)
	cred.Current.Sealed = []byte("sealed")
	rare := func(name string) bool {
		return rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 0, 0, 0, 1}).Draw(t, name) == 1
	}
	if rare("deleted") {
		cred.DeletedAt = modelNow
	}
	cred.Disabled = rare("disabled")
	cred.ExpiresAt = rapid.SampledFrom([]time.Time{{}, {}, modelNow.Add(1), modelNow, modelNow.Add(-1)}).Draw(t, "expires")
	if rare("unsealed") {
		cred.Current.Sealed = nil
	}
	if rapid.Bool().Draw(t, "work") {
		scope.Work = &keybearer.ScopeWork{Kind: rapid.SampledFrom([]keybearer.WorkKind{keybearer.WorkRotate, keybearer.WorkRegenerate, keybearer.WorkDelete}).Draw(t, "kind of work")}
	}
	if rare("scope deleted") {
		scope.DeletedAt = modelNow
	}
	if rare("no scope") {
		scope = nil
	}
	if rare("no credential") {
		cred = nil
	}
	return Snapshot{scope, cred}
}
