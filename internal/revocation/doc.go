// Package revocation decides whether a certificate that a chain vouches for has been taken back.
//
// Two things are asked. [Lists] holds the certificate revocation lists (RFC 5280 section 5) that the operator gave, and judges each
// certificate whose issuer has one. [Lists.VerifyConnection] judges besides what a server stapled to its handshake (RFC 6960, RFC 7633).
// Whoever has no list and no staple is not asked for one, unless the certificate demands it: nothing is fetched over the
// network, so that neither an authority that is away nor one that lies about where its lists are decides when we are.
//
// It refuses to know who the certificate belongs to, which roots are trusted, and what was wanted from the other side. Every doubt
// is a [Refusal]: a list that is past its time, unreadable, or not signed by the issuer refuses all that the issuer issued.
package revocation

// Refusal is why a certificate is refused: one sentence that names neither a host nor a certificate. The list is closed.
type Refusal string

// Error implements error.
func (r Refusal) Error() string { return string(r) }

// The refusals.
const (
	Revoked          Refusal = "the certificate was revoked"
	ListExpired      Refusal = "the revocation list of the certificate's issuer is past its time"
	ListMissing      Refusal = "the revocation list of the certificate's issuer cannot be read any more"
	ListUnsigned     Refusal = "no revocation list under the name of the certificate's issuer is signed by it"
	ListElsewhere    Refusal = "none of the issuer's revocation lists is about this certificate"
	StapleMissing    Refusal = "the certificate demands a stapled OCSP answer, and there is none"
	StapleUnreadable Refusal = "the stapled OCSP answer cannot be read, or is not from the certificate's issuer"
	StapleExpired    Refusal = "the stapled OCSP answer is not valid at this time"
	StapleUnknown    Refusal = "the stapled OCSP answer does not know the certificate"
	NoChain          Refusal = "no root vouches for the certificate"
)
