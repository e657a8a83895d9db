package caddymodule

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/keybearer/keybearer/internal/revocation"
)

// readTrust adds the PEM files to the system's roots.
func (a *App) readTrust() error {
	environment := os.Getenv("SSL_CERT_FILE") != "" || os.Getenv("SSL_CERT_DIR") != ""
	if len(a.Trust) == 0 && !environment {
		return nil // nil roots are the system's
	}
	roots, err := x509.SystemCertPool()
	if environment {
		a.logger.Warn("SSL_CERT_FILE and SSL_CERT_DIR are not used for destinations: name further roots with the trust option")
		roots, err = bundledRoots()
	}
	if err != nil {
		return fmt.Errorf("trust: the system's roots cannot be read: %w", err)
	}
	hash := sha256.New()
	for _, path := range a.Trust {
		if err := locate(&path, ""); err != nil {
			return fmt.Errorf("trust: %w", err)
		}
		pem, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("trust: %w: give a PEM file that this user may read", err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("trust: %s holds no certificate in PEM form: convert it with openssl x509 -inform der", path)
		}
		hash.Write(pem)
	}
	a.roots, a.rootsHash = roots, hex.EncodeToString(hash.Sum(nil))
	return nil
}

// bundles are where systems keep their roots in one file; package crypto/x509 looks there too.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem", "/usr/local/etc/ssl/cert.pem", "/usr/local/share/certs/ca-root-nss.crt",
}

// bundledRoots returns the system's roots whatever the environment says, which crypto/x509 obeys: a variable that some image or shell
// profile sets for all programs does not decide who may read secrets. A system without a bundle has none.
func bundledRoots() (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	for _, path := range bundles {
		pem, err := os.ReadFile(path)
		if err == nil {
			roots.AppendCertsFromPEM(pem)
			return roots, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return roots, nil
}

// readRevoked reads the lists, to say now what is wrong with them. They are read again when they are opened.
func (a *App) readRevoked() (err error) {
	for _, path := range a.Revoked {
		if err := locate(&path, ""); err != nil {
			return fmt.Errorf("revoked: %w", err)
		}
		a.revoked = append(a.revoked, path)
	}
	if a.revokedHash, err = revocation.Fingerprint(a.revoked...); err != nil {
		return fmt.Errorf("revoked: %w", err)
	}
	return nil
}
