package localkeys

import (
	"path/filepath"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/keybearertest"
)

func TestKeyring(t *testing.T) {
	keybearertest.TestKeyring(t, func(t *testing.T) keybearer.Keyring {
		return openKeyring(t, filepath.Join(t.TempDir(), "keyring.key"))
	})
}

func openKeyring(t testing.TB, path string) *Keyring {
	t.Helper()
	k, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}
