package vaultkv_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultkv"
	"github.com/keybearer/keybearer/test/harness"
)

// dump returns all that Vault still shows of the path to root: every version of every secret, and all metadata.
func (h *home) dump(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, name := range h.names(t) {
		m := h.Must(t, "GET", mount+"/metadata/"+h.path+"/"+name, nil)
		all.Write(m.Body)
		for version := range m.Data(t)["versions"].(map[string]any) {
			h.Must(t, "POST", mount+"/undelete/"+h.path+"/"+name, map[string]any{"versions": []string{version}})
			a := h.Do(t, "GET", mount+"/data/"+h.path+"/"+name+"?version="+version, nil)
			if a.Status != 200 {
				t.Fatalf("%s, version %s: %d", name, version, a.Status)
			}
			all.Write(a.Body)
		}
	}
	return all.String()
}

// What a credential or a scope held before it was changed or deleted is in no version of any secret once Commit has returned.
func TestNoTraceOfOldSecrets(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	s := h.open(t, "a")
	scope := newScope("docs")
	share := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	scope.Key = &keybearer.ScopeKey{Name: "k1", Generation: 1, Version: 1, Share: share(1)}
	batch := keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}}
	var all []*keybearer.Credential
	for i := range 20 {
		c := newCredential(scope, fmt.Sprintf("c%d", i), fmt.Appendf(nil, "ciphertext number %d", i))
		all = append(all, c)
		batch.Writes = append(batch.Writes, keybearer.Write{Credential: c})
	}
	commit := func(b keybearer.Batch) uint64 { return must(s.Commit(t.Context(), b))(t) }
	seq := commit(batch)
	shown := func(b []byte) bool { return strings.Contains(h.dump(t), base64.StdEncoding.EncodeToString(b)) }
	if !shown(all[0].Current.Sealed) || !shown(scope.Key.Share) {
		t.Fatal("the test could not see what is there")
	}
	index := string(h.Must(t, "GET", mount+"/data/"+h.path+"/index", nil).Body)
	if strings.Contains(index, base64.StdEncoding.EncodeToString(all[0].Current.Sealed)[:12]) {
		t.Error("the index holds ciphertext")
	}

	replaced := all[0].Clone() // a new secret
	replaced.Revision, replaced.Current.Sealed = seq, []byte("another ciphertext")
	commit(keybearer.Batch{Writes: []keybearer.Write{{Credential: replaced}}})
	if shown(all[0].Current.Sealed) {
		t.Error("a ciphertext that was replaced is still there")
	}
	all[1].Revision = seq // deleted for good
	commit(keybearer.Batch{Writes: []keybearer.Write{{Credential: all[1], Delete: true}}})
	if shown(all[1].Current.Sealed) {
		t.Error("a ciphertext that was deleted is still there")
	}
	// A regenerate: a new share, and no ciphertext.
	next := scope.Clone()
	next.Revision, next.Key.Share, next.Key.Generation = seq, share(2), 2
	batch = keybearer.Batch{Writes: []keybearer.Write{{Scope: next}}}
	for _, c := range all[2:] {
		shell := c.Clone()
		shell.Revision, shell.Current.Sealed = seq, nil
		batch.Writes = append(batch.Writes, keybearer.Write{Credential: shell})
	}
	commit(batch)
	dump := h.dump(t)
	for _, old := range append([][]byte{share(1)}, func() (sealed [][]byte) {
		for _, c := range all {
			sealed = append(sealed, c.Current.Sealed)
		}
		return sealed
	}()...) {
		if strings.Contains(dump, base64.StdEncoding.EncodeToString(old)) {
			t.Errorf("after the regenerate %q is still there", old)
		}
	}
	if !shown(replaced.Current.Sealed) || !shown(share(2)) {
		t.Error("what should be there is not")
	}
	h.complete(t)
}

// What does not fit is refused with a word about the way out, before anything is written.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	s := h.open(t, "a")
	scope := newScope("docs")
	must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}}))(t)
	refused := func(what string, b keybearer.Batch) {
		t.Helper()
		_, err := s.Commit(t.Context(), b)
		e := keybearer.AsError(err)
		if e == nil || e.Code != keybearer.Conflict || !strings.Contains(e.Detail, what) || !strings.Contains(e.Hint, "postgres") {
			t.Errorf("%s: got %v, want it refused with a hint", what, err)
		}
	}
	// The largest secret that there can be, with its previous version, fits.
	largest := newCredential(scope, "large", bytes.Repeat([]byte("x"), keybearer.MaxBundle*4/3+100))
	largest.Previous = &keybearer.Version{Number: 1, Sealed: largest.Current.Sealed}
	seq := must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Credential: largest}}}))(t)
	look(t, s)
	more := largest.Clone()
	more.Revision, more.Current.Sealed = seq, bytes.Repeat([]byte("x"), vaultkv.MaxText)
	before := h.names(t)
	small := newCredential(scope, "small", []byte("x"))
	refused("the records of one bucket", keybearer.Batch{Writes: []keybearer.Write{{Credential: small}, {Credential: more}}})
	if after := h.names(t); !slices.Equal(before, after) {
		t.Errorf("on the path were %v, and are %v", before, after)
	}
	if _, err := s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: "small"}); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Errorf("a commit that was refused had an effect: %v", err)
	}

	// Events that nobody takes out.
	event := keybearer.Event{ID: "req_1", Path: strings.Repeat("x", 20_000)}
	for range 22 {
		must(s.Commit(t.Context(), keybearer.Batch{Events: []keybearer.Event{event}}))(t)
	}
	var many []keybearer.Event
	for range 5 {
		many = append(many, event)
	}
	refused("the index, with the events that wait", keybearer.Batch{Events: many})
	pending := must(s.Events(t.Context(), 100))(t)
	if len(pending) != 22 {
		t.Errorf("%d events wait", len(pending))
	}
	if err := s.Delivered(t.Context(), pending[0].Seq, pending[1].Seq, pending[2].Seq, pending[3].Seq); err != nil {
		t.Fatal(err)
	}
	must(s.Commit(t.Context(), keybearer.Batch{Events: many}))(t)
}
