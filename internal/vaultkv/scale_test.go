package vaultkv_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// typical returns a credential as they are: a token of 60 bytes sealed by Transit, with a previous version, two rules and two grants.
func typical(scope *keybearer.Scope, i int) *keybearer.Credential {
	c := newCredential(scope, fmt.Sprintf("service-%04d", i), nil)
	c.Description = "for the nightly export"
	c.Grants = []keybearer.Grant{{Subject: "app:billing", Level: keybearer.Use}, {Subject: "user:ann", Level: keybearer.Administer}}
	c.CreatedAt, c.UpdatedAt = time.Now(), time.Now()
	c.Current.Terms.Rules = []keybearer.Rule{
		{Scheme: "https", Host: "api.example.com", Port: 443, Path: "/v1", Methods: []string{"GET", "POST"}},
		{Scheme: "https", Host: "hooks.example.com", Port: 443},
	}
	bundle := keybearer.Bundle{Terms: c.Current.Terms, Secret: keybearer.NewSecret(fmt.Sprintf("%060d", i))}
	plaintext, err := bundle.Encode()
	if err != nil {
		panic(err)
	}
	c.Current.Sealed = append([]byte("vault:v1:"), base64.StdEncoding.EncodeToString(append(plaintext, bytes.Repeat([]byte{7}, 28)...))...)
	previous := c.Current
	c.Previous = &previous
	c.Current.Number, c.LastVersion = 2, 2
	return c
}

// What a store of typical credentials costs, on a Vault that keeps them on disk: the figures of docs/vault-kv.md.
func TestScale(t *testing.T) {
	t.Parallel()
	sizes := []int{1000}
	if os.Getenv("KEYBEARER_SCALE") != "" {
		sizes = []int{1000, 5000, 10_000}
	}
	l := newLab(t, harness.VaultOptions{Persistent: true})
	for _, size := range sizes {
		h := l.home(t)
		s := h.open(t, "a")
		scope := newScope("docs")
		batch := keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}}
		var all []*keybearer.Credential
		for i := range size {
			c := typical(scope, i)
			all = append(all, c)
			batch.Writes = append(batch.Writes, keybearer.Write{Credential: c})
		}
		start := time.Now()
		seq := must(s.Commit(t.Context(), batch))(t)
		whole := time.Since(start)

		text := 0
		for _, name := range h.names(t) {
			if name != "index" {
				text += len(h.Must(t, "GET", mount+"/data/"+h.path+"/"+name, nil).Data(t)["data"].(map[string]any)["text"].(string))
			}
		}
		start = time.Now()
		cold := h.open(t, "b")
		load := time.Since(start)
		if n, _, err := cold.CountCredentials(t.Context(), scope.ID); n != size || err != nil {
			t.Errorf("%d of %d credentials are there, %v", n, size, err)
		}
		var one []time.Duration
		for i := range 50 {
			c := all[i*7%size].Clone()
			c.Revision = seq
			c.Disabled = true
			start := time.Now()
			must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Credential: c}}}))(t)
			one = append(one, time.Since(start))
		}
		slices.Sort(one)
		t.Logf("%d credentials: %d bytes each, committed at once in %v, loaded in %v; a commit of one %v median, %v at most",
			size, text/size, whole.Round(time.Millisecond), load.Round(time.Millisecond), one[25].Round(100*time.Microsecond), one[49].Round(100*time.Microsecond))
		if load > 10*time.Second || one[25] > time.Second {
			t.Error("it is too slow to be of use")
		}
	}
}
