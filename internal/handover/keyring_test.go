package handover_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/handover"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/keybearertest"
)

func ring(t *testing.T) *localkeys.Keyring {
	t.Helper()
	k, err := localkeys.Open(localkeys.Config{Path: filepath.Join(t.TempDir(), "keyring.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func local(k keybearer.Keyring) handover.Part { return handover.Part{Keyring: k, Kind: "local"} }

func TestTwoKeyringsAreOne(t *testing.T) {
	for name, former := range map[string]string{"of one kind": "local", "of two kinds": "vault", "of an unknown kind": ""} {
		t.Run(name, func(t *testing.T) {
			keybearertest.TestKeyring(t, func(t *testing.T) keybearer.Keyring {
				return handover.NewKeyring(local(ring(t)), handover.Part{Keyring: ring(t), Kind: former})
			})
		})
	}
}

var sc = keybearer.SealContext{1}

func TestAKeyOfTheFormerKeyringStaysThere(t *testing.T) {
	ctx := t.Context()
	current, former := ring(t), ring(t)
	if err := former.CreateKey(ctx, "old"); err != nil {
		t.Fatal(err)
	}
	k := handover.NewKeyring(local(current), local(former))
	if in, err := k.Current(ctx, "old"); in || err != nil {
		t.Errorf("in the current one: %v, %v", in, err)
	}
	if _, err := k.Current(ctx, "none"); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Error(err)
	}
	first, err := k.Seal(ctx, "old", sc, []byte("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := k.RotateKey(ctx, "old"); v != 2 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	rewrapped, err := k.Rewrap(ctx, "old", []keybearer.RewrapItem{{Context: sc, Sealed: first}})
	if err != nil || rewrapped[0].Err != nil {
		t.Fatal(err, rewrapped)
	}
	for _, over := range []*handover.Keyring{k, handover.NewKeyring(local(current), local(former))} { // the second remembers nothing
		for _, sealed := range [][]byte{first, rewrapped[0].Sealed} {
			if p, err := over.Open(ctx, "old", sc, sealed); err != nil || string(p) != "s3cret" {
				t.Errorf("%q, %v", p, err)
			}
		}
	}
	if err := k.CreateKey(ctx, "new"); err != nil {
		t.Fatal(err)
	}
	if in, err := k.Current(ctx, "new"); !in || err != nil {
		t.Errorf("in the current one: %v, %v", in, err)
	}
	if _, err := former.KeyVersion(ctx, "new"); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Error("a new key is in the former keyring", err)
	}
	if _, err := current.KeyVersion(ctx, "old"); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Error("an old key is in the current keyring", err)
	}
	for _, key := range []string{"old", "new"} {
		if err := k.DestroyKey(ctx, key); err != nil {
			t.Fatal(err)
		}
		if _, err := k.KeyVersion(ctx, key); keybearer.CodeOf(err) != keybearer.NotFound {
			t.Error(err)
		}
	}
	if _, err := k.Open(ctx, "old", sc, first); !errors.Is(err, keybearer.ErrUnopenable) {
		t.Error("both have answered:", err)
	}
}

// A closed keyring is one that is away.
func TestAnOutageOfOneKeyringHidesNothingOfTheOther(t *testing.T) {
	for name, kinds := range map[string][2]string{"of one kind": {"local", "local"}, "of two kinds": {"vault", "local"}, "unknown": {"", ""}} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			current, former := ring(t), ring(t)
			if err := former.CreateKey(ctx, "old"); err != nil {
				t.Fatal(err)
			}
			sealed, err := former.Seal(ctx, "old", sc, []byte("s3cret"))
			if err != nil {
				t.Fatal(err)
			}
			if err := current.Close(); err != nil {
				t.Fatal(err)
			}
			k := handover.NewKeyring(handover.Part{Keyring: current, Kind: kinds[0]}, handover.Part{Keyring: former, Kind: kinds[1]})
			if p, err := k.Open(ctx, "old", sc, sealed); err != nil || string(p) != "s3cret" {
				t.Errorf("%q, %v", p, err)
			}
			if _, err := k.Seal(ctx, "old", sc, []byte("s3cret")); err != nil {
				t.Error(err)
			}
			if in, err := k.Current(ctx, "old"); in || err != nil {
				t.Errorf("in the current one: %v, %v", in, err)
			}
			_, err = k.KeyVersion(ctx, "none")
			if keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
				t.Error("it could be in the one that is away:", err)
			}
			if err := k.DestroyKey(ctx, "old"); keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
				t.Error("half a destruction is none:", err)
			}
			if kinds[0] == kinds[1] {
				if _, err = k.Open(ctx, "old", sc, sealed); err == nil || errors.Is(err, keybearer.ErrUnopenable) {
					t.Error("one of them did not answer:", err)
				}
			}
		})
	}
}

// hanging is a keyring whose opening never ends by itself.
type hanging struct{ keybearer.Keyring }

func (hanging) Open(ctx context.Context, _ string, _ keybearer.SealContext, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, keybearer.NewError(keybearer.KeyringUnavailable, "").Wrap(ctx.Err())
}

func TestAKeyringThatHangsLeavesTimeForTheOther(t *testing.T) {
	former := ring(t)
	if err := former.CreateKey(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	sealed, err := former.Seal(t.Context(), "old", sc, []byte("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	k := handover.NewKeyring(local(hanging{ring(t)}), local(former))
	for range 2 { // the second time it is remembered who has the key
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		p, err := k.Open(ctx, "old", sc, sealed)
		cancel()
		if err != nil || !bytes.Equal(p, []byte("s3cret")) {
			t.Fatalf("%q, %v", p, err)
		}
	}
}

// refusing is a keyring that opens nothing for this role.
type refusing struct{ keybearer.Keyring }

func (refusing) Open(context.Context, string, keybearer.SealContext, []byte) ([]byte, error) {
	return nil, &keybearer.Error{Code: keybearer.KeyringUnavailable, Err: errors.Join(keybearer.ErrUnopenable, keybearer.ErrRefused)}
}

// The one that does not have the key cannot speak for the one that refuses to try.
func TestARefusalIsNoWordAboutTheSecret(t *testing.T) {
	a, b := ring(t), ring(t)
	if err := a.CreateKey(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	sealed, err := a.Seal(t.Context(), "old", sc, []byte("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*handover.Keyring{
		"of the current one": handover.NewKeyring(local(refusing{a}), local(b)),
		"of the former one":  handover.NewKeyring(local(b), local(refusing{a})),
	} {
		if _, err := k.Open(t.Context(), "old", sc, sealed); !errors.Is(err, keybearer.ErrUnopenable) || !errors.Is(err, keybearer.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
