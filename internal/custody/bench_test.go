package custody_test

import (
	"fmt"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// stocked is a lab with n credentials in scope docs, put there in bulk.
func stocked(b *testing.B, n int) *lab {
	b.Helper()
	l := benchLab(b)
	l.scope("docs")
	first := l.credential("docs", "first", "s3cret", "api.example.com")
	s, proto := l.scopeRecord("docs"), l.record(ref("docs", first.ID))
	for made := 0; made < n; {
		var batch keybearer.Batch
		for range min(1000, n-made) {
			c := proto.Clone()
			c.ID, c.Name, c.Revision = keybearer.NewID(keybearer.IDCredential), fmt.Sprintf("c%d", made), 0
			sc, err := keybearer.NewSealContext(s.ID, 1, c.ID, 1, s.Key.Share)
			if err != nil {
				b.Fatal(err)
			}
			bundle := keybearer.Bundle{Terms: c.Current.Terms, Secret: keybearer.NewSecret("s3cret")}
			plain, err := bundle.Encode()
			if err != nil {
				b.Fatal(err)
			}
			if c.Current.Sealed, err = l.keyring.Seal(b.Context(), s.Key.Name, sc, plain); err != nil {
				b.Fatal(err)
			}
			batch.Writes = append(batch.Writes, keybearer.Write{Credential: c})
			made++
		}
		if _, err := l.store.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	return l
}

// One operation is one credential made, with its audit line.
func BenchmarkCreateCredential(b *testing.B) {
	l := benchLab(b)
	l.scope("docs")
	n := 0
	for b.Loop() {
		n++
		l.credential("docs", fmt.Sprintf("c%d", n), "s3cret", "api.example.com")
	}
}

// One operation is one rotation of a scope with 10,000 credentials.
func BenchmarkRotate10k(b *testing.B) {
	l := stocked(b, 10_000)
	for b.Loop() {
		if _, err := l.RotateKey(b.Context(), by(root), "docs"); err != nil {
			b.Fatal(err)
		}
		if err := l.Settled(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// One operation is one page of 100 of 10,000 credentials, none of which but one may be seen.
func BenchmarkListFew(b *testing.B) {
	l := stocked(b, 10_000)
	if _, err := l.SetGrant(b.Context(), by(root), ref("docs", "c9999"), "group:sales", keybearer.View); err != nil {
		b.Fatal(err)
	}
	ada := custody.Actor{Subject: "user:ada", Groups: []string{"sales"}}
	for b.Loop() {
		if _, err := l.Credentials(b.Context(), by(ada), "docs", keybearer.Query{}); err != nil {
			b.Fatal(err)
		}
	}
}
