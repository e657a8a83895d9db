package transit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// What a destroyed key sealed opens with no key that Vault still has, whoever asks, under its old name or another; what other
// keys sealed opens as before, and they are as they were.
func TestNothingOpensWhatADestroyedKeySealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	const each = 5
	sealed := map[string][][]byte{}
	for _, key := range []string{"docs-1", "crm-1", "global-1"} {
		createKey(t, k, key)
		for n := range each {
			if n == 3 {
				if _, err := k.RotateKey(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			sealed[key] = append(sealed[key], w.sealed(t, k, key, n, fmt.Sprint(key, n)))
		}
	}
	others := func() string {
		return fmt.Sprint(w.Must(t, "GET", "keybearer/keys/crm-1", nil).Data(t), w.Must(t, "GET", "keybearer/keys/global-1", nil).Data(t))
	}
	before := others()
	// What a regeneration does to the keyring: a new key under a new name, then the end of the old one.
	createKey(t, k, "docs-2")
	fresh := w.sealed(t, k, "docs-2", 0, "fresh")
	if err := k.DestroyKey(t.Context(), "docs-1"); err != nil {
		t.Fatal(err)
	}
	createKey(t, k, "docs-1") // even a key of the same name
	if _, err := k.RotateKey(t.Context(), "docs-1"); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, name := range w.Must(t, "LIST", "keybearer/keys", nil).Data(t)["keys"].([]any) {
		for n, text := range sealed["docs-1"] {
			sc := contextOf(n)
			a := w.Do(t, "PUT", "keybearer/decrypt/"+name.(string), map[string]any{"ciphertext": string(text), "context": base64.StdEncoding.EncodeToString(sc[:])})
			if a.Status != 400 {
				t.Errorf("%s: secret %d of the destroyed key: %d", name, n, a.Status)
			}
			if _, err := k.Open(t.Context(), name.(string), sc, text); !errors.Is(err, keybearer.ErrUnopenable) {
				t.Errorf("%s: secret %d of the destroyed key: %v", name, n, err)
			}
			tried++
		}
	}
	if tried != 4*each {
		t.Errorf("%d tries, want %d", tried, 4*each)
	}
	for _, key := range []string{"crm-1", "global-1"} {
		for n, text := range sealed[key] {
			if err := opens(t, k, key, n, text, fmt.Sprint(key, n)); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
	if err := opens(t, k, "docs-2", 0, fresh, "fresh"); err != nil {
		t.Error(err)
	}
	if after := others(); after != before {
		t.Errorf("other keys have changed: before\n%s\nafter\n%s", before, after)
	}
}

// A snapshot of Vault from before brings the key back. What it sealed still needs the scope's share, which the store forgot
// with the regeneration: with any other share it does not open.
func TestAnOldSnapshotOfVaultOpensNothingWithoutTheShare(t *testing.T) {
	t.Parallel()
	w := &world{Vault: harness.StartVault(t, harness.VaultOptions{Persistent: true}), mount: "keybearer"}
	w.data, w.control = w.Transit(t, w.mount)
	k := w.open(t)
	createKey(t, k, "docs-1")
	place := func(share byte) keybearer.SealContext {
		sc, err := keybearer.NewSealContext("scp_a", 1, "crd_a", 1, bytes.Repeat([]byte{share}, 32))
		if err != nil {
			t.Fatal(err)
		}
		return sc
	}
	sealed, err := k.Seal(t.Context(), "docs-1", place(1), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	snapshot := w.raw(t, "GET", "sys/storage/raft/snapshot", nil)
	if err := k.DestroyKey(t.Context(), "docs-1"); err != nil {
		t.Fatal(err)
	}
	w.raw(t, "POST", "sys/storage/raft/snapshot-force", snapshot)
	harness.Await(t, "the key is back", 30*time.Second, func() error {
		got, err := k.Open(t.Context(), "docs-1", place(1), sealed) // the test remembers the share, which the store would not
		if err == nil && string(got) != "secret" {
			err = errors.New("it opens to something else")
		}
		return err
	})
	for share := byte(2); share < 200; share++ {
		if _, err := k.Open(t.Context(), "docs-1", place(share), sealed); !errors.Is(err, keybearer.ErrUnopenable) {
			t.Fatalf("with another share: %v", err)
		}
	}
}

// raw calls the API with a body that is no JSON, as root.
func (w *world) raw(t *testing.T, method, path string, body []byte) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.URL+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", w.Token)
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s: %d %s %v", path, resp.StatusCode, got, err)
	}
	return got
}
