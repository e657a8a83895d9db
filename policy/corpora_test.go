package policy

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

func naughty(t testing.TB) (list []string) {
	t.Helper()
	b, err := os.ReadFile("../test/corpora/blns.json")
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil || len(list) < 400 {
		t.Fatal(len(list), err)
	}
	return list
}

// The Big List of Naughty Strings, in each place where an app or an owner writes a destination: nothing panics, nothing is quoted, and
// what is accepted is canonical and means one thing.
func TestNaughtyStrings(t *testing.T) {
	accepted := map[string]int{}
	for _, s := range naughty(t) {
		holdsHost(t, s)
		for _, text := range []string{s, "http://" + s, "https://" + s + "/", "https://api.example.com:" + s, "https://api.example.com/" + s, "https://api.example.com/?" + s} {
			if holdsTarget(t, text) {
				accepted["absolute"]++
				if strings.Contains(text, s+"/") && s != "" {
					accepted["as a host"]++
				}
			}
			if holdsAuthority(t, text) {
				accepted["authority"]++
			}
			if holdsRule(t, text, "GET", true) {
				accepted["rule"]++
			}
		}
		if holdsRule(t, "api.example.com", s, false) && !keybearer.ForwardableMethod(s) {
			t.Errorf("%q is a method", s)
		}
		for _, kind := range []keybearer.Kind{keybearer.Basic, keybearer.Bearer, keybearer.Header, keybearer.Kind(s)} {
			if name, err := CheckHeader(kind, s, ""); err == nil && name != "" && !regexp.MustCompile("^[!-9;-~]+$").MatchString(name) {
				t.Errorf("%q is the name of a header", name)
			}
			if _, err := CheckHeader(kind, "X-Api-Key", s); err == nil && strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q is a prefix", s)
			}
		}
		if _, err := keybearer.ParseRef(s); err == nil && !regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}$`).MatchString(s) {
			t.Errorf("%q names a credential", s)
		}
	}
	t.Logf("accepted: %v", accepted)
	if accepted["as a host"] == 0 || accepted["rule"] == 0 || accepted["as a host"] > 120 {
		t.Errorf("%v: the strings are not what they were", accepted)
	}
}

// suffixList is the public suffix list as its rules, read in the plainest way: the oracle for what golang.org/x/net makes of it.
type suffixList map[string]bool // by rule as it is written, "!" and "*." included

func readSuffixes(t testing.TB) (list suffixList, rules []string) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "publicsuffix", "table_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(b), "\n}\n")
	list = suffixList{}
	for _, m := range regexp.MustCompile(`(?m)^\t"([^"]+)",$`).FindAllStringSubmatch(text, -1) {
		list[m[1]] = true
		rules = append(rules, m[1])
	}
	if len(rules) < 9000 {
		t.Fatalf("%d rules", len(rules))
	}
	return list, rules
}

// suffix returns the public suffix of a name, by https://publicsuffix.org/list: the longest rule, an exception before all others.
func (l suffixList) suffix(name string) string {
	labels := strings.Split(name, ".")
	for i := range labels {
		if l["!"+strings.Join(labels[i:], ".")] {
			return strings.Join(labels[i+1:], ".")
		}
	}
	for i := range labels {
		if l[strings.Join(labels[i:], ".")] || i+1 < len(labels) && l["*."+strings.Join(labels[i+1:], ".")] {
			return strings.Join(labels[i:], ".")
		}
	}
	return labels[len(labels)-1]
}

// holder returns the name that one owner has and everything below belongs to; "" for a public suffix.
func (l suffixList) holder(name string) string {
	suffix := l.suffix(name)
	front, ok := strings.CutSuffix(name, "."+suffix)
	if !ok {
		return ""
	}
	return front[strings.LastIndexByte(front, '.')+1:] + "." + suffix
}

// Every rule of the public suffix list, with names around it: what a wildcard admits has one holder, and none is over a public suffix.
func TestWildcardsAgainstTheWholePublicSuffixList(t *testing.T) {
	list, rules := readSuffixes(t)
	pairs, admitted, refused, crossed := 0, 0, 0, 0
	for _, written := range rules {
		base := strings.TrimPrefix(written, "!")
		if s, ok := strings.CutPrefix(base, "*."); ok {
			base = "wild." + s
		}
		host, _, why := canonicalHost(base)
		if why != "" { // a rule that is no host name of ours is below none
			t.Errorf("%s: %s", base, why)
			continue
		}
		parent := host[strings.IndexByte(host, '.')+1:]
		for _, c := range []struct{ pattern, name string }{
			{"*." + host, "a." + host},
			{"**." + host, "b.a." + host},
			{"*.mine." + host, "a.mine." + host},
			{"*.mine." + host, "a.yours." + host},
			{"**.mine." + host, "b.a.mine." + host},
			{"**." + parent, "a.mine." + host},
			{"**." + parent, "mine." + host},
		} {
			pairs++
			wild, suffix := cutWildcard(c.pattern)
			r, err := ParseRule(c.pattern, nil, false)
			open := list.suffix(suffix) == suffix || list.suffix("x."+suffix) == "x."+suffix
			if (err != nil) != open {
				t.Errorf("%s, with %s as the public suffix: %v", c.pattern, list.suffix(suffix), err)
			}
			if err != nil {
				refused++
				continue
			}
			front, below := strings.CutSuffix(c.name, "."+suffix)
			fits := below && (wild == "**." || !strings.Contains(front, "."))
			want := fits && (!strings.Contains(front, ".") || list.holder(c.name) == list.holder(suffix) && list.suffix(c.name) == list.suffix(suffix))
			if got := admitsHost(r.Host, c.name, false); got != want {
				t.Errorf("%s admits %s: %v, of %q and %q", r, c.name, got, list.holder(suffix), list.holder(c.name))
			} else if got {
				admitted++
			} else if fits {
				crossed++
			}
			if admitsHost(r.Host, suffix, false) || admitsHost(r.Host, list.suffix(suffix), false) || admitsHost(r.Host, "x"+suffix, false) || admitsHost(r.Host, "a.x"+suffix, false) {
				t.Errorf("%s admits its own suffix, or a name that only ends like it", r)
			}
		}
	}
	t.Attr("cases", strconv.Itoa(pairs))
	t.Logf("%d pairs of %d rules: %d wildcards refused, %d names admitted, %d kept out below another holder", pairs, len(rules), refused, admitted, crossed)
	if pairs < 60_000 || admitted < 10_000 || refused < 10_000 || crossed < 500 {
		t.Errorf("%d pairs, %d refused, %d admitted, %d crossed: the list is not what it was", pairs, refused, admitted, crossed)
	}
}

// readsAlike is how others read what is dialled and sent: Go's own parser, from which net/http takes the host that it dials.
func readsAlike(t testing.TB, d Destination, rest string) {
	t.Helper()
	u, err := url.Parse(d.Scheme + "://" + d.HostPort() + rest)
	if err != nil {
		if strings.Contains(err.Error(), "invalid URL escape") && strings.Contains(rest, "%") { // in the query: bytes are sent as they are
			return
		}
		t.Fatalf("%s%s: %v", d, rest, err)
	}
	if u.Hostname() != d.Host || u.User != nil || u.Fragment != "" || u.Host != d.HostPort() {
		t.Fatalf("%s is read as host %q, port %q, user %v", d, u.Hostname(), u.Port(), u.User)
	}
}
