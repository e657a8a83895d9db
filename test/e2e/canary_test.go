package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newCanary returns a secret that is like no other text, and whose escaped forms all differ from it.
func newCanary() string {
	return "cnry/" + // rand.Text gives 26 letters and digits
		rand.Text() + `+"<&%=` + rand.Text()
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// forms returns the ways in which a text may be written down.
func forms(text string) map[string]string {
	quoted, _ := json.Marshal(text) // a string: cannot fail
	m := map[string]string{
		"raw": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
		"first part": text[5:31], "last part": text[len(text)-26:], // of a canary
		"query": url.QueryEscape(text), "path": url.PathEscape(text), "JSON": string(quoted[1 : len(quoted)-1]),
	}
	// In base64 a text looks different at each of three places in a longer one, and its ends mix with what is around.
	for at := range 3 {
		whole := base64.RawStdEncoding.EncodeToString(append(make([]byte, at), text...))
		inner := whole[(at*8+5)/6 : len(whole)-2]
		m["base64 at "+string(rune('0'+at))] = inner
		m["base64url at "+string(rune('0'+at))] = strings.NewReplacer("+", "-", "/", "_").Replace(inner)
	}
	return m
}

// find returns the places where one of the secrets is found, in any form: in files under the paths, or in one of the texts.
func find(secrets, paths []string, texts map[string]string) (hits []string, files int, _ error) {
	type needle struct {
		form  string
		bytes []byte
	}
	var needles []needle
	for _, s := range secrets {
		for form, text := range forms(s) {
			needles = append(needles, needle{form, []byte(text)})
		}
	}
	look := func(where string, content []byte) {
		for _, n := range needles {
			if i := bytes.Index(content, n.bytes); i >= 0 {
				hits = append(hits, fmt.Sprintf("%s at byte %d, as %s", where, i, n.form))
			}
		}
	}
	for _, path := range paths {
		err := filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			files++
			look(p, content)
			return nil
		})
		if err != nil {
			return hits, files, err
		}
	}
	for where, text := range texts {
		look(where, []byte(text))
	}
	return hits, files, nil
}

// sweep fails the test for each place where find finds one of the secrets, and if there were not even files to search in.
func sweep(t *testing.T, secrets, paths []string, texts map[string]string) {
	t.Helper()
	hits, files, err := find(secrets, paths, texts)
	if err != nil || files == 0 || len(secrets) == 0 {
		t.Errorf("sweep of %d secrets in %d files of %v: %v", len(secrets), files, paths, err)
	}
	for _, hit := range hits {
		t.Errorf("a planted secret stands in %s", hit)
	}
}

// The sweep finds a secret in every form that it claims to know, in texts and in files.
func TestSweepFinds(t *testing.T) {
	secret := newCanary()
	found := func(text string) bool {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		hits, files, err := find([]string{secret}, []string{dir}, map[string]string{"text": text})
		inFile := slices.ContainsFunc(hits, func(h string) bool { return strings.HasPrefix(h, dir) })
		inText := slices.ContainsFunc(hits, func(h string) bool { return strings.HasPrefix(h, "text") })
		if err != nil || files != 1 || inFile != inText {
			t.Errorf("hits %q in %d files, %v", hits, files, err)
		}
		return inText
	}
	for form, text := range forms(secret) {
		for _, around := range []string{"", "x", "yy"} {
			if !found(around + text + around) {
				t.Errorf("%s %q was not found", form, text)
			}
		}
	}
	for at := range 3 {
		if !found(base64Of(strings.Repeat("u", at) + ":" + secret + "\n")) {
			t.Errorf("base64 behind %d bytes was not found", at+1)
		}
	}
	if found(newCanary()) {
		t.Error("another text was taken for the secret")
	}
}
