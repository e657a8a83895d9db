package revocation

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// VerifyConnection judges a server by its staple and by the lists; put it into [tls.Config]. It is asked about resumed sessions too. Of several
// chains to a root one must be clear. The error is a [Refusal]; a nil *Lists judges by the staple alone.
func (l *Lists) VerifyConnection(s tls.ConnectionState) error {
	now := time.Now()
	first := error(NoChain)
	for i, chain := range s.VerifiedChains {
		err := l.Check(chain)
		if err == nil {
			err = checkStaple(s.OCSPResponse, chain, now)
		}
		if err == nil {
			return nil
		}
		if i == 0 {
			first = err
		}
	}
	return first
}

// A staple that does not say when the next one comes serves for a day.
const stapleLife = 24 * time.Hour

// checkStaple judges the stapled answer about the leaf, if there is one or must be one.
func checkStaple(staple []byte, chain []*x509.Certificate, now time.Time) error {
	if len(staple) == 0 {
		if slices.ContainsFunc(chain, demandsStaple) {
			return StapleMissing
		}
		return nil
	}
	leaf, issuer := chain[0], chain[min(1, len(chain)-1)]
	answer, err := ocsp.ParseResponseForCert(staple, leaf, issuer)
	if err != nil || weak(answer.SignatureAlgorithm) || !mayAnswer(answer.Certificate, issuer, now) {
		return StapleUnreadable
	}
	next := answer.NextUpdate
	if next.IsZero() {
		next = answer.ThisUpdate.Add(stapleLife)
	}
	switch {
	case answer.Status == ocsp.Revoked: // at whatever time it was said
		return Revoked
	case !now.Before(next) || now.Add(skew).Before(answer.ThisUpdate):
		return StapleExpired
	case answer.Status != ocsp.Good:
		return StapleUnknown
	}
	return nil
}

// mayAnswer reports whether a responder's own certificate, if it sent one, makes it one (RFC 6960 section 4.2.2.2): the issuer itself, or
// whom the issuer named for this alone. Package ocsp checks the signatures and leaves this out, so any certificate of the
// issuer could vouch for any other.
func mayAnswer(responder, issuer *x509.Certificate, now time.Time) bool {
	if responder == nil || bytes.Equal(responder.Raw, issuer.Raw) {
		return true
	}
	return slices.Contains(responder.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) && responder.CheckSignatureFrom(issuer) == nil &&
		!now.Before(responder.NotBefore) && !now.After(responder.NotAfter)
}

var oidFeatures = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

// statusRequest is the TLS extension that asks for a staple (RFC 6066 section 8).
const statusRequest = 5

// demandsStaple reports whether the certificate, or what it issues, is to be refused without a staple (RFC 7633). A list that
// cannot be read may say so.
func demandsStaple(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if !e.Id.Equal(oidFeatures) {
			continue
		}
		var features []int
		rest, err := asn1.Unmarshal(e.Value, &features)
		if err != nil || len(rest) > 0 || slices.Contains(features, statusRequest) {
			return true
		}
	}
	return false
}
