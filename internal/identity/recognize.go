package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// Concerns reports whether a JWT of this issuer for our audience stands anywhere in the text, be it valid or not. It takes time in proportion to the
// text, and does no I/O. A JWT of the same issuer for another audience is the app's own affair.
func (i *Issuer) Concerns(text string) bool {
	if len(text) > 6 && strings.EqualFold(text[:6], "basic ") {
		pair, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(text[6:])) // as far as it is base64: others may read on
		if i.Concerns(string(pair)) {
			return true
		}
	}
	for {
		// The payload of a JWT stands between two dots, and begins with "{" and then a quote or a blank.
		dot := strings.Index(text, ".e")
		if dot < 0 {
			return false
		}
		text = text[dot+1:]
		end := strings.IndexFunc(text, func(r rune) bool { return !isBase64URL(r) })
		if end < 0 {
			return false
		}
		if text[end] == '.' && (text[1] == 'y' || text[1] == 'w') && i.made(text[:end]) {
			return true
		}
		text = text[end:]
	}
}

func isBase64URL(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// made reports whether a payload says that it is the issuer's, for our audience. One that says so among other things is a proof, too, if a wrong one.
func (i *Issuer) made(payload string) bool {
	b, _ := base64.RawURLEncoding.DecodeString(payload) // as far as it is base64: others may read on
	d := json.NewDecoder(bytes.NewReader(b))
	_, _ = d.Token() // "{", by which it was found
	var ours, forUs bool
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			break
		}
		switch name {
		case "iss":
			var iss string
			ours = ours || json.Unmarshal(value, &iss) == nil && iss == i.config.Issuer
		case "aud":
			list, _ := audience([]byte(value))
			forUs = forUs || slices.Contains(list, i.config.Audience)
		}
	}
	return ours && forUs
}
