package keybearer

import (
	"fmt"
	"log/slog"
)

const redacted = "[secret]"

// Secret is plaintext that must not leave by accident. Every way to format or marshal it gives
// "[secret]"; the only way out is [Secret.Reveal], so that a search for it finds every use.
//
// It holds a closure, not the bytes: fmt and encoders that walk unexported fields by reflection find a
// function there. For the same reason Secrets cannot be compared with ==. The zero value is the empty
// secret. A Secret is immutable and safe for concurrent use. Go cannot wipe it from memory.
type Secret struct{ reveal func() string }

// NewSecret returns a Secret that holds s.
func NewSecret(s string) Secret { return Secret{func() string { return s }} }

// Reveal returns the plaintext. Callers must not store it, log it or put it into an error.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether s holds nothing.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String returns a placeholder.
func (s Secret) String() string { return redacted }

// GoString returns a placeholder.
func (s Secret) GoString() string { return redacted }

// Format writes a placeholder under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText returns a placeholder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns a placeholder.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
