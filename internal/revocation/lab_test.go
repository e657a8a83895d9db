package revocation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// authority is a certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serials int64

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// issue makes a certificate; nil signs itself. edit changes the template.
func (a *authority) issue(name string, edit ...func(*x509.Certificate)) *authority {
	serials++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serials), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(10, 0, 0), BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, e := range edit {
		e(template)
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer))
	return &authority{must(x509.ParseCertificate(der)), key}
}

func isCA(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
}

func newRoot(name string) *authority { return (*authority)(nil).issue(name, isCA) }

// revoke makes a list in DER that names the certificates; edit changes the template.
func (a *authority) revoke(named []*authority, edit ...func(*x509.RevocationList)) []byte {
	serials++
	template := &x509.RevocationList{Number: big.NewInt(serials), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range named {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: n.cert.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	for _, e := range edit {
		e(template)
	}
	return must(x509.CreateRevocationList(rand.Reader, template, a.cert, a.key))
}

func inPEM(lists ...[]byte) (all []byte) {
	for _, der := range lists {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
	}
	return all
}

func chain(of ...*authority) (list []*x509.Certificate) {
	for _, a := range of {
		list = append(list, a.cert)
	}
	return list
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// open opens files that hold the contents, in a fresh directory.
func open(t *testing.T, contents ...[]byte) (*Lists, []string) {
	t.Helper()
	var paths []string
	dir := t.TempDir()
	for i, content := range contents {
		paths = append(paths, filepath.Join(dir, string(rune('a'+i))+".crl"))
		write(t, paths[i], content)
	}
	l, err := Open(slog.New(slog.DiscardHandler), paths...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, paths
}

// bubble runs the test under a clock that moves when everybody waits.
func bubble(t *testing.T, f func(*testing.T)) { synctest.Test(t, f) }
