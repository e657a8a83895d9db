package harness

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Certificate makes a server certificate for the names, with whatever edit changes about it. edit may be nil.
func (ca *CA) Certificate(tb TB, edit func(*x509.Certificate), names ...string) tls.Certificate {
	tb.Helper()
	template := serverTemplate(tb, time.Now().Add(24*time.Hour), names)
	if edit != nil {
		edit(template)
	}
	key := newKey(tb)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		tb.Fatalf("certificate: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// MustStaple makes Certificate demand a staple (RFC 7633).
func MustStaple(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}})
}

// Revoke makes a revocation list, valid for a day from now, that names the certificates. edit may be nil.
func (ca *CA) Revoke(tb TB, edit func(*x509.RevocationList), certs ...tls.Certificate) []byte {
	tb.Helper()
	template := &x509.RevocationList{Number: serial(tb), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(24 * time.Hour)}
	for _, c := range certs {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: leaf(tb, c).SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.cert, ca.key)
	if err != nil {
		tb.Fatalf("revocation list: %v", err)
	}
	return der
}

// RevokeFile writes Revoke as PEM to a file of its own and returns its path.
func (ca *CA) RevokeFile(tb TB, certs ...tls.Certificate) string {
	tb.Helper()
	return WriteFile(tb, filepath.Join(Dir(tb), "revoked.crl"), pemBlock("X509 CRL", ca.Revoke(tb, nil, certs...)))
}

// Staple makes an OCSP answer about the certificate: good, for an hour from now, unless edit changes it. edit may be nil.
func (ca *CA) Staple(tb TB, c tls.Certificate, edit func(*ocsp.Response)) []byte {
	tb.Helper()
	r := ocsp.Response{
		Status: ocsp.Good, SerialNumber: leaf(tb, c).SerialNumber, IssuerHash: crypto.SHA1,
		ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
	}
	if edit != nil {
		edit(&r)
	}
	answer, err := ocsp.CreateResponse(ca.cert, ca.cert, r, ca.key)
	if err != nil {
		tb.Fatalf("OCSP answer: %v", err)
	}
	return answer
}

func leaf(tb TB, c tls.Certificate) *x509.Certificate {
	tb.Helper()
	cert, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		tb.Fatalf("certificate: %v", err)
	}
	return cert
}
