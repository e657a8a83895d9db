package transit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
)

const (
	prefix     = "vault:v"
	overhead   = 12 + 16 // nonce and tag
	maxVersion = math.MaxUint32
)

// strict refuses what decodes to the same bytes as the canonical text. Line breaks, which it passes over, are refused apart.
var strict = base64.StdEncoding.Strict()

// item is one secret on its way to or from Vault. Bytes are base64 in JSON, as Transit has them too.
type item struct {
	Plaintext  []byte `json:"plaintext,omitempty"`
	Ciphertext string `json:"ciphertext,omitempty"`
	Context    []byte `json:"context,omitempty"`
	Error      string `json:"error,omitempty"` // of one of a batch
}

// Seal implements [keybearer.Keyring]. A plaintext above [keybearer.MaxBundle] is [keybearer.SecretInvalid].
func (k *Keyring) Seal(ctx context.Context, key string, sc keybearer.SealContext, plaintext []byte) ([]byte, error) {
	const op = "seal"
	if err := k.mayControl(op); err != nil {
		return nil, err
	}
	switch {
	case len(plaintext) > keybearer.MaxBundle:
		return nil, &keybearer.Error{Code: keybearer.SecretInvalid, Op: op, Detail: "the secret and its rules exceed 64 KiB"}
	case !validName(key):
		return nil, notFound(op)
	}
	if plaintext == nil {
		plaintext = []byte{} // or it would not be one to Vault
	}
	var sealed item
	err := post(ctx, k.control, k.path("encrypt", key), map[string]any{"plaintext": plaintext, "context": sc[:]}, &sealed)
	if err != nil {
		return nil, k.missing(ctx, op, key, err)
	}
	text := []byte(sealed.Ciphertext)
	if version(text) == 0 {
		return nil, &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Detail: "Vault's answer is no ciphertext"}
	}
	return text, nil
}

// Open implements [keybearer.Keyring].
func (k *Keyring) Open(ctx context.Context, key string, sc keybearer.SealContext, sealed []byte) ([]byte, error) {
	const op = "open"
	if !validName(key) || version(sealed) == 0 {
		return nil, unopenable(op, keybearer.ErrUnopenable)
	}
	var opened item
	err := post(ctx, k.data, k.path("decrypt", key), item{Ciphertext: string(sealed), Context: sc[:]}, &opened)
	switch {
	case err == nil:
		if last := k.opened.Load(); last == nil || *last != key {
			k.opened.Store(&key)
		}
		return opened.Plaintext, nil
	case vaultclient.Away(err):
		return nil, unavailable(op, err)
	}
	return nil, unopenable(op, err)
}

// unopenable says that Vault answered and gave no plaintext. Only 400 is a word about the ciphertext, unless it answers a login.
func unopenable(op string, err error) error {
	e := keybearer.AsError(unavailable(op, err))
	e.Err = fmt.Errorf("%w: %w: %w", keybearer.ErrUnopenable, keybearer.ErrRefused, err)
	v, _ := errors.AsType[*vaultclient.Error](err)
	if v != nil && v.Status == http.StatusBadRequest && !v.Login || err == keybearer.ErrUnopenable {
		e.Detail, e.Hint, e.Err = "the secret does not open with its key", "set the secret anew", err
		if err != keybearer.ErrUnopenable {
			e.Err = fmt.Errorf("%w: %w", keybearer.ErrUnopenable, err)
		}
	}
	return e
}

// post asks for one item.
func post(ctx context.Context, c *vaultclient.Client, path string, in any, out *item) error {
	body, err := c.Do(ctx, vaultclient.Request{Method: http.MethodPut, Path: path, Body: in, Repeats: true})
	if err != nil {
		return err
	}
	defer clear(body)
	var answer struct {
		Data *item `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Data == nil {
		return fmt.Errorf("answer of Vault to %s: not what was asked for", path)
	}
	*out = *answer.Data
	return nil
}

// version reads "vault:v<N>:<base64>" and returns N, or 0 for anything else, however alike.
func version(sealed []byte) uint32 {
	rest, ok := bytes.CutPrefix(sealed, []byte(prefix))
	digits := bytes.IndexByte(rest, ':')
	if !ok || digits < 1 || digits > 10 || rest[0] == '0' {
		return 0
	}
	v := uint64(0)
	for _, c := range rest[:digits] {
		if c < '0' || c > '9' {
			return 0
		}
		v = v*10 + uint64(c-'0')
	}
	text := rest[digits+1:]
	if v > maxVersion || len(text) > strict.EncodedLen(keybearer.MaxBundle+overhead) || bytes.ContainsAny(text, "\r\n") {
		return 0
	}
	if n, err := strict.Decode(make([]byte, strict.DecodedLen(len(text))), text); err != nil || n < overhead {
		return 0
	}
	return uint32(v)
}
