package keybearertest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

func testRotate(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	var all [][]byte
	for version := uint32(1); version <= 4; version++ {
		sealed := seal(t, k, key, contextOf(int(version)), fmt.Sprint("secret ", version))
		if _, v, _ := parts(t, sealed); v != version {
			t.Errorf("sealed with version %d, want %d", v, version)
		}
		all = append(all, sealed)
		for i, old := range all { // older versions still open
			opens(t, k, key, contextOf(i+1), old, fmt.Sprint("secret ", i+1))
		}
		rotateKey(t, k, key, version+1)
	}
}

func testRewrap(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	sealed := seal(t, k, key, contextOf(1), "secret")
	item := keybearer.RewrapItem{Context: contextOf(1), Sealed: sealed}
	if got := rewrap(t, k, key, item)[0]; got.Err != nil || !bytes.Equal(got.Sealed, sealed) {
		t.Errorf("an item at the latest version did not come back as it is: %v", got.Err)
	}
	rotateKey(t, k, key, 2)
	rotateKey(t, k, key, 3)
	got := rewrap(t, k, key, item)[0]
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	if _, v, _ := parts(t, got.Sealed); v != 3 {
		t.Errorf("rewrapped to version %d, want 3", v)
	}
	opens(t, k, key, contextOf(1), got.Sealed, "secret")
	opens(t, k, key, contextOf(1), sealed, "secret") // the old one, as long as the key is there
	stays(t, "rewrapped, with another context", k, key, contextOf(2), got.Sealed)
	item.Sealed = got.Sealed
	if again := rewrap(t, k, key, item)[0]; again.Err != nil || !bytes.Equal(again.Sealed, got.Sealed) {
		t.Errorf("a rewrapped item did not come back as it is: %v", again.Err)
	}
	if none := rewrap(t, k, key); len(none) != 0 {
		t.Errorf("%d results for no item", len(none))
	}
}

func rewrap(t *testing.T, k keybearer.Keyring, key string, items ...keybearer.RewrapItem) []keybearer.RewrapResult {
	t.Helper()
	results, err := k.Rewrap(t.Context(), key, items)
	if err != nil {
		t.Fatalf("Rewrap: %v", err)
	}
	if len(results) != len(items) {
		t.Fatalf("Rewrap gave %d results for %d items", len(results), len(items))
	}
	return results
}

// Each item has its own result: good ones do not suffer for bad ones, wherever these stand.
func testRewrapItems(t *testing.T, k keybearer.Keyring) {
	const n = 300
	key, other := createKey(t, k), createKey(t, k)
	var items []keybearer.RewrapItem
	var bad []string
	rotateKey(t, k, other, 2)
	for i := range n {
		if i == n/2 {
			rotateKey(t, k, key, 2)
		}
		item := keybearer.RewrapItem{Context: contextOf(i), Sealed: seal(t, k, key, contextOf(i), fmt.Sprint("secret ", i))}
		why := ""
		if i < n/2 { // what is at the latest version need not be looked into
			switch i % 7 {
			case 1:
				why = "another context"
				item.Context = contextOf(i + 1)
			case 2:
				why = "another key"
				item.Sealed = relabel(seal(t, k, other, contextOf(i), "secret"), "v1")
			case 3:
				why = "garbage"
				item.Sealed = []byte("garbage")
			case 4:
				why = "empty"
				item.Sealed = nil
			}
		}
		items, bad = append(items, item), append(bad, why)
	}
	for i, r := range rewrap(t, k, key, items...) {
		switch {
		case bad[i] != "":
			unopenable(t, bad[i], r.Err)
			if r.Sealed != nil {
				t.Errorf("item %d: ciphertext beside the error", i)
			}
		case r.Err != nil:
			t.Errorf("item %d: %v", i, r.Err)
		default:
			if _, v, _ := parts(t, r.Sealed); v != 2 {
				t.Errorf("item %d has version %d, want 2", i, v)
			}
			opens(t, k, key, contextOf(i), r.Sealed, fmt.Sprint("secret ", i))
		}
	}
}

func testDestroy(t *testing.T, k keybearer.Keyring) {
	never := keyName()
	if err := k.DestroyKey(t.Context(), never); err != nil {
		t.Errorf("destroying a key that does not exist: %v", err)
	}
	if err := k.CreateKey(t.Context(), never); err != nil {
		t.Errorf("a name that no key had cannot be used once it was destroyed: %v", err)
	}
	key, neighbour := createKey(t, k), createKey(t, k)
	first := seal(t, k, key, contextOf(1), "secret")
	rotateKey(t, k, key, 2)
	second := seal(t, k, key, contextOf(2), "secret")
	beside := seal(t, k, neighbour, contextOf(3), "other")
	if err := k.DestroyKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		stays(t, "version 1 of a destroyed key", k, key, contextOf(1), first)
		stays(t, "version 2 of a destroyed key", k, key, contextOf(2), second)
		_, err := k.KeyVersion(t.Context(), key)
		wantCode(t, "KeyVersion", err, keybearer.NotFound)
		_, err = k.RotateKey(t.Context(), key)
		wantCode(t, "RotateKey", err, keybearer.NotFound)
		_, err = k.Seal(t.Context(), key, contextOf(1), []byte("secret"))
		wantCode(t, "Seal", err, keybearer.NotFound)
		wantRewrapRefused(t, k, key, keybearer.RewrapItem{Context: contextOf(1), Sealed: first}, keybearer.RewrapItem{Context: contextOf(2), Sealed: second})
		if err := k.CreateKey(t.Context(), key); err != nil {
			wantCode(t, "CreateKey of a destroyed name", err, keybearer.AlreadyExists)
		} else { // then it is another key
			wantVersion(t, k, key, 1)
			rotateKey(t, k, key, 2)
			stays(t, "version 1 of a destroyed key, with a new one of its name", k, key, contextOf(1), first)
			stays(t, "version 2 of a destroyed key, with a new one of its name", k, key, contextOf(2), second)
			opens(t, k, key, contextOf(1), seal(t, k, key, contextOf(1), "new"), "new")
		}
		if err := k.DestroyKey(t.Context(), key); err != nil {
			t.Errorf("destroying it again: %v", err)
		}
	}
	opens(t, k, neighbour, contextOf(3), beside, "other")
}

// A ciphertext opens at its own place and at no other: keys, versions and contexts are drawn and swapped at random.
func testSwaps(t *testing.T, k keybearer.Keyring) {
	type place struct {
		key     string
		version uint32
		context keybearer.SealContext
	}
	keys := []string{createKey(t, k), createKey(t, k), createKey(t, k)}
	sealed := map[place][]byte{}
	var places []place
	for version := uint32(1); version <= 2; version++ {
		for _, key := range keys {
			for n := range 4 {
				p := place{key, version, contextOf(n)}
				sealed[p] = seal(t, k, key, p.context, "the same secret everywhere")
				places = append(places, p)
			}
			rotateKey(t, k, key, version+1)
		}
	}
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SampledFrom(places).Draw(t, "sealed at")
		key := rapid.SampledFrom(keys).Draw(t, "key")
		sc := rapid.SampledFrom(places).Draw(t, "context of").context
		text := sealed[from]
		version := from.version
		if rapid.Bool().Draw(t, "relabel") {
			version = rapid.Uint32Range(1, 3).Draw(t, "version")
			text = relabel(text, "v"+strconv.FormatUint(uint64(version), 10))
		}
		_, err := k.Open(ctx, key, sc, text)
		home := from == place{key, version, sc}
		if home != (err == nil) {
			t.Fatalf("opens: %v, at its own place: %v", err == nil, home)
		}
		if err != nil && keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
			t.Fatal(err)
		}
	})
}

// Of several that create one key, one does.
func testOneCreator(t *testing.T, k keybearer.Keyring) {
	name := keyName()
	results := make([]error, 8)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { results[i] = k.CreateKey(t.Context(), name) })
	}
	wg.Wait()
	created := 0
	for _, err := range results {
		if err == nil {
			created++
		} else {
			wantCode(t, "CreateKey", err, keybearer.AlreadyExists)
		}
	}
	if created != 1 {
		t.Errorf("%d of 8 created the key, want 1", created)
	}
	wantVersion(t, k, name, 1)
}

func testConcurrentRotations(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	versions := make([]uint32, 8)
	var wg sync.WaitGroup
	for i := range versions {
		wg.Go(func() {
			var err error
			if versions[i], err = k.RotateKey(t.Context(), key); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	slices.Sort(versions)
	for i, v := range versions {
		if v < 2 || v > 9 || i > 0 && v < versions[i-1] {
			t.Errorf("versions %v, want within 2 to 9", versions)
		}
	}
	wantVersion(t, k, key, 9)
}

// Sealing, opening and rewrapping go on while keys are rotated; what is sealed at any time opens later. Once DestroyKey has
// returned nothing opens.
func testConcurrentUse(t *testing.T, k keybearer.Keyring) {
	key, doomed := createKey(t, k), createKey(t, k)
	last := seal(t, k, doomed, contextOf(0), "doomed")
	var destroyed sync.Mutex // held while it is not certain whether the key is gone
	gone := false
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := range 30 {
				n := g*1000 + i
				secret := fmt.Sprint("secret ", n)
				sealed, err := k.Seal(t.Context(), key, contextOf(n), []byte(secret))
				if err != nil {
					t.Error(err)
					return
				}
				results, err := k.Rewrap(t.Context(), key, []keybearer.RewrapItem{{Context: contextOf(n), Sealed: sealed}})
				if err != nil || results[0].Err != nil {
					t.Error(err, results)
					return
				}
				for _, text := range [][]byte{sealed, results[0].Sealed} {
					if got, err := k.Open(t.Context(), key, contextOf(n), text); err != nil || string(got) != secret {
						t.Errorf("%q, %v", got, err)
						return
					}
				}
				destroyed.Lock()
				was := gone
				destroyed.Unlock()
				if got, err := k.Open(t.Context(), doomed, contextOf(0), last); err == nil && (was || string(got) != "doomed") {
					t.Errorf("the destroyed key opens: %v", was)
				} else if err != nil && keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
					t.Error(err)
				}
			}
		})
	}
	for i := range 10 {
		rotateKey(t, k, key, uint32(i)+2)
		if i == 5 {
			if err := k.DestroyKey(t.Context(), doomed); err != nil {
				t.Error(err)
			}
			destroyed.Lock()
			gone = true
			destroyed.Unlock()
		}
	}
	wg.Wait()
	stays(t, "a destroyed key", k, doomed, contextOf(0), last)
}
