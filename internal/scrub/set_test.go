package scrub

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	htmltemplate "html/template"
	"io"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// of is a set of exactly these forms.
func of(words ...string) *Set {
	slices.Sort(words)
	words = slices.Compact(words)
	return &Set{
		forms:   func() *forms { return &forms{inside: words} },
		machine: func() *automaton { return newAutomaton(words) },
	}
}

// naive is what the package promises of a text, by comparing every form at every place.
func naive(words []string, text string) string {
	out := []byte(text)
	for _, w := range words {
		for at := 0; at+len(w) <= len(text); at++ {
			if text[at:at+len(w)] == w {
				cover(out[at : at+len(w)])
			}
		}
	}
	for n := min(len(text), slices.Max(lengths(words))); n >= Least; n-- { // a form that the end cuts short
		if slices.ContainsFunc(words, func(w string) bool { return len(w) > n && w[:n] == text[len(text)-n:] }) {
			cover(out[len(text)-n:])
			break
		}
	}
	return string(out)
}

func lengths(words []string) []int {
	all := []int{0}
	for _, w := range words {
		all = append(all, len(w))
	}
	return all
}

// split reads a text in two pieces.
func split(text string, at int) io.Reader {
	return io.MultiReader(strings.NewReader(text[:at]), strings.NewReader(text[at:]))
}

// words are few letters, so that they overlap, lie in each other, and begin and end alike.
func words(t *rapid.T) []string {
	return rapid.SliceOfN(rapid.StringMatching(`[ab]{1,6}|[ab]{8,12}`), 1, 6).Draw(t, "words")
}

func TestATextSplitAnywhereIsScrubbedLikeTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := words(t)
		s := of(slices.Clone(words)...)
		text := rapid.StringMatching(`[abc]{0,60}`).Draw(t, "text")
		want := naive(words, text)
		for at := range len(text) + 1 {
			if got := string(must(io.ReadAll(s.Reader(split(text, at))))); got != want {
				t.Fatalf("%q without %q, split at %d: %q, want %q", text, words, at, got, want)
			}
		}
		if got := string(must(io.ReadAll(s.Reader(iotest.OneByteReader(strings.NewReader(text)))))); got != want {
			t.Fatalf("%q without %q, byte by byte: %q, want %q", text, words, got, want)
		}
	})
}

// Each byte goes on as soon as no form can go on from it: the oracle says how many must have come out after each byte.
func TestNoMoreIsHeldThanAFormMayGoOnFrom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := words(t)
		text := rapid.StringMatching(`[abc]{1,40}`).Draw(t, "text")
		in, out := io.Pipe()
		r := of(slices.Clone(words)...).Reader(in)
		defer in.Close()
		came := 0
		buf := make([]byte, 100)
		for i := range len(text) {
			go func() { _, _ = out.Write([]byte{text[i]}) }()
			r.fill()
			for r.given < r.ready {
				n, _ := r.Read(buf)
				came += n
			}
			held := 0
			for n := 1; n <= i+1; n++ {
				if slices.ContainsFunc(words, func(w string) bool { return len(w) > n && w[:n] == text[i+1-n:i+1] }) {
					held = n
				}
			}
			if came != i+1-held {
				t.Fatalf("after %q %d bytes came, want %d; forms %q", text[:i+1], came, i+1-held, words)
			}
		}
	})
}

func TestAFieldIsScrubbedOfAllThatFormsCover(t *testing.T) {
	for _, c := range []struct {
		words []string
		value string
		want  string
	}{
		{[]string{"abcdefgh"}, "xabcdefghy", "x[removed]y"},
		{[]string{"abcdefgh"}, "abcdefghabcdefgh", "[removed][removed]"},
		{[]string{"abcdefgh", "efghijkl"}, "-abcdefghijkl-", "-[removed]-"},
		{[]string{"abababab"}, "-ababababab-", "-[removed]-"},
		{[]string{"abcdefgh", "Bearer abcdefgh"}, "Bearer abcdefgh", "[removed]"},
		{[]string{"abcdefgh"}, "nothing", "nothing"},
	} {
		if got := of(c.words...).Text(c.value); got != c.want {
			t.Errorf("%q without %q: %q, want %q", c.value, c.words, got, c.want)
		}
	}
}

func TestAShortSecretGoesOnlyAsAWholeValue(t *testing.T) {
	s := New(keybearer.NewSecret("k3y"), keybearer.NewSecret("Token k3y"), keybearer.NewSecret(""))
	for value, want := range map[string]string{
		"k3y": "[removed]", "a k3y b": "a k3y b", "Token k3y": "[removed]", "you sent Token k3y!": "you sent [removed]!", "": "",
	} {
		if got := s.Text(value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
	if got := string(must(io.ReadAll(s.Reader(strings.NewReader("k3y, Token k3y"))))); got != "k3y, *********" {
		t.Errorf("a body: %q", got)
	}
	if s.Names("X-K3y") {
		t.Error("a short secret forbids a name")
	}
}

func TestTheShortestSecretThatIsLookedFor(t *testing.T) {
	long, short := New(keybearer.NewSecret("abcdefgh"), keybearer.NewSecret("Bearer abcdefgh")), New(keybearer.NewSecret("abcdefg"))
	for _, c := range []struct {
		set         *Set
		value, want string
	}{
		{long, "Bearer abcdefgh", "Bearer [removed]"}, // what carries the secret stays
		{long, "xabcdefghx", "x[removed]x"},
		{long, "x6162636465666768x", "x[removed]x"},
		{short, "xabcdefgx", "xabcdefgx"},
		{short, "61626364656667", "61626364656667"},
	} {
		if got := c.set.Text(c.value); got != c.want {
			t.Errorf("%q: %q, want %q", c.value, got, c.want)
		}
	}
}

func TestANameThatHoldsTheSecretIsFoundInAnyCase(t *testing.T) {
	s := New(keybearer.NewSecret("s3cret-Token"))
	for name, want := range map[string]bool{"X-S3cret-Token-Y": true, "S3CRET-TOKEN": true, "X-S3cret": false, "X-Something-Quite-Different-" + strings.Repeat("x", 500): false} {
		if s.Names(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// hard has every character that some encoder treats in a way of its own.
const hard = `0Zü/+ "q'<&>=~!*()$,;:@#?%\` + "`€😀\u2028_-.Aa9z"

// What the encoders of several languages make of the hardest secret, by themselves, is found: in the middle of other text, and split anywhere.
func TestTheSecretIsFoundInEveryRendering(t *testing.T) {
	var template strings.Builder
	if err := htmltemplate.Must(htmltemplate.New("").Parse(`{{.}}`)).Execute(&template, hard); err != nil {
		t.Fatal(err)
	}
	quoted := func(v any) string { s := string(must(json.Marshal(v))); return s[1 : len(s)-1] }
	var plainJSON bytes.Buffer
	e := json.NewEncoder(&plainJSON)
	e.SetEscapeHTML(false)
	_ = e.Encode(hard)
	pair := "user:" + hard
	all := map[string]string{
		"itself":                 hard,
		"bearer":                 "Bearer " + hard,
		"basic":                  "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)),
		"basic in a query":       url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(pair))),
		"basic in PHP's JSON":    strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(pair)), "/", `\/`),
		"base64":                 base64.StdEncoding.EncodeToString([]byte(hard)),
		"base64 in a query":      url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(hard))),
		"base64url":              base64.RawURLEncoding.EncodeToString([]byte(hard)),
		"hex":                    hex.EncodeToString([]byte(hard)),
		"HEX":                    strings.ToUpper(hex.EncodeToString([]byte(hard))),
		"Go's query":             url.QueryEscape(hard),
		"Go's path":              url.PathEscape(hard),
		"Go's JSON":              quoted(hard),
		"Go's JSON without HTML": strings.Trim(plainJSON.String(), "\n")[1 : plainJSON.Len()-2],
		"Go's HTML":              html.EscapeString(hard),
		"Go's template":          template.String(),
	}
	for name, text := range foreign(t) {
		all[name] = text
	}
	s := New(keybearer.NewSecret(hard), keybearer.NewSecret("Bearer "+hard), keybearer.NewSecret(base64.StdEncoding.EncodeToString([]byte(pair))))
	for name, text := range all {
		t.Run(name, func(t *testing.T) {
			for _, around := range [][2]string{{"", ""}, {"before ", " after"}, {text[:len(text)/2], text[len(text)/2:]}} {
				whole := around[0] + text + around[1]
				from := len(around[0])
				for at := range len(whole) + 1 {
					out := must(io.ReadAll(s.Reader(split(whole, at))))
					kept := strings.TrimLeft(string(out[from:from+len(text)]), "Basicer =") // what carries it
					if strings.Trim(kept, "*=") != "" && strings.Trim(kept, "*%3dD") != "" || len(out) != len(whole) {
						t.Fatalf("%q came out of %q, split at %d", out, whole, at)
					}
				}
			}
			if got := s.Text(text); strings.Trim(strings.ReplaceAll(got, "[removed]", ""), "Basicer =%3dD") != "" {
				t.Errorf("as a field: %q", got)
			}
		})
	}
}

// foreign asks Node and Python how they write the hardest secret.
func foreign(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	ask := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(hard)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var answers map[string]string
		if err := json.Unmarshal(out, &answers); err != nil {
			t.Fatal(err)
		}
		for k, v := range answers {
			all[name+"'s "+k] = v
		}
	}
	ask("node", "-e", `const s = require('fs').readFileSync(0, 'utf8')
const form = new URLSearchParams({ s }).toString().slice(2)
console.log(JSON.stringify({ encodeURIComponent: encodeURIComponent(s), encodeURI: encodeURI(s), form, form20: form.replaceAll('+', '%20'),
  json: JSON.stringify(s).slice(1, -1), base64: Buffer.from(s).toString('base64'), base64url: Buffer.from(s).toString('base64url') }))`)
	ask("python3", "-c", `import sys, json, html, urllib.parse as u
s = sys.stdin.buffer.read().decode()
print(json.dumps({'quote': u.quote(s), 'quote all': u.quote(s, safe=''), 'quote_plus': u.quote_plus(s), 'json': json.dumps(s)[1:-1],
  'json utf8': json.dumps(s, ensure_ascii=False)[1:-1], 'html': html.escape(s), 'hex': s.encode().hex()}))`)
	return all
}

// Of each byte by itself, beside two encoders of the standard library.
func TestEachByteIsEncodedAsOthersDo(t *testing.T) {
	for c := range 256 {
		text := string([]byte{byte(c)})
		if got, want := percent(text, "-_.~", true, upper), url.QueryEscape(text); got != want {
			t.Errorf("in a query %q is %q, want %q", text, got, want)
		}
		if got, want := percent(text, "-_.~$&+=:@", false, upper), url.PathEscape(text); got != want {
			t.Errorf("in a path %q is %q, want %q", text, got, want)
		}
		if got, want := percent(text, "", true, lower), fmt.Sprintf("%%%02x", c); got != want && c != ' ' {
			t.Errorf("in full %q is %q, want %q", text, got, want)
		}
	}
	if got := units(`a\b"c`, func(rune) bool { return false }, upper); got != `a\\b\"c` {
		t.Errorf("in JSON: %s", got)
	}
	if all := jsons("~€"); !slices.Contains(all, `~\u20ac`) || !slices.Contains(all, "~€") {
		t.Errorf("in JSON: %q", all)
	}
	all := htmls(`<a"b'c&d>`)
	for _, want := range []string{html.EscapeString(`<a"b'c&d>`), `&lt;a&quot;b'c&amp;d&gt;`, `&lt;a"b&apos;c&amp;d&gt;`} {
		if !slices.Contains(all, want) {
			t.Errorf("in HTML: not %q", want)
		}
	}
}

// The forms stay in their order when the machine is made of them: the short ones come first.
func TestFormsStayInOrder(t *testing.T) {
	words := []string{"bbbbbbbb", "aaaaaaaaa"}
	newAutomaton(words)
	if !slices.Equal(words, []string{"bbbbbbbb", "aaaaaaaaa"}) {
		t.Errorf("%q", words)
	}
}

// A secret inside a longer text that is encoded leaves at most the bits that it shares with its neighbours.
func TestBase64OfALongerTextIsFoundAtEveryAlignment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[ -~]{8,40}`).Draw(t, "secret")
		before, after := rapid.StringN(0, 7, 7).Draw(t, "before"), rapid.StringN(0, 7, 7).Draw(t, "after")
		s := New(keybearer.NewSecret(secret))
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			encoded := e.EncodeToString([]byte(before + secret + after))
			out := string(must(io.ReadAll(s.Reader(strings.NewReader(encoded)))))
			from, to := (8*len(before)+5)/6, 8*(len(before)+len(secret))/6
			if strings.Trim(out[from:to], "*") != "" || len(out) != len(encoded) {
				t.Fatalf("%q came out of %q", out, encoded)
			}
		}
	})
}

func TestHexadecimalDigitsOfEitherCaseAreFound(t *testing.T) {
	s := New(keybearer.NewSecret("a/b/c+d?é\"<"))
	for _, text := range []string{
		"a%2fb%2fc%2bd%3f%c3%a9%22%3c", "a%2Fb%2Fc%2Bd%3F%C3%A9%22%3C", "%61%2f%62%2f%63%2b%64%3f%c3%a9%22%3c",
		`\u0061\u002f\u0062\u002f\u0063\u002b\u0064\u003f\u00e9\u0022\u003c`, `\u0061\u002F\u0062\u002F\u0063\u002B\u0064\u003F\u00E9\u0022\u003C`,
		`a/b/c+d?é\"\u003c`, `a/b/c+d?é\"\u003C`, `a/b/c\u002Bd?\u00E9\u0022\u003C`, `a/b/c+d?\u00e9\"<`, `a\/b\/c+d?\u00E9\"<`,
	} {
		if out := string(must(io.ReadAll(s.Reader(strings.NewReader(text))))); strings.Trim(out, "*") != "" {
			t.Errorf("%q came out of %q", out, text)
		}
	}
}

// The text may end within a secret, cut there by whoever wants the rest of it.
func TestATextThatEndsWithinTheSecretKeepsAFewBytesAtMost(t *testing.T) {
	const secret = "s3cret-token-of-the-crm"
	s := New(keybearer.NewSecret(secret))
	for n := range secret {
		text := "you sent " + secret[:n]
		want := text
		if n >= Least {
			want = "you sent " + strings.Repeat("*", n)
		}
		for _, err := range []error{io.EOF, io.ErrUnexpectedEOF} {
			got, gotErr := io.ReadAll(s.Reader(io.MultiReader(strings.NewReader(text), iotest.ErrReader(err))))
			if string(got) != want || err != io.EOF && gotErr != err {
				t.Errorf("%q: %q, %v", text, got, gotErr)
			}
		}
	}
}

func TestASetPrintsNothing(t *testing.T) {
	s := New(keybearer.NewSecret("s3cret-token"), keybearer.NewSecret("Bearer s3cret-token"))
	_ = s.machine()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, s); strings.Contains(got, "s3cret") || strings.Contains(got, "733363726574") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func FuzzAReaderIsTheOracle(f *testing.F) {
	f.Add("s3cret-token", "you sent s3cret-token", uint8(3))
	f.Add("aaaaaaaa", "aaaaaaaaaaaaaaa", uint8(1))
	f.Fuzz(func(t *testing.T, secret, text string, step uint8) {
		s := New(keybearer.NewSecret(secret))
		words := s.forms().inside
		r := s.Reader(&steps{[]byte(text), int(step)%7 + 1})
		got, err := io.ReadAll(r)
		if want := naive(words, text); string(got) != want || err != nil {
			t.Fatalf("%q without %q: %q, %v; want %q", text, words, got, err, want)
		}
	})
}

// steps gives a text in pieces of n bytes.
type steps struct {
	text []byte
	n    int
}

func (s *steps) Read(p []byte) (int, error) {
	if len(s.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.text[:min(s.n, len(s.text))])
	s.text = s.text[n:]
	return n, nil
}
