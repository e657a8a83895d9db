package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/keybearer/keybearer"
)

// authorities are who may vouch for client certificates, as their files said at one time. They do not change.
type authorities struct {
	roots   *x509.CertPool                          // of subjects that are no SPIFFE ids; nil: none is looked at
	bundles map[spiffeid.TrustDomain]*x509.CertPool // nil: no SPIFFE id is looked at
	source  *x509bundle.Set                         // the same bundles
}

// looksAt reports whether this kind of certificate proves anybody here.
func (a *authorities) looksAt(leaf *x509.Certificate) bool {
	if isSVID(leaf) {
		return a.bundles != nil
	}
	return a.roots != nil
}

// verify judges the certificates that were presented, the leaf first, at a time: RFC 5280 section 6 by crypto/x509 for the use
// ClientAuth, and for SPIFFE ids the X.509-SVID specification besides. It returns what the leaf says of its holder and every chain
// that vouches for it. The errors are [keybearer.CallerUnauthenticated].
func (a *authorities) verify(certs []*x509.Certificate, at time.Time) (said []subject, chains [][]*x509.Certificate, err error) {
	leaf, roots := certs[0], a.roots
	if leaf.IsCA || leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 { // RFC 8446 section 4.4.2.2
		return nil, nil, refuse("the client certificate is one of an authority, or not for signing", "give the app a certificate of its own, with CA:FALSE and digitalSignature")
	}
	if isSVID(leaf) {
		// The id's own trust domain vouches for it, and no other.
		id, _, err := x509svid.Verify(certs, a.source, x509svid.WithTime(at))
		if err != nil {
			return nil, nil, refuse("the client certificate is no valid SVID of a trust domain that is configured", "name the bundle of its trust domain with spiffe, and look at its time").Wrap(err)
		}
		said, roots = []subject{{spiffeSubject, id.String()}}, a.bundles[id.TrustDomain()]
	} else {
		said = subjects(leaf)
	}
	if roots == nil {
		roots = x509.NewCertPool() // nil would be the system's
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	chains, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, nil, refuse("no authority that is configured vouches for the client certificate now, for this use", "look at its time, its issuer and its extended key usage (clientAuth)").Wrap(err)
	}
	return said, chains, nil
}

func refuse(detail, hint string) *keybearer.Error {
	return keybearer.NewError(keybearer.CallerUnauthenticated, detail).WithHint(hint)
}

// readAuthorities reads the files.
func readAuthorities(c *MTLSConfig) (*authorities, error) {
	a := new(authorities)
	for _, path := range c.Trust {
		certs, err := readCertificates(path)
		if err != nil {
			return nil, fmt.Errorf("trust: %w", err)
		}
		if a.roots == nil {
			a.roots = x509.NewCertPool()
		}
		for _, c := range certs {
			a.roots.AddCert(c)
		}
	}
	for name, path := range c.SPIFFE {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil || domain.Name() != name {
			return nil, keybearer.NewError(keybearer.Invalid, "spiffe: "+name+" is no trust domain").WithHint("write its name alone, in lower case, for example example.org")
		}
		certs, err := readCertificates(path)
		if err != nil {
			return nil, fmt.Errorf("spiffe: %w", err)
		}
		if a.bundles == nil {
			a.bundles, a.source = make(map[spiffeid.TrustDomain]*x509.CertPool), x509bundle.NewSet()
		}
		pool := x509.NewCertPool()
		for _, c := range certs {
			pool.AddCert(c)
		}
		a.bundles[domain] = pool
		a.source.Add(x509bundle.FromX509Authorities(domain, certs))
	}
	return a, nil
}

const maxAuthorityFile = 8 << 20

// readCertificates reads a file of PEM certificates, all of it or nothing.
func readCertificates(path string) (certs []*x509.Certificate, err error) {
	info, err := os.Stat(path)
	var content []byte
	if err == nil && info.Mode().IsRegular() && info.Size() <= maxAuthorityFile {
		content, err = os.ReadFile(path)
	} else if err == nil {
		return nil, fmt.Errorf("%s: it is no file of at most 8 MiB", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: give a PEM file that this user may read", err)
	}
	for rest := content; err == nil; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if bytes.Contains(rest, []byte("-----BEGIN")) {
				err = errors.New("it ends in the middle of a certificate")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			err = errors.New("it holds something else than certificates: keep private keys out of it")
			break
		}
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, c)
		}
	}
	if err == nil && len(certs) == 0 {
		err = errors.New("it holds no certificate in PEM form: convert it with openssl x509 -inform der")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}
