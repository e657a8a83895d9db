package custody_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keybearer/keybearer"
)

func TestStatusNamesThePartThatFails(t *testing.T) {
	l := newLab(t)
	if _, err := l.GenerateKey(t.Context(), by(root), keybearer.GlobalScope); err != nil {
		t.Fatal(err)
	}
	codes := func() map[string]keybearer.Code {
		t.Helper()
		parts, err := l.Status(t.Context(), by(root))
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]keybearer.Code{}
		for _, p := range parts {
			m[p.Name] = codeOf(p.Err)
		}
		return m
	}
	if m := codes(); len(m) != 3 || m["store"]+m["audit"]+m["keyring"] != "" {
		t.Fatalf("a sound server: %v", m)
	}
	// The store comes back with a keyring that is not its own.
	l.close()
	for _, name := range []string{"keyring.key", "keyring.key.ring"} {
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	l.open()
	if m := codes(); m["keyring"] != "" || m["key of scope global"] != keybearer.KeyringUnavailable {
		t.Fatalf("a keyring without the scope's key: %v", m)
	}
}

func codeOf(e *keybearer.Error) keybearer.Code {
	if e == nil {
		return ""
	}
	return e.Code
}
