package custody

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keybearer/keybearer"
)

// checkSecret refuses what could not be sent as it is, and what was surely not meant. Its errors hold nothing of the secret.
func checkSecret(terms *keybearer.Terms, given *Secret) error {
	user, value := given.Username.Reveal(), given.Value.Reveal()
	basic := terms.Kind == keybearer.Basic
	switch {
	case !basic && user != "":
		return badUsername("only a credential of kind basic has a username", "")
	case user == "" && value == "":
		return badSecret("the secret is empty", "give it on standard input or in a file")
	case !utf8.ValidString(user) || !utf8.ValidString(value):
		return badSecret("the secret is not UTF-8 text", "")
	case hasControl(user) || hasControl(value):
		return badSecret("the secret has a line break or another control character", "a line break at its very end often comes from the file or the command that it was read from")
	case basic && strings.Contains(user, ":"):
		return badUsername("a username cannot hold ':'", "for kind basic give the username and the password on two lines")
	case masked(user) || masked(value):
		return badSecret("this is a placeholder, not a secret", "leave the secret out to keep the one that is there")
	}
	if basic {
		if !given.KeepBlanks && (blankEnds(user) || blankEnds(value)) {
			return badSecret("the username or the password begins or ends with a blank", "repeat it with keep-blanks if that is meant")
		}
		return nil
	}
	prefix := "Bearer "
	if terms.Kind == keybearer.Header {
		prefix = terms.Prefix
	}
	switch {
	case strings.IndexFunc(value, func(r rune) bool { return r > '~' }) >= 0:
		return badSecret("the secret has characters that a header cannot carry", "it may have been copied with typographic quotes or invisible characters")
	case blankEnds(value[len(value)-1:]):
		return badSecret("the secret ends with a blank, which no header can carry", "")
	case blankEnds(value[:1]) && prefix == "":
		return badSecret("the secret begins with a blank, which no header can carry", "")
	case blankEnds(value[:1]) && !given.KeepBlanks:
		return badSecret("the secret begins with a blank", "repeat it with keep-blanks if that is meant")
	case prefix != "" && len(value) >= len(prefix) && strings.EqualFold(value[:len(prefix)], prefix):
		return badSecret("the secret begins with the prefix that Keybearer writes before it", "give what follows the prefix alone")
	}
	return nil
}

func badUsername(detail, hint string) error {
	return keybearer.NewError(keybearer.SecretInvalid, detail).WithHint(hint).In("username")
}

func badSecret(detail, hint string) error {
	return keybearer.NewError(keybearer.SecretInvalid, detail).WithHint(hint).In("secret")
}

func hasControl(s string) bool { return strings.IndexFunc(s, unicode.IsControl) >= 0 }

func blankEnds(s string) bool { return strings.TrimSpace(s) != s }

// masked reports whether s is what some page or tool shows in the place of a secret.
func masked(s string) bool {
	return s != "" && (strings.Trim(s, "*•") == "" || s == keybearer.Secret{}.String())
}
