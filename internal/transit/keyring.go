package transit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
)

// Config says where the keys are. The keyring owns the clients and closes them.
type Config struct {
	Mount   string              // path of the transit engine, "keybearer"
	Data    *vaultclient.Client // opens
	Control *vaultclient.Client // does all else; nil: this keyring only opens
}

// Keyring is a keyring on Transit. It implements [keybearer.Keyring], [keybearer.OpenOnly] and [keybearer.Diagnoser].
type Keyring struct {
	mount         string
	data, control *vaultclient.Client
	creating      chan struct{}          // held by whoever makes a key
	opened        atomic.Pointer[string] // a key that opened something; for Diagnose
}

var (
	_ keybearer.OpenOnly  = (*Keyring)(nil)
	_ keybearer.Diagnoser = (*Keyring)(nil)
)

// New returns a keyring and asks Vault nothing.
func New(c Config) *Keyring {
	return &Keyring{mount: strings.Trim(c.Mount, "/"), data: c.Data, control: c.Control, creating: make(chan struct{}, 1)}
}

// OpenOnly implements [keybearer.OpenOnly].
func (k *Keyring) OpenOnly() bool { return k.control == nil }

// Close closes the clients.
func (k *Keyring) Close() error {
	if k.control == nil {
		return k.data.Close()
	}
	return errors.Join(k.data.Close(), k.control.Close())
}

// CreateKey implements [keybearer.Keyring]. Names are letters, digits, and inner ".", "_" and "-"; anything else is
// [keybearer.Invalid]. A name that was destroyed can be had again; the key is a new one.
//
// Vault has no "make it if it is not there": it answers the second creator like the first, and some versions add a warning. Within this
// keyring one creator goes after the other; between processes, names must be random, as those of scope keys are.
func (k *Keyring) CreateKey(ctx context.Context, key string) error {
	const op = "create key"
	if !validName(key) {
		return &keybearer.Error{Code: keybearer.Invalid, Op: op, Detail: "a key's name is made of letters, digits, and inner dots, dashes and underscores"}
	}
	if err := k.mayControl(op); err != nil {
		return err
	}
	taken := &keybearer.Error{Code: keybearer.AlreadyExists, Op: op, Detail: "the keyring has a key of that name"}
	select {
	case k.creating <- struct{}{}:
		defer func() { <-k.creating }()
	case <-ctx.Done():
		return unavailable(op, ctx.Err())
	}
	switch _, err := k.control.Read(ctx, k.path("keys", key)); {
	case err == nil:
		return taken
	case !absent(err):
		return unavailable(op, err)
	}
	made, err := k.control.Write(ctx, k.path("keys", key), map[string]any{"type": keyType, "derived": true})
	if err != nil {
		return unavailable(op, err)
	}
	if made != nil {
		for _, w := range made.Warnings {
			if strings.Contains(w, "already existed") {
				return taken
			}
		}
	}
	if made, err = k.control.Read(ctx, k.path("keys", key)); err != nil {
		return unavailable(op, err)
	}
	if !asWeMakeThem(made) {
		return &keybearer.Error{
			Code: keybearer.KeyringUnavailable, Op: op, Detail: "Vault made a key that is not derived, or can be exported",
			Hint: "look at the defaults of the mount: vault read " + k.path("keys", key),
		}
	}
	return nil
}

const keyType = "aes256-gcm96"

// asWeMakeThem reports whether a key binds its ciphertexts to their context and cannot leave Vault.
func asWeMakeThem(key *api.Secret) bool {
	return key != nil && key.Data["type"] == keyType && key.Data["derived"] == true && key.Data["exportable"] == false && key.Data["allow_plaintext_backup"] == false
}

// KeyVersion implements [keybearer.Keyring].
func (k *Keyring) KeyVersion(ctx context.Context, key string) (uint32, error) {
	const op = "key version"
	if err := k.mayControl(op); err != nil {
		return 0, err
	}
	if !validName(key) {
		return 0, notFound(op)
	}
	s, err := k.control.Read(ctx, k.path("keys", key))
	if absent(err) {
		return 0, notFound(op)
	}
	if err != nil {
		return 0, unavailable(op, err)
	}
	return latest(op, s)
}

// RotateKey implements [keybearer.Keyring].
func (k *Keyring) RotateKey(ctx context.Context, key string) (uint32, error) {
	const op = "rotate key"
	if _, err := k.KeyVersion(ctx, key); err != nil {
		return 0, as(op, err)
	}
	s, err := k.control.Write(ctx, k.path("keys", key)+"/rotate", nil)
	if err != nil {
		return 0, k.missing(ctx, op, key, err)
	}
	if s == nil { // an older Vault says nothing
		v, err := k.KeyVersion(ctx, key)
		return v, as(op, err)
	}
	return latest(op, s)
}

// DestroyKey implements [keybearer.Keyring]. It returns nil only when Vault has said that there is no such key.
func (k *Keyring) DestroyKey(ctx context.Context, key string) error {
	const op = "destroy key"
	if err := k.mayControl(op); err != nil {
		return err
	}
	if !validName(key) {
		return nil // no key ever had it
	}
	path := k.path("keys", key)
	for try := 0; ; try++ {
		_, err := k.control.Read(ctx, path)
		if absent(err) {
			return nil
		}
		if err == nil { // each step may find that another process took it
			if _, err = k.control.Write(ctx, path+"/config", map[string]any{"deletion_allowed": true}); err == nil {
				err = k.control.Delete(ctx, path)
			}
		}
		// A 400 may mean that it is gone, which the next look shows.
		if err != nil && (vaultclient.Status(err) != http.StatusBadRequest || try == 3) {
			return unavailable(op, err)
		}
		if try > 0 {
			select {
			case <-ctx.Done():
				return unavailable(op, ctx.Err())
			case <-time.After(time.Duration(try) * 50 * time.Millisecond):
			}
		}
		if try == 10 {
			return &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Detail: "Vault still has the key after it was deleted"}
		}
	}
}

// lastKey returns a key that is there, as far as is known; "": none.
func (k *Keyring) lastKey() string {
	if key := k.opened.Load(); key != nil {
		return *key
	}
	return ""
}

func (k *Keyring) path(kind, key string) string { return k.mount + "/" + kind + "/" + key }

func (k *Keyring) mayControl(op string) error {
	if k.control != nil {
		return nil
	}
	return &keybearer.Error{
		Code: keybearer.KeyringUnavailable, Op: op, Detail: "this server only opens secrets",
		Hint: "do it on a server whose keyring has control, see docs/vault.md",
	}
}

// latest reads the version out of what Vault says of a key.
func latest(op string, key *api.Secret) (uint32, error) {
	if key != nil {
		if n, ok := key.Data["latest_version"].(json.Number); ok {
			if v, err := n.Int64(); err == nil && v > 0 && v <= maxVersion {
				return uint32(v), nil
			}
		}
	}
	return 0, &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Detail: "Vault's answer has no key version"}
}

// validName is what Vault takes in a path, and a little less.
func validName(s string) bool {
	inner := func(c byte) bool { return c == '.' || c == '_' || c == '-' }
	for i := range len(s) {
		c := s[i]
		alphanumeric := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !alphanumeric && (!inner(c) || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != "" && len(s) <= 128
}
