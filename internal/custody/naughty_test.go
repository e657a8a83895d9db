package custody

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/inject"
)

// The Big List of Naughty Strings as secrets, and with what breaks a header put into each: what is accepted goes out byte for byte, what is
// refused is not repeated.
func TestNaughtySecretsGoOutAsTheyAreOrNotAtAll(t *testing.T) {
	var list []string
	b, err := os.ReadFile("../../test/corpora/blns.json")
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil || len(list) < 400 {
		t.Fatal(len(list), err)
	}
	for _, s := range list[:400] {
		for _, breaker := range []string{"\r\nHost: evil", "\n", "\r", "\x00", "\x7f", "\u0085", "\u2028", " ", "\t"} {
			list = append(list, s+breaker, breaker+s)
		}
	}
	accepted, refused := map[keybearer.Kind]int{}, 0
	for _, s := range list {
		for _, terms := range []keybearer.Terms{{Kind: keybearer.Basic}, {Kind: keybearer.Bearer}, {Kind: keybearer.Header, Header: "X-Key", Prefix: "Token "}, {Kind: keybearer.Header, Header: "X-Key"}} {
			for _, keep := range []bool{false, true} {
				given := &Secret{Value: keybearer.NewSecret(s), KeepBlanks: keep}
				if err := checkSecret(&terms, given); err != nil {
					refused++
					e := keybearer.AsError(err)
					if e.Code != keybearer.SecretInvalid || len(s) > 3 && strings.Contains(e.Message()+e.Advice(), s) && !strings.Contains("the secret is empty", s) {
						t.Errorf("%s %q: %v", terms.Kind, s, err)
					}
					continue
				}
				accepted[terms.Kind]++
				if strings.IndexFunc(s, unicode.IsControl) >= 0 {
					t.Errorf("%s %q holds a control character", terms.Kind, s)
				}
				f, err := inject.For(&keybearer.Bundle{Terms: terms, Secret: given.Value})
				if err != nil {
					t.Fatalf("%s %q: %v", terms.Kind, s, err)
				}
				var wire bytes.Buffer
				r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://h/", nil)
				r.Header = http.Header{f.Name: {f.Value.Reveal()}, "User-Agent": nil}
				if err := r.Write(&wire); err != nil {
					t.Fatalf("%s %q: %v", terms.Kind, s, err)
				}
				want := map[keybearer.Kind]string{
					keybearer.Basic: "Basic " + base64.StdEncoding.EncodeToString([]byte(":"+s)), keybearer.Bearer: "Bearer " + s, keybearer.Header: terms.Prefix + s,
				}[terms.Kind]
				if got := wire.String(); got != "GET / HTTP/1.1\r\nHost: h\r\n"+f.Name+": "+want+"\r\n\r\n" {
					t.Errorf("%s %q is sent as %q", terms.Kind, s, got)
				}
			}
		}
	}
	t.Logf("accepted: %v, refused: %d", accepted, refused)
	if accepted[keybearer.Basic] < 500 || accepted[keybearer.Bearer] < 300 || accepted[keybearer.Header] < 600 || refused < 10_000 {
		t.Errorf("%v, %d: the strings show nothing", accepted, refused)
	}
}
