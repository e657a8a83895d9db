package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// maxJWT is the size in bytes of the longest JWT that is looked at.
const maxJWT = 8 << 10

// flaw is why a JWT does not hold, worded to follow "the JWT". It quotes nothing of the JWT.
type flaw struct{ detail, hint string }

func (f *flaw) Error() string { return "the JWT " + f.detail }

func flawed(detail, hint string) *flaw { return &flaw{detail, hint} }

// claims are what a genuine JWT says (RFC 7519 section 4). They are immutable.
type claims struct {
	all                        map[string]json.RawMessage
	audience                   []string
	expires, notBefore, issued time.Time // zero: it does not say
}

// text returns the claim of that name if it is a string.
func (c *claims) text(name string) (string, bool) {
	var s *string
	if json.Unmarshal(c.all[name], &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

// verify returns the claims of a JWT that the issuer made for our audience and that holds at the given time. It returns a *flaw when it does not hold,
// [errAway] when there are no keys to judge it by, and ctx's error when that ends first.
//
// Only the compact form of one signature is taken (RFC 7515 section 7.1). Which key it is verified with is the issuer's
// word alone; a JWT that brings a key, or says where one is, is refused.
func (i *Issuer) verify(ctx context.Context, text string, at time.Time) (*claims, error) {
	if at.IsZero() {
		return nil, flawed("came at no time that is known", "")
	}
	keys, err := i.keys(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(text))
	if c := keys.recall(sum); c != nil {
		return c, i.within(c, at)
	}
	h, err := i.header(text)
	if err != nil {
		return nil, err
	}
	payload, unknown, err := h.check(keys)
	if unknown { // a new key, perhaps
		newer, nerr := i.renewed(ctx, keys)
		if nerr != nil {
			return nil, nerr
		}
		if newer != keys {
			keys = newer
			payload, _, err = h.check(keys)
		}
	}
	if err != nil {
		return nil, err
	}
	c, err := i.read(payload)
	if err != nil {
		return nil, err
	}
	if !i.config.Once {
		keys.remember(sum, c)
	}
	return c, i.within(c, at)
}

// header is the head of a JWT that may be verified.
type header struct {
	jws *jose.JSONWebSignature
	alg jose.SignatureAlgorithm
	kid string
}

const hintIssuer = "compare what the issuer makes with what docs/callers-jwt.md asks for"

// header parses a JWT and refuses whatever is not one signature of an allowed kind with a key of the issuer's.
func (i *Issuer) header(text string) (*header, error) {
	if len(text) > maxJWT {
		return nil, flawed("is longer than 8 KiB", "have the issuer put fewer claims into it")
	}
	parts := strings.Split(text, ".")
	if len(parts) == 5 {
		return nil, flawed("is encrypted", "have the issuer sign it only")
	}
	if len(parts) != 3 {
		return nil, flawed("is not in the compact form of one signature", hintIssuer)
	}
	head, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	var params map[string]json.RawMessage
	if err != nil || json.Unmarshal(head, &params) != nil || params == nil {
		return nil, flawed("has no header that can be read", hintIssuer)
	}
	for _, name := range []string{"jwk", "jku", "x5c", "x5u", "crit", "b64", "enc", "zip"} {
		if _, there := params[name]; there {
			return nil, flawed("has a header that Keybearer does not take: "+name, "have the issuer leave it out, and name its key in kid")
		}
	}
	param := (&claims{all: params}).text
	alg, ok := param("alg")
	if !ok || !slices.Contains(i.allowed, jose.SignatureAlgorithm(alg)) {
		return nil, flawed("is signed by an algorithm that is not allowed", "name it in algorithms if you trust it")
	}
	h := &header{alg: jose.SignatureAlgorithm(alg)}
	if _, there := params["kid"]; there {
		if h.kid, ok = param("kid"); !ok || h.kid == "" {
			return nil, flawed("names its key in a way that cannot be read", hintIssuer)
		}
	}
	typ, _ := param("typ")
	cty, _ := param("cty")
	switch {
	case i.config.Type != "" && !strings.EqualFold(mediaType(typ), mediaType(i.config.Type)):
		return nil, flawed("is not of the type that is asked for here", "have the issuer set typ, or mend the option typ")
	case strings.EqualFold(mediaType(cty), "JWT"):
		return nil, flawed("holds another JWT", hintIssuer)
	}
	if h.jws, err = jose.ParseSignedCompact(text, i.allowed); err != nil || len(h.jws.Signatures) != 1 {
		return nil, flawed("is not in the compact form of one signature", hintIssuer)
	}
	return h, nil
}

// mediaType returns a type without the "application/" that may be left out (RFC 7515 section 4.1.9).
func mediaType(typ string) string {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		return typ[len(prefix):]
	}
	return typ
}

// check verifies the signature. unknown says that a key which is not in the set may be the right one.
func (h *header) check(keys *keySet) (payload []byte, unknown bool, err error) {
	fitting, known := keys.named(h.kid, h.alg)
	switch {
	case !known:
		return nil, true, flawed("names a key that its issuer does not have", "if the issuer has just changed its keys, try again in a moment")
	case len(fitting) == 0:
		return nil, h.kid == "", flawed("is signed by another algorithm than its key is for", hintIssuer)
	case h.kid == "" && len(fitting) > maxNameless:
		return nil, false, flawed("does not name its key, and its issuer has many", "have the issuer set kid")
	}
	for _, key := range fitting {
		if payload, err := h.jws.Verify(verifier(h.alg, key)); err == nil {
			return payload, false, nil
		}
	}
	return nil, h.kid == "", flawed("has a signature that does not fit", "")
}

// read reads the claims of a genuine JWT and refuses those that are not for us. No claim may stand in it twice.
func (i *Issuer) read(payload []byte) (*claims, error) {
	c := new(claims)
	if err := json.Unmarshal(payload, &c.all); err != nil || c.all == nil {
		return nil, flawed("holds no claims that can be read", hintIssuer)
	}
	var ok bool
	if iss, is := c.text("iss"); !is || iss != i.config.Issuer {
		return nil, flawed("is of another issuer", "")
	}
	if c.audience, ok = audience(c.all["aud"]); !ok || !slices.Contains(c.audience, i.config.Audience) {
		return nil, flawed("is for another audience", "have the issuer put the audience that is configured here into aud")
	}
	for name, into := range map[string]*time.Time{"exp": &c.expires, "nbf": &c.notBefore, "iat": &c.issued} {
		if raw, there := c.all[name]; there {
			if *into, ok = numericDate(raw); !ok {
				return nil, flawed("holds a time that cannot be read: "+name, hintIssuer)
			}
		}
	}
	if c.expires.IsZero() {
		return nil, flawed("does not say when it expires", "have the issuer set exp")
	}
	return c, nil
}

// within refuses a JWT that does not hold at the given time.
func (i *Issuer) within(c *claims, at time.Time) error {
	leeway := i.config.Leeway
	switch {
	case !at.Before(c.expires.Add(leeway)):
		return flawed("has expired", "get a new one")
	case at.Before(c.notBefore.Add(-leeway)), at.Before(c.issued.Add(-leeway)):
		return flawed("is not valid yet", "compare the clocks of this machine and of the issuer")
	}
	return nil
}

// audience reads the claim aud, which is one text or a list of them.
func audience(raw json.RawMessage) ([]string, bool) {
	var one *string
	if json.Unmarshal(raw, &one) == nil && one != nil {
		return []string{*one}, true
	}
	var many []string
	return many, json.Unmarshal(raw, &many) == nil
}

// numericDate reads a NumericDate (RFC 7519 section 2) that lies between 1970 and 9999.
func numericDate(raw json.RawMessage) (time.Time, bool) {
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(seconds > 0 && seconds < 253402300800) {
		return time.Time{}, false
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true
}
