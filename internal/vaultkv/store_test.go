package vaultkv_test

import (
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/harness"
)

func TestStore(t *testing.T) {
	l := newLab(t, harness.VaultOptions{})
	keybearertest.TestStore(t, func(t *testing.T) keybearer.Store { return l.home(t).open(t, "one") })
}
