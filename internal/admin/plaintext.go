package admin

import (
	"encoding/json"

	"github.com/keybearer/keybearer"
)

// Plaintext is a secret on its way in: a credential's secret in a request, or a new token in the one answer that
// shows it. It formats like any [keybearer.Secret]; only its JSON form holds the text.
type Plaintext struct{ keybearer.Secret }

// NewPlaintext returns the plaintext s.
func NewPlaintext(s string) Plaintext { return Plaintext{keybearer.NewSecret(s)} }

// MarshalJSON writes the text itself.
func (p Plaintext) MarshalJSON() ([]byte, error) { return json.Marshal(p.Reveal()) }

// UnmarshalJSON reads a JSON string. Its error holds nothing of it.
func (p *Plaintext) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return keybearer.NewError(keybearer.Invalid, "a secret is a JSON string")
	}
	*p = NewPlaintext(s)
	return nil
}
