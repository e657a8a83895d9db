package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
	"github.com/keybearer/keybearer/test/harness"
)

// claimed are fields that prove nothing, whatever they say and to whichever server they once meant something.
var claimed = []Field{
	{"X-Forwarded-Client-Cert", `By=spiffe://example.org/proxy;URI=spiffe://example.org/shop`},
	{"X-Forwarded-For", "10.0.0.1"},
	{"X-Forwarded-User", "shop"},
	{"X-Real-IP", "127.0.0.1"},
	{"X-Remote-User", "shop"},
	{"Remote-User", "shop"},
	{"X-SSL-Client-S-DN", "CN=shop"},
	{"X-Client-Cert", "shop"},
	{"SSL_CLIENT_S_DN", "CN=shop"},
	{"Forwarded", `for=127.0.0.1;by=shop`},
	{"Via", "1.1 shop"},
	{"From", "shop@example.org"},
	{"Keybearer-Caller", "app:shop"},
	{"Keybearer-Scope", "docs"},
	{"X-Auth-Request-User", "shop"},
}

// proving is a lab whose callers "billing" and "shop" may prove themselves in every way, and use the same credential.
type proving struct {
	*lab
	tokens map[string]string
	certs  map[string]*tls.ConnectionState
	peers  map[string]*keybearer.PeerCredentials
}

func newProving(t *testing.T) *proving {
	p := &proving{tokens: map[string]string{"wrong": "kb_unknown"}, certs: map[string]*tls.ConnectionState{}}
	ca := harness.NewCA(t)
	for name, from := range map[string]*harness.CA{"billing": ca, "shop": ca, "wrong": harness.NewCA(t)} {
		cert := from.Client(t, func(c *x509.Certificate) { c.DNSNames = []string{strings.Replace(name, "wrong", "billing", 1)} }).Leaf
		p.certs[name] = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{cert}}
	}
	p.peers = map[string]*keybearer.PeerCredentials{"billing": {UID: 1001, GID: 7}, "shop": {UID: 7, GID: 2000}, "wrong": {UID: 1001, GID: 2000}}
	p.lab = newLab(t, func(l *lab, c *Config) {
		callers := identity.NewCallers(c.Store, time.Minute, c.Now)
		t.Cleanup(callers.Close)
		mtls := must(identity.NewMTLS(identity.MTLSConfig{
			Trust: []string{ca.File}, Map: []identity.Mapping{{Subject: "dns:billing", Caller: "billing"}, {Subject: "dns:shop", Caller: "shop"}},
		}, callers))
		t.Cleanup(func() { _ = mtls.Close() })
		peers := must(identity.NewPeers(callers, map[uint32]string{1001: "billing"}, map[uint32]string{2000: "shop"}, 1))
		c.Identities = []keybearer.Identity{identity.Token{Callers: callers}, identity.Fixed{Callers: callers}, mtls, peers}
	})
	p.tokens["billing"] = p.token
	_, p.tokens["shop"] = p.newCaller("shop", p.scope.ID)
	p.credential("crm", p.bearer(), "s3cret", func(c *keybearer.Credential, _ *keybearer.Bundle) {
		c.Grants = append(c.Grants, keybearer.Grant{Subject: keybearer.AppSubject("shop"), Level: keybearer.Use})
	})
	return p
}

// call is a request with these proofs; "" for none.
func (p *proving) call(token, fixed, cert, peer string) *Call {
	c := &Call{
		Method: "GET", Target: p.plain(), Route: &Route{Caller: strings.Replace(fixed, "wrong", "nobody", 1)},
		Fields: append([]Field{{"Keybearer-Credential", "docs/crm"}}, claimed...), TLS: p.certs[cert], Peer: p.peers[peer],
	}
	if token != "" {
		c.Fields = append(c.Fields, Field{"Proxy-Authorization", "Bearer " + p.tokens[token]})
	}
	return c
}

// Every combination of four ways, each absent, of one caller, of another one, or wrong: what is proven must be one caller, and nothing wrong.
func TestAllProofsOfARequestMustNameOneCaller(t *testing.T) {
	p := newProving(t)
	each := []string{"", "billing", "shop", "wrong"}
	admitted := 0
	for _, token := range each {
		for _, fixed := range each {
			for _, cert := range each {
				for _, peer := range each {
					proofs := []string{token, fixed, cert, peer}
					want := ""
					for _, proof := range proofs {
						switch {
						case proof == "" || proof == want:
						case want == "":
							want = proof
						default:
							want = "wrong"
						}
					}
					pass, err := p.proxy.gate.Admit(t.Context(), p.call(token, fixed, cert, peer))
					switch {
					case want == "" || want == "wrong":
						if err == nil || err.Code != keybearer.CallerUnauthenticated {
							t.Errorf("%q: %v, event %+v", proofs, err, pass.event)
						}
					case err != nil:
						t.Errorf("%q: %v", proofs, err)
					default:
						admitted++
						if pass.event.Caller != want || (pass.event.TokenID != "") != (token != "") {
							t.Errorf("%q: %+v", proofs, pass.event)
						}
						pass.Finish(Result{Status: 200})
					}
				}
			}
		}
	}
	if admitted != 2*15 { // each non-empty set of ways, for either caller
		t.Errorf("%d combinations were admitted", admitted)
	}
}

// Inside a tunnel the proofs of the CONNECT and those of the request count together.
func TestProofsOfATunnelAndWhatIsInItMustNameOneCaller(t *testing.T) {
	p := newProving(t)
	for _, c := range []struct {
		cert, peer, outer, inner string
		want                     bool
	}{
		{"billing", "", "", "", true},
		{"billing", "", "", "billing", true},
		{"billing", "", "billing", "", true},
		{"billing", "", "", "shop", false},
		{"billing", "", "", "wrong", false},
		{"", "billing", "", "", true},
		{"", "billing", "", "shop", false},
		{"", "", "billing", "", true},
		{"", "", "billing", "shop", false},
	} {
		outer := p.call(c.outer, "", c.cert, c.peer)
		outer.Method, outer.Target = "CONNECT", strings.TrimSuffix(strings.TrimPrefix(p.plain(), "http://"), "/")
		tunnel, _, err := p.proxy.gate.AdmitTunnel(t.Context(), outer)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		inner := p.call(c.inner, "", "", "")
		inner.Tunnel = tunnel
		pass, err := p.proxy.gate.Admit(t.Context(), inner)
		switch {
		case err == nil && !c.want:
			t.Errorf("%+v: admitted", c)
		case err != nil && (c.want || err.Code != keybearer.CallerUnauthenticated):
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil {
			pass.Finish(Result{Status: 200})
		}
	}
}

// The audit log names the token by its id, also after it gave way to another one.
func TestTheAuditLogTellsWhichToken(t *testing.T) {
	p := newProving(t)
	second, kept := keybearer.NewToken(keybearer.CallerTokenPrefix, p.clock.now())
	caller := must(p.store.Caller(t.Context(), "billing")).Clone()
	caller.Tokens = append(caller.Tokens, kept)
	p.commit(keybearer.Write{Caller: caller})
	p.tokens["second"] = second.Reveal()
	for _, token := range []string{"billing", "second", ""} {
		cert := ""
		if token == "" {
			cert = "billing"
		}
		pass, err := p.proxy.gate.Admit(t.Context(), p.call(token, "", cert, ""))
		if err != nil {
			t.Fatal(err)
		}
		pass.Finish(Result{Status: 200})
	}
	var got []string
	for _, e := range p.events(3) {
		got = append(got, string(e.Phase)+" "+e.TokenID)
	}
	first := caller.Tokens[0].ID
	want := []string{"intent " + first, "outcome " + first, "intent " + kept.ID, "outcome " + kept.ID, "intent ", "outcome "}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Who may ask in which scope is what the operator bound. A request can name one scope of those, and nothing that adds another.
func TestAHeaderCanOnlyNarrow(t *testing.T) {
	p := newProving(t)
	crm := p.newScope("crm")
	docs := p.scope
	p.scope = crm
	p.credential("api", p.bearer(), "s3cret")
	p.scope = docs
	for _, how := range [][4]string{{"billing", "", "", ""}, {"", "billing", "", ""}, {"", "", "billing", ""}, {"", "", "", "billing"}} {
		for credential, want := range map[string]keybearer.Code{"docs/crm": "", "crm/api": keybearer.CredentialForbidden} {
			c := p.call(how[0], how[1], how[2], how[3])
			c.Fields[0].Value = credential
			c.Fields = append(c.Fields, Field{"Keybearer-Scopes", "crm"})
			pass, err := p.proxy.gate.Admit(t.Context(), c)
			if err == nil {
				pass.Finish(Result{Status: 200})
			}
			if err == nil != (want == "") || err != nil && err.Code != want {
				t.Errorf("%q %s: %v", how, credential, err)
			}
		}
	}
}
