package transit

import (
	"context"

	"github.com/keybearer/keybearer"
)

// Diagnose implements [keybearer.Diagnoser].
func (k *Keyring) Diagnose(ctx context.Context) []keybearer.Finding { return nil }
