package harness

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"path/filepath"
	"time"
)

// Client makes a client certificate without names, with whatever edit changes about it. edit may be nil.
func (ca *CA) Client(tb TB, edit func(*x509.Certificate)) tls.Certificate {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(tb), BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if edit != nil {
		edit(template)
	}
	key := newKey(tb)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		tb.Fatalf("certificate: %v", err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	cert.Leaf = leaf(tb, cert)
	return cert
}

// SVID makes a client certificate with the SPIFFE id.
func (ca *CA) SVID(tb TB, id string) tls.Certificate {
	tb.Helper()
	return ca.Client(tb, func(c *x509.Certificate) { c.URIs = URIs(tb, id) })
}

// URIs parses URIs for the template of a certificate.
func URIs(tb TB, texts ...string) (all []*url.URL) {
	tb.Helper()
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			tb.Fatalf("%v", err)
		}
		all = append(all, u)
	}
	return all
}

// Sub makes an authority that this one vouches for. edit may be nil.
func (ca *CA) Sub(tb TB, edit func(*x509.Certificate)) *CA {
	tb.Helper()
	sub := &CA{dir: Dir(tb), key: newKey(tb)}
	number := serial(tb)
	template := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: "Keybearer intermediate " + number.Text(36)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &sub.key.PublicKey, ca.key)
	if err != nil {
		tb.Fatalf("certificate: %v", err)
	}
	if sub.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatalf("certificate: %v", err)
	}
	sub.Pool = x509.NewCertPool()
	sub.Pool.AddCert(sub.cert)
	sub.File = WriteFile(tb, filepath.Join(sub.dir, "sub.pem"), pemBlock("CERTIFICATE", der))
	return sub
}

// Root is the authority's own certificate.
func (ca *CA) Root() *x509.Certificate { return ca.cert }

// ClientFiles is Files for a client certificate of that common name.
func (ca *CA) ClientFiles(tb TB, name string) string {
	tb.Helper()
	return PairFile(tb, ca.Client(tb, func(c *x509.Certificate) { c.Subject.CommonName = name }))
}

// PairFile writes a certificate and its key as PEM, and returns the path.
func PairFile(tb TB, cert tls.Certificate) string {
	tb.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		tb.Fatalf("key: %v", err)
	}
	var text []byte
	for _, der := range cert.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return WriteFile(tb, filepath.Join(Dir(tb), "pair.pem"), append(text, pemBlock("PRIVATE KEY", key)...))
}
