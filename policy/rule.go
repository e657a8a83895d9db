package policy

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/keybearer/keybearer"
)

// maxRule bounds the text of a rule, in bytes.
const maxRule = 2048

// problem is why a text is no rule, and what was probably meant, if that can be guessed: the whole text or, as long as only a part is
// looked at, that part.
type problem struct{ why, hint, meant string }

// ParseRule returns the canonical rule of the text "[scheme://]host[:port][/path-prefix]". A pasted URL is a rule for its host, port and
// path; its query, fragment and user are refused rather than dropped, because whoever wrote them believes that they count.
// Text that is refused gives [keybearer.RuleInvalid] with the fix as the hint.
//
// Host is exact, "*.suffix" (one label in front) or "**.suffix" (one or more); the suffix itself is matched by neither. It may
// not be a public suffix, nor a name all of whose children are; and "**." stops at public suffixes further down. The path is
// a prefix on segment boundaries; one that ends with a slash admits only what lies below, and "/" alone is no path.
// Methods are upper-case names from [keybearer.Methods]; none means all of them.
func ParseRule(text string, methods []string, private bool) (keybearer.Rule, error) {
	r, p := parseRule(text)
	if p != nil {
		err := keybearer.NewError(keybearer.RuleInvalid, p.why).WithHint(p.hint)
		if p.meant != "" {
			if fixed, again := parseRule(p.meant); again == nil {
				err = err.WithHint("if you meant it, write " + fixed.String())
			}
		}
		return keybearer.Rule{}, err
	}
	var err error
	if r.Methods, err = canonicalMethods(methods); err != nil {
		return keybearer.Rule{}, err
	}
	r.Private = private
	return r, nil
}

func parseRule(text string) (keybearer.Rule, *problem) {
	var none keybearer.Rule
	if p := checkRuleText(text); p != nil {
		return none, p
	}
	scheme, rest, written := cutScheme(text)
	if !written {
		if _, after, ok := strings.Cut(text, "://"); ok {
			return none, &problem{"a rule is for https, or for http", "write https://host", "https://" + after}
		}
		scheme, rest = "https", text
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		return none, &problem{"a rule holds no user name and no password", "leave out what stands before the @", scheme + "://" + authority[i+1:] + path}
	}
	wild, suffix := cutWildcard(authority)
	var t Target
	if p := t.setRuleHost(wild, suffix); p != nil {
		if p.meant != "" {
			p.meant = scheme + "://" + p.meant + path
		}
		return none, p
	}
	if t.Addr.IsValid() && !written && len(path) > 1 && strings.Trim(path[1:], "0123456789") == "" {
		return none, &problem{why: "a rule is for one address, not for a network", hint: "write one rule for each address; networks belong in allow_private"}
	}
	if path == "/" {
		path = ""
	}
	if p := checkRulePath(path); p != nil {
		if p.meant != "" {
			p.meant = scheme + "://" + authority + p.meant
		}
		return none, p
	}
	return keybearer.Rule{Scheme: scheme, Host: wild + t.Host, Port: cmp.Or(t.Port, keybearer.DefaultPort(scheme)), Path: path}, nil
}

// checkRuleText refuses what can stand nowhere in a rule.
func checkRuleText(text string) *problem {
	if text == "" {
		return &problem{why: "the rule is empty", hint: "write the host, for example api.example.com"}
	}
	if len(text) > maxRule {
		return &problem{why: "the rule is longer than 2048 characters", hint: "shorten its path: a rule admits everything below"}
	}
	if t := strings.TrimSpace(text); t != text {
		return &problem{"a rule has no blanks around it", "leave them out", t}
	}
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		return &problem{"a rule has no query and no fragment", "leave out everything from the " + text[i:i+1] + " on", text[:i]}
	}
	if i := strings.IndexByte(text, '\\'); i >= 0 {
		return &problem{"a rule holds no backslash, and is not a regular expression", "write a host such as api.example.com, or *.example.com", strings.ReplaceAll(text, `\`, "/")}
	}
	if scheme, rest, ok := strings.Cut(text, ":/"); ok && !strings.HasPrefix(rest, "/") && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) {
		return &problem{"a scheme is followed by two slashes", "write https://host", scheme + "://" + rest}
	}
	if s, ok := strings.CutPrefix(text, "//"); ok {
		return &problem{"a rule begins with its scheme or its host", "write https://host", s}
	}
	return nil
}

// setRuleHost reads what follows the wildcard, "host[:port]".
func (t *Target) setRuleHost(wild, suffix string) *problem {
	if i := strings.LastIndexByte(suffix, '*'); i >= 0 {
		if strings.Trim(suffix, "*.:0123456789") == "" {
			return &problem{why: "a rule names a host: there is no rule for every one", hint: "write the hosts that the secret is for, such as api.example.com or *.example.com"}
		}
		p := &problem{why: "a wildcard stands for whole labels at the front, as *. (one label) or **. (one or more)", hint: "write *.example.com, or one rule for each host"}
		if _, parent, ok := strings.Cut(suffix[i:], "."); ok {
			p.meant = "*." + parent
		}
		return p
	}
	if parent, ok := strings.CutPrefix(suffix, "."); ok && wild == "" {
		return &problem{"a host does not begin with a dot", "write **.example.com for every name below example.com", "**." + parent}
	}
	if why := t.setAuthority(suffix); why != "" {
		p := &problem{why: why, hint: "write the host alone, for example api.example.com"}
		if strings.Count(suffix, ":") > 1 && suffix[0] != '[' {
			p.hint, p.meant = "write an IPv6 address in brackets, for example https://[2001:db8::1]", "["+suffix+"]"
		} else if host, ok := strings.CutSuffix(suffix, ":"); ok {
			p.meant = wild + host
		}
		return p
	}
	if wild != "" {
		return checkSuffix(t)
	}
	return nil
}

// checkSuffix refuses a wildcard over addresses, and over names below which anybody can register. The public suffix list is that of
// golang.org/x/net, private section included; a top-level domain that it does not know counts as one.
func checkSuffix(t *Target) *problem {
	if t.Addr.IsValid() {
		return &problem{why: "a wildcard does not stand for parts of an address", hint: "write one rule for each address"}
	}
	suffix, _ := publicsuffix.PublicSuffix(t.Host)
	below, _ := publicsuffix.PublicSuffix("x." + t.Host)
	if suffix == t.Host || below == "x."+t.Host {
		return &problem{why: "the wildcard is over a public suffix, below which anybody can register a name", hint: "write the host, or a wildcard below a name that you hold"}
	}
	return nil
}

// checkRulePath refuses prefixes that a request could never match, or that a destination could read in another way.
func checkRulePath(path string) *problem {
	hint := "write the plain path, for example /v1/hooks"
	if i := strings.IndexByte(path, '*'); i >= 0 {
		return &problem{"a path is a prefix already, and holds no wildcard", "leave out the * and what follows", path[:i]}
	}
	for i := range len(path) {
		if c := path[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("/-._~!$&'()+,=:@%;", c) >= 0) {
			return &problem{why: "the path holds a character that must be percent-encoded", hint: hint}
		}
	}
	if why := checkPath(path); why != "" {
		return &problem{why: why, hint: hint}
	}
	if !plainPath(path) {
		return &problem{why: "the path of a rule holds no .., //, ; and no encoded dot, slash, backslash, percent or NUL, and its escapes are UTF-8", hint: hint}
	}
	return nil
}

func canonicalMethods(methods []string) ([]string, error) {
	for _, m := range methods {
		if keybearer.ForwardableMethod(m) {
			continue
		}
		err := keybearer.NewError(keybearer.RuleInvalid, "a method is one of "+strings.Join(keybearer.Methods, ", "))
		if up := strings.ToUpper(strings.TrimSpace(m)); keybearer.ForwardableMethod(up) {
			return nil, err.WithHint("methods are case-sensitive: write " + up)
		}
		return nil, err.WithHint("list each method by itself, or none for all of them")
	}
	if len(methods) == 0 {
		return nil, nil
	}
	sorted := slices.Sorted(slices.Values(methods))
	return slices.Compact(sorted), nil
}

// CheckRule returns nil for a canonical rule, such as ParseRule returns, and [keybearer.RuleInvalid] for any other. Use it on
// rules that were not parsed in this process.
func CheckRule(r keybearer.Rule) error {
	again, err := ParseRule(r.String(), r.Methods, r.Private)
	if err == nil && compareRules(again, r) != 0 {
		err = keybearer.NewError(keybearer.RuleInvalid, "the rule is not in canonical form").WithHint("write " + again.String())
	}
	return err
}

// CanonicalRules returns the rules sorted and without duplicates, in a slice of its own that is never nil; method lists are shared.
func CanonicalRules(rules []keybearer.Rule) []keybearer.Rule {
	sorted := append(make([]keybearer.Rule, 0, len(rules)), rules...)
	slices.SortFunc(sorted, compareRules)
	return slices.CompactFunc(sorted, func(a, b keybearer.Rule) bool { return compareRules(a, b) == 0 })
}

// compareRules is the canonical order: by host, port, scheme, path, methods, and private last. Where two rules admit a request
// the first is named, so a rule without restrictions comes before those that have some.
func compareRules(a, b keybearer.Rule) int {
	return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), strings.Compare(a.Scheme, b.Scheme),
		strings.Compare(a.Path, b.Path), slices.Compare(a.Methods, b.Methods), cmp.Compare(bit(a.Private), bit(b.Private)))
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
