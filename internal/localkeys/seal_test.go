package localkeys

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/soak"
)

// Here no other spelling of a ciphertext opens, though the conformance suite would let it.
func TestOnlyCanonicalTextOpens(t *testing.T) {
	k := openKeyring(t, filepath.Join(t.TempDir(), "keyring.key"))
	ctx := t.Context()
	if err := k.CreateKey(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	for n := range 4 { // each length of padding
		sealed, err := k.Seal(ctx, "a", keybearer.SealContext{}, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		try := func(text []byte) {
			if bytes.Equal(text, sealed) {
				return
			}
			if _, err := k.Open(ctx, "a", keybearer.SealContext{}, text); !errors.Is(err, keybearer.ErrUnopenable) {
				t.Errorf("%q for %q: %v", text, sealed, err)
			}
		}
		for i := range len(sealed) + 1 {
			for c := range 256 {
				try(append(append(bytes.Clone(sealed[:i]), byte(c)), sealed[i:]...))
				if i < len(sealed) {
					changed := bytes.Clone(sealed)
					changed[i] = byte(c)
					try(changed)
				}
			}
		}
		try(bytes.Replace(sealed, []byte("v1"), []byte("v01"), 1))
		try(bytes.Replace(sealed, []byte("v1"), []byte("v+1"), 1))
		try(bytes.TrimRight(sealed, "="))
	}
}

// A ciphertext that is moved to another row, scope, generation or version opens nowhere.
func TestSoakMovedCiphertexts(t *testing.T) {
	moves := soak.Size(t, 5_000, 2_000_000)
	keybearertest.TestMovedCiphertexts(t, openKeyring(t, filepath.Join(t.TempDir(), "keyring.key")), moves)
	soak.Record(t, "ciphertexts of the local keyring, moved to another place", soak.Count(moves)+" moves", "none opens")
}

func TestClosed(t *testing.T) {
	k := openKeyring(t, filepath.Join(t.TempDir(), "keyring.key"))
	ctx := t.Context()
	if err := k.CreateKey(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(ctx, "a", keybearer.SealContext{}, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	v, kek := k.ring.keys["a"][0], k.kek
	if *v.prk == [32]byte{} || *kek.key == [32]byte{} {
		t.Fatal("no key to clear")
	}
	if err := errors.Join(k.Close(), k.Close()); err != nil {
		t.Fatal(err)
	}
	if *v.prk != [32]byte{} || *kek.key != [32]byte{} {
		t.Error("Close left key bytes")
	}
	_, version := k.KeyVersion(ctx, "a")
	_, rotate := k.RotateKey(ctx, "a")
	_, seal := k.Seal(ctx, "a", keybearer.SealContext{}, []byte("secret"))
	_, open := k.Open(ctx, "a", keybearer.SealContext{}, sealed)
	_, rewrap := k.Rewrap(ctx, "a", nil)
	for i, err := range []error{version, rotate, seal, open, rewrap, k.CreateKey(ctx, "b"), k.DestroyKey(ctx, "a")} {
		if !errors.Is(err, unavailable) || errors.Is(err, keybearer.ErrUnopenable) {
			t.Errorf("call %d after Close: %v", i, err)
		}
	}
}

func TestDestroyClears(t *testing.T) {
	k := openKeyring(t, filepath.Join(t.TempDir(), "keyring.key"))
	if err := k.CreateKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	v := k.ring.keys["a"][0]
	if err := k.DestroyKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if *v.prk != [32]byte{} {
		t.Error("DestroyKey left key bytes")
	}
}

func TestCancelled(t *testing.T) {
	k := openKeyring(t, filepath.Join(t.TempDir(), "keyring.key"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.CreateKey(ctx, "a"); !errors.Is(err, unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := k.KeyVersion(t.Context(), "a"); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Errorf("a cancelled change was made: %v", err)
	}
}
