package localkeys

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/keybearer/keybearer"
)

// Looking into a keyring makes nothing, asks for no lock, and refuses what opening would.
func TestLookingIntoAKeyring(t *testing.T) {
	c := Config{Path: filepath.Join(t.TempDir(), "keyring.key")}
	if have, err := Inspect(c); have != nil || err != nil {
		t.Errorf("none: %v, %v", have, err)
	}
	if left, err := os.ReadDir(filepath.Dir(c.Path)); err != nil || len(left) > 0 {
		t.Errorf("it has made %v, %v", left, err)
	}
	k, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "gone"} {
		if err := k.CreateKey(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.RotateKey(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if err := k.DestroyKey(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	have, err := Inspect(c) // while it is open
	if want := map[string]uint32{"a": 1, "b": 2}; err != nil || !maps.Equal(have, want) {
		t.Errorf("%v, %v", have, err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	ring, err := os.ReadFile(c.Path + ringSuffix)
	if err != nil {
		t.Fatal(err)
	}
	kek, err := os.ReadFile(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"no ring":                func() error { return os.Remove(c.Path + ringSuffix) },
		"no KEK":                 func() error { return os.Remove(c.Path) },
		"half a ring":            func() error { return os.WriteFile(c.Path+ringSuffix, ring[:len(ring)/2], 0o600) },
		"another KEK":            func() error { return os.WriteFile(c.Path, newKEK().encode(), 0o600) },
		"a ring open for others": func() error { return os.Chmod(c.Path+ringSuffix, 0o644) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		_, looked := Inspect(c)
		_, opened := Open(c)
		if keybearer.CodeOf(looked) != keybearer.KeyringUnavailable || opened == nil || looked.Error() != opened.Error() {
			t.Errorf("%s: looking says %v, opening %v", name, looked, opened)
		}
		for path, text := range map[string][]byte{c.Path + ringSuffix: ring, c.Path: kek} {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
