package custody

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keybearer/keybearer"
)

// Bounds of what a record may hold.
const (
	maxDescription = 1000 // bytes
	maxRules       = 200
	maxGrants      = 1000
	maxTokens      = 20
	maxBindings    = 1000
)

func checkDescription(s string) error {
	if len(s) > maxDescription || !utf8.ValidString(s) || strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) >= 0 {
		return keybearer.NewError(keybearer.Invalid, "a description is at most 1000 bytes of text without control characters").In("description")
	}
	return nil
}

// checkName refuses names of the wrong form, and those that could be mistaken for an id.
func checkName(what, name, idPrefix string) error {
	if !keybearer.ValidName(name) || strings.HasPrefix(name, idPrefix) {
		return keybearer.NewError(keybearer.Invalid, "the name of "+what+" is 1 to 63 lower-case letters, digits, '-', '.' and '_', beginning with a letter or digit and not with "+idPrefix).In("name")
	}
	return nil
}

// nameForLog is a name that was asked for, as an audit event may hold it: "" unless it has the form of one.
func nameForLog(name string) string {
	if keybearer.ValidName(name) {
		return name
	}
	return ""
}

// matches is a search as stores do it: a case-insensitive part of any of the words.
func matches(text string, words ...string) bool {
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(strings.ToLower(w), text) {
			return true
		}
	}
	return false
}

func compare(a, b string) int { return strings.Compare(a, b) }
