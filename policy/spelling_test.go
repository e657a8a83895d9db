package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/soak"
)

// pieces are what mistakes and attacks are made of.
var pieces = strings.Split("a z 0 1 9 . .. / // : :: @ # ? & ; = , \\ % %2e %2F %00 %25 %zz %c0%ae [ ] * ** *. - -- _ xn-- xn--a 0x 0x7f 127 1e3 08 :80 :443 :0 :65536 "+
	"localhost example.com 127.0.0.1 ::1 ::ffff:7f00:1 fe80::1%eth0 http:// https:// HTTP:// ftp:// user@ ü ß ｅ ． 。 ① ﹒ ％ ＠ ／ \u0301 \u200d \u00ad \u202e \ufeff א ا \u0085 "+
	"\t \r\n \x00 \x7f \x80 \xff \xc0\xaf \xed\xa0\x80", " ")

// spelt is right, and with a small change often still is.
var spelt = []string{
	"http://api.example.com", "https://api.example.com:8443/v1/hooks?x=1", "http://bücher.example./a%41", "https://[2001:db8::1]:443/", "http://127.0.0.1:80/a/b",
	"api.example.com:80", "[::1]:8080", "xn--bcher-kva.example:1", "api.example.com", "*.example.com", "**.shop.example.com", "http://*.example.com:8443/hooks", "faß.de", "例え。テスト",
}

// misspelt returns a text near what is right, or near the seeds.
func misspelt(seeds []string, rng *rand.Rand) string {
	if rng.IntN(2) == 0 {
		seeds = spelt
	}
	s := seeds[rng.IntN(len(seeds))]
	if len(s) > 300 {
		s = s[:300]
	}
	for range 1 + rng.IntN(4) {
		at, p := rng.IntN(len(s)+1), pieces[rng.IntN(len(pieces))]
		end := min(len(s), at+rng.IntN(4))
		switch rng.IntN(6) {
		case 0:
			p = "" // something is missing
		case 1:
			p = string([]byte{byte(rng.IntN(256))})
		case 2:
			other := seeds[rng.IntN(len(seeds))]
			p, end = other[min(len(other), at):], len(s)
		case 3:
			p = strings.ToUpper(s[at:end])
		}
		s = s[:at] + p + s[end:]
		if len(s) > 400 {
			return s[:400]
		}
	}
	return s
}

// Texts near all that is listed as a mistake, and near what is right. Coverage-guided, the same properties are FuzzParseAbsolute,
// FuzzParseAuthority, FuzzParseRule and FuzzHost; here are many at little cost: 50 million with KEYBEARER_SOAK=1.
func TestSoakOfSpellings(t *testing.T) {
	count := soak.Size(t, 200_000, 50_000_000)
	seeds := naughty(t)
	for _, groups := range []map[string][]string{refusedTargets, refusedHosts} {
		for _, texts := range groups {
			for _, text := range texts {
				seeds = append(seeds, text[:min(len(text), 400)])
			}
		}
	}
	slices.Sort(seeds) // maps have no order, and the seed below is to give the same texts again
	rng := rand.New(rand.NewPCG(20, 26))
	accepted := [4]int{}
	text := ""
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%q: %v", text, p)
		}
	}()
	count4 := count / 4
	for range count4 {
		text = misspelt(seeds, rng)
		for i, ok := range []bool{holdsTarget(t, text), holdsAuthority(t, text), holdsRule(t, text, "GET", false), holdsHost(t, text)} {
			if ok {
				accepted[i]++
			}
		}
	}
	said := fmt.Sprintf("%d executions, of which accepted: %d targets, %d authorities, %d rules, %d hosts", 4*count4, accepted[0], accepted[1], accepted[2], accepted[3])
	if slices.Min(accepted[:]) < count/200 {
		t.Errorf("%s: the texts show nothing", said)
	}
	soak.Record(t, "misspelt destinations and rules", soak.Count(4*count4)+" executions", "no panic, and nothing accepted that is not canonical")
}
