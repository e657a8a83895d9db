package scrub

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// base64s are RFC 4648 sections 4 and 5 of a text alone. Padding is left to stand: it tells the length modulo 3.
func base64s(text string) []string {
	return []string{base64.RawStdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text))}
}

// aligned are the characters of base64 and base64url that a text fills by itself, when it stands in a longer one at an offset of 0, 1 or 2
// modulo 3.
func aligned(text string) []string {
	var all []string
	for offset := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, offset), text...))
		from, to := (8*offset+5)/6, 8*(offset+len(text))/6
		part := encoded[from:to]
		all = append(all, part, strings.NewReplacer("+", "-", "/", "_").Replace(part))
	}
	return all
}

func hexadecimal(text string) []string {
	lower := hex.EncodeToString([]byte(text))
	return []string{lower, strings.ToUpper(lower)}
}

// escapedWhole are the texts in which every character is escaped, whether it need be or not.
func escapedWhole(text string) []string {
	all := func(rune) bool { return true }
	return []string{
		percent(text, "", false, upper), percent(text, "", false, lower),
		units(text, all, upper), units(text, all, lower),
	}
}

// What percent-encoders leave as it is, beside letters and digits. Those with "+" write a blank so.
var unreserved = []struct {
	safe string
	plus bool
}{
	{"-_.~", true},                  // Go's QueryEscape, Python's quote_plus
	{"-_.~", false},                 // RFC 3986 section 2.3
	{"-_.~/", false},                // Python's quote
	{"-_.~$&+=:@", false},           // Go's PathEscape
	{"-_.~$&+,/:;=@", false},        // Go's URL.String
	{"-_.!~*'()", false},            // JavaScript's encodeURIComponent
	{"-_.!~*'();/?:@&=+$,#", false}, // JavaScript's encodeURI
	{"*-._", true},                  // HTML forms, Java's URLEncoder
	{"*-._", false},                 // the same with %20
}

func percents(text string) []string {
	if !special(text, "-_.") {
		return nil
	}
	var all []string
	for _, u := range unreserved {
		all = append(all, percent(text, u.safe, u.plus, upper), percent(text, u.safe, u.plus, lower))
	}
	return all
}

const upper, lower = "0123456789ABCDEF", "0123456789abcdef" // digits

// percent is RFC 3986 section 2.1. With an empty safe, letters and digits are encoded too.
func percent(text, safe string, plus bool, digits string) string {
	b := make([]byte, 0, 3*len(text))
	for i := range len(text) {
		c := text[i]
		switch {
		case safe != "" && (alphanumeric(c) || strings.IndexByte(safe, c) >= 0):
			b = append(b, c)
		case plus && c == ' ':
			b = append(b, '+')
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

// special reports whether a text holds anything but letters, digits and those.
func special(text, plain string) bool {
	for i := range len(text) {
		if !alphanumeric(text[i]) && strings.IndexByte(plain, text[i]) < 0 {
			return true
		}
	}
	return false
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// What writers of JSON write as \u and four digits, of what need not be.
var units16 = []struct {
	chars string
	ascii bool // and all that is not ASCII
}{
	{"", false},                     // JavaScript, Rust, Java's Jackson
	{"", true},                      // Python, PHP
	{"\u2028\u2029", false},         // Go without HTML
	{"<>&\u2028\u2029", false},      // Go, Ruby on Rails
	{"<>&='\u2028\u2029", false},    // Java's Gson
	{"<>&'\"", true},                // PHP's JSON_HEX_…
	{"<>&'\"+`", true},              // .NET
	{"<>&'\"+`\u2028\u2029", false}, // .NET, told of the languages
}

// jsons are RFC 8259 section 7. Secrets hold no control characters, which would be escaped in more ways.
func jsons(text string) []string {
	if !special(text, "-_.~ !#$%()*,:;?@[]^{|}") {
		return nil
	}
	var all []string
	for _, u := range units16 {
		which := func(r rune) bool { return strings.ContainsRune(u.chars, r) || u.ascii && r > 0x7e }
		for _, digits := range []string{upper, lower} {
			form := units(text, which, digits)
			all = append(all, form, strings.ReplaceAll(form, "/", `\/`))
		}
	}
	return all
}

// units writes those characters as UTF-16 code units, and the others as JSON must have them.
func units(text string, which func(rune) bool, digits string) string {
	b := make([]byte, 0, 2*len(text))
	for _, r := range text {
		switch {
		case which(r):
			for _, u := range utf16.AppendRune(nil, r) {
				b = append(b, '\\', 'u', digits[u>>12], digits[u>>8&15], digits[u>>4&15], digits[u&15])
			}
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}

// What writers of HTML write for quotes, and for what few of them escape.
var (
	quotes      = []string{"&quot;", "&#34;", "&#x22;", `"`}
	apostrophes = []string{"'", "&#39;", "&#x27;", "&#039;", "&apos;"}
	others      = []*strings.Replacer{
		strings.NewReplacer(),
		strings.NewReplacer("+", "&#43;"),                                // Go's html/template
		strings.NewReplacer("/", "&#x2F;"),                               // OWASP
		strings.NewReplacer("/", "&#x2F;", "`", "&#x60;", "=", "&#x3D;"), // Mustache
		strings.NewReplacer("/", "&#47;", "`", "&#96;", "=", "&#61;"),    // in decimal
	}
)

func htmls(text string) []string {
	if !special(text, "-_.~ !#$%()*,:;?@[]^{|}\\") {
		return nil
	}
	var all []string
	text = strings.ReplaceAll(text, "&", "&amp;")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "<", "&lt;"), ">", "&gt;")
	for _, quoted := range each(text, `"`, quotes) {
		for _, form := range each(quoted, "'", apostrophes) {
			for _, o := range others {
				all = append(all, o.Replace(form))
			}
		}
	}
	return all
}

// each writes a character in each of these ways.
func each(text, char string, ways []string) []string {
	if !strings.Contains(text, char) {
		return []string{text}
	}
	var all []string
	for _, way := range ways {
		all = append(all, strings.ReplaceAll(text, char, way))
	}
	return all
}
