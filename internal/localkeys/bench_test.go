package localkeys

import (
	"path/filepath"
	"testing"

	"github.com/keybearer/keybearer"
)

func BenchmarkSeal(b *testing.B) { benchmark(b, true) }

func BenchmarkOpen(b *testing.B) { benchmark(b, false) }

func benchmark(b *testing.B, seal bool) {
	k, err := Open(Config{Path: filepath.Join(b.TempDir(), "keyring.key")})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	ctx, sc, plaintext := b.Context(), keybearer.SealContext{1}, make([]byte, 300)
	if err := k.CreateKey(ctx, "scope"); err != nil {
		b.Fatal(err)
	}
	sealed, err := k.Seal(ctx, "scope", sc, plaintext)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if seal {
			_, err = k.Seal(ctx, "scope", sc, plaintext)
		} else {
			_, err = k.Open(ctx, "scope", sc, sealed)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
