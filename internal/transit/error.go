package transit

import (
	"context"
	"errors"
	"net/http"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
)

// absent reports whether Vault said that there is no such key. It says 404 of a mount that is missing too, with a message; that says nothing
// of the key. Nor does the 404 of a proxy that has no Vault behind it.
func absent(err error) bool {
	e, ok := errors.AsType[*vaultclient.Error](err)
	return ok && e.Nothing
}

func unavailable(op string, err error) error {
	e := vaultclient.Describe(keybearer.KeyringUnavailable, op, err)
	if v, ok := errors.AsType[*vaultclient.Error](err); ok && v.Status == http.StatusNotFound && !v.Login {
		e.Detail, e.Hint = "Vault has no transit engine there", "check mount and namespace: vault secrets list"
	}
	return e
}

func notFound(op string) error {
	return &keybearer.Error{Code: keybearer.NotFound, Op: op, Detail: "the keyring has no key of that name"}
}

// as gives an error of Keybearer another operation.
func as(op string, err error) error {
	if err == nil {
		return nil
	}
	e := *keybearer.AsError(err)
	e.Op = op
	return &e
}

// missing is unavailable, but for a key that is not there. Vault says so in several ways, with 400 or, where the role may not create, with 403; so
// it is asked.
func (k *Keyring) missing(ctx context.Context, op, key string, err error) error {
	if s := vaultclient.Status(err); s == http.StatusBadRequest || s == http.StatusForbidden || s == http.StatusNotFound {
		if _, looked := k.KeyVersion(ctx, key); keybearer.CodeOf(looked) == keybearer.NotFound {
			return as(op, looked)
		}
	}
	return unavailable(op, err)
}
