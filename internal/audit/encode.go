package audit

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/keybearer/keybearer"
)

// AppendEvent appends e as one JSON object, without a line break, and returns the extended buffer. Keys come in
// the order of the fields of [keybearer.Event] and empty ones are left out, as encoding/json does it; bytes that are not UTF-8
// become U+FFFD. The time is UTC to the microsecond, always with six decimals, so that lines sort as text. It allocates
// only to grow b.
func AppendEvent(b []byte, e *keybearer.Event) []byte {
	b = append(b, `{"time":"`...)
	b = appendTime(b, e.Time)
	b = append(b, '"')
	b = appendField(b, `,"id":`, e.ID)
	b = appendField(b, `,"phase":`, string(e.Phase))
	b = appendField(b, `,"event":`, string(e.Kind))
	b = appendOptional(b, `,"scope":`, e.Scope)
	b = appendOptional(b, `,"credential":`, e.Credential)
	b = appendOptional(b, `,"credential_id":`, e.CredentialID)
	if e.SecretVersion != 0 {
		b = append(b, `,"secret_version":`...)
		b = strconv.AppendUint(b, e.SecretVersion, 10)
	}
	b = appendOptional(b, `,"caller":`, e.Caller)
	b = appendOptional(b, `,"token_id":`, e.TokenID)
	b = appendOptional(b, `,"acting_user":`, e.ActingUser)
	b = appendOptional(b, `,"operator":`, e.Operator)
	b = appendOptional(b, `,"method":`, e.Method)
	b = appendOptional(b, `,"scheme":`, e.Scheme)
	b = appendOptional(b, `,"host":`, e.Host)
	b = appendNumber(b, `,"port":`, int64(e.Port))
	b = appendOptional(b, `,"path":`, e.Path)
	b = appendOptional(b, `,"decision":`, e.Decision)
	b = appendOptional(b, `,"code":`, string(e.Code))
	b = appendOptional(b, `,"rule":`, e.Rule)
	b = appendOptional(b, `,"would_refuse":`, string(e.WouldRefuse))
	b = appendOptional(b, `,"trial":`, e.Trial)
	b = appendNumber(b, `,"destination_status":`, int64(e.DestinationStatus))
	if d := e.DurationMS; d != 0 && !math.IsNaN(d) && !math.IsInf(d, 0) { // JSON has no word for those two
		format := byte('f')
		if a := math.Abs(d); a < 1e-6 || a >= 1e21 {
			format = 'e'
		}
		b = append(b, `,"duration_ms":`...)
		b = strconv.AppendFloat(b, d, format, -1, 64)
	}
	b = appendNumber(b, `,"bytes_out":`, e.BytesOut)
	b = appendNumber(b, `,"bytes_in":`, e.BytesIn)
	b = appendOptional(b, `,"action":`, e.Action)
	if len(e.Changed) > 0 {
		b = append(b, `,"changed":[`...)
		for i, name := range e.Changed {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, name)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendField(b []byte, key, value string) []byte { return appendString(append(b, key...), value) }

func appendOptional(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendField(b, key, value)
}

func appendNumber(b []byte, key string, value int64) []byte {
	if value == 0 {
		return b
	}
	return strconv.AppendInt(append(b, key...), value, 10)
}

// appendTime writes RFC 3339. Years that it has no form for are written as the zero time.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		t = time.Time{}
	}
	b = t.AppendFormat(b, time.RFC3339) // has a fast path, unlike a layout with fixed decimals
	b[len(b)-1] = '.'
	micros := t.Nanosecond() / 1000
	for div := 100_000; div > 0; div /= 10 {
		b = append(b, '0'+byte(micros/div%10))
	}
	return append(b, 'Z')
}

// plain tells which bytes stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// plainPrefix returns how many bytes at the start of s are plain.
func plainPrefix(s string) int {
	for i := range len(s) {
		if !plain[s[i]] {
			return i
		}
	}
	return len(s)
}

const hexDigits = "0123456789abcdef"

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := plainPrefix(s); i < len(s); i += plainPrefix(s[i:]) {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			i += n
			if r == utf8.RuneError && n == 1 {
				b = append(b, s[start:i-1]...)
				b = append(b, `\ufffd`...)
				start = i
			}
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
