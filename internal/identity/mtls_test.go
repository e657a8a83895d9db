package identity_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
	"github.com/keybearer/keybearer/test/harness"
)

// named are callers that are all there.
type named struct{}

func (named) ByName(_ context.Context, name string) (*keybearer.Caller, error) {
	return &keybearer.Caller{ID: "cal_" + name, Name: name}, nil
}

func (named) ByToken(context.Context, keybearer.TokenHash) (*keybearer.Caller, error) {
	return nil, errors.New("not asked for")
}

func newMTLS(t *testing.T, c identity.MTLSConfig) *identity.MTLS {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	m, err := identity.NewMTLS(c, named{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// presented is what a handshake with these certificates leaves, verified by nobody.
func presented(certs ...*x509.Certificate) *keybearer.Evidence {
	return &keybearer.Evidence{TLS: &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: certs}, At: time.Now()}
}

func who(t *testing.T, i keybearer.Identity, e *keybearer.Evidence) string {
	t.Helper()
	c, err := i.Identify(t.Context(), e)
	switch {
	case c != nil && err == nil:
		return c.Name
	case c != nil:
		t.Errorf("a caller and an error: %v", err)
	case keybearer.CodeOf(err) == keybearer.CallerUnauthenticated:
		return "refused"
	case err != nil:
		t.Errorf("%v", err)
	}
	return "nobody"
}

func TestAClientCertificateProvesItsCallerOrIsRefused(t *testing.T) {
	ca, spire, other := harness.NewCA(t), harness.NewCA(t), harness.NewCA(t)
	partner := harness.NewCA(t)
	client := func(edit func(*x509.Certificate)) *x509.Certificate { return ca.Client(t, edit).Leaf }
	dns := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	both := func(edits ...func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for _, e := range edits {
				e(c)
			}
		}
	}
	billing := dns("billing.internal")
	sub := ca.Sub(t, nil)
	below := sub.Client(t, billing).Leaf
	narrow := ca.Sub(t, func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"shop.internal"}
	})
	servers := ca.Sub(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	spireSub := spire.Sub(t, nil)
	revoked := client(billing)
	list := ca.RevokeFile(t, tls.Certificate{Certificate: [][]byte{revoked.Raw}})
	const id = "spiffe://example.org/ns/shop/sa/billing"
	uris := func(texts ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.URIs = harness.URIs(t, texts...) }
	}
	m := newMTLS(t, identity.MTLSConfig{
		Trust: []string{ca.File}, SPIFFE: map[string]string{"example.org": spire.File, "partner.example": partner.File}, Revoked: []string{list},
		Map: []identity.Mapping{
			{"dns:billing.internal", "billing"},
			{"dns:billing2.internal", "billing"},
			{"dns:az-09.internal", "billing"},
			{"dns:shop.internal", "shop"},
			{"uri:urn:example:billing", "billing"},
			{"email:billing@example.org", "billing"},
			{"cn:Billing of ours", "billing"},
			{id, "billing"},
			{"spiffe://partner.example/shop", "shop"},
		},
	})
	chain := func(c ...*x509.Certificate) []*x509.Certificate { return c }
	for name, c := range map[string]struct {
		certs []*x509.Certificate
		want  string
	}{
		"none":                           {nil, "nobody"},
		"dns":                            {chain(client(billing)), "billing"},
		"dns in capitals":                {chain(client(dns("AZ-09.INTERNAL"))), "billing"},
		"uri":                            {chain(client(uris("urn:example:billing"))), "billing"},
		"email":                          {chain(client(func(c *x509.Certificate) { c.EmailAddresses = []string{"billing@example.org"} })), "billing"},
		"email in capitals":              {chain(client(func(c *x509.Certificate) { c.EmailAddresses = []string{"Billing@example.org"} })), "refused"},
		"common name":                    {chain(client(func(c *x509.Certificate) { c.Subject.CommonName = "Billing of ours" })), "billing"},
		"common name, otherwise spelled": {chain(client(func(c *x509.Certificate) { c.Subject.CommonName = "Billing of Ours" })), "refused"},
		"common name beside others": {chain(client(func(c *x509.Certificate) {
			c.Subject.CommonName, c.Subject.Organization = "Billing of ours", []string{"We"}
		})), "billing"},
		"no key usage":                     {chain(client(both(billing, func(c *x509.Certificate) { c.KeyUsage = 0 }))), "billing"},
		"common name and more":             {chain(client(func(c *x509.Certificate) { c.Subject.CommonName = "Billing of ours " })), "refused"},
		"common name that is a dns":        {chain(client(func(c *x509.Certificate) { c.Subject.CommonName = "billing.internal" })), "refused"},
		"two common names":                 {chain(client(twoNames("spy", "Billing of ours"))), "refused"},
		"dns that is a common name":        {chain(client(dns("spy.internal"))), "refused"},
		"wildcard dns":                     {chain(client(dns("*.internal"))), "refused"},
		"part of a dns":                    {chain(client(dns("x.billing.internal"))), "refused"},
		"dns with a dot behind":            {chain(client(dns("billing.internal."))), "refused"},
		"two subjects of one caller":       {chain(client(dns("billing.internal", "billing2.internal"))), "billing"},
		"two subjects of two callers":      {chain(client(dns("billing.internal", "shop.internal"))), "refused"},
		"a mapped and an unmapped subject": {chain(client(dns("spy.internal", "billing.internal"))), "billing"},
		"an unmapped and a mapped subject": {chain(client(dns("billing.internal", "spy.internal"))), "billing"},
		"no names":                         {chain(client(nil)), "refused"},
		"unmapped":                         {chain(client(dns("spy.internal"))), "refused"},
		"other authority":                  {chain(other.Client(t, billing).Leaf), "refused"},
		"other authority, which it sends":  {chain(other.Client(t, billing).Leaf, other.Root()), "refused"},
		"expired":                          {chain(client(both(billing, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))), "refused"},
		"not valid yet":                    {chain(client(both(billing, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }))), "refused"},
		"for servers":                      {chain(client(both(billing, usage(x509.ExtKeyUsageServerAuth)))), "refused"},
		"for code":                         {chain(client(both(billing, usage(x509.ExtKeyUsageCodeSigning)))), "refused"},
		"for servers and clients":          {chain(client(both(billing, usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)))), "billing"},
		"for anything":                     {chain(client(both(billing, usage()))), "billing"},
		"not for signing":                  {chain(client(both(billing, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }))), "refused"},
		"an authority":                     {chain(ca.Sub(t, billing).Root()), "refused"},
		"the root":                         {chain(ca.Root()), "refused"},
		"revoked":                          {chain(revoked), "refused"},
		"critical and unknown": {chain(client(both(billing, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}))), "refused"},
		"intermediate":                      {chain(sub.Client(t, billing).Leaf, sub.Root()), "billing"},
		"intermediate that is not sent":     {chain(sub.Client(t, billing).Leaf), "refused"},
		"intermediate for other names":      {chain(narrow.Client(t, billing).Leaf, narrow.Root()), "refused"},
		"intermediate for servers":          {chain(servers.Client(t, both(billing, usage())).Leaf, servers.Root()), "refused"},
		"a leaf that vouches":               {chain(leafIssued(t, ca, billing), client(nil)), "refused"},
		"svid":                              {chain(spire.SVID(t, id).Leaf), "billing"},
		"svid by an intermediate":           {chain(spireSub.SVID(t, id).Leaf, spireSub.Root()), "billing"},
		"svid that is unmapped":             {chain(spire.SVID(t, id+"/x").Leaf), "refused"},
		"svid in capitals":                  {chain(spire.SVID(t, "spiffe://example.org/ns/shop/sa/Billing").Leaf), "refused"},
		"svid by the roots of subjects":     {chain(ca.SVID(t, id).Leaf), "refused"},
		"svid by another domain's bundle":   {chain(partner.SVID(t, id).Leaf), "refused"},
		"svid of the other domain":          {chain(partner.SVID(t, "spiffe://partner.example/shop").Leaf), "shop"},
		"svid of an unknown domain":         {chain(spire.SVID(t, "spiffe://evil.example/shop").Leaf), "refused"},
		"two ids":                           {chain(spire.Client(t, uris(id, "spiffe://example.org/other")).Leaf), "refused"},
		"an id and another uri":             {chain(spire.Client(t, uris(id, "urn:example:billing")).Leaf), "refused"},
		"another uri and an id, by a root":  {chain(client(uris("urn:example:billing", id))), "refused"},
		"svid with a mapped dns":            {chain(spire.Client(t, both(uris(id+"/x"), billing)).Leaf), "refused"},
		"svid by the roots, with a dns":     {chain(client(both(uris(id), billing))), "refused"},
		"subject by a domain's bundle":      {chain(spire.Client(t, billing).Leaf), "refused"},
		"svid for servers":                  {chain(spire.Client(t, both(uris(id), usage(x509.ExtKeyUsageServerAuth))).Leaf), "refused"},
		"svid that expired":                 {chain(spire.Client(t, both(uris(id), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })).Leaf), "refused"},
		"svid without a path":               {chain(spire.SVID(t, "spiffe://example.org").Leaf), "refused"},
		"svid, id with a port":              {chain(spire.SVID(t, "spiffe://example.org:443/ns/shop/sa/billing").Leaf), "refused"},
		"svid, id with a dot segment":       {chain(spire.SVID(t, "spiffe://example.org/x/../ns/shop/sa/billing").Leaf), "refused"},
		"svid, id percent-encoded":          {chain(spire.SVID(t, "spiffe://example.org/ns/shop/sa/%62illing").Leaf), "refused"},
		"svid that is an authority":         {chain(spire.Sub(t, uris(id)).Root()), "refused"},
		"a right one behind a wrong one":    {chain(other.Client(t, billing).Leaf, client(billing)), "refused"},
		"svid behind a subject's wrong one": {chain(client(dns("spy.internal")), spire.SVID(t, id).Leaf), "refused"},
	} {
		e := presented(c.certs...)
		for _, when := range []string{"first", "again"} {
			if got := who(t, m, e); got != c.want {
				t.Errorf("%s, %s: %s, want %s", name, when, got, c.want)
			}
		}
	}
	for _, c := range []struct {
		certs []*x509.Certificate
		want  string
	}{{chain(below, sub.Root()), "billing"}, {chain(below), "refused"}, {chain(below, sub.Root()), "billing"}} {
		if got := who(t, m, presented(c.certs...)); got != c.want {
			t.Errorf("the same with %d certificates: %s, want %s", len(c.certs), got, c.want)
		}
	}
	early := presented(client(billing))
	early.TLS.HandshakeComplete = false
	if got := who(t, m, early); got != "refused" {
		t.Errorf("early data: %s", got)
	}
	if got := who(t, m, &keybearer.Evidence{}); got != "nobody" {
		t.Errorf("without TLS: %s", got)
	}
}

func usage(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

func twoNames(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, n := range names {
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: []int{2, 5, 4, 3}, Value: n})
		}
	}
}

// leafIssued makes a certificate that is signed by a leaf.
func leafIssued(t *testing.T, ca *harness.CA, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	return ca.Sub(t, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }).Client(t, edit).Leaf
}

func TestOnlyTheKindsThatAreConfiguredAreLookedAt(t *testing.T) {
	ca := harness.NewCA(t)
	const id = "spiffe://example.org/billing"
	subject, svid := ca.Client(t, func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} }).Leaf, ca.SVID(t, id).Leaf
	subjects := newMTLS(t, identity.MTLSConfig{Trust: []string{ca.File, harness.NewCA(t).File}, Map: []identity.Mapping{{"dns:billing.internal", "billing"}}})
	svids := newMTLS(t, identity.MTLSConfig{SPIFFE: map[string]string{"example.org": ca.File}, Map: []identity.Mapping{{id, "billing"}}})
	for _, c := range []struct {
		m    *identity.MTLS
		cert *x509.Certificate
		want string
	}{{subjects, subject, "billing"}, {subjects, svid, "nobody"}, {svids, subject, "nobody"}, {svids, svid, "billing"}} {
		if got := who(t, c.m, presented(c.cert)); got != c.want {
			t.Errorf("%v: %s, want %s", c.cert.URIs, got, c.want)
		}
	}
}

// The certificate is judged as of the request, and what was found serves no longer than the certificate.
func TestACertificateEndsOnTime(t *testing.T) {
	ca := harness.NewCA(t)
	start := time.Now().Add(-time.Minute).Truncate(time.Second) // today it has ended long ago
	const id = "spiffe://example.org/billing"
	for kind, name := range map[string]func(*x509.Certificate){
		"subject": func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} },
		"svid":    func(c *x509.Certificate) { c.URIs = harness.URIs(t, id) },
	} {
		short := func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = start.Add(-3*time.Second), start.Add(3*time.Second)
		}
		leaf := []*x509.Certificate{ca.Client(t, func(c *x509.Certificate) { name(c); short(c) }).Leaf}
		long := func(c *x509.Certificate) { c.NotBefore = start.Add(-time.Hour) }
		sub := ca.Sub(t, short)
		under := []*x509.Certificate{sub.Client(t, func(c *x509.Certificate) { name(c); long(c) }).Leaf, sub.Root()}
		now := start
		m := newMTLS(t, identity.MTLSConfig{
			Trust: []string{ca.File}, SPIFFE: map[string]string{"example.org": ca.File},
			Map: []identity.Mapping{{"dns:billing.internal", "billing"}, {id, "billing"}}, Now: func() time.Time { return now },
		})
		for _, c := range []struct {
			d    time.Duration
			want string
		}{
			{0, "billing"},
			{3 * time.Second, "billing"},
			{3*time.Second + time.Millisecond, "refused"},
			{4 * time.Second, "refused"},
			{2 * time.Second, "billing"}, // a use that began in time, judged again
			{-4 * time.Second, "refused"},
		} {
			for _, certs := range [][]*x509.Certificate{leaf, under} {
				e := presented(certs...)
				e.At = start.Add(c.d)
				if now = start; c.d > 0 {
					now = start.Add(c.d)
				}
				if got := who(t, m, e); got != c.want {
					t.Errorf("%s, %d certificates, at %v: %s, want %s", kind, len(certs), c.d, got, c.want)
				}
			}
		}
	}
}

// SPIRE writes a bundle anew now and then, and a root comes and goes, without a restart.
func TestAuthoritiesAreReadAnewWhenTheirFilesChange(t *testing.T) {
	old, next := harness.NewCA(t), harness.NewCA(t)
	const id = "spiffe://example.org/billing"
	first, second := presented(old.SVID(t, id).Leaf), presented(next.SVID(t, id).Leaf)
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	write := func(texts ...[]byte) {
		t.Helper()
		if err := os.WriteFile(bundle+".new", slices.Concat(texts...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(bundle+".new", bundle); err != nil {
			t.Fatal(err)
		}
	}
	pem := func(ca *harness.CA) []byte {
		text, err := os.ReadFile(ca.File)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	write(pem(old))
	now := time.Now()
	m := newMTLS(t, identity.MTLSConfig{
		SPIFFE: map[string]string{"example.org": bundle}, Map: []identity.Mapping{{id, "billing"}}, Now: func() time.Time { return now },
	})
	check := func(when string, after time.Duration, wantFirst, wantSecond string) {
		t.Helper()
		now = now.Add(after)
		if a, b := who(t, m, first), who(t, m, second); a != wantFirst || b != wantSecond {
			t.Errorf("%s: %s and %s, want %s and %s", when, a, b, wantFirst, wantSecond)
		}
	}
	check("at first", 0, "billing", "refused")
	write(pem(old), pem(next))
	check("not looked at yet", 0, "billing", "refused")
	check("both", time.Second, "billing", "billing")
	write(pem(next), pem(old)[:200])
	check("one and a half", time.Second, "billing", "billing") // as before
	write(pem(next))
	check("the old one is gone", time.Second, "refused", "billing")

	// Half written, gone, of something else: for a while what was read before counts, and then nothing.
	for name, text := range map[string][]byte{"half": pem(old)[:200], "empty": {}, "a key": []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")} {
		write(text)
		check(name+", at first", time.Second, "refused", "billing")
		check(name+", then", 29*time.Second, "refused", "billing")
		check(name+", too long", 2*time.Second, "refused", "refused")
		write(pem(old), pem(next))
		check(name+", mended", time.Second, "billing", "billing")
		write(pem(next))
		check(name+", as before", time.Second, "refused", "billing")
	}
	if err := os.Remove(bundle); err != nil {
		t.Fatal(err)
	}
	check("removed", time.Second, "refused", "billing")
	check("removed for long", 31*time.Second, "refused", "refused")
	write(pem(next))
	check("there again", time.Second, "refused", "billing")

	// The same file comes back.
	settled := time.Now().Add(-time.Hour)
	if err := os.Chtimes(bundle, settled, settled); err != nil {
		t.Fatal(err)
	}
	check("settled", time.Second, "refused", "billing")
	if err := os.Rename(bundle, bundle+".away"); err != nil {
		t.Fatal(err)
	}
	check("away", time.Second, "refused", "billing")
	check("away for long", 31*time.Second, "refused", "refused")
	if err := os.Rename(bundle+".away", bundle); err != nil {
		t.Fatal(err)
	}
	check("back", time.Second, "refused", "billing")
}

// A file is another one if it is another file, has another time or another size, or is too young for its time to tell.
func TestAChangedFileIsSeenByWhateverChanged(t *testing.T) {
	old, next := harness.NewCA(t), harness.NewCA(t)
	cert := func(ca *harness.CA) *keybearer.Evidence {
		return presented(ca.Client(t, func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} }).Leaf)
	}
	first, second := cert(old), cert(next)
	padded := func(ca *harness.CA, size int) []byte {
		text := read(t, ca.File)
		return append(text, []byte(strings.Repeat("\n", size-len(text)))...)
	}
	young, settled := time.Now().Truncate(time.Second), time.Now().Add(-time.Hour).Truncate(time.Second)
	for name, c := range map[string]struct {
		rename        bool
		size          int
		before, after time.Time
	}{
		"another file":            {true, 4096, settled, settled},
		"another time":            {false, 4096, settled, settled.Add(time.Second)},
		"another size":            {false, 4097, settled, settled},
		"the same, but too young": {false, 4096, young, young},
	} {
		trust := filepath.Join(t.TempDir(), "ca.pem")
		put := func(path string, content []byte, at time.Time) {
			t.Helper()
			harness.WriteFile(t, path, content)
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		put(trust, padded(old, 4096), c.before)
		now := young
		m := newMTLS(t, identity.MTLSConfig{
			Trust: []string{trust}, Map: []identity.Mapping{{"dns:billing.internal", "billing"}}, Now: func() time.Time { return now },
		})
		if a, b := who(t, m, first), who(t, m, second); a != "billing" || b != "refused" {
			t.Fatalf("%s: %s and %s", name, a, b)
		}
		if c.rename {
			put(trust+".new", padded(next, c.size), c.after)
			if err := os.Rename(trust+".new", trust); err != nil {
				t.Fatal(err)
			}
		} else {
			put(trust, padded(next, c.size), c.after)
		}
		now = now.Add(time.Second)
		if a, b := who(t, m, first), who(t, m, second); a != "refused" || b != "billing" {
			t.Errorf("%s: %s and %s", name, a, b)
		}
	}
}

func TestARevocationListCountsAsSoonAsItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // whose clock the lists follow
		start := time.Now()
		valid := func(c *x509.Certificate) {
			c.DNSNames, c.NotBefore, c.NotAfter = []string{"billing.internal"}, start.Add(-time.Hour), start.Add(23*time.Hour)
		}
		ca := harness.NewCA(t)
		a, b := ca.Client(t, valid), ca.Client(t, valid)
		list := ca.RevokeFile(t)
		short := func(l *x509.RevocationList) { l.NextUpdate = start.Add(time.Hour) }
		if err := os.WriteFile(list, ca.Revoke(t, short), 0o600); err != nil {
			t.Fatal(err)
		}
		m := newMTLS(t, identity.MTLSConfig{
			Trust: []string{ca.File}, Map: []identity.Mapping{{"dns:billing.internal", "billing"}}, Revoked: []string{list},
		})
		check := func(when, wantA, wantB string) {
			t.Helper()
			if x, y := who(t, m, presented(a.Leaf)), who(t, m, presented(b.Leaf)); x != wantA || y != wantB {
				t.Errorf("%s: %s and %s, want %s and %s", when, x, y, wantA, wantB)
			}
		}
		check("nothing revoked", "billing", "billing")
		if err := os.WriteFile(list, ca.Revoke(t, short, a), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		check("one revoked", "refused", "billing")
		time.Sleep(time.Hour)
		check("the list is past its time", "refused", "refused")
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A resumed session brings the certificate from before; what counts is what is thought of it now.
func TestAResumedSessionIsJudgedAnew(t *testing.T) {
	ca := harness.NewCA(t)
	cert := ca.Client(t, func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} })
	trust := filepath.Join(t.TempDir(), "ca.pem")
	copyFile(t, ca.File, trust)
	var now atomic.Pointer[time.Time]
	now.Store(new(time.Now()))
	m := newMTLS(t, identity.MTLSConfig{
		Trust: []string{trust}, Map: []identity.Mapping{{"dns:billing.internal", "billing"}}, Now: func() time.Time { return *now.Load() },
	})
	server := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, time.Time{}, "localhost")}, ClientAuth: tls.RequestClientCert}
	client := &tls.Config{
		RootCAs: ca.Pool, ServerName: "localhost", Certificates: []tls.Certificate{cert}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	for _, c := range []struct {
		resumed bool
		want    string
	}{{false, "billing"}, {true, "billing"}, {true, "refused"}} {
		if c.want == "refused" {
			copyFile(t, harness.NewCA(t).File, trust)
			now.Store(new(now.Load().Add(2 * time.Second)))
		}
		state := handshake(t, server, client)
		if state.DidResume != c.resumed || len(state.PeerCertificates) != 1 {
			t.Fatalf("resumed %v, %d certificates", state.DidResume, len(state.PeerCertificates))
		}
		if got := who(t, m, &keybearer.Evidence{TLS: &state, At: time.Now()}); got != c.want {
			t.Errorf("resumed %v: %s, want %s", c.resumed, got, c.want)
		}
	}
}

// handshake returns the server's side of a connection on which both have said a word.
func handshake(t *testing.T, server, client *tls.Config) tls.ConnectionState {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	states := make(chan tls.ConnectionState, 1)
	go func() {
		defer close(states)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		word := make([]byte, 1)
		if _, err := conn.Read(word); err == nil {
			_, _ = conn.Write(word)
			states <- conn.(*tls.Conn).ConnectionState()
		}
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	state, ok := <-states
	if !ok {
		t.Fatal("the server saw no request")
	}
	return state
}

// A known certificate costs no signature check, and certificates of strangers do not push it out.
func TestStrangersDoNotPushOutCallers(t *testing.T) {
	ca, other := harness.NewCA(t), harness.NewCA(t)
	now := time.Now()
	settled := now.Add(-time.Hour) // a file that was written just now is read once more
	if err := os.Chtimes(ca.File, settled, settled); err != nil {
		t.Fatal(err)
	}
	m := newMTLS(t, identity.MTLSConfig{
		Trust: []string{ca.File}, Map: []identity.Mapping{{"dns:billing.internal", "billing"}}, Now: func() time.Time { return now },
	})
	known := ca.Client(t, func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} }).Leaf
	if got := who(t, m, presented(known)); got != "billing" {
		t.Fatal(got)
	}
	stranger := other.Client(t, nil).Leaf
	for i := range 20_000 {
		raw := append(slices.Clone(stranger.Raw), byte(i), byte(i>>8))
		if got := who(t, m, presented(&x509.Certificate{Raw: raw, RawIssuer: stranger.RawIssuer})); got != "refused" {
			t.Fatal(got)
		}
	}
	worse := *known // of the same bytes; whoever judges it refuses it
	worse.IsCA = true
	if got := who(t, m, presented(&worse)); got != "billing" {
		t.Errorf("a known certificate was judged again: %s", got)
	}
	if now = now.Add(9999 * time.Millisecond); who(t, m, presented(&worse)) != "billing" {
		t.Error("what was found serves too short")
	}
	if now = now.Add(time.Millisecond); who(t, m, presented(&worse)) != "refused" {
		t.Error("what was found serves for ever")
	}
	if got := who(t, m, presented(known)); got != "refused" {
		t.Errorf("a refusal was not remembered: %s", got)
	}
	if now = now.Add(10 * time.Second); who(t, m, presented(known)) != "billing" {
		t.Error("a refusal is remembered for ever")
	}
}

// Whoever asks while the files change is told what one of the two says, and nothing else.
func TestCertificatesAreJudgedWhileFilesChange(t *testing.T) {
	ca := harness.NewCA(t)
	trust := filepath.Join(t.TempDir(), "ca.pem")
	copyFile(t, ca.File, trust)
	start := time.Now()
	var clock atomic.Int64
	m := newMTLS(t, identity.MTLSConfig{
		Trust: []string{trust}, Map: []identity.Mapping{{"dns:billing.internal", "billing"}},
		Now: func() time.Time { return start.Add(time.Duration(clock.Load())) },
	})
	good := presented(ca.Client(t, func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} }).Leaf)
	bad := presented(harness.NewCA(t).Client(t, func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} }).Leaf)
	more := harness.WriteFile(t, filepath.Join(t.TempDir(), "more.pem"), slices.Concat(read(t, ca.File), read(t, harness.NewCA(t).File)))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if a, b := who(t, m, good), who(t, m, bad); a != "billing" || b != "refused" {
					t.Errorf("%s and %s", a, b)
				}
				clock.Add(int64(50 * time.Millisecond))
			}
		})
	}
	for i := range 50 {
		copyFile(t, []string{more, ca.File}[i%2], trust+".new")
		if err := os.Rename(trust+".new", trust); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What a request costs whose certificate is known.
func BenchmarkKnownCertificate(b *testing.B) {
	ca := harness.NewCA(b)
	m, err := identity.NewMTLS(identity.MTLSConfig{
		Trust: []string{ca.File}, Map: []identity.Mapping{{"dns:billing.internal", "billing"}}, Logger: slog.New(slog.DiscardHandler),
	}, named{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.Close() })
	e := presented(ca.Client(b, func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} }).Leaf)
	b.ReportAllocs()
	for b.Loop() {
		if c, err := m.Identify(b.Context(), e); c == nil || err != nil {
			b.Fatal(err)
		}
	}
}

// sized returns a copy of the file with zeros at its end.
func sized(t *testing.T, file string, size int64) string {
	t.Helper()
	path := harness.WriteFile(t, filepath.Join(t.TempDir(), "sized.pem"), read(t, file))
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatIsWrongWithMTLSIsSaidWithTheFix(t *testing.T) {
	ca := harness.NewCA(t)
	dns := []identity.Mapping{{"dns:billing.internal", "billing"}}
	empty := harness.WriteFile(t, filepath.Join(t.TempDir(), "empty.pem"), nil)
	with := func(list string) string {
		t.Helper()
		hash, err := identity.CheckMTLS(identity.MTLSConfig{Trust: []string{ca.File}, Map: dns, Revoked: []string{list}})
		if err != nil || hash == "" {
			t.Fatalf("%q, %v", hash, err)
		}
		return hash
	}
	list := ca.RevokeFile(t)
	if first, again := with(list), with(list); first != again || first == with(ca.RevokeFile(t)) {
		t.Error("the fingerprint is not that of the lists")
	}
	broken := harness.WriteFile(t, filepath.Join(t.TempDir(), "broken.pem"), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	if _, err := identity.CheckMTLS(identity.MTLSConfig{Trust: []string{sized(t, ca.File, 8<<20)}, Map: dns}); err != nil {
		t.Errorf("as large as may be: %v", err)
	}
	trust := []string{ca.File}
	one := func(subject string) identity.MTLSConfig {
		return identity.MTLSConfig{Trust: trust, SPIFFE: map[string]string{"example.org": ca.File}, Map: []identity.Mapping{{subject, "billing"}}}
	}
	for name, c := range map[string]struct {
		config identity.MTLSConfig
		want   string
	}{
		"nothing":              {identity.MTLSConfig{}, "trust <pem-file>"},
		"no map":               {identity.MTLSConfig{Trust: trust}, "map dns:"},
		"missing file":         {identity.MTLSConfig{Trust: []string{"/nonexistent.pem"}, Map: dns}, "/nonexistent.pem: no such file or directory: give a PEM file that this user may read"},
		"no certificate in it": {identity.MTLSConfig{Trust: []string{broken}, Map: dns}, "x509: "},
		"too large":            {identity.MTLSConfig{Trust: []string{sized(t, ca.File, 8<<20+1)}, Map: dns}, "8 MiB"},
		"no domain's name":     {identity.MTLSConfig{SPIFFE: map[string]string{"": ca.File}, Map: dns}, "its name alone"},
		"unreadable uri":       {one("uri:http://[x"), "as the certificate has it"},
		"del":                  {one("cn:a\x7fb"), "cn:<common name>"},
		"mail beyond ascii":    {one("email:b\u00fcro@example.org"), "as the certificate has it"},
		"dns just beyond":      {one("dns:a\u0080"), "xn--"},
		"empty file":           {identity.MTLSConfig{Trust: []string{empty}, Map: dns}, "openssl x509"},
		"a directory":          {identity.MTLSConfig{Trust: []string{t.TempDir()}, Map: dns}, "no file"},
		"a key in it":          {identity.MTLSConfig{Trust: []string{ca.ClientFiles(t, "x")}, Map: dns}, "private keys"},
		"missing list":         {identity.MTLSConfig{Trust: trust, Map: dns, Revoked: []string{"/nonexistent.crl"}}, "/nonexistent.crl"},
		"no trust domain":      {identity.MTLSConfig{SPIFFE: map[string]string{"spiffe://example.org": ca.File}, Map: dns}, "its name alone"},
		"domain in capitals":   {identity.MTLSConfig{SPIFFE: map[string]string{"Example.org": ca.File}, Map: dns}, "lower case"},
		"no root":              {identity.MTLSConfig{SPIFFE: map[string]string{"example.org": ca.File}, Map: dns}, "add trust"},
		"no bundle":            {identity.MTLSConfig{Trust: trust, Map: []identity.Mapping{{"spiffe://example.org/x", "billing"}}}, "add spiffe example.org"},
		"twice":                {identity.MTLSConfig{Trust: trust, Map: append(slices.Clone(dns), dns...)}, "keep one"},
		"no caller":            {identity.MTLSConfig{Trust: trust, Map: []identity.Mapping{{"dns:x", "app:x"}}}, "app:billing"},
		"wildcard":             {one("dns:*.internal"), "one name"},
		"capitals":             {one("dns:Billing"), "lower case"},
		"beyond ascii":         {one("dns:büro.example"), "xn--"},
		"dot behind":           {one("dns:x."), "one name"},
		"no kind":              {one("billing"), "cn:<common name>"},
		"unknown kind":         {one("ip:10.0.0.1"), "unknown kind"},
		"empty":                {one("cn:"), "cn:<common name>"},
		"control byte":         {one("cn:a\x00b"), "cn:<common name>"},
		"no uri":               {one("uri:billing"), "urn:"},
		"uri, spelled oddly":   {one("uri:HTTP://x/"), "as the certificate has it"},
		"uri that is an id":    {one("uri:spiffe://example.org/x"), "leave uri: out"},
		"no mail address":      {one("email:billing"), "billing@example.org"},
		"id of a domain alone": {one("spiffe://example.org"), "of a workload"},
		"id in capitals":       {one("spiffe://Example.org/x"), "as the certificate has it"},
		"id with a query":      {one("spiffe://example.org/x?y"), "as the certificate has it"},
	} {
		_, err := identity.CheckMTLS(c.config)
		text := ""
		if e, ok := errors.AsType[*keybearer.Error](err); ok {
			text = e.Detail + " " + e.Hint
		} else if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: %q says nothing of %q", name, text, c.want)
		}
		if m, err := identity.NewMTLS(c.config, named{}); err == nil {
			t.Errorf("%s: opened", name)
			_ = m.Close()
		}
	}
}
