package revocation

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

func feature(list ...int) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidFeatures, Value: must(asn1.Marshal(list))})
	}
}

// answer makes an OCSP answer about the certificate, as signed by the responder in the name of the issuer.
func answer(issuer, responder, about *authority, edit ...func(*ocsp.Response)) []byte {
	r := ocsp.Response{
		Status: ocsp.Good, SerialNumber: about.cert.SerialNumber, IssuerHash: crypto.SHA1,
		ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
	}
	if responder != issuer {
		r.Certificate = responder.cert
	}
	for _, e := range edit {
		e(&r)
	}
	return must(ocsp.CreateResponse(issuer.cert, responder.cert, r, responder.key))
}

func TestAStapleIsJudged(t *testing.T) {
	root, stranger := newRoot("root"), newRoot("stranger")
	middle := root.issue("middle", isCA)
	leaf, other, direct := middle.issue("leaf.test"), middle.issue("other.test"), root.issue("direct.test")
	must, may := middle.issue("must.test", feature(statusRequest)), middle.issue("may.test", feature(17))
	odd := middle.issue("odd.test", func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidFeatures, Value: []byte("odd")}}
	})
	long := middle.issue("long.test", func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidFeatures, Value: []byte{0x30, 3, 2, 1, 17, 5, 0}}}
	})
	strict := root.issue("strict", isCA, feature(statusRequest))
	below := strict.issue("below.test")
	responder := middle.issue("responder", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} })
	tired := middle.issue("tired", func(c *x509.Certificate) {
		c.ExtKeyUsage, c.NotAfter = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, time.Now().Add(-time.Hour)
	})
	early := middle.issue("early", func(c *x509.Certificate) {
		c.ExtKeyUsage, c.NotBefore = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, time.Now().Add(time.Hour)
	})
	foreign := stranger.issue("responder", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} })
	status := func(s int) func(*ocsp.Response) {
		return func(r *ocsp.Response) { r.Status, r.RevokedAt = s, time.Now().Add(-time.Hour) }
	}
	at := func(from, until time.Duration) func(*ocsp.Response) {
		return func(r *ocsp.Response) {
			r.ThisUpdate, r.NextUpdate = time.Now().Add(from), time.Now().Add(until)
		}
	}
	good := answer(middle, middle, leaf)
	for name, c := range map[string]struct {
		staple []byte
		leaf   *authority
		issuer *authority
		want   error
	}{
		"none":                              {nil, leaf, middle, nil},
		"none, and it must":                 {nil, must, middle, StapleMissing},
		"none, and its issuer says so":      {nil, below, strict, StapleMissing},
		"none, and it is odd":               {nil, odd, middle, StapleMissing},
		"none, and there is more":           {nil, long, middle, StapleMissing},
		"none, another feature":             {nil, may, middle, nil},
		"good":                              {good, leaf, middle, nil},
		"good, and it must":                 {answer(middle, middle, must), must, middle, nil},
		"good, and its issuer says so":      {answer(strict, strict, below), below, strict, nil},
		"good, from a responder":            {answer(middle, responder, leaf), leaf, middle, nil},
		"revoked":                           {answer(middle, middle, leaf, status(ocsp.Revoked)), leaf, middle, Revoked},
		"revoked, from a responder":         {answer(middle, responder, leaf, status(ocsp.Revoked)), leaf, middle, Revoked},
		"revoked, past its time":            {answer(middle, middle, leaf, status(ocsp.Revoked), at(-2*time.Hour, -time.Hour)), leaf, middle, Revoked},
		"unknown":                           {answer(middle, middle, leaf, status(ocsp.Unknown)), leaf, middle, StapleUnknown},
		"past its time":                     {answer(middle, middle, leaf, at(-2*time.Hour, -time.Second)), leaf, middle, StapleExpired},
		"before its time":                   {answer(middle, middle, leaf, at(time.Hour, 2*time.Hour)), leaf, middle, StapleExpired},
		"no end, today's":                   {answer(middle, middle, leaf, func(r *ocsp.Response) { r.NextUpdate = time.Time{} }), leaf, middle, nil},
		"no end, of long ago":               {answer(middle, middle, leaf, func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = time.Now().Add(-25*time.Hour), time.Time{} }), leaf, middle, StapleExpired},
		"of another certificate":            {answer(middle, middle, other), leaf, middle, StapleUnreadable},
		"of another issuer":                 {answer(stranger, stranger, leaf), leaf, middle, StapleUnreadable},
		"of the certificate itself":         {answer(leaf, leaf, leaf), leaf, middle, StapleUnreadable},
		"from a neighbour":                  {answer(middle, other, leaf), leaf, middle, StapleUnreadable},
		"from the certificate as responder": {answer(middle, leaf, leaf), leaf, middle, StapleUnreadable},
		"from a responder before its time":  {answer(middle, early, leaf), leaf, middle, StapleUnreadable},
		"good, with the issuer's own":       {answer(root, root, direct, func(r *ocsp.Response) { r.Certificate = root.cert }), direct, root, nil},
		"from a responder past its time":    {answer(middle, tired, leaf), leaf, middle, StapleUnreadable},
		"from another's responder":          {answer(middle, foreign, leaf), leaf, middle, StapleUnreadable},
		"cut":                               {good[:len(good)-1], leaf, middle, StapleUnreadable},
		"with a tail":                       {append(append([]byte{}, good...), 0), leaf, middle, StapleUnreadable},
		"text":                              {[]byte("good"), leaf, middle, StapleUnreadable},
		"signed with SHA-1":                 {answer(middle, middle, leaf, func(r *ocsp.Response) { r.SignatureAlgorithm = x509.ECDSAWithSHA1 }), leaf, middle, StapleUnreadable},
		"an error of the responder":         {ocsp.TryLaterErrorResponse, leaf, middle, StapleUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			state := tls.ConnectionState{OCSPResponse: c.staple, VerifiedChains: [][]*x509.Certificate{chain(c.leaf, c.issuer, root)}}
			for _, l := range []*Lists{nil, {}} {
				if l != nil {
					l.rebuild()
				}
				if got := l.VerifyConnection(state); got != c.want {
					t.Errorf("%v, want %v", got, c.want)
				}
			}
		})
	}
	flipped := 0
	for i := range good { // whatever bit is turned over, it is no better than before
		spoilt := append([]byte{}, good...)
		spoilt[i] ^= 1 << (i % 8)
		if err := checkStaple(spoilt, chain(leaf, middle, root), time.Now()); err != nil {
			flipped++
		} else if r, e := ocsp.ParseResponseForCert(spoilt, leaf.cert, middle.cert); e != nil || r.Status != ocsp.Good {
			t.Errorf("bit %d: accepted as %+v", i, r)
		}
	}
	if flipped < len(good)*9/10 {
		t.Errorf("of %d spoilt answers %d were refused", len(good), flipped)
	}
}

func TestOneClearChainIsEnoughAndNoChainIsNot(t *testing.T) {
	root, cross := newRoot("root"), newRoot("cross")
	middle := root.issue("middle", isCA)
	leaf := middle.issue("leaf.test")
	l, _ := open(t, root.revoke([]*authority{middle}))
	revoked, clear := chain(leaf, middle, root), chain(leaf, middle, cross)
	clear[1] = cross.issue("middle", isCA).cert
	for _, c := range []struct {
		chains [][]*x509.Certificate
		want   error
	}{
		{nil, NoChain},
		{[][]*x509.Certificate{{}}, NoChain},
		{[][]*x509.Certificate{revoked}, Revoked},
		{[][]*x509.Certificate{revoked, clear}, nil},
		{[][]*x509.Certificate{clear, revoked}, nil},
		{[][]*x509.Certificate{revoked, revoked}, Revoked},
		{[][]*x509.Certificate{revoked, {}}, Revoked},
		{[][]*x509.Certificate{{}, revoked}, NoChain},
	} {
		if got := l.VerifyConnection(tls.ConnectionState{VerifiedChains: c.chains}); got != c.want {
			t.Errorf("%d chains: %v, want %v", len(c.chains), got, c.want)
		}
	}
}

// A real handshake: who is refused gets no byte, and a session that is resumed is judged again.
func TestAResumedSessionIsJudgedAgain(t *testing.T) {
	root := newRoot("root")
	leaf := root.issue("leaf.test")
	path := filepath.Join(t.TempDir(), "root.crl")
	l := &Lists{files: []*file{{path: path}}} // nobody follows the file but the test
	issue := func(list []byte) {
		t.Helper()
		write(t, path, list)
		if err := l.files[0].read(); err != nil {
			t.Fatal(err)
		}
		l.rebuild()
	}
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key}}}
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{
			RootCAs: pool, ServerName: "leaf.test", MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(0), VerifyConnection: l.VerifyConnection,
		}
		shake := func() (resumed bool, got string, err error) {
			a, b := net.Pipe()
			received := make(chan string)
			go func() {
				s := tls.Server(b, server)
				content, _ := io.ReadAll(s)
				_ = b.Close()
				received <- string(content)
			}()
			c := tls.Client(a, client)
			if _, err = c.Write([]byte("secret")); err == nil {
				// The server's tickets come with what it sends: reading them takes a server that closes.
				_ = c.CloseWrite()
				_, _ = io.ReadAll(c)
				resumed = c.ConnectionState().DidResume
			}
			_ = a.Close()
			return resumed, <-received, err
		}
		issue(root.revoke(nil))
		if _, got, err := shake(); err != nil || got != "secret" {
			t.Fatal(err, got)
		}
		if resumed, got, err := shake(); err != nil || got != "secret" || !resumed {
			t.Fatalf("%x: resumed %v, %v, %q", version, resumed, err, got)
		}
		issue(root.revoke([]*authority{leaf}))
		if _, got, err := shake(); got != "" || !errors.Is(err, Revoked) {
			t.Errorf("%x: %v, and the server got %q", version, err, got)
		}
	}
}
