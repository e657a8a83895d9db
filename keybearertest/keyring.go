package keybearertest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

// TestKeyring checks a [keybearer.Keyring] against every sentence of its contract. open returns a keyring that is to be closed when the test
// ends; keyrings may share what is behind them, since every key that the suite makes has a random name.
func TestKeyring(t *testing.T, open func(t *testing.T) keybearer.Keyring) {
	for _, part := range []struct {
		name string
		test func(*testing.T, keybearer.Keyring)
	}{
		{"Keys", testKeys},
		{"AbsentKey", testAbsentKey},
		{"Form", testForm},
		{"RoundTrip", testSealRoundTrip},
		{"Sizes", testSizes},
		{"Ownership", testOwnership},
		{"WrongContext", testWrongContext},
		{"WrongKey", testWrongKey},
		{"WrongVersion", testWrongVersion},
		{"Tampering", testTampering},
		{"Rotate", testRotate},
		{"Rewrap", testRewrap},
		{"RewrapItems", testRewrapItems},
		{"Destroy", testDestroy},
		{"Swaps", testSwaps},
		{"OneCreator", testOneCreator},
		{"ConcurrentRotations", testConcurrentRotations},
		{"ConcurrentUse", testConcurrentUse},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// keyName returns a name that no key has had.
func keyName() string { return "test-" + strings.ToLower(rand.Text()) }

func createKey(t *testing.T, k keybearer.Keyring) string {
	t.Helper()
	name := keyName()
	if err := k.CreateKey(t.Context(), name); err != nil {
		t.Fatalf("CreateKey: %v", err)
	}
	return name
}

func rotateKey(t *testing.T, k keybearer.Keyring, key string, want uint32) {
	t.Helper()
	if v, err := k.RotateKey(t.Context(), key); err != nil || v != want {
		t.Fatalf("RotateKey: version %d, %v; want %d", v, err, want)
	}
}

func wantVersion(t *testing.T, k keybearer.Keyring, key string, want uint32) {
	t.Helper()
	if v, err := k.KeyVersion(t.Context(), key); err != nil || v != want {
		t.Fatalf("KeyVersion: %d, %v; want %d", v, err, want)
	}
}

func seal(t *testing.T, k keybearer.Keyring, key string, sc keybearer.SealContext, plaintext string) []byte {
	t.Helper()
	sealed, err := k.Seal(t.Context(), key, sc, []byte(plaintext))
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	return sealed
}

func opens(t *testing.T, k keybearer.Keyring, key string, sc keybearer.SealContext, sealed []byte, want string) {
	t.Helper()
	got, err := k.Open(t.Context(), key, sc, sealed)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if string(got) != want {
		t.Fatalf("Open gave %d bytes that are not the %d sealed", len(got), len(want))
	}
}

// unopenable checks that an error says that trying again does not help.
func unopenable(t *testing.T, what string, err error) {
	t.Helper()
	wantCode(t, what, err, keybearer.KeyringUnavailable)
	if !errors.Is(err, keybearer.ErrUnopenable) {
		t.Errorf("%s: %v does not wrap ErrUnopenable", what, err)
	}
}

func stays(t *testing.T, what string, k keybearer.Keyring, key string, sc keybearer.SealContext, sealed []byte) {
	t.Helper()
	plaintext, err := k.Open(t.Context(), key, sc, sealed)
	if err == nil {
		t.Errorf("%s: it opens", what)
		return
	}
	unopenable(t, what, err)
	if plaintext != nil {
		t.Errorf("%s: plaintext beside the error", what)
	}
}

// contextOf returns the seal context of the place numbered n.
func contextOf(n int) keybearer.SealContext {
	sc, err := keybearer.NewSealContext(keybearer.IDScope+"a", 1, keybearer.IDCredential+strconv.Itoa(n), 1, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	return sc
}

var sealedForm = regexp.MustCompile(`^([a-z]+):v([1-9][0-9]*):([A-Za-z0-9+/]+={0,2})$`)

// parts takes a sealed secret apart.
func parts(t *testing.T, sealed []byte) (kind string, version uint32, binary []byte) {
	t.Helper()
	m := sealedForm.FindSubmatch(sealed)
	if m == nil {
		t.Fatalf("sealed form %.40q… is not <kind>:v<N>:<base64>", sealed)
	}
	n, err := strconv.ParseUint(string(m[2]), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	binary, err = base64.StdEncoding.DecodeString(string(m[3]))
	if err != nil {
		t.Fatal(err)
	}
	return string(m[1]), uint32(n), binary
}

func testKeys(t *testing.T, k keybearer.Keyring) {
	name := keyName()
	_, err := k.KeyVersion(t.Context(), name)
	wantCode(t, "KeyVersion of no key", err, keybearer.NotFound)
	if err := k.CreateKey(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, k, name, 1)
	sealed := seal(t, k, name, contextOf(1), "secret")
	wantCode(t, "CreateKey again", k.CreateKey(t.Context(), name), keybearer.AlreadyExists)
	wantVersion(t, k, name, 1)
	opens(t, k, name, contextOf(1), sealed, "secret") // it is still the same key
	rotateKey(t, k, name, 2)
	rotateKey(t, k, name, 3)
	wantVersion(t, k, name, 3)
	wantCode(t, "CreateKey of a rotated key", k.CreateKey(t.Context(), name), keybearer.AlreadyExists)
	wantVersion(t, k, name, 3)
	other := createKey(t, k)
	wantVersion(t, k, other, 1)
}

func testAbsentKey(t *testing.T, k keybearer.Keyring) {
	present := createKey(t, k)
	sealed := seal(t, k, present, contextOf(1), "secret")
	absent := keyName()
	for range 2 { // nothing of the first round may have made the key
		_, err := k.KeyVersion(t.Context(), absent)
		wantCode(t, "KeyVersion", err, keybearer.NotFound)
		_, err = k.Seal(t.Context(), absent, contextOf(1), []byte("secret"))
		wantCode(t, "Seal", err, keybearer.NotFound)
		_, err = k.RotateKey(t.Context(), absent)
		wantCode(t, "RotateKey", err, keybearer.NotFound)
		stays(t, "Open", k, absent, contextOf(1), sealed)
		wantRewrapRefused(t, k, absent, keybearer.RewrapItem{Context: contextOf(1), Sealed: sealed})
	}
}

// wantRewrapRefused checks that no item is rewrapped, and that the reason is one of the keyring.
func wantRewrapRefused(t *testing.T, k keybearer.Keyring, key string, items ...keybearer.RewrapItem) {
	t.Helper()
	results, err := k.Rewrap(t.Context(), key, items)
	if err != nil {
		wantCode(t, "Rewrap", err, keybearer.KeyringUnavailable)
		return
	}
	if len(results) != len(items) {
		t.Fatalf("Rewrap gave %d results for %d items", len(results), len(items))
	}
	for _, r := range results {
		wantCode(t, "Rewrap", r.Err, keybearer.KeyringUnavailable)
		if r.Sealed != nil {
			t.Error("Rewrap gave a ciphertext beside the error")
		}
	}
}

func testForm(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	plaintext := strings.Repeat("a plaintext that would be seen", 5)
	kinds := map[string]bool{}
	for version := uint32(1); version <= 3; version++ {
		sealed := seal(t, k, key, contextOf(1), plaintext)
		kind, v, binary := parts(t, sealed)
		kinds[kind] = true
		if v != version {
			t.Errorf("sealed with version %d, want the latest, %d", v, version)
		}
		for n := range 3 { // base64 of a text shows at one of three alignments
			shown := base64.StdEncoding.EncodeToString([]byte(plaintext[n : n+30]))
			if bytes.Contains(binary, []byte(plaintext[:30])) || bytes.Contains(sealed, []byte(shown)) {
				t.Error("the plaintext can be read in the ciphertext")
			}
		}
		if again := seal(t, k, key, contextOf(1), plaintext); bytes.Equal(again, sealed) {
			t.Error("sealing the same twice gave the same ciphertext")
		}
		rotateKey(t, k, key, version+1)
	}
	if len(kinds) != 1 {
		t.Errorf("several kinds of ciphertext: %v", kinds)
	}
}

func testSealRoundTrip(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for i, plaintext := range []string{"x", "\x00", string(every), "ünïcode", strings.Repeat("\x00", 100), `{"v":1}`, "a\r\nb", "local:v1:AAAA", "vault:v1:AAAA"} {
		sealed := seal(t, k, key, contextOf(i), plaintext)
		for range 2 { // opening uses nothing up
			opens(t, k, key, contextOf(i), sealed, plaintext)
		}
	}
}

func testSizes(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	sizes := []int{keybearer.MaxBundle, keybearer.MaxBundle - 1, 32 << 10, 4097, 4096, 1000}
	for n := range 66 {
		sizes = append(sizes, n+1)
	}
	for _, n := range sizes {
		plaintext := make([]byte, n)
		_, _ = rand.Read(plaintext)
		sealed, err := k.Seal(t.Context(), key, contextOf(n), plaintext)
		if err != nil {
			t.Fatalf("Seal of %d bytes: %v", n, err)
		}
		opens(t, k, key, contextOf(n), sealed, string(plaintext))
	}
	if sealed, err := k.Seal(t.Context(), key, contextOf(1), make([]byte, keybearer.MaxBundle+1)); err == nil || sealed != nil {
		t.Errorf("Seal took more than MaxBundle bytes: %v", err)
	}
}

func testOwnership(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	plaintext := []byte("secret")
	sealed, err := k.Seal(t.Context(), key, contextOf(1), plaintext)
	if err != nil {
		t.Fatal(err)
	}
	if string(plaintext) != "secret" {
		t.Error("Seal changed the plaintext")
	}
	clear(plaintext)
	kept := slices.Clone(sealed)
	got, err := k.Open(t.Context(), key, contextOf(1), sealed)
	if err != nil {
		t.Fatal(err)
	}
	clear(got) // the caller's
	opens(t, k, key, contextOf(1), sealed, "secret")
	rotateKey(t, k, key, 2)
	results, err := k.Rewrap(t.Context(), key, []keybearer.RewrapItem{{Context: contextOf(1), Sealed: sealed}})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sealed, kept) {
		t.Error("the ciphertext that was given was changed")
	}
	clear(sealed)
	opens(t, k, key, contextOf(1), results[0].Sealed, "secret")
}

func testWrongContext(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	share := bytes.Repeat([]byte{1}, 32)
	place := func(scope string, generation uint32, credential string, version uint64, share []byte) keybearer.SealContext {
		sc, err := keybearer.NewSealContext(scope, generation, credential, version, share)
		if err != nil {
			t.Fatal(err)
		}
		return sc
	}
	right := place("scp_a", 1, "crd_a", 1, share)
	sealed := seal(t, k, key, right, "secret")
	opens(t, k, key, right, sealed, "secret")
	for what, wrong := range map[string]keybearer.SealContext{
		"scope":              place("scp_b", 1, "crd_a", 1, share),
		"generation":         place("scp_a", 2, "crd_a", 1, share),
		"credential":         place("scp_a", 1, "crd_b", 1, share),
		"secret version":     place("scp_a", 1, "crd_a", 2, share),
		"share":              place("scp_a", 1, "crd_a", 1, bytes.Repeat([]byte{2}, 32)),
		"names moved across": place("scp_", 1, "acrd_a", 1, share),
		"zero":               {},
	} {
		stays(t, "another "+what, k, key, wrong, sealed)
		if back := seal(t, k, key, wrong, "other"); bytes.Equal(back, sealed) {
			t.Errorf("another %s gives the same ciphertext", what)
		}
	}
	for bit := range len(right) * 8 {
		wrong := right
		wrong[bit/8] ^= 1 << (bit % 8)
		stays(t, fmt.Sprintf("context with bit %d flipped", bit), k, key, wrong, sealed)
	}
}

func testWrongKey(t *testing.T, k keybearer.Keyring) {
	a, b := createKey(t, k), createKey(t, k)
	sealed := seal(t, k, a, contextOf(1), "secret")
	stays(t, "another key", k, b, contextOf(1), sealed)
	rotateKey(t, k, b, 2)
	stays(t, "another key, rotated", k, b, contextOf(1), sealed)
	wantRewrapRefused(t, k, b, keybearer.RewrapItem{Context: contextOf(1), Sealed: sealed})
	opens(t, k, a, contextOf(1), sealed, "secret")
}

// relabel says of a ciphertext that another version sealed it.
func relabel(sealed []byte, version string) []byte {
	kind, rest, _ := bytes.Cut(sealed, []byte(":v"))
	_, rest, _ = bytes.Cut(rest, []byte(":"))
	return []byte(fmt.Sprintf("%s:%s:%s", kind, version, rest))
}

func testWrongVersion(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	first := seal(t, k, key, contextOf(1), "secret")
	rotateKey(t, k, key, 2)
	second := seal(t, k, key, contextOf(1), "secret")
	stays(t, "version 1 labelled 2", k, key, contextOf(1), relabel(first, "v2"))
	stays(t, "version 2 labelled 1", k, key, contextOf(1), relabel(second, "v1"))
	for _, label := range []string{"v3", "v0", "v-1", "v", "v4294967296", "v18446744073709551617", "vx", "2"} {
		stays(t, "version labelled "+label, k, key, contextOf(1), relabel(second, label))
	}
	opens(t, k, key, contextOf(1), first, "secret")
	opens(t, k, key, contextOf(1), second, "secret")
}

func testTampering(t *testing.T, k keybearer.Keyring) {
	key := createKey(t, k)
	sealed := seal(t, k, key, contextOf(1), "a secret of some bytes")
	kind, version, binary := parts(t, sealed)
	try := func(what string, text []byte) {
		t.Helper()
		if bytes.Equal(text, sealed) {
			return
		}
		plaintext, err := k.Open(t.Context(), key, contextOf(1), text)
		if err != nil {
			unopenable(t, what, err)
			return
		}
		// Another spelling of the very same bytes may open.
		head, rest, _ := bytes.Cut(text, []byte(fmt.Sprintf(":v%d:", version)))
		same, err := base64.StdEncoding.DecodeString(string(rest))
		if string(head) != kind || err != nil || !bytes.Equal(same, binary) || string(plaintext) != "a secret of some bytes" {
			t.Errorf("%s: it opens", what)
		}
	}
	for i := range sealed {
		for _, c := range []byte("AZaz09+/=:v \n\x00\xff") {
			changed := slices.Clone(sealed)
			changed[i] = c
			try(fmt.Sprintf("byte %d made %q", i, c), changed)
		}
		try(fmt.Sprintf("cut to %d bytes", i), sealed[:i])
		try(fmt.Sprintf("without the first %d bytes", i+1), sealed[i+1:])
		try(fmt.Sprintf("without byte %d", i), slices.Delete(slices.Clone(sealed), i, i+1))
		try(fmt.Sprintf("byte %d doubled", i), slices.Insert(slices.Clone(sealed), i, sealed[i]))
	}
	prefix := fmt.Sprintf("%s:v%d:", kind, version)
	for bit := range len(binary) * 8 {
		changed := slices.Clone(binary)
		changed[bit/8] ^= 1 << (bit % 8)
		try(fmt.Sprintf("bit %d flipped", bit), base64.StdEncoding.AppendEncode([]byte(prefix), changed))
	}
	for n := range binary {
		try(fmt.Sprintf("first %d bytes of it", n), base64.StdEncoding.AppendEncode([]byte(prefix), binary[:n]))
	}
	try("more behind it", base64.StdEncoding.AppendEncode([]byte(prefix), append(slices.Clone(binary), 0)))
	for _, text := range []string{"", ":", "::", prefix, "x", kind, "plaintext", prefix + "====", prefix + "secret", strings.Repeat("A", 100_000)} {
		try(fmt.Sprintf("%.20q", text), []byte(text))
	}
	opens(t, k, key, contextOf(1), sealed, "a secret of some bytes")
}
