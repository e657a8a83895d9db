package keybearertest

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"testing"

	"github.com/keybearer/keybearer"
)

// TestMovedCiphertexts moves ciphertexts about as somebody may who writes to the store: so many times one is taken from its row and opened as that of
// another row, scope, generation or older version, with the key and the share that belong there, or with only some of that. Each row is sealed under the
// context that [keybearer.NewSealContext] makes of it, and all hold the same secret. None may open but at its own place.
func TestMovedCiphertexts(t *testing.T, k keybearer.Keyring, moves int) {
	type generation struct {
		key    string
		number uint32
		share  []byte
	}
	type row struct {
		scope, credential string
		generation        generation
		version           uint64
		keyVersion        uint32
	}
	at := func(scope, credential string, g generation, version uint64) keybearer.SealContext {
		sc, err := keybearer.NewSealContext(scope, g.number, credential, version, g.share)
		if err != nil {
			t.Fatal(err)
		}
		return sc
	}
	var rows []row
	var sealed [][]byte
	for s := range 3 {
		scope := fmt.Sprint(keybearer.IDScope, s)
		for n := range uint32(2) {
			g := generation{createKey(t, k), n + 1, make([]byte, 32)}
			_, _ = rand.Read(g.share) // never fails
			for keyVersion := uint32(1); keyVersion <= 2; keyVersion++ {
				if keyVersion > 1 {
					rotateKey(t, k, g.key, keyVersion)
				}
				for c := range 6 {
					// The same credential ids, and versions, in every scope: the scope has to tell them apart.
					r := row{scope, fmt.Sprint(keybearer.IDCredential, c/2), g, uint64(1 + c%2), keyVersion}
					rows = append(rows, r)
					sealed = append(sealed, seal(t, k, g.key, at(r.scope, r.credential, g, r.version), "the same secret everywhere"))
				}
			}
		}
	}
	opened, home := 0, 0
	for range moves {
		from := mathrand.IntN(len(rows))
		to := rows[from]
		for range 1 + mathrand.IntN(4) { // what is different where it is moved to
			other := rows[mathrand.IntN(len(rows))]
			switch mathrand.IntN(8) {
			case 0:
				to = other
			case 1:
				to.scope = other.scope
			case 2:
				to.credential = other.credential
			case 3:
				to.generation = other.generation
			case 4:
				to.generation.number = other.generation.number
			case 5:
				to.generation.share = other.generation.share
			case 6:
				to.version = other.version
			case 7:
				to.keyVersion = other.keyVersion
			}
		}
		text := sealed[from]
		if to.keyVersion != rows[from].keyVersion {
			text = relabel(text, "v"+strconv.FormatUint(uint64(to.keyVersion), 10))
		}
		plain, err := k.Open(t.Context(), to.generation.key, at(to.scope, to.credential, to.generation, to.version), text)
		mine := &rows[from]
		stays := to.scope == mine.scope && to.credential == mine.credential && to.version == mine.version && to.keyVersion == mine.keyVersion &&
			to.generation.key == mine.generation.key && to.generation.number == mine.generation.number && &to.generation.share[0] == &mine.generation.share[0]
		switch {
		case stays && err != nil:
			t.Fatalf("a ciphertext does not open in its own row: %v", err)
		case stays:
			home++
			if string(plain) != "the same secret everywhere" {
				t.Fatal("it opens as something else")
			}
		case err == nil:
			opened++
			t.Errorf("of scope %s, credential %s, version %d, generation %d it opens as of %s, %s, %d, %d", mine.scope, mine.credential, mine.version,
				mine.generation.number, to.scope, to.credential, to.version, to.generation.number)
		case keybearer.CodeOf(err) != keybearer.KeyringUnavailable:
			t.Fatal(err)
		}
	}
	if home == 0 {
		t.Error("none was tried in its own row: the test cannot tell")
	}
	t.Logf("%d moves: %d opened elsewhere; %d were tried where they belong", moves-home, opened, home)
}
