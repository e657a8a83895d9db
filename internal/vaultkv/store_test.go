package vaultkv_test

import (
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/harness"
)

func TestStore(t *testing.T) {
	t.Parallel()
	l := newLab(t, harness.VaultOptions{})
	keybearertest.TestStore(t, func(t *testing.T) keybearer.Store { return l.home(t).open(t, "one") })
}

func TestFleet(t *testing.T) {
	t.Parallel()
	l := newLab(t, harness.VaultOptions{})
	keybearertest.TestFleet(t, func(t *testing.T) func(string) keybearer.Store {
		h := l.home(t)
		return func(node string) keybearer.Store { return h.open(t, node) }
	})
}
