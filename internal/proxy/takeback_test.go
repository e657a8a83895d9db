package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
	"github.com/keybearer/keybearer/test/harness"
)

// What proved the caller is taken back where no record changes: the key that signed its JWT, or the authority of its certificate.
func TestAUseEndsWhenItsProofIsTakenBack(t *testing.T) {
	const issuer, audience = "https://idp.example.org", "keybearer"
	for name, prepare := range map[string]func(*lab, *Config) (*Call, func()){
		"the key of a JWT": func(l *lab, c *Config) (*Call, func()) {
			k, next := harness.NewKey(t, "a", "ES256"), harness.NewKey(t, "b", "ES256")
			file := harness.WriteFile(t, filepath.Join(t.TempDir(), "jwks.json"), harness.JWKS(k))
			callers := identity.NewCallers(c.Store, time.Minute, c.Now)
			t.Cleanup(callers.Close)
			i := must(identity.OpenIssuer(identity.IssuerConfig{Issuer: issuer, Audience: audience, JWKSFile: file}))
			j := &identity.JWT{Issuer: i, Callers: callers, Claim: "sub", Names: map[string]string{"shop": "billing"}}
			t.Cleanup(func() { _ = j.Close() })
			c.Identities = []keybearer.Identity{j}
			now := time.Now()
			token := k.Sign(t, nil, map[string]any{"iss": issuer, "aud": audience, "sub": "shop", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix()})
			return &Call{Fields: []Field{{"Proxy-Authorization", "Bearer " + token}}}, func() {
				replace(t, harness.WriteFile(t, filepath.Join(t.TempDir(), "next.json"), harness.JWKS(next)), file)
			}
		},
		"the authority of a certificate": func(l *lab, c *Config) (*Call, func()) {
			ca, other := harness.NewCA(t), harness.NewCA(t)
			callers := identity.NewCallers(c.Store, time.Minute, c.Now)
			t.Cleanup(callers.Close)
			m := must(identity.NewMTLS(identity.MTLSConfig{Trust: []string{ca.File}, Map: []identity.Mapping{{Subject: "dns:billing", Caller: "billing"}}, Logger: c.Logger}, callers))
			t.Cleanup(func() { _ = m.Close() })
			c.Identities = []keybearer.Identity{m}
			cert := ca.Client(t, func(c *x509.Certificate) { c.DNSNames = []string{"billing"} }).Leaf
			state := &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{cert}}
			return &Call{TLS: state}, func() { replace(t, other.File, ca.File) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			var call *Call
			var takeBack func()
			l := newLab(t, func(l *lab, c *Config) { call, takeBack = prepare(l, c) })
			l.credential("crm", l.bearer(), "s3cret-token")
			call.Method, call.Target, call.Route = "GET", l.plain()+"/", &Route{}
			call.Fields = append(call.Fields, Field{"Keybearer-Credential", "docs/crm"})
			p, err := l.proxy.gate.Admit(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Finish(Result{})
			held, release := p.Hold(t.Context())
			defer release()
			takeBack()
			select {
			case <-held.Done():
			case <-time.After(30 * time.Second):
				t.Fatal("a use whose proof was taken back goes on")
			}
			if err := keybearer.AsError(context.Cause(held)); err.Code != keybearer.CallerUnauthenticated {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// replace puts a copy of one file in the place of another.
func replace(t *testing.T, from, to string) {
	t.Helper()
	next := filepath.Join(filepath.Dir(to), "next")
	if err := os.WriteFile(next, must(os.ReadFile(from)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, to); err != nil {
		t.Fatal(err)
	}
}

// A use whose caller cannot be judged for the moment, since the issuer of its JWT is away, holds up none that was revoked.
func TestAUseThatCannotBeJudgedHoldsUpNoRevocation(t *testing.T) {
	const audience = "keybearer"
	ca := harness.NewCA(t)
	issuer := harness.StartIssuer(t, ca)
	k := issuer.Publish(harness.NewKey(t, "a", "ES256"))
	away := make(chan struct{})
	var late atomic.Int64
	t.Cleanup(func() { close(away) })
	var callers *identity.Callers
	l := newLab(t, func(l *lab, c *Config) {
		callers = identity.NewCallers(c.Store, time.Minute, c.Now)
		t.Cleanup(callers.Close)
		i := must(identity.OpenIssuer(identity.IssuerConfig{
			Issuer: issuer.URL, Audience: audience, CA: ca.File,
			Now: func() time.Time { return time.Now().Add(time.Duration(late.Load())) },
		}))
		j := &identity.JWT{Issuer: i, Callers: callers, Claim: "sub", Names: map[string]string{"shop": "billing"}}
		t.Cleanup(func() { _ = j.Close() })
		c.Identities = []keybearer.Identity{j, identity.Token{Callers: callers}}
	})
	l.credential("crm", l.bearer(), "s3cret-token")
	other := l.credential("other", l.bearer(), "s3cret-token")
	hold := func(name, proof string) context.Context {
		p, err := l.proxy.gate.Admit(t.Context(), &Call{Method: "GET", Target: l.plain() + "/", Route: &Route{}, Fields: []Field{
			{"Keybearer-Credential", name}, {"Proxy-Authorization", "Bearer " + proof},
		}})
		if err != nil {
			t.Fatal(err)
		}
		held, release := p.Hold(t.Context())
		t.Cleanup(func() { release(); p.Finish(Result{}) })
		return held
	}
	now := time.Now()
	token := k.Sign(t, nil, map[string]any{"iss": issuer.URL, "aud": audience, "sub": "shop", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix()})
	for range 30 {
		hold("docs/crm", token)
	}
	issuer.Answer(func(http.ResponseWriter, *http.Request) bool { <-away; return true })
	late.Store(int64(25 * time.Hour)) // what was known of the keys is too old
	held := hold("docs/other", l.token)
	l.update(other, func(c *keybearer.Credential) { c.Disabled = true })
	select {
	case <-held.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("a use that was revoked goes on")
	}
	if err := keybearer.AsError(context.Cause(held)); err.Code != keybearer.CredentialDisabled {
		t.Errorf("it ended with %v", err)
	}
}
