// Package inject turns an opened bundle into the one header field that carries it. It keeps no state and
// knows nothing of requests.
package inject

import (
	"encoding/base64"

	"github.com/keybearer/keybearer"
)

// Authorization is the field name of kinds basic and bearer.
const Authorization = "Authorization"

// Field is a header field to be written into a request. Value is never empty.
type Field struct {
	Name  string // canonical
	Value keybearer.Secret
}

// For returns the field that carries b. A kind it does not know, a header kind without a name, or an empty secret is
// [keybearer.CredentialNeedsSecret]: nothing is ever sent without its credential.
func For(b *keybearer.Bundle) (Field, error) {
	secret := b.Secret.Reveal()
	if secret == "" {
		return Field{}, keybearer.NewError(keybearer.CredentialNeedsSecret, "")
	}
	switch b.Terms.Kind {
	case keybearer.Basic: // RFC 7617
		pair := base64.StdEncoding.EncodeToString([]byte(b.Username + ":" + secret))
		return Field{Authorization, keybearer.NewSecret("Basic " + pair)}, nil
	case keybearer.Bearer: // RFC 6750 section 2.1
		return Field{Authorization, keybearer.NewSecret("Bearer " + secret)}, nil
	case keybearer.Header:
		if b.Terms.Header != "" {
			return Field{b.Terms.Header, keybearer.NewSecret(b.Terms.Prefix + secret)}, nil
		}
	}
	return Field{}, keybearer.NewError(keybearer.CredentialNeedsSecret, "the sealed secret has an unknown kind")
}
