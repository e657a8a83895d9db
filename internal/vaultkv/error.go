package vaultkv

import (
	"context"
	"errors"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
)

// errIndexGone is a path that holds buckets and no index.
var errIndexGone = errors.New("there are buckets and no index")

// errDamaged is content that we did not write, or that is not all there.
type errDamaged struct{ err error }

func (e errDamaged) Error() string { return "damaged: " + e.err.Error() }
func (e errDamaged) Unwrap() error { return e.err }

const restore = "restore a snapshot of Vault, or delete everything on the store's path to begin with an empty one"

// fail turns an error into a [keybearer.Error]. It names no address and no path: the answer may reach somebody whom they do not concern.
func fail(op string, err error) error {
	if k, ok := errors.AsType[*keybearer.Error](err); ok {
		if k.Op == "" {
			k.Op = op
		}
		return k
	}
	k := vaultclient.Describe(keybearer.StoreUnavailable, op, err)
	_, damaged := errors.AsType[errDamaged](err)
	switch {
	case k.Detail != "":
	case damaged:
		k.Detail, k.Hint = "what the store holds in Vault cannot be read", restore
	case errors.Is(err, errIndexGone), errors.Is(err, errAbsent):
		k.Detail, k.Hint = "the store's index is not in Vault", restore
	case errors.Is(err, errExpires):
		k.Detail, k.Hint = "the mount deletes what is written to it after a time", "set delete_version_after of the mount to 0s"
	case errors.Is(err, errNotKV):
		k.Detail, k.Hint = "the mount is not a KV engine of version 2", "name one in mount: vault secrets enable -path=secret kv-v2"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		k.Detail, k.Hint = "the store did not answer in time", "try again"
	}
	return k
}
