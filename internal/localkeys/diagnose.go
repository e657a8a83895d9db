package localkeys

import (
	"context"

	"github.com/keybearer/keybearer"
)

// Unlocked returns nil while the memory that keys lie in is locked, and else a warning: keys may be swapped out.
func (k *Keyring) Unlocked() error {
	if _, err := memory.state(); err != nil {
		return keybearer.NewError(keybearer.KeyringUnavailable, "the memory of keys is not locked: they may be swapped out").Wrap(err).
			WithHint("raise the limit of locked memory: LimitMEMLOCK=infinity in the unit, or ulimit -l 64; or switch swap off, or encrypt it")
	}
	return nil
}

// Diagnose tells whether keys may be swapped out.
func (k *Keyring) Diagnose(context.Context) []keybearer.Finding {
	f := keybearer.Finding{Check: "memory", Detail: "the keys are in locked memory"}
	if err := k.Unlocked(); err != nil {
		f.Detail, f.Err, f.Warn = "", keybearer.AsError(err), true
	}
	return []keybearer.Finding{f}
}
