package revocation

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// list is one revocation list. It does not change.
type list struct {
	issuer   string // by nameOf
	from     time.Time
	until    time.Time
	serials  map[string]struct{} // of what was revoked or is held, for whatever reason
	part     part
	signed   x509.RevocationList // what the signature is over, and the signature alone
	verified sync.Map            // by the hash of an issuer: whether it signed the list
}

// part is what a list is about, if not all that its issuer issued (RFC 5280 section 5.2.5).
type part struct {
	points []string // a certificate must name one of them as its distribution point; none: it need not
	users  bool     // no authorities
	cas    bool     // authorities only
}

// parse reads all lists of a file: PEM, or one in DER.
func parse(content []byte) ([]*list, error) {
	begins := bytes.Count(content, []byte("-----BEGIN"))
	if begins == 0 {
		l, err := parseDER(content)
		if err != nil {
			return nil, err
		}
		return []*list{l}, nil
	}
	var all []*list
	for rest := content; len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("it ends in the middle of a list")
		}
		if block.Type != "X509 CRL" {
			return nil, errors.New("it holds something else than revocation lists")
		}
		l, err := parseDER(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	if len(all) < begins { // pem.Decode passes over what it cannot read: the issuer of that list would have none
		return nil, errors.New("one of its lists is damaged")
	}
	return all, nil
}

var (
	oidDelta     = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidPart      = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidEntryOf   = asn1.ObjectIdentifier{2, 5, 29, 29}
	errWholeOnly = errors.New("a list is about what one authority issued and complete: give the base list, not a delta or an indirect one")
)

func parseDER(der []byte) (*list, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil || len(crl.Raw) != len(der) {
		return nil, errors.New("it holds no revocation list in PEM or DER form")
	}
	if crl.NextUpdate.IsZero() {
		return nil, errors.New("a list must say when the next one comes")
	}
	if weak(crl.SignatureAlgorithm) {
		return nil, errors.New("the list is signed with a hash that can be forged")
	}
	l := &list{
		issuer: nameOf(crl.RawIssuer), from: crl.ThisUpdate, until: crl.NextUpdate,
		serials: make(map[string]struct{}, len(crl.RevokedCertificateEntries)),
		signed:  x509.RevocationList{RawTBSRevocationList: crl.RawTBSRevocationList, SignatureAlgorithm: crl.SignatureAlgorithm, Signature: crl.Signature},
	}
	for _, e := range crl.Extensions {
		switch {
		case e.Id.Equal(oidDelta):
			return nil, errWholeOnly
		case e.Id.Equal(oidPart):
			if l.part, err = parsePart(e.Value); err != nil {
				return nil, err
			}
		case e.Critical:
			return nil, errors.New("the list has a critical extension that is not known here") // RFC 5280 section 5.2
		}
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Id.Equal(oidEntryOf) || e.Critical {
				return nil, errWholeOnly
			}
		}
		l.serials[string(entry.SerialNumber.Bytes())] = struct{}{}
	}
	return l, nil
}

// nameOf returns one text for all ways to write a name (RFC 5280 section 7.1): types of strings, case and blanks do not tell issuers apart. A list that
// somebody wrote under the name in another way would be about nobody, in silence; under a name that two issuers share it is told by the key.
func nameOf(der []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return string(der)
	}
	for _, set := range name {
		for i, a := range set {
			if text, ok := a.Value.(string); ok {
				set[i].Value = strings.ToLower(strings.Join(strings.Fields(text), " "))
			}
		}
	}
	return name.String()
}

func weak(a x509.SignatureAlgorithm) bool {
	return slices.Contains([]x509.SignatureAlgorithm{x509.UnknownSignatureAlgorithm, x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}, a)
}

// parsePart reads an issuing distribution point. Lists for some reasons only, for attributes, and of other issuers are refused, and so
// are names of points that are no URI.
func parsePart(der []byte) (part, error) {
	var v struct {
		Point      asn1.RawValue  `asn1:"optional,tag:0"`
		Users      bool           `asn1:"optional,tag:1"`
		CAs        bool           `asn1:"optional,tag:2"`
		Reasons    asn1.BitString `asn1:"optional,tag:3"`
		Indirect   bool           `asn1:"optional,tag:4"`
		Attributes bool           `asn1:"optional,tag:5"`
	}
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil || len(rest) > 0 || v.Reasons.BitLength > 0 || v.Indirect || v.Attributes {
		return part{}, errWholeOnly
	}
	p := part{users: v.Users, cas: v.CAs}
	if len(v.Point.Bytes) == 0 {
		return p, nil
	}
	var names asn1.RawValue
	rest, err = asn1.UnmarshalWithParams(v.Point.Bytes, &names, "tag:0")
	if err != nil || len(rest) > 0 {
		return part{}, errWholeOnly
	}
	for rest := names.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		if rest, err = asn1.UnmarshalWithParams(rest, &name, "tag:6"); err != nil {
			return part{}, errWholeOnly
		}
		p.points = append(p.points, string(name.Bytes))
	}
	if len(p.points) == 0 {
		return part{}, errWholeOnly
	}
	return p, nil
}

// about reports whether the list would name the certificate if it were revoked.
func (p part) about(c *x509.Certificate) bool {
	if p.users && c.IsCA || p.cas && !c.IsCA {
		return false
	}
	return len(p.points) == 0 || slices.ContainsFunc(c.CRLDistributionPoints, func(u string) bool { return slices.Contains(p.points, u) })
}

// signedBy reports whether the issuer signed the list, and may.
func (l *list) signedBy(issuer *x509.Certificate) bool {
	key := sha256.Sum256(issuer.Raw)
	if known, ok := l.verified.Load(key); ok {
		return known.(bool)
	}
	ok := l.signed.CheckSignatureFrom(issuer) == nil
	l.verified.Store(key, ok)
	return ok
}

func (l *list) holds(c *x509.Certificate) bool {
	_, ok := l.serials[string(c.SerialNumber.Bytes())]
	return ok
}

// valid reports whether the list speaks for this moment. A clock that is somewhat behind the authority's is no reason to refuse.
func (l *list) valid(now time.Time) bool {
	return now.Before(l.until) && !now.Add(skew).Before(l.from)
}

// skew is how far the clock of an authority may be ahead of ours.
const skew = 5 * time.Minute
