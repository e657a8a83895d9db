package scrub

import (
	"bytes"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/keybearer/keybearer"
)

// BenchmarkReader tells how many bytes a second of several kinds go through.
func BenchmarkReader(b *testing.B) {
	random := make([]byte, 3<<20)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(random)
	prose := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, and 12,345 times more: {\"name\": \"value\"}.\n"), 40_000)
	secret := "sk_live_51HxTVqk+/9f8e7d6c5b4a"
	s := New(keybearer.NewSecret(secret), keybearer.NewSecret("Bearer "+secret))
	for name, text := range map[string][]byte{
		"prose": prose, "binary": random, "base64": []byte(base64.StdEncoding.EncodeToString(random)),
		"the secret": bytes.Repeat([]byte(secret), 100_000), "nearly the secret": bytes.Repeat([]byte(secret[:len(secret)-1]), 100_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := io.Copy(io.Discard, struct{ io.Reader }{s.Reader(bytes.NewReader(text))}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNew tells what a secret costs when it is opened, and when a body is first scrubbed.
func BenchmarkNew(b *testing.B) {
	secret := keybearer.NewSecret("sk_live_51HxTVqk+/9f8e7d6c5b4a")
	b.Run("forms", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			New(secret)
		}
	})
	b.Run("automaton", func(b *testing.B) {
		b.ReportAllocs()
		words := New(secret).forms().inside
		for b.Loop() {
			newAutomaton(words)
		}
	})
}
