package scrub

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/keybearer/keybearer"
)

// Least is the shortest form, in bytes, that is looked for inside other text. Cutting every "k" out of an answer would ruin it: what is shorter
// is removed only where it is the whole value of a field.
const Least = 8

const (
	removed = "[removed]" // in the place of a form, in header fields
	star    = '*'         // in the place of each of its bytes, elsewhere
)

// Set is the forms of one secret. It is immutable, safe for concurrent use, and prints as nothing: it holds closures, like
// [keybearer.Secret].
//
// The forms, each where it differs from the others: the secret itself; base64 and base64url, alone (padded or not) and in the middle of a longer encoded
// text, where the few bits in the first and last character that it shares with its neighbours stay; hexadecimal in either case; percent-encoded
// as paths, queries and forms are by Go, JavaScript, Python and Java, or in full, with "+" or "%20" and hexadecimal digits of either case; inside a JSON
// string as Go, JavaScript, Python, PHP and .NET write it; and inside HTML. Of what carries the secret (see [New]): itself,
// percent-encoded, in JSON and in HTML.
type Set struct {
	forms   func() *forms
	machine func() *automaton
}

// New returns the forms of a secret and of carriers: texts in which it is sent but does not stand as it is, such as the base64 of HTTP's basic
// authentication, or in which it is too short to be looked for by itself. Empty ones are passed over, and those that hold one before them.
func New(secret keybearer.Secret, carriers ...keybearer.Secret) *Set {
	f := formsOf(secret, carriers)
	return &Set{
		forms:   func() *forms { return f },
		machine: sync.OnceValue(func() *automaton { return newAutomaton(f.inside) }), // few secrets ever need it
	}
}

// Text returns a value of a header field or trailer without the secret. Where forms overlap, all that they cover goes at once.
func (s *Set) Text(value string) string {
	f := s.forms()
	if slices.Contains(f.whole, value) {
		return removed
	}
	type span struct{ from, to int }
	var found []span
	for _, form := range f.inside {
		if len(form) > len(value) {
			break // so are all that follow
		}
		for at := 0; ; at++ {
			i := strings.Index(value[at:], form)
			if i < 0 {
				break
			}
			at += i
			found = append(found, span{at, at + len(form)})
		}
	}
	if len(found) == 0 {
		return value
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var b strings.Builder
	end := 0
	for _, x := range found {
		if x.from >= end {
			b.WriteString(value[end:x.from])
			b.WriteString(removed)
		}
		end = max(end, x.to)
	}
	b.WriteString(value[end:])
	return b.String()
}

// Names reports whether a field's name holds the secret, in whatever case: names are not case-sensitive, so one cannot be cut out of them.
func (s *Set) Names(name string) bool {
	for _, form := range s.forms().inside {
		if len(form) > len(name) {
			return false
		}
		if strings.Contains(strings.ToLower(name), strings.ToLower(form)) {
			return true
		}
	}
	return false
}

// forms are what is looked for.
type forms struct {
	inside []string // other text; none shorter than Least, the short ones first
	whole  []string // values; shorter
}

func formsOf(secret keybearer.Secret, carriers []keybearer.Secret) *forms {
	plain := secret.Reveal()
	all, escaped := []string{plain}, []string{plain}
	if len(plain) >= Least {
		encoded := base64s(plain)
		escaped = append(escaped, encoded...)
		all = slices.Concat(all, encoded, aligned(plain), hexadecimal(plain), escapedWhole(plain))
	}
	found := []string{plain}
	for _, c := range carriers {
		text := c.Reveal()
		if !slices.ContainsFunc(found, func(f string) bool { return len(f) >= Least && strings.Contains(text, f) }) {
			found, escaped, all = append(found, text), append(escaped, text), append(all, text)
		}
	}
	for _, text := range escaped {
		all = slices.Concat(all, percents(text), jsons(text), htmls(text))
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	f := &forms{}
	for _, form := range slices.Compact(all) {
		switch {
		case len(form) >= Least:
			f.inside = append(f.inside, form)
		case form != "":
			f.whole = append(f.whole, form)
		}
	}
	return f
}
