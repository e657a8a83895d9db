package identity

import (
	"crypto/x509"
	"encoding/asn1"
	"net/url"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/keybearer/keybearer"
)

// subject is one thing that a certificate says of its holder. It is compared byte by byte.
type subject struct{ kind, value string }

// The kinds of subject. A certificate with a SPIFFE id has that alone.
const (
	spiffeSubject = "spiffe"
	dnsSubject    = "dns"
	uriSubject    = "uri"
	emailSubject  = "email"
	nameSubject   = "cn" // the weakest: no name constraint of an authority holds for it
)

// parseSubject reads what stands at the left of a mapping. Whatever could match more than one spelling is refused.
func parseSubject(text string) (subject, error) {
	kind, value, _ := strings.Cut(text, ":")
	bad := func(detail, hint string) (subject, error) {
		return subject{}, keybearer.NewError(keybearer.Invalid, "map "+text+" "+detail).WithHint(hint)
	}
	switch {
	case value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return bad("names nothing that a certificate says", "write spiffe://<trust-domain>/<path>, dns:<name>, uri:<uri>, email:<address> or cn:<common name>")
	case kind == spiffeSubject:
		id, err := spiffeid.FromString(text)
		if err != nil || id.Path() == "" {
			return bad("is no SPIFFE id of a workload", "write it as the certificate has it, for example spiffe://example.org/ns/shop/sa/billing")
		}
		return subject{kind, text}, nil
	case kind == dnsSubject:
		if value != lower(value) || strings.ContainsAny(value, "*/: ") || strings.HasSuffix(value, ".") || !ascii(value) {
			return bad("is no one host name in lower case", "write the one name that the certificate has, for example dns:billing.internal; names beyond ASCII as xn--")
		}
	case kind == uriSubject:
		u, err := url.Parse(value)
		if err != nil || u.Scheme == "" || u.String() != value {
			return bad("is no URI", "write it as the certificate has it, for example uri:urn:example:billing")
		}
		if u.Scheme == spiffeSubject {
			return bad("is a SPIFFE id", "leave uri: out, and name the trust domain's bundle with spiffe <trust-domain> <pem-file>")
		}
	case kind == emailSubject:
		if strings.Count(value, "@") != 1 || !ascii(value) {
			return bad("is no mail address", "write it as the certificate has it, for example email:billing@example.org")
		}
	case kind == nameSubject:
	default:
		return bad("is of an unknown kind", "write spiffe://<trust-domain>/<path>, dns:<name>, uri:<uri>, email:<address> or cn:<common name>")
	}
	return subject{kind, value}, nil
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// subjects returns all that a certificate without a SPIFFE id says of its holder.
func subjects(c *x509.Certificate) (all []subject) {
	for _, name := range c.DNSNames {
		all = append(all, subject{dnsSubject, lower(name)})
	}
	for _, u := range c.URIs {
		all = append(all, subject{uriSubject, u.String()})
	}
	for _, address := range c.EmailAddresses {
		all = append(all, subject{emailSubject, address})
	}
	names := 0
	for _, a := range c.Subject.Names {
		if a.Type.Equal(oidCommonName) {
			names++
		}
	}
	if names == 1 { // of several nobody knows which one counts
		all = append(all, subject{nameSubject, c.Subject.CommonName})
	}
	return all
}

// isSVID reports whether the certificate claims a SPIFFE id, rightly or not.
func isSVID(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.URIs, func(u *url.URL) bool { return strings.EqualFold(u.Scheme, spiffeSubject) })
}

// lower folds ASCII letters alone: some others have one of them as their lower case.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func ascii(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }
